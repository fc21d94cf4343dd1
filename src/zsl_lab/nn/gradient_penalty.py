"""Gradient penalty of a Wasserstein critic (Gulrajani et al., NeurIPS 2017)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, generated: Tensor) -> Tensor:
    """Mean of ``(||grad C(t)||_2 - 1)^2`` at random points t between real and generated samples.

    Args:
        critic: Maps ``[B, D]`` to one value a row; a condition, if any, is that of the same row.
        real: ``[B, D]``.
        generated: ``[B, D]``; no gradient flows back into it.

    Returns:
        Scalar that can be differentiated by the critic's parameters.
    """
    share = torch.rand(len(real), 1, dtype=real.dtype, device=real.device)
    # in mixed precision, generated samples may have half precision
    between = torch.lerp(generated.detach().to(real.dtype), real, share).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty: Tensor = (slope.norm(dim=1) - 1).square().mean()
    return penalty
