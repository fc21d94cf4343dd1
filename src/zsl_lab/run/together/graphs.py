"""Computations that are repeated with the same memory, as CUDA graphs on a GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: calls before a capture, which needs libraries and memory that the first calls set up
_BEFORE = 2


class Repeated:
    """A computation whose kernels a GPU repeats without the processor.

    Launching a small kernel takes the processor longer than computing it takes the GPU.

    Args:
        compute: Reads and changes tensors that stay in place; returns its result. Draws no random
            numbers and waits for nothing.
        device: Where it computes. Elsewhere than on a GPU each call computes.
    """

    def __init__(self, compute: Callable[[], Tensor], device: torch.device) -> None:
        self._compute = compute
        self._device = device
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result = torch.empty(0)

    def __call__(self) -> Tensor:
        """Compute; the next call may overwrite the result."""
        self._calls += 1
        if self._device.type != "cuda" or self._calls <= _BEFORE:
            return self._compute()
        if self._graph is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.device(self._device), torch.cuda.graph(graph):
                self._result = self._compute()
            self._graph = graph
        self._graph.replay()
        return self._result
