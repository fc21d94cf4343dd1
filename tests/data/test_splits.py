"""Who is trained on and who is evaluated, in every phase and redrawn split."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.helpers.benchmark_files import BASE
from zsl_lab.data import splits
from zsl_lab.data.benchmark import FeatureBenchmark
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.datasets.synthetic import SyntheticDataset
from zsl_lab.errors import DataError

SIZES = {
    "classes": 20,
    "unseen": 5,
    "feature_dim": 3,
    "semantic_dim": 3,
    "samples_per_class": 10,
    "difficulty": 0.5,
    "seed": 0,
}


def synthetic(**sizes: Any) -> FeatureBenchmark:
    config = SyntheticDataset.model_validate({**BASE, "name": "toy", **SIZES, **sizes})
    return config.load(DataPaths.__new__(DataPaths))


@pytest.fixture
def benchmark() -> FeatureBenchmark:
    return synthetic()


def same(a: splits.Split, b: splits.Split) -> bool:
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for name in ("train", "eval_seen", "eval_unseen", "unseen_classes")
    )


def test_the_test_phase_is_the_benchmark_s_own(benchmark: FeatureBenchmark) -> None:
    t = splits.test_split(benchmark)
    assert t.name == "test"
    assert t.train is benchmark.trainval
    assert t.eval_seen is benchmark.test_seen
    assert t.eval_unseen is benchmark.test_unseen
    np.testing.assert_array_equal(t.seen_classes, benchmark.seen_classes)
    np.testing.assert_array_equal(t.unseen_classes, benchmark.unseen_classes)


@pytest.mark.parametrize("seed", range(5))
def test_validation_uses_every_training_sample_once_and_no_test_sample(
    benchmark: FeatureBenchmark, seed: int
) -> None:
    v = splits.validation_split(benchmark, seed)
    assert v.name == "validation"
    np.testing.assert_array_equal(
        np.sort(np.concatenate([v.train, v.eval_seen, v.eval_unseen])), np.sort(benchmark.trainval)
    )
    labels = benchmark.labels
    assert len(v.unseen_classes) == 4, (
        "a quarter of the classes is unseen, so is a quarter of 15, rounded"
    )
    np.testing.assert_array_equal(np.unique(labels[v.train]), v.seen_classes)
    np.testing.assert_array_equal(np.unique(labels[v.eval_seen]), v.seen_classes)
    np.testing.assert_array_equal(np.unique(labels[v.eval_unseen]), v.unseen_classes)
    np.testing.assert_array_equal(
        np.union1d(v.seen_classes, v.unseen_classes), benchmark.seen_classes
    )
    for class_id in v.seen_classes:
        assert np.sum(labels[v.eval_seen] == class_id) == 2, "20 % of 8 is 1.6"
    for part in (v.train, v.eval_seen, v.eval_unseen, v.seen_classes, v.unseen_classes):
        assert part.dtype == np.int64


def test_the_seed_decides(benchmark: FeatureBenchmark) -> None:
    assert same(splits.validation_split(benchmark, 0), splits.validation_split(benchmark, 0))
    assert not same(splits.validation_split(benchmark, 0), splits.validation_split(benchmark, 1))


def test_the_authors_validation_classes_are_kept_for_every_seed(
    benchmark: FeatureBenchmark,
) -> None:
    chosen = benchmark.seen_classes[[3, 1]]
    b = replace(benchmark, validation_classes=chosen)
    for seed in (0, 1):
        np.testing.assert_array_equal(
            splits.validation_split(b, seed).unseen_classes, np.sort(chosen)
        )


def test_further_draws_have_other_validation_classes_as_many(benchmark: FeatureBenchmark) -> None:
    named = replace(benchmark, validation_classes=benchmark.seen_classes[:2])
    for published in (benchmark, named):
        drawn = [splits.validation_split(published, 0, draw) for draw in range(6)]
        assert len({tuple(split.unseen_classes) for split in drawn}) > 3
        assert len({len(split.unseen_classes) for split in drawn}) == 1
        for split in drawn:
            assert set(split.unseen_classes) <= set(published.seen_classes)
            index = np.concatenate([split.train, split.eval_seen, split.eval_unseen])
            assert set(index) == set(published.trainval)
        assert same(drawn[0], splits.validation_split(published, 0))
        assert same(drawn[3], splits.validation_split(published, 0, 3))
    assert not same(splits.validation_split(named, 0, 1), splits.validation_split(named, 1, 1))


def test_a_class_of_one_sample_keeps_it() -> None:
    labels = np.array([0, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2])
    kept, held = splits.hold_out(np.arange(13), labels, 0.2, np.random.default_rng(0))
    assert np.bincount(labels[held], minlength=3).tolist() == [0, 1, 2]
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(13))
    kept, held = splits.hold_out(np.arange(13), labels, 0.99, np.random.default_rng(0))
    assert np.bincount(labels[kept], minlength=3).tolist() == [1, 1, 1]


def test_too_few_classes_or_samples_for_validation_are_an_error(
    benchmark: FeatureBenchmark,
) -> None:
    with pytest.raises(
        DataError, match=r"found 14 validation classes among 15.*at least 2 other.*selection=last"
    ):
        splits.validation_split(
            replace(benchmark, validation_classes=benchmark.seen_classes[1:]), 0
        )
    two = benchmark.seen_classes[:2]
    b = benchmark.with_split(
        benchmark.trainval[np.isin(benchmark.labels[benchmark.trainval], two)],
        benchmark.test_seen[np.isin(benchmark.labels[benchmark.test_seen], two)],
        benchmark.test_unseen,
        None,
        benchmark.provenance,
    )
    with pytest.raises(
        DataError, match=r"found 2 seen classes; expected at least 3.*selection=last"
    ):
        splits.validation_split(b, 0)
    with pytest.raises(DataError, match=r"found one training sample in each class.*selection=last"):
        splits.validation_split(synthetic(samples_per_class=2), 0)


@pytest.mark.parametrize("seed", range(5))
def test_a_redrawn_split_has_the_same_counts_and_other_classes(
    benchmark: FeatureBenchmark, seed: int
) -> None:
    b = splits.redraw(benchmark, seed)
    assert len(b.seen_classes) == len(benchmark.seen_classes)
    assert len(b.unseen_classes) == len(benchmark.unseen_classes)
    assert not np.array_equal(b.unseen_classes, benchmark.unseen_classes)
    assert [len(part) for part in (b.trainval, b.test_seen, b.test_unseen)] == [120, 30, 50]
    np.testing.assert_array_equal(
        np.sort(np.concatenate([b.trainval, b.test_seen, b.test_unseen])), np.arange(200)
    )
    assert set(np.bincount(b.labels[b.test_seen])) <= {0, 2}
    assert b.validation_classes is None
    assert b.provenance.splits_version == f"random, split_seed={seed}"
    assert b.provenance.features_sha256 == benchmark.provenance.features_sha256
    assert b.features is benchmark.features


def test_redrawn_splits_are_told_apart_by_their_hash(benchmark: FeatureBenchmark) -> None:
    hashes = [splits.redraw(benchmark, seed).provenance.splits_sha256 for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert benchmark.provenance.splits_sha256 not in hashes


def with_more_classes(benchmark: FeatureBenchmark, count: int) -> FeatureBenchmark:
    """The benchmark with further classes that have semantics and no sample."""
    extra = np.random.default_rng(1).random((count, benchmark.semantics.shape[1]))
    return replace(
        benchmark,
        semantics=np.concatenate([benchmark.semantics, extra.astype(np.float32)]),
        class_names=(*benchmark.class_names, *(f"new {i}" for i in range(count))),
    )


def test_classes_without_samples_are_unseen_in_the_test_and_absent_from_validation(
    benchmark: FeatureBenchmark,
) -> None:
    more = with_more_classes(benchmark, 3)
    assert splits.test_split(more).unseen_classes.tolist() == [
        *benchmark.unseen_classes,
        20,
        21,
        22,
    ]
    assert more.untested_classes.tolist() == [20, 21, 22]
    v = splits.validation_split(more, 0)
    assert not np.isin([20, 21, 22], [*v.seen_classes, *v.unseen_classes]).any()


def test_many_classes_without_samples_leave_half_of_the_seen_ones_to_train_on(
    benchmark: FeatureBenchmark,
) -> None:
    v = splits.validation_split(with_more_classes(benchmark, 500), 0)
    assert len(v.unseen_classes) == round(len(benchmark.seen_classes) / 2 + 0.25)


def test_a_redrawn_split_trains_no_class_without_samples(benchmark: FeatureBenchmark) -> None:
    more = with_more_classes(benchmark, 3)
    for seed in range(5):
        drawn = splits.redraw(more, seed)
        assert drawn.untested_classes.tolist() == [20, 21, 22]
        assert len(drawn.unseen_classes) == len(benchmark.unseen_classes) + 3
        np.testing.assert_array_equal(drawn.trainval, splits.redraw(benchmark, seed).trainval)


def test_a_redrawn_split_without_test_seen_has_none(benchmark: FeatureBenchmark) -> None:
    without = replace(benchmark, test_seen=np.zeros(0, dtype=np.int64))
    assert len(splits.redraw(without, 0).test_seen) == 0


def test_a_benchmark_without_an_unseen_class_is_refused(benchmark: FeatureBenchmark) -> None:
    everything = np.arange(benchmark.num_samples)
    none = np.zeros(0, dtype=np.int64)
    with pytest.raises(DataError, match="so that none is unseen; expected at least one class"):
        replace(benchmark, trainval=everything, test_seen=none, test_unseen=none)


def test_validation_takes_the_authors_sets_of_classes_in_turn(benchmark: FeatureBenchmark) -> None:
    seen = benchmark.seen_classes
    b = replace(
        benchmark, validation_classes=seen[:3], more_validation_classes=(seen[3:6], seen[6:9])
    )
    found = [splits.validation_split(b, 0, draw).unseen_classes for draw in range(4)]
    for draw in range(3):
        np.testing.assert_array_equal(found[draw], seen[3 * draw : 3 * draw + 3])
    assert len(found[3]) == 3, "then as many are drawn"
    with pytest.raises(DataError, match="which is not a seen class"):
        replace(b, more_validation_classes=(benchmark.unseen_classes,))


def test_a_split_by_classes_trains_on_all_samples_of_the_others(
    benchmark: FeatureBenchmark,
) -> None:
    unseen = np.array([0, 7, 13])
    b = splits.split_by_classes(
        benchmark, unseen, [np.array([1, 2]), np.array([3])], version="by hand"
    )
    np.testing.assert_array_equal(b.unseen_classes, unseen)
    is_unseen = np.isin(benchmark.labels, unseen)
    np.testing.assert_array_equal(b.test_unseen, np.flatnonzero(is_unseen))
    np.testing.assert_array_equal(b.trainval, np.flatnonzero(~is_unseen))
    assert len(b.test_seen) == 0
    assert b.validation_classes is not None
    assert b.validation_classes.tolist() == [1, 2]
    assert [classes.tolist() for classes in b.more_validation_classes] == [[3]]
    assert b.provenance.splits_version == "by hand"
    assert b.provenance.splits_sha256 != benchmark.provenance.splits_sha256


@pytest.mark.parametrize("seed", [0, 1])
def test_a_split_by_classes_may_hold_seen_samples_back(
    benchmark: FeatureBenchmark, seed: int
) -> None:
    unseen = np.arange(5)
    b = splits.split_by_classes(
        benchmark, unseen, version="by hand", test_seen_fraction=0.3, seed=seed
    )
    assert set(np.bincount(b.labels[b.test_seen], minlength=20)[5:]) == {3}
    assert len(b.trainval) == 15 * 7
    assert b.provenance.splits_version == "by hand, 30% of each seen class in test_seen"
    other = splits.split_by_classes(
        benchmark, unseen, version="by hand", test_seen_fraction=0.3, seed=seed + 1
    )
    assert not np.array_equal(b.test_seen, other.test_seen)
