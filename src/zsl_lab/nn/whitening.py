"""Whitening by the within-class covariance."""

from __future__ import annotations

import torch
from torch import Tensor


def within_class_whitening(features: Tensor, labels: Tensor, shrinkage: float) -> Tensor:
    """W = ((1 - r) S + r mean(diag S) I)^(-1/2), S the within-class covariance of features.

    The shrinkage towards a multiple of the identity is that of Friedman, "Regularized discriminant
    analysis", JASA 1989.

    Args:
        features: ``[N, D]``.
        labels: Class of each sample, ``[N]``.
        shrinkage: r, above 0 and up to 1; 1 gives a multiple of the identity.

    Returns:
        Symmetric, ``[D, D]``, in the type of ``features``; the identity where no two samples of a
        class differ.
    """
    x = features.double()
    _, position = torch.unique(labels, return_inverse=True)
    counts = torch.bincount(position).double()[:, None]
    means = (
        torch.zeros(len(counts), x.shape[1], dtype=x.dtype, device=x.device).index_add(
            0, position, x
        )
        / counts
    )
    x = x - means[position]
    scatter = x.T @ x / len(x)
    level = scatter.diagonal().mean()
    if level == 0:  # one sample per class: their scatter is unknown
        return torch.eye(x.shape[1], dtype=features.dtype, device=x.device)
    values, vectors = torch.linalg.eigh(scatter)
    # rounding may make eigenvalues of 0 negative
    spread = (1 - shrinkage) * values.clamp(min=0) + shrinkage * level
    whitening: Tensor = vectors * spread.rsqrt() @ vectors.T
    return whitening.to(features.dtype)


def shrunk(scatter: Tensor, shrinkage: float) -> Tensor:
    """(1 - r) S + r mean(diag S) I, of a covariance or of its diagonal.

    Args:
        scatter: S, ``[D, D]``, or its diagonal ``[D]``.
        shrinkage: r, above 0 and up to 1.

    Returns:
        In the shape of ``scatter``; the identity (or ones) if S is 0, since the scatter of samples
        is then unknown.
    """
    diagonal = scatter if scatter.ndim == 1 else scatter.diagonal()
    level = diagonal.mean()
    identity = torch.ones_like(diagonal)
    if scatter.ndim == 2:
        identity = identity.diag()
    if not level > 0:
        return identity
    return (1 - shrinkage) * scatter + shrinkage * level * identity


def inverse_root(scatter: Tensor, shrinkage: float) -> Tensor:
    """W with ``W W^T`` the inverse of :func:`shrunk`; features times W are whitened.

    Args:
        scatter: ``[D, D]``, float64.
        shrinkage: As of :func:`shrunk`.

    Returns:
        ``[D, D]``.
    """
    lower = torch.linalg.cholesky(shrunk(scatter, shrinkage))
    identity = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
    inverse: Tensor = torch.linalg.solve_triangular(lower, identity, upper=False)
    return inverse.T
