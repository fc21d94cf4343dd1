"""The closed form of ESZSL for many pairs of ridge constants (section 3 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: samples turned into double precision at once
ROWS = 8192


@dataclass(frozen=True)
class Solution:
    """The minimum for one pair of ridge constants.

    Attributes:
        weights: V, float64 ``[D, Q]``; the score of class c for a feature x is ``x @ V @ s_c``.
        objective: The objective at V, summed over classes and averaged over samples, float64
            scalar.
        error: Its first term alone, ``||X^T V S - Y||^2``, in the same unit.
    """

    weights: Tensor
    objective: Tensor
    error: Tensor


class RidgeSolver:
    """Minimises the objective of ESZSL over V, for any pair of ridge constants.

    ``||X^T V S - Y||^2 + gamma ||V S||^2 + lambda ||X^T V||^2 + gamma lambda ||V||^2``

    In the paper's notation X is ``[D, N]``, S ``[Q, C]`` and Y ``[N, C]`` with 1 at a sample's
    class and -1 (or 0) elsewhere; the minimum is ``V = (X X^T + gamma I)^-1 X Y S^T (S S^T + lambda
    I)^-1``. With ``X X^T = U diag(e) U^T`` and ``S = P diag(s) R^T`` it is ``U M P^T``, ``M_ij =
    (U^T X Y R)_ij s_j / ((e_i + gamma) (s_j^2 + lambda))``: all that depends on the samples is
    decomposed once. In double precision, since a small gamma divides by what single precision would
    lose beside the largest eigenvalue.

    Args:
        features: Training samples, ``[N, D]``.
        targets: Column of Y that each sample has its 1 in, int64 ``[N]``.
        semantics: Semantics of the classes of Y, ``[C, Q]``.
        negative: What Y holds where a sample is not of the class.
    """

    def __init__(
        self, features: Tensor, targets: Tensor, semantics: Tensor, negative: float = -1.0
    ) -> None:
        dim = features.shape[1]
        gram = torch.zeros(dim, dim, dtype=torch.float64, device=features.device)
        products = torch.zeros(dim, len(semantics), dtype=torch.float64, device=features.device)
        for start in range(0, len(features), ROWS):
            x = features[start : start + ROWS].double()
            positive = torch.nn.functional.one_hot(
                targets[start : start + ROWS], len(semantics)
            ).double()
            y = positive + negative * (1 - positive)
            gram += x.T @ x
            products += x.T @ y
        eigenvalues, self._u = torch.linalg.eigh(gram)
        # rounding puts eigenvalues of 0 on either side of it
        self._e = eigenvalues.clamp(min=0)[:, None]
        self._p, self._s, r_transposed = torch.linalg.svd(semantics.double().T, full_matrices=False)
        self._target = self._u.T @ (products @ r_transposed.T)
        self._samples = len(features)
        self._squared_targets = len(features) * (1 + negative**2 * (len(semantics) - 1))

    def solve(self, gamma: float, lambda_: float) -> Solution:
        """The minimum for a pair of ridge constants, both above 0."""
        m = self._target * self._s / ((self._e + gamma) * (self._s.square() + lambda_))
        fitted = (m * self._s * self._target).sum()
        error = self._squared_targets - 2 * fitted + (self._e * self._s.square() * m.square()).sum()
        # at the minimum all quadratic terms together are <X^T V S, Y>, half of what the linear term
        # takes off
        objective = self._squared_targets - fitted
        return Solution(self._u @ m @ self._p.T, objective / self._samples, error / self._samples)
