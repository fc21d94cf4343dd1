"""The closed form of ESZSL for many pairs of ridge constants (section 3 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zsl_lab.nn.moments import blocks, class_sums, gram


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
    I)^-1``. With ``X X^T = U diag(e) U^T`` and ``S = P diag(s) R^T``, ``V = U M P^T`` where ``M_ij
    = (U^T X Y R)_ij s_j / ((e_i + gamma) (s_j^2 + lambda))``: one decomposition serves all pairs.
    It is computed in double precision: with a small gamma, M divides by eigenvalues that are too
    small beside the largest for single precision.

    Only the smaller of ``X X^T`` and ``X^T X = Z diag(e) Z^T`` is decomposed, and the smaller
    side of S: with fewer samples than dimensions ``V = X Z M P^T``, ``M_ij = (Z^T Y R)_ij s_j /
    ((e_i + gamma) (s_j^2 + lambda))``, since ``(X X^T + gamma I)^-1 X = X (X^T X + gamma I)^-1``.
    Y is not built: each row of ``Y R`` is one of only C different rows, so that ``X Y R`` follows
    from the sums of the features of each class.

    Args:
        features: Training samples, ``[N, D]``.
        targets: Column of Y that holds each sample's 1, int64 ``[N]``.
        semantics: Semantics of the classes of Y, ``[C, Q]``.
        negative: Entry of Y for the classes that a sample does not belong to.
    """

    def __init__(
        self, features: Tensor, targets: Tensor, semantics: Tensor, negative: float = -1.0
    ) -> None:
        eigenvalues, basis = torch.linalg.eigh(gram(features))
        # rounding may make eigenvalues of 0 negative
        self._e = eigenvalues.clamp(min=0)[:, None]
        self._p, self._s, r_transposed = torch.linalg.svd(semantics.double().T, full_matrices=False)
        r = r_transposed.T
        # Y R of a sample is the row of its class
        of_class = (1 - negative) * r + negative * r.sum(0)
        self._basis = basis
        if len(features) >= features.shape[1]:
            self._features = None
            sums = class_sums(features, targets, len(semantics))
            products = (1 - negative) * (sums.T @ r) + negative * torch.outer(sums.sum(0), r.sum(0))
            self._target = basis.T @ products
            self._squared_target = self._target.square()
        else:
            self._features = features
            # X Z is 0 in directions whose eigenvalue is 0 up to rounding
            tiny = self._e.max() * len(features) * torch.finfo(self._e.dtype).eps
            self._target = (basis.T @ of_class[targets]).where(self._e > tiny, 0.0)
            # squares of U^T X Y R, as in the other case
            self._squared_target = self._e * self._target.square()
        self._samples = len(features)
        self._squared_targets = len(features) * (1 + negative**2 * (len(semantics) - 1))
        self._gamma: float | None = None
        self._of_features: Tensor = self._target

    def solve(self, gamma: float, lambda_: float) -> Solution:
        """Solve for a pair of ridge constants, both above 0.

        Successive calls with the same gamma reuse the factor that depends on gamma alone.
        """
        shrunk = self._s / (self._s.square() + lambda_)
        fitted = (self._squared_target / (self._e + gamma) * self._s * shrunk).sum()
        ridged = self._squared_target * self._e / (self._e + gamma).square()
        squares = (ridged * (self._s * shrunk).square()).sum()
        # at the minimum the quadratic terms sum to <X^T V S, Y>; the linear term is -2 times that
        objective = self._squared_targets - fitted
        error = objective - fitted + squares
        weights = self._features_side(gamma) * shrunk @ self._p.T
        return Solution(weights, objective / self._samples, error / self._samples)

    def _features_side(self, gamma: float) -> Tensor:
        """``(X X^T + gamma I)^-1 X Y R``, float64 ``[D, k]``."""
        if gamma == self._gamma:
            return self._of_features
        found: Tensor = self._basis @ (self._target / (self._e + gamma))
        if self._features is not None:
            x = self._features
            rows = [x[:, block].T.double() @ found for block in blocks(x.shape[1], len(x))]
            found = torch.cat(rows)
        self._gamma, self._of_features = gamma, found
        return found
