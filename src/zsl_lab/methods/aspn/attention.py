"""Category attention (ASPN paper, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CategoryAttention(nn.Module):
    """Mixes the rows of a batch (Eq. 5, 6).

    A row becomes ``alpha`` times a convex mixture of all rows plus ``1 - alpha`` times itself.

    The paper's indices normalise over one index and mix over the same one; written as matrices: A =
    softmax of the rows of f(h) g(h)^T, t = A h, o = alpha t + (1 - alpha) h.

    Args:
        width: H, the dimension of a row.
        alpha: Initial weight of the mixture, in (0, 1).
        learn_alpha: Whether it is learnt (kept in (0, 1) by a sigmoid).
        scaled: Whether f(h) g(h)^T is divided by the square root of H.
        swapped: Whether f and g change places.
    """

    def __init__(
        self, width: int, *, alpha: float, learn_alpha: bool, scaled: bool, swapped: bool
    ) -> None:
        super().__init__()
        self.f = nn.Linear(width, width, bias=False)
        self.g = nn.Linear(width, width, bias=False)
        self.alpha_logit = nn.Parameter(torch.tensor(alpha).logit(), requires_grad=learn_alpha)
        self._scale = width**-0.5 if scaled else 1.0
        self._swapped = swapped

    @property
    def alpha(self) -> Tensor:
        """Weight of the mixture, a scalar in (0, 1)."""
        return self.alpha_logit.sigmoid()

    def weights(self, rows: Tensor) -> Tensor:
        """The attention matrix A, ``[B, B]``, for rows ``[B, H]``; each of its rows sums to 1."""
        queries, keys = (self.g, self.f) if self._swapped else (self.f, self.g)
        return torch.softmax(queries(rows) @ keys(rows).T * self._scale, dim=1)

    def forward(self, rows: Tensor) -> Tensor:
        """Mix ``[B, H]`` rows."""
        # a matrix product may come in another precision than its arguments where training is mixed
        mixture = (self.weights(rows).to(rows.dtype) @ rows).to(rows.dtype)
        return torch.lerp(rows, mixture, self.alpha.to(rows.dtype))
