"""Diagonal Gaussians: sampling and divergence. Summed over dimensions, one value per row."""

from __future__ import annotations

import torch
from torch import Tensor


def reparameterize(mean: Tensor, log_variance: Tensor, noise: Tensor | None = None) -> Tensor:
    """Draw ``z ~ N(mean, exp(log_variance))`` so that gradients reach both (Kingma & Welling 2014).

    Args:
        mean: ``[B, Z]``.
        log_variance: ``[B, Z]``.
        noise: Standard normal draws, ``[B, Z]``; None draws them.
    """
    noise = torch.randn_like(mean) if noise is None else noise
    return torch.addcmul(mean, torch.exp(0.5 * log_variance), noise)


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
    """Squared Euclidean distances of ``[B, Z]`` points from ``[C, Z]`` centres, by one matmul.

    Returns:
        ``[B, C]``.
    """
    return points.square().sum(-1, keepdim=True) - 2 * points @ centres.T + centres.square().sum(-1)


def _at_least_single(*tensors: Tensor) -> list[Tensor]:
    # differences of large squares and sums over many dimensions need more than half precision
    return [tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors]


def kl_divergence(
    mean: Tensor, log_variance: Tensor, prior_mean: Tensor, prior_log_variance: Tensor
) -> Tensor:
    """KL divergence of diagonal Gaussians, row by row, summed over dimensions.

    KL(N(mean, exp(log_variance)) || N(prior_mean, exp(prior_log_variance)))

    Args:
        mean: ``[B, Z]``.
        log_variance: ``[B, Z]``.
        prior_mean: ``[B, Z]``.
        prior_log_variance: ``[B, Z]``.

    Returns:
        ``[B]``, in nats.
    """
    mean, log_variance, prior_mean, prior_log_variance = _at_least_single(
        mean, log_variance, prior_mean, prior_log_variance
    )
    ratio = log_variance - prior_log_variance
    return 0.5 * (
        (mean - prior_mean).square() * torch.exp(-prior_log_variance) + ratio.exp() - ratio - 1
    ).sum(-1)


def pairwise_kl_divergence(
    mean: Tensor, log_variance: Tensor, prior_mean: Tensor, prior_log_variance: Tensor
) -> Tensor:
    """KL of every one of B diagonal Gaussians to every one of C, as two matrix products.

    Args:
        mean: ``[B, Z]``.
        log_variance: ``[B, Z]``.
        prior_mean: ``[C, Z]``.
        prior_log_variance: ``[C, Z]``.

    Returns:
        ``[B, C]``, in nats; entry ``(b, c)`` is :func:`kl_divergence` of row ``b`` and row ``c``.
    """
    mean, log_variance, prior_mean, prior_log_variance = _at_least_single(
        mean, log_variance, prior_mean, prior_log_variance
    )
    with torch.autocast(mean.device.type, enabled=False):
        # a divergence does not change when all means move together; near the origin the squares
        # cancel less
        centre = prior_mean.detach().mean(0)
        mean, prior_mean = mean - centre, prior_mean - centre
        precision = torch.exp(-prior_log_variance)
        of_samples = log_variance.sum(-1, keepdim=True) + mean.shape[1]
        of_classes = (prior_mean.square() * precision + prior_log_variance).sum(-1)
        mixed = (mean.square() + log_variance.exp()) @ precision.T - 2 * mean @ (
            prior_mean * precision
        ).T
        return 0.5 * (mixed + of_classes - of_samples)
