"""The terms of CADA-VAE's loss (Schoenfeld et al., CVPR 2019), averaged over the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from zsl_lab.nn.gaussian import reparameterize


def absolute_errors(targets: Tensor, outputs: Tensor) -> Tensor:
    """L1 distances of outputs from targets, summed over dimensions and averaged over the batch.

    Args:
        targets: ``[B, D]``.
        outputs: Several outputs for each target, one batch after the other, ``[K * B, D]``.

    Returns:
        The error of each of the K batches, ``[K]``.
    """
    differences = outputs.view(-1, *targets.shape) - targets
    return differences.abs().sum((1, 2)) / len(targets)


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, I)), summed over Z and averaged over B.

    Args:
        mean: ``[B, Z]``.
        log_variance: ``[B, Z]``.
    """
    divergence = mean.square() + log_variance.exp() - log_variance - 1
    return 0.5 * divergence.sum() / len(mean)


def wasserstein_distance(
    mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor
) -> Tensor:
    """2-Wasserstein distance of diagonal Gaussians, averaged over the batch (paper, Eq. 5).

    Args:
        mean: ``[B, Z]``.
        log_variance: ``[B, Z]``.
        other_mean: ``[B, Z]``.
        other_log_variance: ``[B, Z]``.
    """
    deviation, other = (0.5 * log_variance).exp(), (0.5 * other_log_variance).exp()
    differences = torch.cat([mean - other_mean, deviation - other], 1)
    # its gradient is 0, not undefined, where the two are equal
    distances: Tensor = torch.linalg.vector_norm(differences, dim=1)
    return distances.mean()


def draw(mean: Tensor, log_variance: Tensor, *, by_dimension: bool) -> Tensor:
    """Draw z so that gradients reach both arguments.

    Args:
        mean: ``[B, Z]``.
        log_variance: ``[B, Z]``.
        by_dimension: True draws z ~ N(mean, exp(log_variance)). False, as the authors' code, moves
            all dimensions of a sample by one standard normal number times their variances.

    Returns:
        ``[B, Z]``.
    """
    if by_dimension:
        return reparameterize(mean, log_variance)
    return torch.addcmul(mean, log_variance.exp(), torch.randn_like(mean[:, :1]))
