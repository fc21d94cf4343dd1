from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.classifiers.conftest import Halves, space_of
from zsl_lab.classifiers.base import generated, prototypes_of
from zsl_lab.classifiers.config import MeansConfig
from zsl_lab.classifiers.means import Means
from zsl_lab.data.batches.base import ClassSpace
from zsl_lab.errors import CheckpointError, ConfigError
from zsl_lab.methods.base import GradientMethodConfig, ZeroShotMethod

KEYS: dict[str, Any] = {
    "name": "means",
    "space": "method",
    "compare": "auto",
    "whitening_shrinkage": 0.5,
    "shrinkage": 0.0,
    "samples": 7,
}


def fitted(method: Halves, data: Any, classes: ClassSpace, **keys: Any) -> Means:
    means = Means(MeansConfig(**{**KEYS, **keys}), classes, seed=3)
    with torch.no_grad():
        means.fit(method, data)
    return means


def mean_of(points: Tensor, labels: Tensor, label: int) -> Tensor:
    rows = [point for point, of in zip(points, labels.tolist(), strict=True) if of == label]
    return torch.stack(rows).sum(0) / len(rows)


def scatter_of(points: Tensor, labels: Tensor) -> Tensor:
    total = torch.zeros(points.shape[1], points.shape[1])
    for point, label in zip(points, labels.tolist(), strict=True):
        apart = point - mean_of(points, labels, label)
        total += torch.outer(apart, apart) / len(points)
    return total


def test_a_seen_class_is_at_its_mean_and_an_unseen_one_at_its_prototype(
    method: Halves, data: Any, classes: ClassSpace
) -> None:
    means = fitted(method, data, classes)
    x = torch.randn(6, 3)
    for i, row in enumerate(means.scores(method, x)):
        for c, score in enumerate(row):
            seen = bool(method.seen_mask[c])
            centre = mean_of(data.features / 2, data.labels, c) if seen else method.semantics[c]
            expected = -sum((x[i] / 2 - centre) ** 2)
            torch.testing.assert_close(score, expected, rtol=1e-4, atol=1e-4)


def test_shrinkage_moves_seen_classes_towards_their_prototypes(
    method: Halves, data: Any, classes: ClassSpace
) -> None:
    centres = fitted(method, data, classes, shrinkage=0.25).centres
    mean = mean_of(data.features / 2, data.labels, 2)
    torch.testing.assert_close(centres[2], 0.75 * mean + 0.25 * method.semantics[2])
    torch.testing.assert_close(centres[1], method.semantics[1])
    whole = fitted(method, data, classes, shrinkage=1.0).centres
    torch.testing.assert_close(whole, method.semantics)


def test_among_features_the_mean_of_generated_ones_is_the_prototype(
    method: Halves, data: Any, classes: ClassSpace
) -> None:
    centres = fitted(method, data, classes, space="features").centres
    torch.testing.assert_close(centres[3], mean_of(data.features, data.labels, 3))
    made = generated(method, method.semantics[[4]], 7, 3)[0]
    torch.testing.assert_close(centres[4], made.mean(0))


@pytest.mark.parametrize("compare", ["standardized", "cosine", "whitened_cosine"])
def test_comparisons_equal_slow_references(
    method: Halves, data: Any, classes: ClassSpace, compare: str
) -> None:
    means = fitted(method, data, classes, compare=compare)
    points, x = data.features / 2, torch.randn(4, 3)
    scatter, centres = scatter_of(points, data.labels), means.centres
    level = scatter.diagonal().mean()
    origin = torch.stack([mean_of(points, data.labels, c) for c in (0, 2, 3)]).mean(0)
    values, vectors = torch.linalg.eigh(0.5 * scatter + 0.5 * level * torch.eye(3))
    whiten = vectors @ (values**-0.5).diag() @ vectors.T
    for i in range(4):
        for c in range(5):
            a, b = x[i] / 2, centres[c]
            if compare == "standardized":
                variance = 0.5 * scatter.diagonal() + 0.5 * level
                expected = -sum((a - b) ** 2 / variance)
            else:
                if compare == "whitened_cosine":
                    a, b = (a - origin) @ whiten, (b - origin) @ whiten
                expected = a @ b / (a.norm() * b.norm())
            found = means.scores(method, x)[i, c]
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_before_a_fit_the_methods_own_scores_count(method: Halves, classes: ClassSpace) -> None:
    x = torch.randn(2, 3)
    means = Means(MeansConfig(**KEYS), classes, seed=0)
    assert torch.equal(means.scores(method, x), method.class_scores(x))


def test_fitting_leaves_the_global_random_state_and_repeats_itself(
    method: Halves, data: Any, classes: ClassSpace
) -> None:
    before = torch.get_rng_state()
    first = fitted(method, data, classes, space="features").centres
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    assert torch.equal(first, fitted(method, data, classes, space="features").centres)


def test_generated_features_of_a_class_do_not_depend_on_the_others(method: Halves) -> None:
    together = generated(method, method.semantics, 4, seed=5)
    alone = generated(method, method.semantics[[2]], 4, seed=5)
    assert torch.equal(together[2], alone[0])


def test_a_stored_state_scores_as_the_fitted_one_and_new_classes_by_prototypes(
    method: Halves, data: Any, classes: ClassSpace
) -> None:
    means = fitted(method, data, classes, compare="standardized")
    restored = Means(MeansConfig(**{**KEYS, "compare": "standardized"}), classes, seed=3)
    restored.load_state(means.state(), "ckpt=x")
    x = torch.randn(4, 3)
    assert torch.equal(restored.scores(method, x), means.scores(method, x))
    new = space_of(torch.randn(2, 3), (False, False), prefix="new")
    joined = ClassSpace(
        np.arange(3),
        np.concatenate([classes.semantics[2:3], new.semantics]),
        np.array([True, False, False]),
        (classes.names[2], *new.names),
    )
    restored.set_classes(method, joined)
    found = restored.scores(method, x)
    torch.testing.assert_close(found[:, 0], means.scores(method, x)[:, 2])
    apart = (x[0] / 2 - torch.from_numpy(new.semantics[1])) / means.scale.reciprocal()
    torch.testing.assert_close(found[0, 2], -apart.square().sum(), rtol=1e-4, atol=1e-4)


def test_a_state_of_other_classes_is_refused(
    method: Halves, data: Any, classes: ClassSpace
) -> None:
    means = fitted(method, data, classes)
    other = Means(means.config, space_of(torch.randn(2, 3), (True, False)), seed=0)
    with pytest.raises(
        CheckpointError,
        match=r"ckpt=x: field 'classifier.centres' is of shape \[5, 3\].*for 2 classes",
    ):
        other.load_state(means.state(), "ckpt=x")
    with pytest.raises(CheckpointError, match=r"'classifier.origin' is missing"):
        means.load_state({"centres": means.centres}, "ckpt=x")
    with pytest.raises(CheckpointError, match=r"'classifier.scale' is of shape \[4\]"):
        means.load_state({**means.state(), "scale": torch.ones(4)}, "ckpt=x")


class OnlyScores(ZeroShotMethod):
    config_class = GradientMethodConfig

    def class_scores(self, features: Tensor) -> Tensor:
        return features


class OwnPrototypes(Halves):
    generate = ZeroShotMethod.generate


@pytest.mark.slow
def test_a_method_without_prototypes_is_refused_with_a_sentence(method: Halves) -> None:
    config = MeansConfig(**KEYS)
    with pytest.raises(
        ConfigError,
        match=r"^classifier=means: method=halves has no class prototypes and generates no "
        r"features, which this classifier needs. Choose classifier=own, or a method that does "
        r"\(.*exem.*mmvae.*\)\.$",
    ):
        Means.check(config, OnlyScores, method.config)
    Means.check(config, OwnPrototypes, method.config)
    with pytest.raises(ConfigError, match=r"has prototypes in classifier.space=method only"):
        Means.check(MeansConfig(**{**KEYS, "space": "features"}), OwnPrototypes, method.config)


def test_the_mean_of_generated_samples_does_not_depend_on_how_many_classes_are_held(
    method: Halves, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = prototypes_of(method, method.semantics, "features", 5, seed=0)
    monkeypatch.setattr("zsl_lab.classifiers.base._MOST_SAMPLES", 11)
    assert torch.equal(prototypes_of(method, method.semantics, "features", 5, seed=0), together)
