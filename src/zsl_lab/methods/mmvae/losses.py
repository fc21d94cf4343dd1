"""The loss of the mmVAE (SGAL paper, Eq. 2 and supplement, Eq. 1)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import relu

from zsl_lab.methods.mmvae.config import Pairs
from zsl_lab.nn.gaussian import kl_to_unit_variance


def latent_divergence(mean: Tensor, log_variance: Tensor, prior_mean: Tensor) -> Tensor:
    """KL(q(z|x) || p(z|a)) of ``[B, Z]`` arguments, summed over Z and averaged over B."""
    return kl_to_unit_variance(mean, log_variance, prior_mean).mean()


def prior_separation(prior_mean: Tensor, labels: Tensor, d: float, pairs: Pairs) -> Tensor:
    """Penalty on prior means of different classes closer than ``d`` times the latent dimension.

    R = mean_i sum_{j: y_j != y_i} relu(d Z - ||m_i - m_j||_1)^2 (SGAL supplement; the authors'
    earlier work).

    Args:
        prior_mean: Prior mean of each sample's class, ``[B, Z]``.
        labels: Class of each sample, ``[B]``.
        d: Distance wanted between two classes, per latent dimension.
        pairs: ``different``: every pair of samples of different classes; ``all``: every pair, as
            the authors' code does, which does not mask pairs of the same class; ``classes``: one
            sample of each distinct class.
    """
    if pairs == "classes":
        distinct, inverse = torch.unique(labels, return_inverse=True)
        order = torch.arange(len(labels), device=labels.device)
        first = torch.full((len(distinct),), len(labels), device=labels.device).scatter_reduce(
            0, inverse, order, "amin"
        )
        prior_mean, labels = prior_mean[first], labels[first]
    distance = torch.cdist(prior_mean, prior_mean, p=1)
    penalty = relu(d * prior_mean.shape[1] - distance).square()
    if pairs != "all":
        penalty = penalty * (labels[:, None] != labels[None, :])
    return penalty.sum() / len(prior_mean)
