from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.classifiers.conftest import Halves, space_of
from zsl_lab.classifiers.base import generated
from zsl_lab.classifiers.config import ZLAPConfig
from zsl_lab.classifiers.zlap import (
    ZLAP,
    in_file,
    in_memory,
    log_priors,
    prototypes_from,
    shuffled_passes,
    train_prototypes,
)
from zsl_lab.data.batches.base import ClassSpace
from zsl_lab.errors import CheckpointError, ConfigError
from zsl_lab.methods.base import ZeroShotMethod

KEYS: dict[str, Any] = {
    "name": "zlap",
    "space": "features",
    "hidden_dim": 8,
    "temperature": 0.1,
    "ratio": 30.0,
    "samples": 5,
    "steps": 20,
    "batch_size": 16,
    "learning_rate": 0.01,
    "weight_decay": 0.0,
}


def config_with(**keys: Any) -> ZLAPConfig:
    return ZLAPConfig(**{**KEYS, **keys})


def fitted(method: Halves, data: Any, classes: ClassSpace, **keys: Any) -> ZLAP:
    zlap = ZLAP(config_with(**keys), classes, seed=3)
    with torch.no_grad():
        zlap.fit(method, data)
    return zlap


def adjusted_loss(
    points: Tensor, labels: Tensor, semantics: Tensor, priors: list[float], weights: list[Tensor]
) -> Tensor:
    """The mean cross entropy of the adjusted logits, sample by sample and class by class."""
    total = torch.zeros(())
    for x, y in zip(points, labels.tolist(), strict=True):
        powers = []
        for a, prior in zip(semantics, priors, strict=True):
            hidden = (weights[0] @ a + weights[1]).clamp(min=0)
            prototype = weights[2] @ hidden + weights[3]
            cosine = x @ prototype / (x.norm() * prototype.norm())
            powers.append(torch.exp(cosine / 0.1 + prior))
        total = total - torch.log(powers[y] / sum(powers)) / len(points)
    return total


def test_training_descends_the_adjusted_cross_entropy_and_halves_its_rate_at_half_time() -> None:
    generator = torch.Generator().manual_seed(0)
    points, labels = torch.randn(12, 3, generator=generator), torch.arange(12) % 3
    semantics = torch.randn(3, 4, generator=generator)
    seen = torch.tensor([True, True, False])
    config = config_with(steps=4, batch_size=5, weight_decay=0.1)
    priors = log_priors(seen, labels, 30.0)
    found = train_prototypes(in_memory(points), 3, labels, semantics, priors, config, 7)
    # the same draws: both layers, then the passes
    draws = torch.Generator().manual_seed(7)
    weights = [
        torch.randn(8, 4, generator=draws) * math.sqrt(2 / 4),
        torch.zeros(8),
        torch.randn(3, 8, generator=draws) * math.sqrt(2 / 8),
        torch.zeros(3),
    ]
    order = shuffled_passes(12, 20, draws)
    first, second = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    for t in range(1, 5):
        rows = order[5 * (t - 1) : 5 * t]
        weights = [w.detach().requires_grad_() for w in weights]
        prior = math.log(30)
        loss = adjusted_loss(points[rows], labels[rows], semantics, [prior, prior, 0.0], weights)
        for i, gradient in enumerate(torch.autograd.grad(loss, weights)):
            decayed = gradient + 0.1 * weights[i].detach()
            first[i] = 0.9 * first[i] + 0.1 * decayed
            second[i] = 0.999 * second[i] + 0.001 * decayed**2
            step = (first[i] / (1 - 0.9**t)) / ((second[i] / (1 - 0.999**t)).sqrt() + 1e-8)
            weights[i] = weights[i].detach() - (0.01 if t <= 2 else 0.005) * step
    for mine, reference in zip(found, weights, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-3, atol=2e-3)  # of steps of 0.01


def test_the_prior_of_the_seen_group_is_its_frequency_or_as_given() -> None:
    seen, labels = torch.tensor([True, False, True]), torch.tensor([0, 0, 2, 0, 2, 2, 1, 1])
    assert log_priors(seen, labels, "auto").tolist() == pytest.approx([math.log(3), 0, math.log(3)])
    assert log_priors(seen, labels, 60).tolist() == pytest.approx([math.log(60), 0, math.log(60)])


def test_passes_hold_every_sample_equally_often() -> None:
    order = shuffled_passes(7, 25, torch.Generator().manual_seed(0))
    assert torch.bincount(order[:21]).tolist() == 7 * [3]
    assert len(order) == 25


def test_it_learns_seen_and_unseen_classes_from_few_generated_samples(
    method: Halves, data: Any, classes: ClassSpace
) -> None:
    data.features = 20 * method.semantics[data.labels] + data.features
    zlap = fitted(method, data, classes, steps=300, ratio="auto")
    right = zlap.scores(method, data.features).argmax(1) == data.labels
    assert right.float().mean() > 0.9
    made = generated(method, method.semantics[[4]], 20, 3)[0]
    assert (zlap.scores(method, made).argmax(1) == 4).float().mean() > 0.8


def test_of_many_classes_generated_samples_are_made_in_parts_and_read_from_a_file(
    method: Halves, data: Any, classes: ClassSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_one = fitted(method, data, classes).state()
    made: list[int] = []

    def generate(self: Halves, semantics: Tensor, samples: int) -> Tensor:
        made.append(samples)
        return in_halves(self, semantics, samples)

    in_halves = Halves.generate
    monkeypatch.setattr(Halves, "generate", generate)
    monkeypatch.setattr("zsl_lab.classifiers.zlap.MANY_CLASSES", 1)
    monkeypatch.setattr("zsl_lab.classifiers.zlap.MOST_NUMBERS", 2 * 5 * 3 - 1)
    monkeypatch.setattr("zsl_lab.classifiers.zlap._AT_A_TIME", 5)
    monkeypatch.setattr("zsl_lab.classifiers.zlap.in_memory", None)  # not called
    in_parts = fitted(method, data, classes).state()
    for name, expected in in_one.items():
        torch.testing.assert_close(in_parts[name], expected)
    assert made == [5, 5]  # each class once


def test_points_in_a_file_are_those_in_memory(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    real, made = torch.randn(7, 3, generator=generator), torch.randn(12, 3, generator=generator)
    np.save(tmp_path / "made.npy", made.numpy())
    of_file = in_file(real, np.load(tmp_path / "made.npy", mmap_mode="r"))
    of_memory = in_memory(torch.cat([real, made]))
    for rows in shuffled_passes(19, 40, generator).view(8, 5):
        torch.testing.assert_close(of_file(rows), of_memory(rows))


def test_fitting_leaves_the_global_random_state_and_repeats_itself(
    method: Halves, data: Any, classes: ClassSpace
) -> None:
    before = torch.get_rng_state()
    first = fitted(method, data, classes)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    again = fitted(method, data, classes)
    assert all(torch.equal(again.state()[name], value) for name, value in first.state().items())


def test_scores_are_cosines_and_new_classes_are_scored_by_the_same_network(
    method: Halves, data: Any, classes: ClassSpace
) -> None:
    zlap = fitted(method, data, classes)
    x = torch.randn(4, 3)
    before = zlap.scores(method, x)
    assert before.abs().max() <= 1 + 1e-6
    prototype = prototypes_from(method.semantics[[2]], *zlap.state().values())[0]
    torch.testing.assert_close(before[:, 2], x @ prototype / x.norm(dim=1) / prototype.norm())
    method.classifier = zlap
    method.set_classes(space_of(torch.from_numpy(classes.semantics[[4, 2]]), (False, True), "new"))
    torch.testing.assert_close(zlap.scores(method, x), before[:, [4, 2]])


def test_a_stored_state_scores_as_the_fitted_one_and_another_shape_is_refused(
    method: Halves, data: Any, classes: ClassSpace
) -> None:
    zlap = fitted(method, data, classes)
    restored = ZLAP(zlap.config, classes, seed=3)
    x = torch.randn(4, 3)
    assert torch.equal(restored.scores(method, x), method.class_scores(x))
    restored.load_state(zlap.state(), "ckpt=x")
    assert torch.equal(restored.scores(method, x), zlap.scores(method, x))
    for name, tensor in (("hidden_weight", torch.zeros(9, 3)), ("output_bias", torch.zeros(3, 1))):
        with pytest.raises(
            CheckpointError, match=rf"'classifier.{name}' is of shape \[{len(tensor)}, "
        ):
            restored.load_state({**zlap.state(), name: tensor}, "ckpt=x")


class WithoutGenerator(Halves):
    generate = ZeroShotMethod.generate


def test_a_method_that_does_not_generate_is_refused(method: Halves) -> None:
    with pytest.raises(ConfigError, match=r"^classifier=zlap: method=halves generates no features"):
        ZLAP.check(config_with(), WithoutGenerator, method.config)


def test_a_ratio_is_a_number_above_0_or_auto() -> None:
    assert config_with(ratio=60).ratio == 60
    assert np.all([config_with(ratio=ratio).ratio == ratio for ratio in (0.5, "auto")])
    for wrong in (0.0, "many"):
        with pytest.raises(ValueError, match="ratio"):
            config_with(ratio=wrong)
