"""Inputs unlike those of training are found, and no sample of a benchmark is one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import REPOSITORY, composed
from zsl_lab.data.benchmark import VectorBenchmark
from zsl_lab.data.checks.statistics import ColumnStatistics
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.predict.input_checks import FeatureCheck, semantics_findings
from zsl_lab.run.config import parse

Array = npt.NDArray[np.float64]
BENCHMARKS = {
    "digits": (),
    "synthetic": (),
    "flo": ("dataset.features=efficientnet_lite2",),
    "awa1": ("dataset.features=lampert_pca512",),
}


@pytest.fixture(scope="module", params=list(BENCHMARKS))
def benchmark(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> VectorBenchmark:
    shared = Path(os.environ.get("ZSL_LAB_SHARED", REPOSITORY.parent / "shared"))
    data = shared / "data" / "xlsa17" / "data"
    if request.param in ("flo", "awa1") and not data.is_dir():
        pytest.skip("needs the genuine files")
    keys = ("method=eszsl", f"dataset={request.param}", *BENCHMARKS[request.param])
    dataset = parse(composed(Path("run"), *keys)).dataset
    return dataset.load(DataPaths(data, tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def statistics(benchmark: VectorBenchmark) -> ColumnStatistics:
    """Those of the training samples."""
    return ColumnStatistics.of(benchmark.features, benchmark.trainval)


def findings(
    of: VectorBenchmark, statistics: ColumnStatistics, rows: npt.NDArray[np.floating]
) -> list[str]:
    check = FeatureCheck(statistics, len(of.seen_classes))
    for start in range(0, len(rows), 64):
        check.add(rows[start : start + 64].astype(np.float64))
    return check.findings("features")


@pytest.mark.slow
def test_no_test_sample_of_a_benchmark_is_warned_of(
    benchmark: VectorBenchmark, statistics: ColumnStatistics
) -> None:
    rng, unseen = np.random.default_rng(0), benchmark.test_unseen
    labels = benchmark.labels[unseen]
    parts = [benchmark.test_seen, unseen, *(unseen[labels == c] for c in np.unique(labels))]
    parts += [rng.choice(unseen, n, replace=False) for n in (1, 1, 1, 2, 3, 5, 20, 40) * 3]
    rows = (benchmark.features[part] for part in parts)
    assert [found for part in rows for found in findings(benchmark, statistics, part)] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda x: x / np.linalg.norm(x, axis=1, keepdims=True), r"divided by their norm \(l2\)"),
        (lambda x: x / np.linalg.norm(x, axis=1, keepdims=True) / 50, "divided by their norm"),
        (lambda x: (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1), "standardised"),
        (lambda x: (x - x.min(0)) / np.where(np.ptp(x, 0) > 0, np.ptp(x, 0), 1), "scaled"),
        (lambda x: x * 255, "scaled, by about 2"),
        (lambda x: x / 255, "scaled, by about 0.00"),
        (lambda x: x + 3 * x.std(), "scale|range"),
        (lambda x: np.repeat(x[:1], len(x), axis=0), "all 40 rows are equal"),
        (lambda x: np.concatenate([x[:, :5], 1000 * x[:, 5:6], x[:, 6:]], 1), "Column 5|column 5"),
    ],
)
def test_changed_features_are_warned_of(
    benchmark: VectorBenchmark,
    statistics: ColumnStatistics,
    change: Callable[[Array], Array],
    cause: str,
) -> None:
    rows = benchmark.features[np.random.default_rng(1).choice(benchmark.test_unseen, 40)]
    (sentence,) = findings(benchmark, statistics, change(rows.astype(np.float64)))
    assert sentence.startswith("features: ")
    assert re.search(cause, sentence), sentence
    assert sentence.endswith("or train on features like these.")


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1.5, 1 / 1.5])
def test_many_rows_that_are_somewhat_longer_or_shorter_are_warned_of(
    benchmark: VectorBenchmark, statistics: ColumnStatistics, factor: float
) -> None:
    rows = factor * benchmark.features[benchmark.test_seen].astype(np.float64)
    (sentence,) = findings(benchmark, statistics, rows)
    assert "The likely cause: they were scaled, by about " in sentence


@pytest.mark.parametrize("change", [np.sqrt, np.log1p, lambda x: x**0.25])
def test_roots_and_logarithms_are_warned_of(change: Callable[[Array], Array]) -> None:
    rng = np.random.default_rng(0)
    spread = rng.gamma(1, 1, 200)
    check = FeatureCheck(ColumnStatistics.of(rng.gamma(2, spread, (500, 200))), 50)
    check.add(change(rng.gamma(2, spread, (40, 200))))
    (sentence,) = check.findings("x")
    assert "a root or a logarithm was taken" in sentence or "they were scaled, by" in sentence


def test_columns_in_another_order_are_warned_of() -> None:
    rng = np.random.default_rng(0)
    spread = rng.gamma(1, 1, 200)
    training = ColumnStatistics.of(rng.gamma(2, spread, (500, 200)))
    rows = rng.gamma(2, spread, (40, 200))
    for given, warned in ((rows, False), (rows[:, rng.permutation(200)], True)):
        check = FeatureCheck(training, 50)
        check.add(given)
        assert bool(check.findings("x")) == warned


def test_a_part_of_the_columns_that_holds_others_is_warned_of() -> None:
    rng = np.random.default_rng(0)
    spread = rng.gamma(1, 1, 400)
    training = ColumnStatistics.of(rng.gamma(2, spread, (500, 400)))
    rows = rng.gamma(2, spread, (40, 400))
    rows[:, 300:] = rows[:, :100]
    check = FeatureCheck(training, 50)
    check.add(rows)
    (sentence,) = check.findings("x")
    assert "columns 300 to 399 (0-based) are unlike those of training" in sentence


def test_features_without_the_zeros_of_training_are_warned_of() -> None:
    rng = np.random.default_rng(0)
    training = np.maximum(rng.normal(size=(500, 60)), 0)
    for added, warned in ((0, False), (0.2, True)):
        check = FeatureCheck(ColumnStatistics.of(training), 50)
        check.add(training[:40] + added)
        found = check.findings("x")
        assert bool(found) == warned
        assert not warned or "The likely cause: a constant was added." in found[0]


def test_negative_numbers_where_training_has_none_are_warned_of() -> None:
    rng = np.random.default_rng(0)
    training = rng.uniform(0, 1, (100, 8))
    check = FeatureCheck(ColumnStatistics.of(training), 10)
    check.add(training[:10] - [0, 0, 0.3, 0, 0, 0, 0, 0])
    (sentence,) = check.findings("x")
    assert "found negative numbers" in sentence
    assert "column 2, 0-based" in sentence


@pytest.mark.parametrize("change", [np.abs, lambda x: np.maximum(x, 0), lambda x: -np.abs(x)])
def test_numbers_of_one_sign_where_training_has_both_are_warned_of(
    change: Callable[[Array], Array],
) -> None:
    training = np.random.default_rng(0).normal(size=(200, 8))
    check = FeatureCheck(ColumnStatistics.of(training), 10)
    check.add(change(training[:40]))
    (sentence,) = check.findings("x")
    assert re.search("found no number (below|above) 0", sentence)


def test_columns_that_lost_their_numbers_are_warned_of() -> None:
    rng = np.random.default_rng(0)
    training = rng.uniform(0.5, 1, (100, 60))
    for dead, warned in ((0, False), (3, True), (30, True)):
        rows = training[:40].copy()
        rows[:, :dead] = 0
        check = FeatureCheck(ColumnStatistics.of(training), 10)
        check.add(rows)
        found = check.findings("x")
        assert bool(found) == warned
        assert dead != 3 or "found 3 columns with one number for all rows (column 0" in found[0]


def test_few_rows_at_the_edge_of_a_column_are_none_that_lost_its_numbers() -> None:
    rng = np.random.default_rng(0)
    training = np.minimum(rng.uniform(0.5, 1.5, (400, 60)), 1)
    for count, warned in ((20, False), (200, True)):
        rows = training[:count].copy()
        rows[:, 3] = 1
        check = FeatureCheck(ColumnStatistics.of(training), 10)
        check.add(rows)
        assert bool(check.findings("x")) == warned


# ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_no_classes_of_a_benchmark_are_warned_of(benchmark: VectorBenchmark) -> None:
    rng = np.random.default_rng(0)
    # AWA1 holds -1 for unknown values, which a warning is due for
    unknown = benchmark.name == "AWA1"
    table = benchmark.semantics.astype(np.float64)
    table = np.maximum(table, 0) if unknown else table
    names = [str(name) for name in benchmark.class_names]
    for count in (2, 3, 5) * 10:
        new = rng.choice(len(table), min(count, len(table) // 3), replace=False)
        known = np.setdiff1d(np.arange(len(table)), new)
        chosen = [names[i] for i in new]
        assert semantics_findings(table[known], table[new], chosen, ()) == []


TRAINING = np.random.default_rng(0).uniform(0, 1, (12, 6)) * [60, 1, 1, 1, 1, 1]
NEW = np.random.default_rng(1).uniform(0.2, 0.9, (2, 6)) * [60, 1, 1, 1, 1, 1]
COLUMNS = ("length", "b", "c", "d", "e", "f")


def scaled(column: int, factor: float) -> Array:
    table = NEW.copy()
    table[:, column] *= factor
    return table


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (scaled(1, 50), "column 'b' lies between .*, in training between 0.*about .* times"),
        (scaled(1, 100), "column 'b' .* as percentages are against fractions"),
        (scaled(4, 30), "column 'e' lies"),
        (scaled(0, 100), "column 'length': "),
        (100 * NEW, "the likely|The likely cause: the numbers are about .* percentages"),
        (NEW / 100, "as percentages are against fractions"),
        (NEW / np.linalg.norm(NEW, axis=1, keepdims=True), "divided by its norm"),
        (np.where(np.arange(6) == 3, -1, NEW), "column 'd' .* -1 is a common mark for an unknown"),
        (np.where(np.arange(6) == 3, 999, NEW), "column 'd'|'d': "),
        (np.zeros((2, 6)), "all numbers of 'x', 'y' are 0"),
    ],
)
def test_classes_in_other_units_are_warned_of(given: Array, sentence: str) -> None:
    found = semantics_findings(TRAINING, given, ("x", "y"), COLUMNS)
    assert found
    assert re.search(sentence, found[0]), found
    assert semantics_findings(TRAINING, NEW, ("x", "y"), COLUMNS) == []


def test_a_column_that_training_keeps_away_from_0_may_be_too_small() -> None:
    training = np.random.default_rng(0).uniform(20, 60, (10, 3))
    given = training[:2] * [1, 1, 0.02]
    (sentence,) = semantics_findings(training[2:], given, ("x", "y"), ())
    assert "column 3 lies between" in sentence


@pytest.mark.parametrize("change", [lambda x: x + 1, lambda x: x * 0.9, lambda x: 1.5 * x])
def test_other_numbers_than_the_two_codes_of_training_are_warned_of(
    change: Callable[[Array], Array],
) -> None:
    table = np.random.default_rng(0).integers(0, 2, (12, 6)).astype(float)
    assert semantics_findings(table[2:], table[:2], ("x", "y"), ()) == []
    (sentence,) = semantics_findings(table[2:], change(table[:2]), ("x", "y"), ())
    assert "all numbers of training are 0 or 1" in sentence
