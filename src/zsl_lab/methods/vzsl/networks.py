"""The prior of VZSL: a linear map from class semantics to a Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearGaussianPrior(nn.Module):
    """p(z|a) = N(W_mu a, diag exp(W_sigma a)) (slides, "attribute-specific latent Gaussian").

    Semantics are first divided by one number, which makes the root mean square norm of the seen
    classes 1, so that attributes from 0 to 100 and the same from 0 to 1 train alike. The number is
    stored with the weights.

    Args:
        semantics: Semantics of the seen classes, ``[S, Q]``.
        latent_dim: Z.
        bias: Whether the two maps have a bias; the paper's have none.
        log_variance_limit: The log-variance is clamped to plus and minus this.
    """

    def __init__(
        self, semantics: Tensor, latent_dim: int, *, bias: bool, log_variance_limit: float
    ) -> None:
        super().__init__()
        norm = semantics.square().sum(1).mean().sqrt()
        self.register_buffer("norm", torch.where(norm > 0, norm, torch.ones_like(norm)))
        self.norm: Tensor
        self.mean = nn.Linear(semantics.shape[1], latent_dim, bias=bias)
        self.log_variance = nn.Linear(semantics.shape[1], latent_dim, bias=bias)
        self.log_variance_limit = log_variance_limit

    def forward(self, semantics: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of p(z|a), each ``[C, Z]``, for semantics ``[C, Q]``."""
        semantics = semantics / self.norm
        limit = self.log_variance_limit
        return self.mean(semantics), self.log_variance(semantics).clamp(-limit, limit)
