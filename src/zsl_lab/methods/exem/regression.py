"""(Kernel) ridge regression from class semantics to exemplars, for many ridge constants."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: similarities of the rows of two tables, ``[A, Q], [B, Q] -> [A, B]``
Kernel = Callable[[Tensor, Tensor], Tensor]


def rbf(scale: float) -> Kernel:
    """The Gaussian kernel ``exp(-||a - b||^2 / scale)``."""
    return lambda a, b: (torch.cdist(a, b).square() / -scale).exp()


def mean_squared_distance(rows: Tensor) -> float:
    """Mean of ``||a - b||^2`` over pairs of rows of ``[n, Q]``; 1 where all rows are equal."""
    count = len(rows)
    total = 2 * count * (rows - rows.mean(0)).square().sum()
    return float(total / (count * (count - 1))) if count > 1 and total > 0 else 1.0


class ClassRegression:
    """Ridge regression with an intercept that is not penalised, from the semantics of n classes.

    The prediction for semantics a is a weighted sum of the n targets: ``E(a) = t(a) M``. With the
    centred kernel matrix ``K = U diag(e) U^T`` and the centred similarities ``k(a)`` the weights
    are ``t(a) = k(a) U diag(1 / (e + ridge mean(e))) U^T + 1/n``: one decomposition gives them for
    every ridge constant. Without a kernel the same is computed from the SVD of the centred
    semantics, whose cost depends on the smaller of n and Q. It is computed in double precision.

    With a kernel and many classes, the Nyström approximation (Williams and Seeger, NeurIPS 2000)
    uses similarities to only m of them: the same ridge regression on the n vectors ``k(a)
    K_mm^(-1/2)`` of m dimensions. It is exact for m = n.

    Args:
        semantics: Semantics of the classes that have a target, ``[n, Q]``.
        kernel: Similarity of classes; None for the inner product.
        anchors: Semantics of the m classes, ``[m, Q]``; None for all n.
    """

    def __init__(
        self, semantics: Tensor, kernel: Kernel | None = None, anchors: Tensor | None = None
    ) -> None:
        self._kernel = kernel
        semantics = semantics.double()
        self._anchors = semantics if anchors is None else anchors.double()
        count = len(semantics)
        similarities = self._similarities(semantics)
        self.centre = similarities.mean(0)
        centred = similarities - self.centre
        if kernel is None:
            self._u, singular, v_transposed = torch.linalg.svd(centred, full_matrices=False)
            self._basis = v_transposed.T
            self._numerator, self._e = singular, singular.square()
        elif anchors is not None:
            root = _inverse_root(kernel(self._anchors, self._anchors))
            self._u, singular, v_transposed = torch.linalg.svd(centred @ root, full_matrices=False)
            self._basis = root @ v_transposed.T
            self._numerator, self._e = singular, singular.square()
        else:
            values, self._u = torch.linalg.eigh(centred - centred.mean(1, keepdim=True))
            # rounding may make eigenvalues of 0 negative
            self._e = values.clamp(min=0)
            self._basis = self._u - self._u.mean(0)
            self._numerator = torch.ones_like(values)
        # where all classes have equal semantics there is no eigenvalue above 0: predict the mean
        total = self._e.sum()
        self._level = torch.where(total > 0, total / count, torch.ones_like(total))

    def _similarities(self, semantics: Tensor) -> Tensor:
        return semantics if self._kernel is None else self._kernel(semantics, self._anchors)

    def _gains(self, ridge: float) -> Tensor:
        gains: Tensor = self._numerator / (self._e + ridge * self._level)
        return gains

    def smoothing(self, semantics: Tensor, ridge: float) -> Tensor:
        """The weights t(a) of the targets for each class, float64 ``[m, n]``; rows sum to 1.

        Args:
            semantics: Any classes, ``[m, Q]``.
            ridge: The ridge constant in units of the mean eigenvalue of K, above 0.
        """
        coordinates = (self._similarities(semantics.double()) - self.centre) @ self._basis
        weights: Tensor = coordinates * self._gains(ridge) @ self._u.T + 1 / len(self._u)
        return weights

    def weights(self, targets: Tensor, ridge: float) -> Tensor:
        """W with ``E(a) = (k(a) - centre) W + mean(targets)``, k(a) = a where there is no kernel.

        Args:
            targets: M, ``[n, D]``.
            ridge: As in :meth:`smoothing`.

        Returns:
            float64 ``[Q, D]`` without a kernel, ``[n, D]`` or ``[m, D]`` with one.
        """
        found: Tensor = self._basis @ (self._gains(ridge)[:, None] * (self._u.T @ targets.double()))
        return found


def _inverse_root(matrix: Tensor) -> Tensor:
    """R with ``R R^T`` the pseudo-inverse of a positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    # leave out eigenvalues that are 0 up to rounding: dividing by them would blow up errors
    tiny = values.abs().max() * len(values) * torch.finfo(values.dtype).eps
    kept = values > tiny
    root: Tensor = vectors[:, kept] * values[kept].rsqrt()
    return root
