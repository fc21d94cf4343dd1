"""ESZSL (Romera-Paredes and Torr, ICML 2015): a step is one candidate pair of ridge constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.methods.eszsl.config import ESZSLConfig
from zsl_lab.methods.eszsl.solver import RidgeSolver


class ESZSL(ZeroShotMethod):
    """Embarrassingly simple zero-shot learning: scores ``x^T V s_c`` with V in closed form.

    Step k leaves the V of candidate k, so that the step which the selection chooses is the pair of
    ridge constants. Nothing is drawn: V depends on the training samples alone, not on the seed.

    Args:
        config: See :class:`ESZSLConfig`.
        feature_dim: D.
        classes: Semantics of all classes and which of them are seen.
    """

    config_class: ClassVar[type[ESZSLConfig]] = ESZSLConfig
    config: ESZSLConfig

    def __init__(self, config: ESZSLConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        # a parameter that no gradient reaches: it is what training determines, and is counted and
        # kept as such
        self.weights = nn.Parameter(
            torch.zeros(feature_dim, classes.semantics.shape[1]), requires_grad=False
        )
        self._candidates = config.candidates
        self._solver: RidgeSolver | None = None

    @property
    def total_steps(self) -> int:
        """The number of candidate pairs."""
        return len(self._candidates)

    def batch_size_at(self, step: int) -> int | None:
        """All training samples, each time."""

    @property
    def milestones(self) -> tuple[int, ...]:
        """Every step: each leaves another solution."""
        return tuple(range(1, self.total_steps + 1))

    def class_scores(self, features: Tensor) -> Tensor:
        """``x^T V s_c`` of every class (section 3, the rule of the inference stage); ``[B, C]``."""
        return features @ (self.weights @ self.semantics.T)

    def train_on(self, batch: Batch) -> Mapping[str, Tensor]:
        """Solve for the next candidate.

        Returns:
            ``total``, the objective, and ``error``, its data term, both averaged over samples;
            ``gamma`` and ``lambda``.
        """
        if (
            self._solver is None
        ):  # not in checkpoints: a resumed run decomposes the same samples again
            targets = self.seen_mask.cumsum(0)[batch.labels] - 1
            self._solver = RidgeSolver(
                batch.inputs, targets, self.semantics[self.seen_mask], self.config.negative
            )
        gamma, lambda_ = self._candidates[self.step]
        solution = self._solver.solve(gamma, lambda_)
        self.weights.copy_(solution.weights)
        constant = solution.objective.new_tensor
        return {
            "total": solution.objective,
            "error": solution.error,
            "gamma": constant(gamma),
            "lambda": constant(lambda_),
        }

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Solve, and log every step, so that ``metrics.csv`` names its pair of constants."""
        self._take_step(batch)
        self._log_losses()

    @torch.no_grad()
    def latent_space(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Semantics predicted from features, and those of the classes, ``([B, Q], [C, Q])``.

        A score is an inner product, so that directions are what can be compared.
        """
        return normalize(features @ self.weights, dim=1), normalize(self.semantics, dim=1)
