"""The closed form of SAE for many weights lambda."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zsl_lab.nn.moments import ClassMoments

#: samples turned into double precision at once
ROWS = 8192


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
    ``M_ij = (1 + lambda) (U^T S X^T V)_ij / (a_i + lambda b_j)``. All that depends on the samples
    is decomposed once. In double precision, since the smallest sums of eigenvalues divide by what
    single precision would lose beside the largest.

    Args:
        features: Training samples, ``[N, D]``.
        targets: Row of ``semantics`` of each sample, int64 ``[N]``.
        semantics: Semantics of the seen classes, ``[C, Q]``.
    """

    def __init__(self, features: Tensor, targets: Tensor, semantics: Tensor) -> None:
        moments = ClassMoments(len(semantics), features.shape[1], "full", features.device)
        for start in range(0, len(features), ROWS):
            moments.add(features[start : start + ROWS], targets[start : start + ROWS])
        counts = torch.bincount(targets, minlength=len(semantics)).double()[:, None]
        a = semantics.double()
        within = moments.within() * len(features)
        means = moments.means()
        gram = within + means.T @ (counts * means)
        self._a, self._u = _eigen(a.T @ (counts * a))
        self._b, self._v = _eigen(gram)
        self._target = self._u.T @ a.T @ (counts * means) @ self._v
        self._samples = len(features)
        self._squared_features = gram.trace()
        self._squared_semantics = (counts * a.square()).sum()

    def solve(self, lambda_: float) -> Solution:
        """The minimum for one lambda, above 0."""
        sums = self._a[:, None] + lambda_ * self._b
        # where both eigenvalues are 0 the target is 0 too, and any M_ij is a minimum
        m = torch.where(sums > 0, (1 + lambda_) * self._target / sums, 0.0)
        fitted = (m * self._target).sum()
        reconstruction = self._squared_features - 2 * fitted + (self._a[:, None] * m.square()).sum()
        projection = self._squared_semantics - 2 * fitted + (self._b * m.square()).sum()
        return Solution(
            self._u @ m @ self._v.T,
            (reconstruction + lambda_ * projection) / self._samples,
            reconstruction / self._samples,
        )


def _eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of a positive semi-definite matrix, without rounding noise.

    What rounding leaves of eigenvalues of 0 would be divided by; they become 0.
    """
    values, vectors = torch.linalg.eigh(matrix)
    tiny = values.abs().max() * len(values) * torch.finfo(values.dtype).eps
    return torch.where(values > tiny, values, 0.0), vectors
