"""Scatter of samples about their class means, shrunk towards a multiple of the identity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zsl_lab.methods.exem.config import Whitening

#: samples that are subtracted from their class's mean at once
ROWS = 8192


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean feature of each class, ``[C, D]``.

    Args:
        features: ``[N, D]``.
        labels: Class of each sample, 0 to C-1, each at least once, ``[N]``.
        classes: C.
    """
    member = torch.nn.functional.one_hot(labels, classes).to(features.dtype)
    return member.T @ features / member.sum(0)[:, None]


@dataclass(frozen=True)
class Scatter:
    """Within-class covariance S and what is made of it for a shrinkage r.

    ``S_r = (1 - r) S + r mean(diag S) I`` is the regularised covariance of Friedman, "Regularized
    discriminant analysis", JASA 1989.

    Attributes:
        matrix: S, float64 ``[D, D]``; of ``diagonal`` whitening its diagonal only, of ``none`` the
            identity.
    """

    matrix: Tensor

    @classmethod
    def measure(cls, features: Tensor, labels: Tensor, means: Tensor, kind: Whitening) -> Scatter:
        """S of ``[N, D]`` features about the ``[C, D]`` means of their classes."""
        dim = features.shape[1]
        identity = torch.eye(dim, dtype=torch.float64, device=features.device)
        if kind == "none":
            return cls(identity)
        total = torch.zeros_like(identity)
        for start in range(0, len(features), ROWS):
            x = features[start : start + ROWS]
            residuals = x - means[labels[start : start + ROWS]]
            total += (residuals.T @ residuals).double()
        if not total.diagonal().sum() > 0:  # one sample a class: how they scatter is not known
            return cls(identity)
        total /= len(features)
        return cls(total.diagonal().diag() if kind == "diagonal" else total)

    def shrunk(self, shrinkage: float) -> Tensor:
        """S_r, float64 ``[D, D]``."""
        level = self.matrix.diagonal().mean()
        return (1 - shrinkage) * self.matrix + shrinkage * level * torch.eye(
            len(self.matrix), dtype=torch.float64, device=self.matrix.device
        )

    def whitening(self, shrinkage: float) -> Tensor:
        """W with ``W W^T = S_r^-1``, float64 ``[D, D]``; features times W are whitened."""
        lower = torch.linalg.cholesky(self.shrunk(shrinkage))
        identity = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
        inverse: Tensor = torch.linalg.solve_triangular(lower, identity, upper=False)
        return inverse.T

    def decomposed(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues ``[D]`` and eigenvectors ``[D, D]`` of S, float64; they give those of S_r."""
        values, vectors = torch.linalg.eigh(self.matrix)
        # rounding puts eigenvalues of 0 on either side of it
        return values.clamp(min=0), vectors
