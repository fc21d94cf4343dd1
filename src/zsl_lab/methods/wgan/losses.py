"""The terms of the losses of the feature-generating Wasserstein GANs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from zsl_lab.methods.wgan.networks import Critic


def critic_terms(
    critic: Critic, real: Tensor, generated: Tensor, semantics: Tensor
) -> tuple[Tensor, Tensor]:
    """The terms of a critic's loss (Gulrajani et al., NeurIPS 2017).

    Args:
        critic: The critic.
        real: ``[B, D]``.
        generated: ``[B, D]``, no gradient reaches them.
        semantics: Of both, ``[B, Q]``.

    Returns:
        Two scalars: the mean critic value of real features minus that of generated ones, which
        estimates the Wasserstein distance and is to be maximised; and the gradient penalty
        ``(||slope|| - 1)^2``, averaged over points drawn uniformly between each pair.
    """
    share = torch.rand(len(real), 1, dtype=real.dtype, device=real.device)
    of_real, of_generated, slope = critic.compare(real, generated.detach(), semantics, share)
    # the values may be in half precision
    distance = (of_real - of_generated).to(real.dtype).mean()
    penalty: Tensor = (slope - 1).square().mean()
    return distance, penalty


def reconstruction(logits: Tensor, features: Tensor) -> Tensor:
    """Binary cross entropy, summed over dimensions and averaged over the batch.

    Args:
        logits: Logits of the reconstruction, ``[B, D]``.
        features: In [0, 1], ``[B, D]``.
    """
    logits = logits.to(features.dtype)
    return binary_cross_entropy_with_logits(logits, features, reduction="sum") / len(features)


def semantic_error(predicted: Tensor, semantics: Tensor) -> Tensor:
    """Weighted L1 error (authors' code): absolute errors, weighted by their squares.

    ``sum_i w_i |d_i|`` with ``w_i = d_i^2 / ||d||``, averaged over the batch.

    Args:
        predicted: Rows of norm 1, ``[B, Q]``.
        semantics: Their targets, which are scaled to norm 1 here, ``[B, Q]``.
    """
    error = predicted.to(semantics.dtype) - normalize(semantics, dim=-1)
    length = error.norm(dim=1).clamp(min=torch.finfo(error.dtype).tiny)
    per_row: Tensor = error.abs().pow(3).sum(1) / length
    return per_row.mean()
