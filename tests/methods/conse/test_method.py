from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import composed
from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.methods.conse import ConSE
from zsl_lab.methods.conse.config import ConSEConfig
from zsl_lab.run.config import parse


@cache
def configured(*overrides: str) -> Any:
    """The keys of the method, without anybody's settings."""
    return parse(composed(Path("run"), "settings=none", *overrides)).method


SEEN = np.array([True, False, True, True, True])
NAMES = ("a", "b", "c", "d", "e")


def semantics(classes: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(classes, 3)).astype(np.float32)


def small(*overrides: str) -> ConSE:
    """ConSE on 5 classes (4 seen) with 3 attributes and features of 6 dimensions."""
    config = configured("method=conse", *overrides)
    assert isinstance(config, ConSEConfig)
    torch.manual_seed(0)
    return ConSE(config, 6, ClassSpace(np.arange(5), semantics(), SEEN, NAMES))


def features() -> torch.Tensor:
    return torch.randn(7, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("top", [1, 2, 4, 10])
def test_scores_are_the_written_out_convex_combination(top: int) -> None:
    method, x = small(f"method.top={top}"), features()
    found = method.class_scores(x)
    seen = np.flatnonzero(SEEN).tolist()
    for b, row in enumerate(x):
        logits = (method.softmax.weight @ row + method.softmax.bias).exp()
        p = (logits / logits.sum()).tolist()
        best = sorted(range(4), key=lambda s: -p[s])[:top]
        total = sum(p[s] for s in best)
        f = sum(p[s] / total * method.semantics[seen[s]] for s in best)
        assert isinstance(f, torch.Tensor)
        for c in range(5):
            a = method.semantics[c]
            expected = (f @ a / (f.norm() * a.norm())).item()
            assert found[b, c].item() == pytest.approx(expected, abs=1e-5)


def test_the_loss_is_the_cross_entropy_of_seen_classes() -> None:
    method, x = small(), features()
    labels = torch.tensor([0, 2, 3, 4, 0, 2, 3])
    expected = [
        -method.softmax(row).log_softmax(0)[{0: 0, 2: 1, 3: 2, 4: 3}[y]]
        for row, y in zip(x, labels.tolist(), strict=True)
    ]
    torch.testing.assert_close(method.loss(Batch(x, labels, labels)), torch.stack(expected).mean())


def test_other_classes_are_compared_with_combinations_of_the_trained_ones() -> None:
    method, x = small(), features()
    before = method.embed(x)
    asked = ClassSpace(np.arange(2), semantics(7)[5:], np.zeros(2, bool), ("f", "g"))
    method.set_classes(asked)
    torch.testing.assert_close(method.embed(x), before)
    assert method.class_scores(x).shape == (7, 2)
