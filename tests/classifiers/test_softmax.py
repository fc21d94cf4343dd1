from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.classifiers.conftest import Halves, space_of
from zsl_lab.classifiers.base import generated, generated_points
from zsl_lab.classifiers.config import SoftmaxConfig
from zsl_lab.classifiers.softmax import Softmax, balanced_draws, train_softmax
from zsl_lab.data.batches.base import ClassSpace
from zsl_lab.errors import ConfigError
from zsl_lab.methods.base import ZeroShotMethod

KEYS: dict[str, Any] = {
    "name": "softmax",
    "space": "features",
    "unseen": "generated",
    "samples": 20,
    "steps": 30,
    "batch_size": 16,
    "learning_rate": 0.1,
    "weight_decay": 0.0,
}


def config_with(**keys: Any) -> SoftmaxConfig:
    return SoftmaxConfig(**{**KEYS, **keys})


def fitted(method: Halves, data: Any, classes: ClassSpace, **keys: Any) -> Softmax:
    softmax = Softmax(config_with(**keys), classes, seed=3)
    with torch.no_grad():
        softmax.fit(method, data)
    return softmax


def written_out_step(
    points: Tensor, labels: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of the mean cross entropy, sample by sample and class by class."""
    by_weight, by_bias = torch.zeros_like(weight), torch.zeros_like(bias)
    for x, y in zip(points, labels.tolist(), strict=True):
        powers = [torch.exp(weight[c] @ x + bias[c]) for c in range(len(weight))]
        for c, power in enumerate(powers):
            difference = power / sum(powers) - float(c == y)
            by_weight[c] += difference * x / len(points)
            by_bias[c] += difference / len(points)
    return by_weight, by_bias


def test_training_descends_the_gradients_of_the_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(12, 2, generator=generator)
    labels = torch.arange(12) % 3
    config = config_with(steps=3, batch_size=4)
    weight, bias = torch.randn(3, 2, generator=generator), torch.randn(3, generator=generator)
    found = train_softmax(points, labels, weight, bias, torch.ones(3).bool(), config, 7)
    # Adam, written out
    parts = [weight.clone(), bias.clone()]
    first, second = ([torch.zeros_like(p) for p in parts] for _ in range(2))
    for t, rows in enumerate(balanced_draws(labels, 3, 4, 7), 1):
        gradients = written_out_step(points[rows], labels[rows], *parts)
        for i, gradient in enumerate(gradients):
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.999 * second[i] + 0.001 * gradient**2
            step = (first[i] / (1 - 0.9**t)) / ((second[i] / (1 - 0.999**t)).sqrt() + 1e-8)
            parts[i] = parts[i] - config.learning_rate * step
    torch.testing.assert_close(found[0], parts[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found[1], parts[1], rtol=1e-3, atol=1e-4)


def test_weights_of_fixed_classes_stay_as_they_are() -> None:
    points, labels = torch.randn(12, 2), torch.arange(12) % 3
    weight, bias = torch.randn(3, 2), torch.randn(3)
    free = torch.tensor([False, True, False])
    found, found_bias = train_softmax(
        points, labels, weight, bias, free, config_with(weight_decay=0.1), 0
    )
    assert torch.equal(found[~free], weight[~free])
    assert torch.equal(found_bias[~free], bias[~free])
    assert not torch.equal(found[1], weight[1])


def test_batches_hold_all_classes_equally_often() -> None:
    labels = torch.cat([torch.zeros(90), torch.full((5,), 2), torch.full((5,), 3)]).long()
    draws = balanced_draws(labels, 100, 60, seed=0)
    counts = torch.bincount(labels[draws].flatten(), minlength=4) / draws.numel()
    torch.testing.assert_close(counts, torch.tensor([1, 0, 1, 1]) / 3, atol=0.02, rtol=0)
    assert set(draws.flatten().tolist()) == set(range(100))


def test_it_learns_real_samples_of_seen_classes_and_generated_ones_of_the_others(
    method: Halves, data: Any, classes: ClassSpace
) -> None:
    data.features = 20 * method.semantics[data.labels] + data.features
    softmax = fitted(method, data, classes, steps=300)
    right = softmax.scores(method, data.features).argmax(1) == data.labels
    assert right.float().mean() > 0.9
    made = generated(method, method.semantics[[4]], 20, 3)[0]
    assert (softmax.scores(method, made).argmax(1) == 4).float().mean() > 0.8


def test_with_residuals_an_unseen_class_scatters_as_seen_ones_do(
    method: Halves, data: Any, classes: ClassSpace
) -> None:
    softmax = fitted(method, data, classes, unseen="residuals", space="method", samples=50)
    points = data.features / 2
    for residual in softmax.residuals:
        apart = [
            (points[i] - points[data.labels == data.labels[i]].mean(0) - residual).norm()
            for i in range(len(points))
        ]
        assert min(apart) < 1e-5
    made = softmax._samples(method, method.semantics[[1]], 3)
    torch.testing.assert_close(made[0], method.semantics[1] + softmax.residuals)


def test_fitting_leaves_the_global_random_state_and_repeats_itself(
    method: Halves, data: Any, classes: ClassSpace
) -> None:
    before = torch.get_rng_state()
    first = fitted(method, data, classes)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    again = fitted(method, data, classes)
    assert all(torch.equal(again.state()[name], value) for name, value in first.state().items())


def test_a_stored_state_scores_as_the_fitted_one_and_new_classes_are_learnt_beside_it(
    method: Halves, data: Any, classes: ClassSpace
) -> None:
    softmax = fitted(method, data, classes)
    restored = Softmax(softmax.config, classes, seed=3)
    restored.load_state(softmax.state(), "ckpt=x")
    x = torch.randn(4, 3)
    assert torch.equal(restored.scores(method, x), softmax.scores(method, x))
    new = space_of(torch.full((1, 3), 9.0), (False,), prefix="new")
    joined = ClassSpace(
        np.arange(3),
        np.concatenate([classes.semantics[[2, 4]], new.semantics]),
        np.array([True, False, False]),
        (classes.names[2], classes.names[4], *new.names),
    )
    restored.set_classes(method, joined)
    found = restored.scores(method, x)
    torch.testing.assert_close(found[:, :2], softmax.scores(method, x)[:, [2, 4]])
    made = generated(method, torch.from_numpy(new.semantics), 20, 1)[0]
    assert (restored.scores(method, made).argmax(1) == 2).float().mean() > 0.8


class OwnPrototypes(Halves):
    generate = ZeroShotMethod.generate


def test_a_method_that_generates_nothing_is_told_of_residuals(method: Halves) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^classifier=softmax: method=halves generates no features \(it has prototypes: "
        r"classifier.unseen=residuals\)",
    ):
        Softmax.check(config_with(space="method"), OwnPrototypes, method.config)
    Softmax.check(config_with(space="method", unseen="residuals"), OwnPrototypes, method.config)


class Drawing(Halves):
    """Embeds features and semantics as Gaussians, and keeps the features it drew points of."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.asked: list[Tensor] = []

    def draw_points(self, features: Tensor) -> Tensor:
        self.asked.append(features)
        return self.embed(features) + torch.randn_like(features)

    def generate_points(self, semantics: Tensor, samples: int) -> Tensor:
        return semantics[:, None] + torch.randn(len(semantics), samples, semantics.shape[1])


@pytest.fixture
def drawing(method: Halves, classes: ClassSpace) -> Drawing:
    return Drawing(method.config, 3, classes).eval()


def test_points_are_embedded_generated_features_unless_the_method_generates_points(
    method: Halves, drawing: Drawing
) -> None:
    rows = method.semantics[:2]
    torch.manual_seed(4)
    points = method.generate_points(rows, 5)
    torch.manual_seed(4)
    torch.testing.assert_close(points, method.generate(rows, 5) / 2)
    features = generated(method, rows, 5, seed=3)
    assert torch.equal(generated_points(method, rows, "method", 5, 3), features / 2)
    assert torch.equal(generated_points(drawing, rows, "features", 5, 3), features)
    found = generated_points(drawing, rows, "method", 5, 3)
    torch.manual_seed(3)
    noise = torch.randn(5, 3)
    torch.testing.assert_close(found, rows[:, None] + noise)


def test_it_is_fitted_to_drawn_points_and_reads_the_embedding(
    drawing: Drawing, data: Any, classes: ClassSpace
) -> None:
    before = torch.get_rng_state()
    softmax = fitted(drawing, data, classes, space="method")
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(3)
    points = torch.cat([drawing.draw_points(batch.inputs) for batch in data.training_batches(0)])
    torch.testing.assert_close(softmax.shift, points.mean(0))
    x = data.features[:4]
    expected = (x / 2 - softmax.shift) / softmax.scale @ softmax.weight.T + softmax.bias
    torch.testing.assert_close(softmax.scores(drawing, x), expected)


def test_a_number_of_points_of_each_seen_class_is_drawn_from_its_samples(
    drawing: Drawing, data: Any, classes: ClassSpace
) -> None:
    fitted(drawing, data, classes, space="method", seen_samples=50)
    (rows,) = drawing.asked
    at = [int((data.features == row).all(1).nonzero()) for row in rows]
    assert data.labels[at].tolist() == [0] * 50 + [2] * 50 + [3] * 50
    assert set(at) == set(range(30))


def test_with_a_number_of_seen_samples_every_point_is_drawn_equally_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels = torch.tensor([0] * 90 + [1] * 10)
    counts = torch.zeros(100)
    compute = torch.nn.functional.cross_entropy

    def counted(logits: Tensor, chosen: Tensor) -> Tensor:
        counts[:2] += torch.bincount(chosen, minlength=2)
        return compute(logits, chosen)

    monkeypatch.setattr("zsl_lab.classifiers.softmax.cross_entropy", counted)
    config = config_with(seen_samples=90, steps=None, epochs=10.0)
    train_softmax(
        torch.randn(100, 2),
        labels,
        torch.zeros(2, 2),
        torch.zeros(2),
        torch.ones(2).bool(),
        config,
        0,
    )
    assert counts.sum() == math.ceil(10 * 100 / 16) * 16
    assert counts[0] / counts.sum() == pytest.approx(0.9, abs=0.03)


def test_steps_win_over_epochs_and_one_of_them_is_needed() -> None:
    assert config_with(epochs=3.0).steps_for(100) == 30
    assert config_with(steps=None, epochs=3.0).steps_for(100) == 19
    with pytest.raises(ValueError, match="steps and epochs are both null; give one of them"):
        config_with(steps=None)


def test_of_very_many_classes_as_many_samples_are_made_as_memory_allows(
    method: Halves, data: Any, classes: ClassSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    softmax = fitted(method, data, classes, samples=20)
    dim = softmax.weight.shape[1]
    semantics = method.semantics[:2]
    assert softmax._samples(method, semantics, dim).shape == (2, 20, dim)
    monkeypatch.setattr("zsl_lab.classifiers.softmax.MANY_CLASSES", 1)
    monkeypatch.setattr("zsl_lab.classifiers.softmax.MOST_NUMBERS", 2 * dim * 3 + 1)
    with pytest.warns(UserWarning, match="3 samples of each of 2 classes are made, not classifie"):
        made = softmax._samples(method, semantics, dim)
    assert made.shape == (2, 3, dim)
