"""A repeated computation gives what computing it each time gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zsl_lab.run.together.graphs import Repeated

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
    ),
]


@pytest.mark.parametrize("name", DEVICES)
def test_each_call_reads_and_changes_the_tensors_in_place(name: str) -> None:
    device = torch.device(name)
    state, given = torch.zeros(3, device=device), torch.zeros(3, device=device)

    def compute() -> Tensor:
        state.add_(given)
        return state * 2

    repeated = Repeated(compute, device)
    total = torch.zeros(3)
    for number in range(6):
        new = torch.tensor([1.0, 2.0, 3.0]) * number
        given.copy_(new)
        total += new
        assert torch.equal(repeated().cpu(), 2 * total)
    assert torch.equal(state.cpu(), total)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_repeats_the_kernels_without_the_processor() -> None:
    device, called = torch.device("cuda"), []

    def compute() -> Tensor:
        called.append(1)
        return torch.ones(2, device=device)

    repeated = Repeated(compute, device)
    for _ in range(10):
        repeated()
    assert len(called) == 3
