"""The loss of the mmVAE (SGAL paper, Eq. 2 and supplement, Eq. 1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import relu

from zsl_lab.methods.mmvae.config import Pairs
from zsl_lab.nn.gaussian import kl_to_unit_variance

#: pairs of samples in memory at a time
_MAX_PAIRS = 2**22


def latent_divergence(mean: Tensor, log_variance: Tensor, prior_mean: Tensor) -> Tensor:
    """KL(q(z|x) || p(z|a)) of ``[B, Z]`` arguments, summed over Z and averaged over B."""
    return kl_to_unit_variance(mean, log_variance, prior_mean).mean()


def prior_separation(prior_mean: Tensor, labels: Tensor, d: float | Tensor, pairs: Pairs) -> Tensor:
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

    Returns:
        Scalar.
    """
    if pairs == "classes" and isinstance(d, Tensor):
        return _separation_of_classes(prior_mean, labels, d)
    if pairs == "classes":
        distinct, inverse = torch.unique(labels, return_inverse=True)
        order = torch.arange(len(labels), device=labels.device)
        first = torch.full((len(distinct),), len(labels), device=labels.device).scatter_reduce(
            0, inverse, order, "amin"
        )
        prior_mean, labels = prior_mean[first], labels[first]
    threshold, of_all = d * prior_mean.shape[1], pairs == "all"
    if len(prior_mean) ** 2 <= _MAX_PAIRS or isinstance(threshold, Tensor):
        total = _penalty(prior_mean, prior_mean, labels, labels, threshold, of_all)
    else:
        total = _BlockwisePenalty.apply(prior_mean, labels, threshold, of_all)  # type: ignore[no-untyped-call]
    return total / len(prior_mean)


def _separation_of_classes(prior_mean: Tensor, labels: Tensor, d: Tensor) -> Tensor:
    """The penalty over one sample of each distinct class, with shapes that depend on B and Z only.

    Runs that are trained together need equal shapes, but differ in the number of distinct classes
    of their batches.
    """
    distinct = ~(labels[:, None] == labels[None, :]).tril(-1).any(1)  # the first of its class
    pairs = (distinct[:, None] & distinct[None, :]).tril(-1)
    distances = torch.cdist(prior_mean, prior_mean, p=1)
    penalty = relu(d * prior_mean.shape[1] - distances).square()
    return 2 * (penalty * pairs).sum() / distinct.sum()


def _penalty(
    rows: Tensor,
    columns: Tensor,
    of_rows: Tensor,
    of_columns: Tensor,
    threshold: float | Tensor,
    all_: bool,
) -> Tensor:
    """The sum over pairs of ``rows`` ``[R, Z]`` and ``columns`` ``[B, Z]``, with their classes."""
    penalty = relu(threshold - torch.cdist(rows, columns, p=1)).square()
    if not all_:
        penalty = penalty * (of_rows[:, None] != of_columns[None, :])
    return penalty.sum()


class _BlockwisePenalty(torch.autograd.Function):
    """The penalty of all pairs, with only a block of pairs in memory at a time.

    The gradient is computed together with the value, block by block, so that the backward pass
    need not compute the blocks again. It cannot be differentiated twice.
    """

    @staticmethod
    def forward(
        ctx: Any, prior_mean: Tensor, labels: Tensor, threshold: float, all_: bool
    ) -> Tensor:
        size = max(1, _MAX_PAIRS // len(prior_mean))
        means = prior_mean.detach().requires_grad_(prior_mean.requires_grad)
        total = torch.zeros((), dtype=prior_mean.dtype, device=prior_mean.device)
        with torch.set_grad_enabled(prior_mean.requires_grad):
            for start in range(0, len(means), size):
                block = slice(start, start + size)
                part = _penalty(means[block], means, labels[block], labels, threshold, all_)
                if part.requires_grad:
                    part.backward()  # type: ignore[no-untyped-call]
                total += part.detach()
        ctx.save_for_backward(means.grad)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradients[0] * gradient, None, None, None
