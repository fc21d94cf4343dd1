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


def mapped(rows: Tensor, whitening: Tensor) -> Tensor:
    """``[N, D]`` rows times a matrix ``[D, K]``, or times the diagonal ``[D]`` of one."""
    return rows * whitening if whitening.ndim == 1 else rows @ whitening


def squares(residuals: Tensor, kind: Whitening) -> Tensor:
    """The sum of the outer squares of ``[N, D]`` residuals, float64 ``[D, D]``.

    Only its diagonal ``[D]`` where ``kind`` is ``diagonal`` or ``none``.
    """
    if kind == "full":
        return (residuals.T @ residuals).double()
    return residuals.double().square_().sum(0)


@dataclass(frozen=True)
class Scatter:
    """Within-class covariance S, and matrices derived from it for a shrinkage r.

    ``S_r = (1 - r) S + r mean(diag S) I`` is the regularised covariance of Friedman, "Regularized
    discriminant analysis", JASA 1989. A diagonal S, and all matrices that follow from it, are
    given by their diagonals.

    Attributes:
        matrix: S, float64 ``[D, D]``; with ``diagonal`` whitening the variances, ``[D]``; with
            ``none`` ones, ``[D]``.
        dimension: Number of dimensions that ``mean(diag S)`` is taken over; more than D if S is
            given in the space that the samples span.
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
            kind: Which part of S is used.
            dimension: See :class:`Scatter`; None for D.
        """
        dim = features.shape[1]
        shape = (dim, dim) if kind == "full" else (dim,)
        total = torch.zeros(shape, dtype=torch.float64, device=features.device)
        for block in blocks(*features.shape) if kind != "none" else ():
            total += squares(features[block] - means[labels[block]], kind)
        return cls.of_total(total, len(features), kind, dimension)

    @classmethod
    def of_total(
        cls, total: Tensor, samples: int, kind: Whitening, dimension: int | None = None
    ) -> Scatter:
        """S from the sum of the outer squares of residuals.

        Args:
            total: The sum, as :func:`squares` gives it.
            samples: Number of samples.
            kind: Which part of S is used.
            dimension: See :class:`Scatter`; None for D.
        """
        diagonal, dim = total if total.ndim == 1 else total.diagonal(), len(total)
        # with one sample per class the scatter is unknown
        if kind == "none" or not diagonal.sum() > 0:
            ones = torch.ones_like(diagonal)
            return cls(ones if total.ndim == 1 else ones.diag(), dim, 1.0)
        return cls(total / samples, dimension or dim)

    @property
    def is_diagonal(self) -> bool:
        """Whether only diagonals are given."""
        return self.matrix.ndim == 1

    @property
    def level(self) -> Tensor:
        """``mean(diag S)``, float64 scalar."""
        return (self.matrix.sum() if self.is_diagonal else self.matrix.trace()) / self.dimension

    def shrunk(self, shrinkage: float) -> Tensor:
        """S_r, float64 ``[D, D]`` or ``[D]``."""
        added, matrix = shrinkage * self.level, (1 - shrinkage) * self.matrix
        if self.is_diagonal:
            return matrix + added
        return matrix + added * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)

    def whitening(self, shrinkage: float) -> Tensor:
        """W with ``W W^T = S_r^-1``, float64 ``[D, D]`` or ``[D]``; :func:`mapped` applies it."""
        if self.is_diagonal:
            return 1 / self.shrunk(shrinkage).sqrt()
        lower = torch.linalg.cholesky(self.shrunk(shrinkage))
        identity = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
        inverse: Tensor = torch.linalg.solve_triangular(lower, identity, upper=False)
        return inverse.T

    def eigen_whitening(self, shrinkage: float) -> Tensor:
        """As :meth:`whitening`, with orthogonal columns, whose norms suffice to undo it."""
        values, vectors = self.decomposed()
        if vectors is None:
            return self.whitening(shrinkage)
        return vectors * ((1 - shrinkage) * values + shrinkage * self.level).rsqrt()

    def deviation_outside(self, shrinkage: float) -> Tensor:
        """Standard deviation of S_r in a direction outside the space of the samples, scalar."""
        return ((1 - shrinkage) * self.outside + shrinkage * self.level).sqrt()

    def decomposed(self) -> tuple[Tensor, Tensor | None]:
        """Eigenvalues ``[D]`` and eigenvectors ``[D, D]`` of S, float64; those of S_r follow.

        The eigenvectors are None if S is diagonal: they are the axes.
        """
        if self.is_diagonal:
            return self.matrix, None
        values, vectors = torch.linalg.eigh(self.matrix)
        # rounding may make eigenvalues of 0 negative
        return values.clamp(min=0), vectors
