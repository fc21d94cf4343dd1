"""Summaries of benchmarks against numbers counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.benchmark_files import Fields, MakeDataset
from zsl_lab.data.benchmark import VectorBenchmark
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.summary import TableSummary, TuningOverlap, summarize, summarize_splits


@pytest.fixture
def benchmark(
    make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths
) -> VectorBenchmark:
    return make(splits, recorded).read(paths)


def test_a_table_is_summarised_block_by_block_as_a_whole() -> None:
    table = np.random.default_rng(0).standard_normal((70_000, 64)).astype(np.float32)
    table[::2] = 0
    table[3, 0] = 9
    found = TableSummary.of(table)
    assert (found.shape, found.low, found.high) == (table.shape, table.min(), 9)
    assert found.mean == pytest.approx(table.mean(dtype=np.float64))
    assert (found.zeros, found.not_finite) == ((table == 0).mean(), 0)


def test_infinite_values_are_counted() -> None:
    assert TableSummary.of(np.array([[np.inf, 1.0], [np.inf, 2.0]])).not_finite == 2


def test_published_tuning_samples_are_counted_in_each_part() -> None:
    index = {
        part: np.array(ids)
        for part, ids in {"trainval": [0, 1, 2, 3], "test_seen": [4, 5], "test_unseen": [6]}.items()
    }
    leaking = TuningOverlap.of(index, np.array([0, 1, 4]), np.array([2, 6, 9]), "train and val")
    assert leaking.inside == {"trainval": 3, "test_seen": 1, "test_unseen": 1}
    assert (leaking.outside, leaking.unused, leaking.leaks) == (1, 1, True)
    clean = TuningOverlap.of(index, np.array([0, 1]), np.array([2, 3]), "train and val")
    assert (clean.outside, clean.unused, clean.leaks) == (0, 0, False)


def test_a_benchmark_is_counted(benchmark: VectorBenchmark) -> None:
    found = summarize(benchmark)
    assert found.counts == {
        "samples": 20,
        "classes": 5,
        "seen": 4,
        "unseen": 1,
        "semantic_dim": 3,
        "trainval": 12,
        "test_seen": 4,
        "test_unseen": 4,
    }
    assert found.class_sizes is not None
    assert (found.class_sizes.smallest[1], found.class_sizes.largest[1]) == (4, 4)
    assert (found.validation_classes, found.tuning, found.images, found.words) == (
        1,
        None,
        None,
        None,
    )


def test_examples_are_seen_and_unseen_classes_with_their_highest_semantics_above_zero(
    benchmark: VectorBenchmark,
) -> None:
    semantics = np.full((5, 6), -1, dtype=np.float32)
    semantics[0] = [-1, 0.5, 0, 2, 1, 0.75]
    semantics[1] = [5, 4, 3, 2, 1, 0]
    examples = summarize(replace(benchmark, semantics=semantics)).examples
    assert [(e.name, e.part) for e in examples] == [
        ("ant", "seen"),
        ("cat", "seen"),
        ("dog", "seen"),
        ("eel", "unseen"),
    ]
    assert examples[0].highest == ((3, 2.0), (4, 1.0), (5, 0.75), (1, 0.5))
    assert examples[1].highest == ()


def test_without_features_seen_and_unseen_classes_are_unknown(
    benchmark: VectorBenchmark,
) -> None:
    parts = {part: getattr(benchmark, part) for part in ("trainval", "test_seen", "test_unseen")}
    found = summarize_splits(parts, benchmark.class_names, benchmark.semantics)
    known = summarize(benchmark).counts
    assert found.counts == {**known, "seen": None, "unseen": None}
    assert (found.features, found.class_sizes) == (None, None)
    assert [example.name for example in found.examples] == ["ant", "bee", "cat", "dog", "eel"]
