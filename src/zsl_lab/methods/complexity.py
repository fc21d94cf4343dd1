"""Number of parameters and operations of a method (ASPN paper, Table 2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from zsl_lab.methods.base import ZeroShotMethod


def complexity(method: ZeroShotMethod, sample: Tensor) -> dict[str, int]:
    """Count parameters, and the floating-point operations of one forward pass.

    Args:
        method: The method, in evaluation mode.
        sample: One sample, as ``class_scores`` takes it.

    Returns:
        ``parameters``: number of trainable parameters, including parts that only training needs,
        without frozen ones. ``flops``: operations of scoring one sample against all classes,
        including those on class semantics. A multiplication and an addition are two operations;
        only matrix products are counted, as PyTorch's own counter does.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        method(sample)
    trained = [p for p in method.parameters() if p.requires_grad]
    # a closed form stores its solution in parameters without gradients
    counted = trained or list(method.parameters())
    return {"parameters": sum(p.numel() for p in counted), "flops": counter.get_total_flops()}
