"""SAE (Kodirov, Xiang and Gong, CVPR 2017): a step is one candidate for lambda."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.methods.base import Comparison
from zsl_lab.methods.candidates import CandidateMethod
from zsl_lab.methods.sae.config import SAEConfig
from zsl_lab.methods.sae.solver import SylvesterSolver


class SAE(CandidateMethod):
    """Semantic auto-encoder: W maps features to semantics, and its transpose maps them back.

    Each step is a lambda; see :class:`CandidateMethod`.

    Args:
        config: See :class:`SAEConfig`.
        feature_dim: D.
        classes: Semantics of all classes and which of them are seen.
    """

    config_class: ClassVar[type[SAEConfig]] = SAEConfig
    config: SAEConfig

    def __init__(self, config: SAEConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        # a parameter without gradients: stored with the weights, set in closed form
        self.weights = nn.Parameter(
            torch.zeros(classes.semantics.shape[1], feature_dim), requires_grad=False
        )
        self._solver: SylvesterSolver | None = None

    @property
    def candidates(self) -> list[float]:
        """Values of lambda."""
        return self.config.candidates

    def class_scores(self, features: Tensor) -> Tensor:
        """Cosine of each sample and each class in the space of ``method.reading``, ``[B, C]``."""
        points, prototypes = self.embed(features), self.prototypes(self.semantics)
        return normalize(points, dim=1) @ normalize(prototypes, dim=1).T

    def embed(self, features: Tensor) -> Tensor:
        """Encoder: ``W x``, ``[B, Q]``. Decoder: the features themselves, ``[B, D]``."""
        return features @ self.weights.T if self.config.reading == "encoder" else features

    def prototypes(self, semantics: Tensor) -> Tensor:
        """Encoder: the semantics themselves, ``[K, Q]``. Decoder: ``W^T a``, ``[K, D]``."""
        return semantics if self.config.reading == "encoder" else semantics @ self.weights

    @property
    def comparison(self) -> Comparison:
        """By cosine, as in the authors' code."""
        return "cosine"

    @torch.no_grad()
    def latent_space(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Directions of features and classes in the space of ``method.reading``."""
        return (
            normalize(self.embed(features), dim=1),
            normalize(self.prototypes(self.semantics), dim=1),
        )

    def train_on(self, batch: Batch) -> Mapping[str, Tensor]:
        """Solve for the next lambda.

        Returns:
            ``total``, the objective, and ``reconstruction``, its first term, both averaged over
            samples; ``lambda``.
        """
        if self._solver is None:
            # not in checkpoints: a resumed run decomposes the same samples again
            targets = self.seen_mask.cumsum(0)[batch.labels] - 1
            self._solver = SylvesterSolver(batch.inputs, targets, self.semantics[self.seen_mask])
        lambda_ = self.candidates[self.step]
        solution = self._solver.solve(lambda_)
        self.weights.copy_(solution.weights)
        return {
            "total": solution.objective,
            "reconstruction": solution.reconstruction,
            "lambda": solution.objective.new_tensor(lambda_),
        }
