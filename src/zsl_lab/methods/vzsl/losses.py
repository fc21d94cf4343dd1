"""The terms of the VZSL objective, as losses (slides of the paper, "final objective")."""

from __future__ import annotations

import torch
from torch import Tensor

from zsl_lab.nn.gaussian import pairwise_kl_divergence
from zsl_lab.nn.losses import squared_error
from zsl_lab.nn.many_classes import logsumexp_over_classes


def negative_log_likelihood(features: Tensor, reconstruction: Tensor, variance: float) -> Tensor:
    """-log p(x|z) of a Gaussian decoder of fixed variance, up to a constant.

    It is summed over dimensions and averaged over the batch.

    Args:
        features: ``[B, D]``.
        reconstruction: Mean of p(x|z), ``[B, D]``.
        variance: Variance of p(x|z) in every dimension.
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


def margin_over_many(
    mean: Tensor,
    log_variance: Tensor,
    prior: tuple[Tensor, Tensor],
    labels: Tensor,
    seen: Tensor,
    *,
    exclude_true: bool,
) -> Tensor:
    """:func:`margin` of very many seen classes, with the divergences of some in memory at a time.

    Args:
        mean: Of q(z|x), ``[B, Z]``.
        log_variance: Of q(z|x), ``[B, Z]``.
        prior: Mean and log-variance of p(z|a_c) for all classes, each ``[C, Z]``.
        labels: Class positions, ``[B]``.
        seen: Positions of the seen classes, ``[S]``.
        exclude_true: See :func:`margin`.
    """

    def scores(part: Tensor) -> Tensor:
        found = -pairwise_kl_divergence(mean, log_variance, prior[0][part], prior[1][part])
        if not exclude_true:
            return found
        return found.masked_fill(labels[:, None] == part, float("-inf"))

    return logsumexp_over_classes(scores, seen).mean()
