"""Diagonal Gaussians: sampling and divergence. Summed over dimensions, one value per row."""

from __future__ import annotations

import torch
from torch import Tensor


def reparameterize(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Draw ``z ~ N(mean, exp(log_variance))`` so that gradients reach both (Kingma & Welling 2014).

    Args:
        mean: ``[B, Z]``.
        log_variance: ``[B, Z]``.
    """
    return torch.addcmul(mean, torch.exp(0.5 * log_variance), torch.randn_like(mean))


def kl_to_unit_variance(mean: Tensor, log_variance: Tensor, prior_mean: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(prior_mean, I)), summed over dimensions.

    Args:
        mean: ``[B, Z]``.
        log_variance: ``[B, Z]``.
        prior_mean: ``[B, Z]``.

    Returns:
        ``[B]``, in nats.
    """
    if mean.dtype == torch.half:  # a difference above 256 would overflow when squared
        mean, log_variance, prior_mean = mean.float(), log_variance.float(), prior_mean.float()
    return 0.5 * ((mean - prior_mean).square() + log_variance.exp() - log_variance - 1).sum(-1)


def squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    """Squared Euclidean distances from ``[B, Z]`` points to ``[C, Z]`` centres, as one matrix product.

    Returns:
        ``[B, C]``.
    """
    return points.square().sum(-1, keepdim=True) - 2 * points @ centres.T + centres.square().sum(-1)
