from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from zsl_lab.data.scaling import Scaler
from zsl_lab.methods.exem import selection
from zsl_lab.methods.exem.config import Constants, Distance, Settings
from zsl_lab.methods.exem.regression import ClassRegression
from zsl_lab.methods.exem.selection import choose, class_folds, held_out
from zsl_lab.methods.exem.whitening import Scatter, class_means
from zsl_lab.metrics import ZeroShotMetrics

CLASSES = 8


def settings(**changed: object) -> Settings:
    given: dict[str, object] = {
        "normalize_semantics": "centered_l2",
        "kernel": "linear",
        "whitening": "full",
        "distance": "cosine",
        "folds": 4,
        "partitions": 1,
    }
    return Settings(**{**given, **changed})  # type: ignore[arg-type]


def problem(classes: int = CLASSES) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy features around a linear function of semantics."""
    generator = torch.Generator().manual_seed(3)
    semantics = torch.randn(classes, 4, generator=generator)
    labels = torch.arange(classes * 15) % classes
    noise = torch.randn(len(labels), 6, generator=generator) * torch.tensor([0.2, 0.5, 1, 2, 3, 4])
    return semantics[labels] @ torch.randn(4, 6, generator=generator) + noise, labels, semantics


def whitened_cosine(
    features: Tensor, labels: Tensor, semantics: Tensor, left_out: Tensor, c: Constants
) -> tuple[Tensor, Tensor]:
    """Scores of the held-out samples with everything computed anew, and their labels."""
    held = held_out(labels)
    means = class_means(features[~held], labels[~held], len(semantics))
    scatter = Scatter.measure(features[~held], labels[~held], means, "full")
    seen = ~left_out
    scaler = Scaler.fit("centered_l2", semantics[seen].numpy())
    regression = ClassRegression(scaler.apply(semantics)[seen])
    exemplars = (regression.smoothing(scaler.apply(semantics), c.ridge).float()) @ means[seen]
    exemplars[seen] = c.mixture * means[seen] + (1 - c.mixture) * exemplars[seen]
    origin = means[seen].mean(0)
    w = scatter.whitening(c.shrinkage).float()
    scores = [
        [float(cosine_similarity((x - origin) @ w, (e - origin) @ w, dim=0)) for e in exemplars]
        for x in features[held]
    ]
    return torch.tensor(scores), labels[held]


CANDIDATES = [
    Constants(r, 1.0, ridge, mixture)
    for r in (0.9, 0.1)
    for ridge in (3.0, 0.05)
    for mixture in (1.0, 0.4)
]


@pytest.mark.slow
def test_the_choice_has_the_largest_area_of_scores_computed_anew_for_every_fold() -> None:
    given = problem()
    areas = []
    for candidate in CANDIDATES:
        of_folds = []
        for left_out in class_folds(CLASSES, 4, 1):
            metrics = ZeroShotMetrics(~left_out)
            metrics.update(*whitened_cosine(*given, left_out, candidate))
            of_folds.append(float(metrics.compute()["ausuc"]))
        areas.append(sum(of_folds) / len(of_folds))
    found = choose(*given, CANDIDATES, settings())
    assert found.ausuc == pytest.approx(max(areas), abs=1e-3)
    assert found.constants == CANDIDATES[areas.index(max(areas))]
    assert max(areas) > min(areas)


@pytest.mark.slow
def test_the_offset_is_the_constant_with_the_best_mean_h_over_the_folds() -> None:
    given = problem()
    found = choose(*given, CANDIDATES[:1], settings())
    folds = [
        (left_out, *whitened_cosine(*given, left_out, CANDIDATES[0]))
        for left_out in class_folds(CLASSES, 4, 1)
    ]

    def mean_h(offset: float) -> float:
        values = []
        for left_out, scores, target in folds:
            metrics = ZeroShotMetrics(~left_out)
            metrics.update(scores + offset * left_out, target)
            values.append(float(metrics.compute()["harmonic_mean"]))
        return sum(values) / len(values)

    best = max(mean_h(float(offset)) for offset in torch.linspace(-1, 1, 81))
    assert mean_h(found.offset) == pytest.approx(best, abs=2)
    assert found.harmonic_mean == pytest.approx(mean_h(found.offset), abs=0.5)
    assert best > mean_h(0.0)


@pytest.mark.slow
def test_the_order_of_candidates_decides_among_equals_alone() -> None:
    given = problem()
    assert (
        choose(*given, CANDIDATES, settings()).constants
        == choose(*given, CANDIDATES[::-1], settings()).constants
    )
    twice = [Constants(1.0, width, 0.1, 1.0) for width in (2.0, 1.0)]
    # without a kernel the width does nothing
    assert choose(*given, twice, settings()).constants == twice[0]


@pytest.mark.parametrize("classes", [3, 4, 5, 11, 40])
def test_every_partition_leaves_each_class_out_once_and_keeps_two_at_least(classes: int) -> None:
    folds = class_folds(classes, 5, 3)
    assert torch.equal(torch.stack(folds).sum(0), torch.full((classes,), 3))
    assert min(int((~fold).sum()) for fold in folds) >= 2
    assert {int(fold.sum()) for fold in folds} <= set(range(1, classes))


def test_with_two_classes_none_is_left_out_and_the_first_candidate_is_taken() -> None:
    features, labels, semantics = problem(2)
    found = choose(features, labels, semantics, CANDIDATES, settings())
    assert (found.constants, found.offset) == (CANDIDATES[0], 0.0)
    assert math.isnan(found.ausuc)


def test_with_one_sample_a_class_the_first_candidate_is_taken() -> None:
    features, labels, semantics = problem()
    found = choose(features[:CLASSES], labels[:CLASSES], semantics, CANDIDATES, settings())
    assert (found.constants, found.offset) == (CANDIDATES[0], 0.0)


def test_a_fifth_of_each_class_is_held_out_and_a_single_sample_is_kept() -> None:
    labels = torch.tensor([0] * 10 + [1] * 3 + [2])
    held = held_out(labels)
    assert torch.bincount(labels[held], minlength=3).tolist() == [2, 1, 0]


def test_the_first_of_each_class_in_a_drawn_order_are_held_out() -> None:
    labels = torch.tensor([3, 0, 0, 5, 0, 0, 0, 0, 5, 3, 3] * 3)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0)).tolist()
    expected = set()
    for label in (0, 3, 5):
        members = [i for i in order if labels[i] == label]
        expected |= set(members[: -(-len(members) // 5)])
    assert set(held_out(labels).nonzero().flatten().tolist()) == expected


def test_of_very_many_samples_fewer_are_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "MOST_SCORES", CLASSES * 5)
    held = held_out(problem()[1])
    fewer = selection.fewer(held, CLASSES)
    assert int(fewer.sum()) == 5
    assert not (fewer & ~held).any()
    choice = choose(*problem(), CANDIDATES, settings())
    assert choice.constants in CANDIDATES


def test_nothing_is_drawn_from_the_random_numbers_of_the_run() -> None:
    given = problem()
    torch.manual_seed(1)
    first, state = choose(*given, CANDIDATES, settings()), torch.get_rng_state()
    torch.manual_seed(2)
    assert choose(*given, CANDIDATES, settings()) == first
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_scores_are_cosines_or_negative_squared_distances(distance: Distance) -> None:
    generator = torch.Generator().manual_seed(0)
    x, e = torch.randn(5, 3, generator=generator), torch.randn(4, 3, generator=generator)
    found = selection.compare(x @ e.T, x.square().sum(1), e.square().sum(1), distance)
    expected = (
        normalize(x, dim=1) @ normalize(e, dim=1).T
        if distance == "cosine"
        else -torch.cdist(x, e).square()
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_an_exemplar_at_the_origin_is_as_near_as_a_right_angle() -> None:
    found = selection.compare(torch.zeros(1, 2), torch.ones(1), torch.tensor([0.0, 1.0]), "cosine")
    assert found.tolist() == [[0.0, 0.0]]
