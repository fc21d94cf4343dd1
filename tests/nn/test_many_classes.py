from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from zsl_lab.nn import many_classes
from zsl_lab.nn.many_classes import logsumexp_over_classes, some_of


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("part", [2, 3, 5, 100])
def test_values_and_gradients_are_those_of_all_classes_at_once(part: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(many_classes, "_PART", part)
    classes, found = torch.tensor([7, 1, 2, 9, 4, 3, 8]), []
    for term in (
        lambda x, w: logsumexp_over_classes(lambda k: (x @ w[k].T).tanh(), classes),
        lambda x, w: (x @ w[classes].T).tanh().exp().sum(1).log(),
    ):
        x, w = drawn(4, 3).requires_grad_(), drawn(10, 3, seed=1).requires_grad_()
        value = term(x, w)
        gradients = torch.autograd.grad(value.square().sum(), [x, w])
        found.append([value.detach(), *gradients])
    torch.testing.assert_close(found[0], found[1])


def test_some_rows_are_drawn_alike_each_time_and_stay_in_their_order() -> None:
    rows = torch.arange(100.0)[:, None]
    some = some_of(rows, 7)
    assert len(some) == 7
    assert torch.equal(some, some_of(rows, 7))
    assert torch.equal(some, some.sort(0).values)
    assert some_of(rows, 100) is rows
