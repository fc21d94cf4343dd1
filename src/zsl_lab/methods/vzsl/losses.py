"""The terms of the VZSL objective, as losses (slides of the paper, "final objective")."""

from __future__ import annotations

import torch
from torch import Tensor

from zsl_lab.nn.losses import squared_error


def negative_log_likelihood(features: Tensor, reconstruction: Tensor, variance: float) -> Tensor:
    """-log p(x|z) of a Gaussian decoder of fixed variance, up to a constant.

    It is summed over dimensions and averaged over the batch.

    Args:
        features: ``[B, D]``.
        reconstruction: Mean of p(x|z), ``[B, D]``.
        variance: That of every dimension of p(x|z).
    """
    return squared_error(features, reconstruction) / (2 * variance)


def margin(divergences: Tensor, labels: Tensor, seen_mask: Tensor, *, exclude_true: bool) -> Tensor:
    """-R, a smooth form of minus the KL divergence to the nearest seen class; the batch's mean.

    R = -log sum_{c in seen} exp(-KL(q(z|x) || p(z|a_c))) (slides, "margin regularizer").

    Args:
        divergences: KL(q(z|x) || p(z|a_c)) for all classes, ``[B, C]``.
        labels: Class positions, ``[B]``.
        seen_mask: Which classes are seen, bool ``[C]``; the others do not enter.
        exclude_true: Whether a sample's own class is left out of its sum.
    """
    left_out = ~seen_mask
    if exclude_true:
        classes = torch.arange(len(seen_mask), device=labels.device)
        left_out = left_out | (labels[:, None] == classes)
    return torch.logsumexp((-divergences).masked_fill(left_out, float("-inf")), dim=1).mean()
