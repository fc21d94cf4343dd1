"""Every figure against plain NumPy, written out sample by sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy

import zsl_lab.metrics.extra as extra_module
from zsl_lab.metrics import (
    AUSUC,
    METRIC_NAMES,
    ExtraAccuracies,
    HarmonicMean,
    PerClassAccuracy,
    ZeroShotMetrics,
    harmonic_mean,
    predict,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Case = tuple[Floats, Ints, Bools]


# ------------------------------------------------------------------------------------------- the
# reference


def ref_recalls(predicted: Ints, target: Ints, classes: int) -> Floats:
    recalls = np.full(classes, np.nan)
    for c in range(classes):
        own = [p for p, t in zip(predicted, target, strict=True) if t == c]
        if own:
            recalls[c] = sum(p == c for p in own) / len(own)
    return recalls


def ref_mean(recalls: Floats) -> float:
    present = [r for r in recalls if not math.isnan(r)]
    return sum(present) / len(present) if present else math.nan


def ref_predict(
    scores: Floats, seen: Bools, constant: float, *, unseen_wins_ties: bool = False
) -> Ints:
    """Calibrated stacking, one sample at a time; a tie goes to the seen class by default."""
    predicted = []
    for row in scores:
        best_seen = max((c for c in range(len(seen)) if seen[c]), key=lambda c: (row[c], -c))
        best_unseen = max((c for c in range(len(seen)) if not seen[c]), key=lambda c: (row[c], -c))
        margin = row[best_seen] - row[best_unseen]
        wins = margin <= constant if unseen_wins_ties else margin < constant
        predicted.append(best_unseen if wins else best_seen)
    return np.array(predicted, dtype=np.int64)


def ref_accuracies(
    scores: Floats, target: Ints, seen: Bools, constant: float, *, unseen_wins_ties: bool = False
) -> tuple[float, float]:
    recalls = ref_recalls(
        ref_predict(scores, seen, constant, unseen_wins_ties=unseen_wins_ties), target, len(seen)
    )
    return ref_mean(recalls[~seen]), ref_mean(recalls[seen])


def ref_ausuc(scores: Floats, target: Ints, seen: Bools) -> float:
    """Sweep the constant over every margin, evaluate before and after it, sum the trapezoids."""
    margins = sorted({float(row[seen].max() - row[~seen].max()) for row in scores})
    points = [ref_accuracies(scores, target, seen, -math.inf)]
    points += [
        ref_accuracies(scores, target, seen, margin, unseen_wins_ties=True) for margin in margins
    ]
    return sum((u2 - u1) * (s1 + s2) / 2 for (u1, s1), (u2, s2) in pairwise(points))


def ref_all(scores: Floats, target: Ints, seen: Bools) -> dict[str, float]:
    unseen_only = ref_recalls(ref_predict(scores, seen, math.inf), target, len(seen))[~seen]
    u, s = ref_accuracies(scores, target, seen, 0.0)
    h = 0.0 if u + s == 0 else 2 * u * s / (u + s)
    both = not math.isnan(u + s)
    values = (ref_mean(unseen_only), u, s, h, ref_ausuc(scores, target, seen) if both else math.nan)
    return {name: 100 * value for name, value in zip(METRIC_NAMES, values, strict=True)}


# ------------------------------------------------------------------------------------------- the
# cases


def draw(
    seed: int,
    *,
    classes: int = 7,
    samples: int = 60,
    levels: int | None = None,
    absent: tuple[int, ...] = (),
) -> Case:
    """Random scores; seen and unseen ids mixed; with few ``levels`` most scores tie."""
    rng = np.random.default_rng(seed)
    seen = rng.permutation(np.arange(classes) < classes // 2 + 1)
    # imbalanced: the share of a class falls geometrically
    share = np.where(np.isin(np.arange(classes), absent), 0.0, 0.5 ** np.arange(classes))
    target = rng.choice(classes, samples, p=share / share.sum())
    scores = rng.standard_normal((samples, classes))
    scores[np.arange(samples), target] += 1
    scores = np.round(scores) if levels else scores.astype(np.float32).astype(np.float64)
    return scores.clip(-levels, levels) if levels else scores, target, seen


def one_hot(predicted: list[int], classes: int) -> Floats:
    return np.eye(classes)[predicted]


MIXED = np.array([True, False, True, False, True])
CASES: dict[str, Case] = {
    "random": draw(0),
    "many classes, most absent": draw(1, classes=40, samples=30),
    "ties everywhere": draw(2, levels=1),
    "ties, imbalanced": draw(3, levels=2, samples=200),
    "absent classes": draw(4, absent=(0, 3, 5)),
    "one sample": draw(5, samples=1),
    "all scores equal": (np.zeros((6, 5)), np.array([0, 1, 2, 3, 4, 4]), MIXED),
    "absent class is predicted": (one_hot([4, 4, 3, 3], 5), np.array([0, 0, 1, 1]), MIXED),
    "u = s = 0": (one_hot([2, 2, 3, 3], 5), np.array([0, 0, 1, 1]), MIXED),
    "u = 0": (one_hot([0, 2, 0, 0], 5), np.array([0, 2, 1, 3]), MIXED),
    "all right": (one_hot([0, 1, 2, 3, 4], 5), np.arange(5), MIXED),
    "classes of one sample": (draw(6, samples=5, classes=5)[0], np.arange(5), MIXED),
    "seen samples only": (draw(7, samples=9, classes=5)[0], np.array([0, 2, 4] * 3), MIXED),
    "unseen samples only": (draw(8, samples=6, classes=5)[0], np.array([1, 3] * 3), MIXED),
    "no sample": (np.zeros((0, 5)), np.zeros(0, dtype=np.int64), MIXED),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def tensors(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    scores, target, seen = case
    return torch.tensor(scores, dtype=torch.float32), torch.tensor(target), torch.tensor(seen)


def same(found: Tensor, expected: float) -> None:
    assert found.ndim == 0
    assert found.item() == pytest.approx(expected, abs=1e-9, nan_ok=True)


# ------------------------------------------------------------------------------------------- the
# tests


def test_per_class_accuracy(case: Case) -> None:
    scores, target, _ = case
    predicted = scores.argmax(axis=1)
    metric = PerClassAccuracy(scores.shape[1])
    metric.update(torch.tensor(predicted), torch.tensor(target))
    expected = ref_recalls(predicted, target, scores.shape[1])
    np.testing.assert_allclose(metric.recalls().numpy(), expected, atol=1e-12)
    same(metric.compute(), ref_mean(expected))


def test_a_class_that_is_only_predicted_does_not_count() -> None:
    metric = PerClassAccuracy(10)
    metric.update(torch.tensor([3, 3, 9]), torch.tensor([3, 7, 7]))
    same(metric.compute(), 0.5)
    assert metric.recalls().isfinite().nonzero().ravel().tolist() == [3, 7]


def test_no_prediction_is_a_wrong_one() -> None:
    metric = PerClassAccuracy(2)
    metric.update(torch.tensor([-1, 1]), torch.tensor([1, 1]))
    same(metric.compute(), 0.5)


def test_harmonic_mean_metric(case: Case) -> None:
    scores, target, seen = case
    predicted = ref_predict(scores, seen, 0.0)
    metric = HarmonicMean(torch.tensor(seen))
    metric.update(torch.tensor(predicted), torch.tensor(target))
    same(metric.compute(), ref_all(*case)["harmonic_mean"] / 100)


@pytest.mark.parametrize(
    ("u", "s", "h"),
    [
        (0.0, 0.0, 0.0),
        (0.0, 1.0, 0.0),
        (0.5, 0.5, 0.5),
        (40.0, 60.0, 48.0),
        (math.nan, 0.5, math.nan),
        (0.0, math.nan, math.nan),
    ],
)
def test_harmonic_mean(u: float, s: float, h: float) -> None:
    same(
        harmonic_mean(torch.tensor(u, dtype=torch.float64), torch.tensor(s, dtype=torch.float64)), h
    )


def test_ausuc(case: Case) -> None:
    scores, target, seen = tensors(case)
    metric = AUSUC(seen)
    metric.update(scores, target)
    same(metric.compute(), ref_all(*case)["ausuc"] / 100)


def test_ausuc_is_the_share_of_rightly_ordered_pairs() -> None:
    # of a rightly ranked seen and a rightly ranked unseen sample, the seen one must have the larger
    # margin; ties count half
    scores, target, seen = CASES["ties, imbalanced"]
    expected = 0.0
    own = np.where(seen[target][:, None] == seen[None, :], scores, -np.inf).argmax(axis=1)
    margins = scores[:, seen].max(axis=1) - scores[:, ~seen].max(axis=1)
    counts = np.bincount(target, minlength=len(seen))
    weights = (
        (own == target)
        / counts[target]
        / np.where(seen[target], (counts[seen] > 0).sum(), (counts[~seen] > 0).sum())
    )
    for i in np.flatnonzero(seen[target]):
        for j in np.flatnonzero(~seen[target]):
            expected += (
                weights[i]
                * weights[j]
                * ((margins[i] > margins[j]) + 0.5 * (margins[i] == margins[j]))
            )
    metric = AUSUC(torch.tensor(seen))
    metric.update(torch.tensor(scores), torch.tensor(target))
    same(metric.compute(), expected)


def test_curve_holds_what_its_constants_give() -> None:
    case = CASES["random"]
    scores, target, seen = tensors(case)
    metric = AUSUC(seen)
    metric.update(scores, target)
    constants, unseen, seen_accuracy = metric.curve()
    assert constants[[0, -1]].tolist() == [-math.inf, math.inf]
    assert (constants.diff() > 0).all()
    assert unseen[0].item() == seen_accuracy[-1].item() == 0
    for constant, u, s in zip(
        constants.tolist(), unseen.tolist(), seen_accuracy.tolist(), strict=True
    ):
        assert (u, s) == pytest.approx(ref_accuracies(*case, constant))


def area(points: list[tuple[float, float, float]]) -> float:
    """Area under a trade-off, by trapezoids, in the unit of AUSUC: percent."""
    return sum((u2 - u1) * (s1 + s2) / 200 for (_, s1, u1), (_, s2, u2) in pairwise(points))


@pytest.mark.slow
@pytest.mark.parametrize("added", [0.0, 0.75, -1.0])
def test_the_area_under_the_whole_tradeoff_is_ausuc_and_its_points_are_what_their_constants_give(
    case: Case, added: float
) -> None:
    scores, target, seen = tensors(case)
    metric = ZeroShotMetrics(seen)
    # a calibrated run's scores hold its constant already
    metric.update(scores.double() + added * ~seen, target)
    points = metric.tradeoff(added, most=1000)
    ausuc = metric.compute()["ausuc"].item()
    if math.isnan(ausuc):
        assert points == []
        return
    assert area(points) == pytest.approx(ausuc)
    assert [constant for constant, _, _ in points] == sorted(constant for constant, _, _ in points)
    assert (points[0][0], points[-1][0]) == (-math.inf, math.inf)
    assert {0.0, added} <= {constant for constant, _, _ in points}
    for constant, s, u in points:
        assert (u / 100, s / 100) == pytest.approx(ref_accuracies(*case, constant))


def test_a_thinned_tradeoff_keeps_its_shape() -> None:
    scores, target, seen = tensors(draw(9, samples=5000, classes=20))
    metric = ZeroShotMetrics(seen)
    metric.update(scores, target)
    whole, thin = metric.tradeoff(most=10_000), metric.tradeoff(most=100)
    assert len(whole) > 1000
    assert len(thin) <= 101  # the point without a constant besides
    assert set(thin) <= set(whole)
    assert (thin[0], thin[-1]) == (whole[0], whole[-1])
    assert area(thin) == pytest.approx(metric.compute()["ausuc"].item(), abs=0.1)
    # nowhere further from the whole curve than a hundredth of its length
    along = [np.array([u - s for _, s, u in points]) for points in (whole, thin)]
    unseen = np.interp(along[0], along[1], [u for _, _, u in thin])
    assert (
        np.abs(unseen - np.array([u for _, _, u in whole])).max()
        < (along[0][-1] - along[0][0]) / 99
    )


def test_evaluation(case: Case) -> None:
    scores, target, seen = tensors(case)
    metric = ZeroShotMetrics(seen)
    metric.update(scores, target)
    found = metric.compute()
    assert tuple(found) == METRIC_NAMES
    for name, expected in ref_all(*case).items():
        same(found[name], expected)
    np.testing.assert_allclose(
        metric.recalls().numpy(),
        100 * ref_recalls(ref_predict(case[0], case[2], 0.0), case[1], len(seen)),
        atol=1e-9,
    )


@pytest.mark.slow
def test_fuzz() -> None:
    for seed in range(60):
        case = draw(
            seed, classes=3 + seed % 9, samples=1 + 7 * seed % 50, levels=(None, 1, 3)[seed % 3]
        )
        scores, target, seen = tensors(case)
        metric = ZeroShotMetrics(seen)
        metric.update(scores, target)
        found = metric.compute()
        for name, expected in ref_all(*case).items():
            same(found[name], expected)


@pytest.mark.slow
def test_no_constant_gives_a_higher_harmonic_mean_than_the_calibration(case: Case) -> None:
    scores, target, seen = tensors(case)
    metric = ZeroShotMetrics(seen)
    metric.update(scores, target)
    constant, figures = metric.calibrated()

    def harmonic(of: float) -> float:
        u, s = ref_accuracies(*case, of)
        return 100 * (0.0 if u + s == 0 else 2 * u * s / (u + s))

    if math.isnan(harmonic(0.0)):
        assert constant == 0
        return
    assert figures["harmonic_mean"].item() == pytest.approx(harmonic(constant))
    assert harmonic(constant) >= max(harmonic(c) for c in np.linspace(-6, 6, 241)) - 1e-9
    # adding it to the scores of the unseen classes, as a run does, gives these very figures
    shifted = ZeroShotMetrics(seen)
    shifted.update(scores + constant * ~seen, target)
    for name, value in shifted.compute().items():
        same(figures[name], value.item())


def test_predict_is_what_is_counted(case: Case) -> None:
    scores, target, seen = tensors(case)
    gzsl, zsl = predict(scores, seen)
    np.testing.assert_array_equal(gzsl.numpy(), ref_predict(case[0], case[2], 0.0))
    np.testing.assert_array_equal(zsl.numpy(), ref_predict(case[0], case[2], math.inf))
    metric = ZeroShotMetrics(seen)
    metric.update(scores, target)
    np.testing.assert_allclose(
        metric.recalls().numpy(), 100 * ref_recalls(gzsl.numpy(), case[1], len(seen)), atol=1e-9
    )


METRICS: dict[str, Callable[[Tensor], PerClassAccuracy | AUSUC | ZeroShotMetrics]] = {
    "per class": lambda seen: PerClassAccuracy(len(seen)),
    "harmonic mean": HarmonicMean,
    "ausuc": AUSUC,
    "evaluation": ZeroShotMetrics,
}


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("sort", [False, True])
def test_batches_equal_one_shot(name: str, sort: bool) -> None:
    scores, target, seen = tensors(CASES["ties, imbalanced"])
    if sort:
        # whole batches of seen samples only, then of unseen samples only
        order = seen[target].int().argsort(descending=True, stable=True)
        scores, target = scores[order], target[order]
    first = predict(scores, seen)[0] if name in ("per class", "harmonic mean") else scores
    whole, parts = METRICS[name](seen), METRICS[name](seen)
    whole.update(first, target)
    for start in range(0, len(target), 17):
        parts.update(first[start : start + 17], target[start : start + 17])
    parts.update(first[:0], target[:0])
    torch.testing.assert_close(parts.compute(), whole.compute(), rtol=0, atol=0)
    parts.reset()
    parts.update(first, target)
    torch.testing.assert_close(parts.compute(), whole.compute(), rtol=0, atol=0)


def test_bfloat16_scores() -> None:
    scores, target, seen = tensors(CASES["random"])
    scores = scores.bfloat16()
    metric = ZeroShotMetrics(seen)
    metric.update(scores, target)
    expected = ref_all(scores.double().numpy(), target.numpy(), seen.numpy())
    assert {name: value.item() for name, value in metric.compute().items()} == pytest.approx(
        expected
    )


def test_broken_scores_are_wrong_predictions() -> None:
    seen = torch.tensor([True, False])
    scores = torch.tensor(
        [[math.nan, 0.0], [0.0, math.nan], [1.0, 0.0], [0.0, 1.0], [-math.inf, -math.inf]]
    )
    target = torch.tensor([0, 1, 0, 1, 0])
    gzsl, zsl = predict(scores, seen)
    assert gzsl.tolist() == [-1, -1, 0, 1, -1]
    assert zsl.tolist() == [-1, -1, 1, 1, -1]
    metric = ZeroShotMetrics(seen)
    metric.update(scores, target)
    found = metric.compute()
    same(found["seen"], 100 / 3)
    same(found["unseen"], 50)
    same(found["ausuc"], 100 / 6)


def test_minus_infinity_rules_a_class_out() -> None:
    seen = torch.tensor([True, True, False])
    metric = ZeroShotMetrics(seen)
    metric.update(
        torch.tensor([[1.0, 5.0, -math.inf], [-math.inf, -math.inf, 0.0]]), torch.tensor([1, 2])
    )
    assert {name: value.item() for name, value in metric.compute().items()} == dict.fromkeys(
        METRIC_NAMES, 100.0
    )


@pytest.mark.parametrize("mask", [[True, True], [False, False], [[True, False]], []])
def test_mask_needs_seen_and_unseen_classes(mask: list[bool]) -> None:
    with pytest.raises(ValueError, match="at least one True and one False"):
        ZeroShotMetrics(torch.tensor(mask, dtype=torch.bool))


def test_scores_need_a_column_per_class() -> None:
    with pytest.raises(ValueError, match=r"found shape \[4, 3\]; expected \[samples, 2\]"):
        ZeroShotMetrics(torch.tensor([True, False])).update(
            torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)
        )


def test_nothing_of_it_goes_into_a_checkpoint() -> None:
    metric = ZeroShotMetrics(torch.tensor([True, False]))
    metric.update(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64))
    assert metric.state_dict() == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_equals_cpu() -> None:
    scores, target, seen = tensors(CASES["ties, imbalanced"])
    here, there = ZeroShotMetrics(seen), ZeroShotMetrics(seen).to("cuda")
    here.update(scores, target)
    there.update(scores.cuda(), target.cuda())
    for name, value in there.compute().items():
        assert value.device.type == "cuda"
        same(value.cpu(), here.compute()[name].item())


def test_an_unseen_class_without_samples_competes_with_all_but_in_zsl_top1() -> None:
    seen = torch.tensor([True, False, False, False])
    tested = torch.tensor([True, True, True, False])
    scores = torch.tensor(
        [[0.9, 0.1, 0.0, 0.2], [0.1, 0.8, 0.2, 0.3], [0.1, 0.2, 0.5, 0.9], [0.0, 0.6, 0.4, 0.9]]
    )
    target = torch.tensor([0, 1, 2, 2])
    metric = ZeroShotMetrics(seen, tested)
    metric.update(scores, target)
    found = {name: float(value) for name, value in metric.compute().items()}
    # class 3 takes both samples of class 2; among classes 1 and 2 one of them is right
    assert found["unseen"] == 50.0
    assert found["zsl_top1"] == 75.0
    assert found["seen"] == 100.0
    assert metric.recalls().tolist()[:3] == [100.0, 100.0, 0.0]
    assert metric.recalls()[3].isnan()
    gzsl, zsl = predict(scores, seen, metric.zsl_ids)
    assert (gzsl.tolist(), zsl.tolist()) == ([0, 1, 3, 3], [1, 1, 2, 1])


# ------------------------------------------------------------------------------------------- per
# sample and top-5


def ref_ranking(row: Floats, candidates: list[int], seen: Bools) -> list[int]:
    """Candidates by score, the highest first; of equal ones seen before unseen, then by id."""
    return sorted(candidates, key=lambda c: (-row[c], not seen[c], c))


def ref_extra(scores: Floats, target: Ints, seen: Bools) -> dict[str, float]:
    every = list(range(len(seen)))
    tested = [c for c in every if not seen[c] and c in target]
    zsl = tested or [c for c in every if not seen[c]]
    of_unseen = [i for i, t in enumerate(target) if not seen[t]]
    of_seen = [i for i, t in enumerate(target) if seen[t]]

    def share(samples: list[int], candidates: list[int], k: int) -> float:
        right = [target[i] in ref_ranking(scores[i], candidates, seen)[:k] for i in samples]
        return 100 * sum(right) / len(right) if right else math.nan

    def per_class(samples: list[int], candidates: list[int], k: int) -> float:
        classes = sorted({int(target[i]) for i in samples})
        shares = [share([i for i in samples if target[i] == c], candidates, k) for c in classes]
        return sum(shares) / len(shares) if shares else math.nan

    u, s = share(of_unseen, every, 1), share(of_seen, every, 1)
    u = u if of_seen else math.nan
    trivial = len(every) <= 5
    return {
        "zsl_top1_per_sample": share(of_unseen, zsl, 1) if len(zsl) > 1 else math.nan,
        "unseen_per_sample": u,
        "seen_per_sample": s,
        "harmonic_mean_per_sample": 0.0 if u + s == 0 else 2 * u * s / (u + s),
        "zsl_top5": per_class(of_unseen, zsl, 5) if len(zsl) > 5 else math.nan,
        "unseen_top5": math.nan if trivial or not of_seen else per_class(of_unseen, every, 5),
        "seen_top5": math.nan if trivial else per_class(of_seen, every, 5),
    }


EXTRA_CASES = {
    **CASES,
    "more unseen classes than five": draw(10, classes=20, samples=200),
    "ties among many classes": draw(11, classes=20, samples=200, levels=2),
}


def extra(case: Case) -> ExtraAccuracies:
    scores, target, seen = tensors(case)
    tested = torch.bincount(target, minlength=len(seen)) > 0
    # the cases without an unseen sample test none of them
    metric = ExtraAccuracies(seen, tested if tested[~seen].any() else None)
    for start in range(0, max(1, len(target)), 7):
        metric.update(scores[start : start + 7], target[start : start + 7])
    return metric


@pytest.mark.parametrize("name", EXTRA_CASES)
def test_accuracies_per_sample_and_top5(name: str) -> None:
    case = EXTRA_CASES[name]
    assert extra(case).compute() == pytest.approx(ref_extra(*case), abs=1e-9, nan_ok=True)


def test_with_many_classes_the_hits_among_more_are_counted_per_class_and_per_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores, target, seen = draw(12, classes=30, samples=300)
    monkeypatch.setattr(extra_module, "_MANY_CLASSES", 30)
    found = extra((scores, target, seen)).compute()
    every = list(range(30))
    zsl = [c for c in every if not seen[c] and c in target]
    of_unseen = [i for i, t in enumerate(target) if not seen[t]]
    for k in (1, 2, 5, 10, 20):
        for kind, candidates in (("zsl", zsl), ("unseen", every)):
            hits = [target[i] in ref_ranking(scores[i], candidates, seen)[:k] for i in of_unseen]
            by_class = [
                np.mean([hit for i, hit in zip(of_unseen, hits, strict=True) if target[i] == c])
                for c in zsl
            ]
            if len(candidates) <= k:
                assert math.isnan(found[f"{kind}_top{k}_per_sample"])
                continue
            share = found[
                f"{kind}_per_sample" if (kind, k) == ("unseen", 1) else f"{kind}_top{k}_per_sample"
            ]
            assert share == pytest.approx(100 * np.mean(hits))
            if k > 1:
                assert found[f"{kind}_top{k}"] == pytest.approx(100 * np.mean(by_class))
    few = ref_extra(scores, target, seen)
    assert {name: found[name] for name in few} == pytest.approx(few, abs=1e-9, nan_ok=True)


def test_accuracy_per_sample_is_torchmetrics_micro_average_of_the_predictions() -> None:
    case = EXTRA_CASES["more unseen classes than five"]
    scores, target, seen = tensors(case)
    found, (predicted, _) = extra(case).compute(), predict(scores, seen)
    for name, own in (("seen", seen[target]), ("unseen", ~seen[target])):
        micro = MulticlassAccuracy(len(seen), average="micro")
        expected = 100 * float(micro(predicted[own], target[own]))
        assert found[f"{name}_per_sample"] == pytest.approx(expected, abs=1e-4)


def test_the_two_ways_of_counting_differ_where_classes_have_unequal_sizes() -> None:
    # nine samples of class 0 are right, one of class 2 is wrong
    scores = torch.eye(6)[torch.zeros(10, dtype=torch.int64)]
    target = torch.tensor([0] * 9 + [2])
    seen = torch.tensor([True, False, True, False, True, False])
    metric, per_class = ExtraAccuracies(seen), ZeroShotMetrics(seen)
    metric.update(scores, target)
    per_class.update(scores, target)
    assert metric.compute()["seen_per_sample"] == 90.0
    assert per_class.compute()["seen"].item() == 50.0


def test_a_sample_with_a_score_that_is_no_number_is_wrong_in_every_accuracy() -> None:
    scores = torch.eye(8)
    scores[3, 5] = math.nan
    seen = torch.tensor([True, False] * 4)
    metric = ExtraAccuracies(seen)
    metric.update(scores, torch.arange(8))
    found = metric.compute()
    assert found["unseen_per_sample"] == found["zsl_top1_per_sample"] == 75.0
    assert found["unseen_top5"] == 75.0
    assert found["seen_top5"] == 100.0


def test_the_share_of_right_samples_of_per_class_accuracy() -> None:
    metric = PerClassAccuracy(3)
    metric.update(torch.tensor([0, 0, 0, -1]), torch.tensor([0, 0, 0, 1]))
    assert metric.per_sample().item() == 0.75
    assert metric.compute().item() == 0.5
