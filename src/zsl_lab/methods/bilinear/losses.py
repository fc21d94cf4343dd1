"""Ranking losses on the scores of seen classes, averaged over the batch.

``F`` are the scores, y the class of a sample, y' another seen class and m the margin. The violation
of y' is ``[m + F(x, y') - F(x, y)]_+``; the losses differ in how violations are weighted.
"""

from __future__ import annotations

import torch
from torch import Tensor


def violations(scores: Tensor, targets: Tensor, margin: float) -> Tensor:
    """``[m + F(x, y') - F(x, y)]_+`` of every class y', 0 at the sample's own class.

    Args:
        scores: F of the seen classes, ``[B, S]``.
        targets: Column of each sample's class, int64 ``[B]``.
        margin: m.

    Returns:
        ``[B, S]``.
    """
    columns = targets[:, None]
    hinges = (margin + scores - scores.gather(1, columns)).clamp(min=0)
    return hinges.scatter(1, columns, 0.0)


def unweighted(hinges: Tensor) -> Tensor:
    """Loss of DeViSE: the sum of all violations.

    Frome et al., NeurIPS 2013, the hinge rank loss of section 4.3.

    Args:
        hinges: As :func:`violations` returns them, ``[B, S]``.

    Returns:
        The mean over the batch, a scalar.
    """
    return hinges.sum(1).mean()


def rank_weighted(hinges: Tensor) -> Tensor:
    """Loss of ALE: the sum of violations times ``beta_r / r``, r the number of violations.

    ``beta_r = 1 + 1/2 + ... + 1/r`` (Akata et al., PAMI 2016, ranking objective): a sample with
    many violations counts less than in :func:`unweighted`. The weights take no gradient.

    Args:
        hinges: As :func:`violations` returns them, ``[B, S]``.

    Returns:
        The mean over the batch, a scalar.
    """
    rank = (hinges > 0).sum(1)
    orders = torch.arange(1, hinges.shape[1] + 1, device=hinges.device, dtype=hinges.dtype)
    # entry r holds beta_r / r; entry 0, for a sample without violations, is 0
    weights = torch.cat([orders.new_zeros(1), orders.reciprocal().cumsum(0) / orders])
    return (weights[rank] * hinges.sum(1)).mean()


def worst_violator(hinges: Tensor) -> Tensor:
    """Loss of SJE: the largest violation.

    Akata et al., CVPR 2015, the structured SVM objective.

    Args:
        hinges: As :func:`violations` returns them, ``[B, S]``.

    Returns:
        The mean over the batch, a scalar.
    """
    # not amax, which would divide the gradient among equal maxima
    return hinges.max(1).values.mean()


def sampled_violator(hinges: Tensor, targets: Tensor) -> Tensor:
    """Loss of LATEM: the violation of one other class, drawn uniformly.

    Xian et al., CVPR 2016, algorithm 1.

    Args:
        hinges: As :func:`violations` returns them, ``[B, S]`` with S at least 2.
        targets: Column of each sample's class, int64 ``[B]``.

    Returns:
        The mean over the batch, a scalar.
    """
    drawn = torch.randint(hinges.shape[1] - 1, targets.shape, device=targets.device)
    # skip the sample's own class: columns from it on move up by one
    others = drawn + (drawn >= targets)
    return hinges.gather(1, others[:, None]).mean()
