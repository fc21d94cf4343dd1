"""ESZSL (Romera-Paredes and Torr, ICML 2015): a step is one candidate pair of ridge constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.methods.candidates import CandidateMethod
from zsl_lab.methods.eszsl.config import ESZSLConfig
from zsl_lab.methods.eszsl.solver import RidgeSolver


class ESZSL(CandidateMethod):
    """Embarrassingly simple zero-shot learning: scores ``x^T V s_c`` with V in closed form.

    Each step is a pair of ridge constants; see :class:`CandidateMethod`.

    Args:
        config: See :class:`ESZSLConfig`.
        feature_dim: D.
        classes: Semantics of all classes and which of them are seen.
    """

    config_class: ClassVar[type[ESZSLConfig]] = ESZSLConfig
    config: ESZSLConfig

    def __init__(self, config: ESZSLConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        # a parameter without gradients: stored with the weights, set in closed form
        self.weights = nn.Parameter(
            torch.zeros(feature_dim, classes.semantics.shape[1]), requires_grad=False
        )
        self._solver: RidgeSolver | None = None

    @property
    def candidates(self) -> list[tuple[float, float]]:
        """Pairs of gamma and lambda."""
        return self.config.candidates

    def class_scores(self, features: Tensor) -> Tensor:
        """``x^T V s_c`` of every class (section 3, the rule of the inference stage); ``[B, C]``."""
        classes, semantic_dim = self.semantics.shape
        # the same product, in the order that takes fewer operations
        if classes > semantic_dim:
            return features @ self.weights @ self.semantics.T
        return features @ (self.weights @ self.semantics.T)

    def train_on(self, batch: Batch) -> Mapping[str, Tensor]:
        """Solve for the next candidate.

        Returns:
            ``total``, the objective, and ``error``, its data term, both averaged over samples;
            ``gamma`` and ``lambda``.
        """
        if self._solver is None:
            # not in checkpoints: a resumed run decomposes the same samples again
            targets = self.seen_mask.cumsum(0)[batch.labels] - 1
            self._solver = RidgeSolver(
                batch.inputs, targets, self.semantics[self.seen_mask], self.config.negative
            )
        gamma, lambda_ = self.candidates[self.step]
        solution = self._solver.solve(gamma, lambda_)
        self.weights.copy_(solution.weights)
        constant = solution.objective.new_tensor
        return {
            "total": solution.objective,
            "error": solution.error,
            "gamma": constant(gamma),
            "lambda": constant(lambda_),
        }

    @torch.no_grad()
    def latent_space(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Semantics predicted from features, and those of the classes, ``([B, Q], [C, Q])``.

        Rows have norm 1: a score is an inner product, so that only directions are comparable.
        """
        return normalize(features @ self.weights, dim=1), normalize(self.semantics, dim=1)
