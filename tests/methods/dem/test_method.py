from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import composed
from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.methods.dem import DEM
from zsl_lab.methods.dem.config import DEMConfig
from zsl_lab.run.config import parse


@cache
def configured(*overrides: str) -> Any:
    """The keys of the method, without anybody's settings."""
    return parse(composed(Path("run"), "settings=none", *overrides)).method


SEEN = np.array([True, False, True, True])
LABELS = torch.tensor([0, 2, 3, 2, 2])


def small(*overrides: str) -> DEM:
    """DEM on 4 classes (3 seen) with 3 attributes and features of 5 dimensions."""
    config = configured("method=dem", "method.hidden_dim=6", *overrides)
    assert isinstance(config, DEMConfig)
    semantics = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    torch.manual_seed(0)
    return DEM(config, 5, ClassSpace(np.arange(4), semantics, SEEN, ("a", "b", "c", "d")))


def features() -> torch.Tensor:
    return torch.randn(5, 5, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("output", ["relu", "linear"])
def test_loss_and_scores_are_those_of_the_written_out_network(output: str) -> None:
    method, x = small(f"method.output={output}"), features()
    first, last = method.network[0], method.network[2]
    assert isinstance(first, torch.nn.Linear)
    assert isinstance(last, torch.nn.Linear)
    prototypes = []
    for a in method.semantics:
        p = last.weight @ torch.relu(first.weight @ a + first.bias) + last.bias
        prototypes.append(torch.relu(p) if output == "relu" else p)
    errors = [(prototypes[y] - x[b]).square().sum() for b, y in enumerate(LABELS.tolist())]
    expected = torch.stack(errors).sum() / (5 * 5)
    found = method.loss(Batch(x, LABELS, LABELS))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    parameters = list(method.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(found, parameters, retain_graph=True),
        torch.autograd.grad(expected, parameters, retain_graph=True),
    )
    distances = torch.stack([torch.stack([-(p - r).square().sum() for p in prototypes]) for r in x])
    torch.testing.assert_close(method.class_scores(x), distances, rtol=1e-4, atol=1e-4)


def test_the_ridge_is_the_gradient_of_half_the_squared_weights() -> None:
    method = small("method.weight_decay=0.5", "method.learning_rate=0.01")
    plain = small("method.weight_decay=0.0", "method.learning_rate=0.01")
    optimizers = [method.configure_optimizers(), plain.configure_optimizers()]
    batch = Batch(features(), LABELS, LABELS)
    for _ in range(3):
        for other, optimizer, ridge in zip((method, plain), optimizers, (0.0, 0.25), strict=True):
            squares = torch.stack([p.square().sum() for p in other.parameters()]).sum()
            optimizer.zero_grad()
            (other.loss(batch) + ridge * squares).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    for mine, expected in zip(method.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, expected)
