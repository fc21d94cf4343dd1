"""Losses that several methods share."""

from __future__ import annotations

from torch import Tensor


def squared_error(rows: Tensor, others: Tensor) -> Tensor:
    """Squared Euclidean distance of corresponding rows, averaged over the batch.

    Up to constants, this is the negative log-likelihood of a Gaussian of fixed variance.

    Args:
        rows: ``[B, D]``.
        others: ``[B, D]``.
    """
    return (rows - others).square().sum() / len(rows)
