"""Scatter of samples about their class means, shrunk towards a multiple of the identity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zsl_lab.methods.exem.config import Whitening
from zsl_lab.nn.moments import blocks, class_sums


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean feature of each class, ``[C, D]``.

    Args:
        features: ``[N, D]``.
        labels: Class of each sample, 0 to C-1, each at least once, ``[N]``.
        classes: C.
    """
    counts = torch.bincount(labels, minlength=classes)
    return (class_sums(features, labels, classes) / counts[:, None]).to(features.dtype)


@dataclass(frozen=True)
class Scatter:
    """Within-class covariance S and what is made of it for a shrinkage r.

    ``S_r = (1 - r) S + r mean(diag S) I`` is the regularised covariance of Friedman, "Regularized
    discriminant analysis", JASA 1989.

    Attributes:
        matrix: S, float64 ``[D, D]``; of ``diagonal`` whitening its diagonal only, of ``none`` the
            identity.
        dimension: Dimensions that ``mean(diag S)`` is taken over; more than D where S is given in
            the space that the samples span.
        outside: Variance in each direction outside that space: 1 where S is the identity, else 0.
    """

    matrix: Tensor
    dimension: int
    outside: float = 0.0

    @classmethod
    def measure(
        cls,
        features: Tensor,
        labels: Tensor,
        means: Tensor,
        kind: Whitening,
        dimension: int | None = None,
    ) -> Scatter:
        """S of ``[N, D]`` features about the ``[C, D]`` means of their classes.

        Args:
            features: ``[N, D]``.
            labels: Class of each, ``[N]``.
            means: ``[C, D]``.
            kind: Which part of S counts.
            dimension: See :class:`Scatter`; None for D.
        """
        dim = features.shape[1]
        total = torch.zeros(dim, dim, dtype=torch.float64, device=features.device)
        for block in blocks(*features.shape) if kind != "none" else ():
            residuals = features[block] - means[labels[block]]
            total += (residuals.T @ residuals).double()
        return cls.of_total(total, len(features), kind, dimension)

    @classmethod
    def of_total(
        cls, total: Tensor, samples: int, kind: Whitening, dimension: int | None = None
    ) -> Scatter:
        """S from the sum of the outer squares of residuals, float64 ``[D, D]``.

        Args:
            total: The sum; its diagonal may stand for all of it where ``kind`` is ``diagonal``.
            samples: Number of samples.
            kind: As of :meth:`measure`.
            dimension: Likewise.
        """
        identity, dim = torch.eye(len(total), dtype=total.dtype, device=total.device), len(total)
        # with one sample a class how samples scatter is not known
        if kind == "none" or not total.diagonal().sum() > 0:
            return cls(identity, dim, 1.0)
        mean = total / samples
        return cls(mean.diagonal().diag() if kind == "diagonal" else mean, dimension or dim)

    @property
    def level(self) -> Tensor:
        """``mean(diag S)``, float64 scalar."""
        return self.matrix.trace() / self.dimension

    def shrunk(self, shrinkage: float) -> Tensor:
        """S_r, float64 ``[D, D]``."""
        return (1 - shrinkage) * self.matrix + shrinkage * self.level * torch.eye(
            len(self.matrix), dtype=torch.float64, device=self.matrix.device
        )

    def whitening(self, shrinkage: float) -> Tensor:
        """W with ``W W^T = S_r^-1``, float64 ``[D, D]``; features times W are whitened."""
        lower = torch.linalg.cholesky(self.shrunk(shrinkage))
        identity = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
        inverse: Tensor = torch.linalg.solve_triangular(lower, identity, upper=False)
        return inverse.T

    def eigen_whitening(self, shrinkage: float) -> Tensor:
        """As :meth:`whitening`, with orthogonal columns, whose norms suffice to undo it."""
        values, vectors = self.decomposed()
        return vectors * ((1 - shrinkage) * values + shrinkage * self.level).rsqrt()

    def deviation_outside(self, shrinkage: float) -> Tensor:
        """Standard deviation of S_r in a direction outside the space of the samples, scalar."""
        return ((1 - shrinkage) * self.outside + shrinkage * self.level).sqrt()

    def decomposed(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues ``[D]`` and eigenvectors ``[D, D]`` of S, float64; they give those of S_r."""
        values, vectors = torch.linalg.eigh(self.matrix)
        # rounding puts eigenvalues of 0 on either side of it
        return values.clamp(min=0), vectors
