"""Category attention (ASPN paper, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CategoryAttention(nn.Module):
    """Replaces each row by a mixture of itself and of the rows that it attends to (Eq. 5, 6).

    For rows h_j and attended rows c_i: W_ij = exp(f(h_j) g(c_i)^T) / sum_i exp(f(h_j) g(c_i)^T) and
    o_j = alpha sum_i W_ij c_i + (1 - alpha) h_j. The paper exchanges the names f and g; the model
    is the same, since both are linear maps of equal shape.

    Args:
        width: H, the dimension of a row.
        alpha: Initial weight of the attended rows, in (0, 1).
        learn_alpha: Whether it is learnt (kept in (0, 1) by a sigmoid).
        scaled: Whether f(h) g(c)^T is divided by the square root of H.
    """

    def __init__(self, width: int, *, alpha: float, learn_alpha: bool, scaled: bool) -> None:
        super().__init__()
        self.f = nn.Linear(width, width, bias=False)
        self.g = nn.Linear(width, width, bias=False)
        self.alpha_logit = nn.Parameter(torch.tensor(alpha).logit(), requires_grad=learn_alpha)
        self._scale = width**-0.5 if scaled else 1.0

    @property
    def alpha(self) -> Tensor:
        """Weight of the attended rows, a scalar in (0, 1)."""
        return self.alpha_logit.sigmoid()

    def weights(self, rows: Tensor, attended: Tensor) -> Tensor:
        """The weight of each attended row for each row, transpose of W in Eq. 5.

        Args:
            rows: ``[B, H]``.
            attended: ``[C, H]``.

        Returns:
            ``[B, C]``; each row sums to 1.
        """
        return torch.softmax(self.f(rows) @ self.g(attended).T * self._scale, dim=1)

    def forward(self, rows: Tensor, attended: Tensor) -> Tensor:
        """Mix ``[B, H]`` rows with the ``[C, H]`` rows that they attend to."""
        # in mixed precision a matrix product may have another dtype than its arguments
        weights = self.weights(rows, attended).to(attended.dtype)
        mixture = (weights @ attended).to(rows.dtype)
        return torch.lerp(rows, mixture, self.alpha.to(rows.dtype))
