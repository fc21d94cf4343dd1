from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conftest import ENTRIES
from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.methods.catalogue import without_examples
from zsl_lab.methods.class_norm import ClassNorm
from zsl_lab.methods.class_norm.config import ClassNormConfig
from zsl_lab.methods.class_norm.networks import ClassStandardization, PrototypeNetwork

SEEN = np.array([True, False, True, True, False])


def small(**changes: Any) -> ClassNorm:
    """On 5 classes (3 seen) with 4 attributes and features of 6 dimensions."""
    keys = {**without_examples(ENTRIES["class_norm"].settings), "hidden_dim": 7, **changes}
    del keys["_target_"]
    semantics = np.random.default_rng(0).random((5, 4)).astype(np.float32)
    names = tuple(f"class {i}" for i in range(5))
    torch.manual_seed(0)
    config = ClassNormConfig.model_validate(keys)
    return ClassNorm(config, 6, ClassSpace(np.arange(5), semantics, SEEN, names))


def standardized(rows: Tensor, epsilon: float) -> Tensor:
    """Each unit by its mean and its (unbiased) variance over the rows, number by number."""
    columns = []
    for column in rows.T:
        mean = sum(column) / len(column)
        variance = sum((x - mean) ** 2 for x in column) / (len(column) - 1)
        columns.append(torch.stack([(x - mean) / (variance + epsilon) for x in column]))
    return torch.stack(columns, 1)


def test_units_are_divided_by_their_variance_over_the_classes_in_value_and_gradient() -> None:
    rows = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    layer = ClassStandardization(3, epsilon=0.1, momentum=0.1).double()
    found, expected = layer(rows), standardized(rows, 0.1)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad((found * weights).sum(), rows),
        torch.autograd.grad((expected * weights).sum(), rows),
    )


def test_evaluation_uses_running_averages_of_the_statistics() -> None:
    layer = ClassStandardization(2, epsilon=1e-5, momentum=0.3)
    mean, variance = torch.zeros(2), torch.ones(2)
    for _ in range(4):
        rows = torch.randn(6, 2) * 2 + 1
        layer(rows)
        mean = 0.7 * mean + 0.3 * rows.mean(0)
        variance = 0.7 * variance + 0.3 * rows.var(0)
    layer.eval()
    rows = torch.randn(3, 2)
    torch.testing.assert_close(layer(rows), (rows - mean) / (variance + 1e-5))
    torch.testing.assert_close(layer(rows[:1]), layer(rows)[:1])


def test_the_last_layer_begins_with_a_variance_of_one_over_its_size() -> None:
    weight = PrototypeNetwork(4, 300, 200, 1e-5, 0.1).layers[-2].get_parameter("weight").detach()
    assert float(weight.var()) == pytest.approx(1 / (300 * 200), rel=0.02)
    assert float(weight.abs().max()) <= math.sqrt(3 / (300 * 200))


def test_semantics_count_by_their_direction_only() -> None:
    network = PrototypeNetwork(4, 8, 3, 1e-5, 0.1).eval()
    semantics = torch.rand(5, 4)
    torch.testing.assert_close(network(semantics), network(7 * semantics))


def test_the_loss_is_the_written_out_cross_entropy_over_the_seen_classes() -> None:
    method = small(gamma=2.0)
    x, labels = torch.randn(4, 6), torch.tensor([0, 3, 2, 3])
    first, _, second, _, _, _, last, _ = method.network.layers
    seen = torch.stack([s / s.norm() * 2.0 for s in method.semantics[[0, 2, 3]]])
    hidden = standardized(second(first(seen).relu()), 1e-5).relu()
    prototypes = last(standardized(hidden, 1e-5)).relu()
    expected = torch.zeros(())
    for feature, label in zip(x, labels.tolist(), strict=True):
        logits = [4 * feature @ p / (feature.norm() * p.norm()) for p in prototypes]
        expected = expected - logits[[0, 2, 3].index(label)] / 4
        expected = expected + torch.stack([logit.exp() for logit in logits]).sum().log() / 4
    found = method.loss(Batch(x, labels, labels))
    weights = list(method.network.parameters())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for mine, reference in zip(
        torch.autograd.grad(found, weights), torch.autograd.grad(expected, weights), strict=True
    ):
        torch.testing.assert_close(mine, reference, rtol=1e-3, atol=1e-4)


def test_a_class_scores_the_same_beside_other_classes() -> None:
    method = small()
    method.loss(Batch(torch.randn(4, 6), torch.tensor([0, 2, 3, 0]), torch.arange(4)))
    method.eval()
    x = torch.randn(3, 6)
    before = method.class_scores(x)
    semantics = np.concatenate([method.semantics[3:].numpy(), np.ones((1, 4), np.float32)])
    method.set_classes(ClassSpace(np.arange(3), semantics, SEEN[:3], ("3", "4", "new")))
    torch.testing.assert_close(method.class_scores(x)[:, :2], before[:, 3:])


@pytest.mark.parametrize("schedule", [None, "cosine"])
def test_the_learning_rate_falls_once(schedule: str | None) -> None:
    method = small(steps=10, learning_rate_schedule=schedule)
    for step in range(10):
        cosine = 0.5 * (1 + math.cos(math.pi * step / 10)) if schedule == "cosine" else 1.0
        expected = 5e-4 * cosine * (0.1 if step >= 5 else 1.0)
        assert method.learning_rate_at(step) == pytest.approx(expected)
