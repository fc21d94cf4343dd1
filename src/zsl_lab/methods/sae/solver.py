"""The closed form of SAE for many weights lambda."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zsl_lab.nn.moments import blocks, class_sums, gram


@dataclass(frozen=True)
class Solution:
    """The minimum for one lambda.

    Attributes:
        weights: W, float64 ``[Q, D]``.
        objective: The objective at W, averaged over samples, float64 scalar.
        reconstruction: Its first term alone, ``||X - W^T S||^2``, in the same unit.
    """

    weights: Tensor
    objective: Tensor
    reconstruction: Tensor


class SylvesterSolver:
    """Minimises ``||X - W^T S||^2 + lambda ||W X - S||^2`` over W, for any lambda.

    In the paper's notation X is ``[D, N]`` and S, the semantics of each sample's class, ``[Q, N]``.
    The minimum solves ``A W + W B = C`` with ``A = S S^T``, ``B = lambda X X^T`` and
    ``C = (1 + lambda) S X^T`` (section 3.2). Both A and ``X X^T`` are symmetric: with
    ``A = U diag(a) U^T`` and ``X X^T = V diag(b) V^T`` the solution is ``W = U M V^T``,
    ``M_ij = (1 + lambda) (U^T S X^T V)_ij / (a_i + lambda b_j)``: one decomposition serves every
    lambda. It is computed in double precision, since M divides by sums of eigenvalues, some of
    which are too small beside the largest for single precision.

    Only the smaller side is decomposed: with fewer samples than dimensions ``X^T X = Z diag(b)
    Z^T``, and ``W = U M (X Z)^T`` with ``M_ij = (1 + lambda) (U^T S Z)_ij / (a_i + lambda b_j)``;
    with fewer classes than semantic dimensions U has a column for each class. In the directions
    that are left out both sides of the equation are 0.

    Args:
        features: Training samples, ``[N, D]``.
        targets: Row of ``semantics`` of each sample, int64 ``[N]``.
        semantics: Semantics of the seen classes, ``[C, Q]``.
    """

    def __init__(self, features: Tensor, targets: Tensor, semantics: Tensor) -> None:
        counts = torch.bincount(targets, minlength=len(semantics)).double()[:, None]
        a = semantics.double()
        matrix = gram(features)
        self._a, self._u = _semantic_eigen(counts.sqrt() * a)
        self._b, basis = _eigen(matrix)
        of_class = a @ self._u
        if len(features) >= features.shape[1]:
            self._right = basis.T
            sums = class_sums(features, targets, len(semantics))
            self._target = of_class.T @ sums @ basis
            self._squared_target = self._target.square()
        else:
            rows = [
                features[:, block].T.double() @ basis
                for block in blocks(features.shape[1], len(features))
            ]
            self._right = torch.cat(rows).T
            self._target = of_class[targets].T @ basis
            # squares of U^T S X^T V, as in the other case
            self._squared_target = self._target.square() * self._b
        self._samples = len(features)
        self._squared_features = matrix.trace()
        self._squared_semantics = (counts * a.square()).sum()

    def solve(self, lambda_: float) -> Solution:
        """Solve for one lambda, above 0."""
        sums = self._a[:, None] + lambda_ * self._b
        # where b is 0, the target is 0 up to rounding, or X Z is 0 in its direction
        gains = torch.where(self._b > 0, (1 + lambda_) / sums, 0.0)
        fitted = (gains * self._squared_target).sum()
        squares = gains.square() * self._squared_target
        reconstruction = self._squared_features - 2 * fitted + (self._a[:, None] * squares).sum()
        projection = self._squared_semantics - 2 * fitted + (self._b * squares).sum()
        return Solution(
            self._u @ (gains * self._target) @ self._right,
            (reconstruction + lambda_ * projection) / self._samples,
            reconstruction / self._samples,
        )


def _semantic_eigen(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues ``[r]`` and eigenvectors ``[Q, r]`` of ``A^T A`` for A ``[C, Q]``, r = min(C, Q).

    With fewer rows than columns they follow from the singular values of A.
    """
    if len(rows) >= rows.shape[1]:
        return _eigen(rows.T @ rows)
    _, singular, vectors = torch.linalg.svd(rows, full_matrices=False)
    values = singular.square()
    tiny = values.max() * rows.shape[1] * torch.finfo(values.dtype).eps
    return torch.where(values > tiny, values, 0.0), vectors.T


def _eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of a positive semi-definite matrix, without rounding noise.

    Eigenvalues that are 0 up to rounding are set to 0, since the solution divides by the others.
    """
    values, vectors = torch.linalg.eigh(matrix)
    tiny = values.abs().max() * len(values) * torch.finfo(values.dtype).eps
    return torch.where(values > tiny, values, 0.0), vectors
