from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conftest import composed
from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.errors import ConfigError
from zsl_lab.methods.bilinear.method import Bilinear
from zsl_lab.run.config import parse

NAMES = ("devise", "ale", "sje", "latem")
SEEN = np.array([True, True, False, True, True, False])


@cache
def configured(*overrides: str) -> Any:
    """A run's configuration, without anybody's settings."""
    return parse(composed(Path("run"), "settings=none", *overrides))


def small(name: str, *overrides: str, seen: np.ndarray = SEEN) -> Bilinear:
    """A method on 6 classes (4 seen) with 3 attributes and features of 5 dimensions."""
    parsed = configured(f"method={name}", *overrides)
    semantics = np.random.default_rng(0).normal(size=(len(seen), 3)).astype(np.float32)
    names = tuple(f"class {i}" for i in range(len(seen)))
    torch.manual_seed(0)
    method: Any = parsed.method_class
    found: Bilinear = method(
        parsed.method, 5, ClassSpace(np.arange(len(seen)), semantics, seen, names)
    )
    return found


def batch(count: int = 7) -> Batch:
    features = torch.randn(count, 5, generator=torch.Generator().manual_seed(1))
    return Batch(features, torch.tensor([0, 1, 3, 4, 1, 0, 3])[:count], torch.arange(count))


def score(method: Bilinear, x: Tensor, c: int) -> Tensor:
    return torch.stack([x @ w @ method.semantics[c] for w in method.weights]).max()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_score_is_the_best_bilinear_form(name: str) -> None:
    method, x = small(name), batch().inputs
    assert len(method.weights) == (4 if name == "latem" else 1)
    expected = torch.stack([torch.stack([score(method, row, c) for c in range(6)]) for row in x])
    torch.testing.assert_close(method.class_scores(x), expected)


@pytest.mark.parametrize("name", ["devise", "ale", "sje"])
def test_the_loss_is_the_written_out_ranking_of_seen_classes(name: str) -> None:
    method = small(name, "method.margin=0.7").double()
    x, labels = batch().inputs.double(), batch().labels
    found = method.loss(Batch(x, labels, labels))["total"]
    expected = found.new_zeros(())
    for row, y in zip(x, labels.tolist(), strict=True):
        hinges = [
            torch.relu(0.7 + score(method, row, c) - score(method, row, y))
            for c in np.flatnonzero(SEEN).tolist()
            if c != y
        ]
        rank = sum(h.item() > 0 for h in hinges)
        weight = {"devise": 1.0, "sje": 1.0, "ale": sum(1 / i for i in range(1, rank + 1))}[name]
        if name == "ale":
            weight /= max(rank, 1)
        terms = torch.stack(hinges)
        expected = expected + weight * (terms.max() if name == "sje" else terms.sum()) / 7
    # scores are turned into single precision before they are ranked
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(found, method.weights)[0],
        torch.autograd.grad(expected, method.weights)[0],
        rtol=1e-5,
        atol=1e-6,
    )


def test_a_step_of_latem_on_one_sample_is_algorithm_1_of_the_paper() -> None:
    moved = set()
    for seed in range(8):
        method = small("latem", "method.learning_rate=0.5")
        one = batch(1)
        x, y = one.inputs[0], int(one.labels[0])
        weights = method.weights.detach().clone()
        torch.manual_seed(seed)
        drawn = int(torch.randint(3, (1,)))
        other = [c for c in np.flatnonzero(SEEN).tolist() if c != y][drawn]
        a, a_other = method.semantics[y], method.semantics[other]
        best = int(torch.stack([x @ w @ a for w in weights]).argmax())
        best_other = int(torch.stack([x @ w @ a_other for w in weights]).argmax())
        if score(method, x, other) + 1 > score(method, x, y):
            weights[best_other] -= 0.5 * torch.outer(x, a_other)
            weights[best] += 0.5 * torch.outer(x, a)
            moved.add(best == best_other)
        torch.manual_seed(seed)
        optimizer = method.configure_optimizers()
        method.loss(one)["total"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        torch.testing.assert_close(method.weights.detach(), weights)
    assert moved


@pytest.mark.parametrize("name", NAMES)
def test_the_semantics_of_unseen_classes_do_not_enter_the_loss(name: str) -> None:
    method = small(name)
    torch.manual_seed(0)
    before = method.loss(batch())["total"].item()
    method.semantics[~method.seen_mask] = 7.0
    torch.manual_seed(0)
    assert method.loss(batch())["total"].item() == before


@pytest.mark.parametrize("name", NAMES)
def test_a_single_seen_class_cannot_be_ranked(name: str) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"^method={name}: found 1 seen class .*expected at least 2.*Give data with more",
    ):
        small(name, seen=np.array([True, False, False]))


def test_several_matrices_have_no_common_space() -> None:
    one, several = small("latem", "method.matrices=1"), small("latem")
    assert type(one).has_prototypes(one.config)
    assert not type(several).has_prototypes(several.config)
    assert not small("ale").embedding_is_fixed


def test_a_figure_maps_a_sample_by_the_matrix_of_its_highest_score() -> None:
    method, x = small("latem"), batch().inputs
    points, classes = method.latent_space(x)
    for row, point in zip(x, points, strict=True):
        scores = torch.stack([method.semantics @ (row @ w) for w in method.weights])
        best = int(scores.max(1).values.argmax())
        expected = row @ method.weights[best]
        torch.testing.assert_close(point, expected / expected.norm())
    assert classes.shape == method.semantics.shape


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_training_recovers_classes_that_a_bilinear_form_separates(name: str) -> None:
    method = small(name, "method.learning_rate=0.3")
    labels = torch.tensor([0, 1, 3, 4]).repeat(10)
    torch.manual_seed(1)
    features = method.semantics[labels] @ torch.randn(3, 5)
    samples = Batch(features, labels, labels)
    optimizer = method.configure_optimizers()
    for _ in range(300):
        optimizer.zero_grad()
        method.loss(samples)["total"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    seen = method.class_scores(features)[:, method.seen_mask].argmax(1)
    assert (method.seen_mask.nonzero().squeeze(1)[seen] == labels).float().mean() > 0.95
