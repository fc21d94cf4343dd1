"""The data check of samples: copies, degenerate rows, other scales."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.helpers.sound_data import codes, one, sound
from zsl_lab.data.benchmark import FeatureBenchmark, ImageBenchmark
from zsl_lab.data.checks.check import check
from zsl_lab.data.checks.samples import check_features

RNG = np.random.default_rng(0)


def with_rows(pairs: list[tuple[int, int]]) -> FeatureBenchmark:
    features = sound().features.copy()
    for copy, original in pairs:
        features[copy] = features[original]
    return sound(features=features)


def test_samples_of_test_that_are_trained_on_are_named() -> None:
    found = check(with_rows([(4, 0), (9, 7), (25, 1)]))
    seen = one(found, "equal_rows_trainval_test_seen")
    assert seen.level == "warning"
    assert seen.rows == (4, 9)
    assert seen.classes == ("a", "b")
    assert "2 of the 4 samples of test_seen" in seen.sentence
    assert one(found, "equal_rows_trainval_test_unseen").rows == (25,)
    mixed = one(found, "equal_rows_classes")
    assert mixed.rows == (25,)
    assert mixed.classes == ("a", "f")


def test_copies_within_a_class_and_part_are_a_note() -> None:
    (finding,) = check(with_rows([(2, 0), (3, 0)]))
    assert (finding.level, finding.code, finding.rows) == ("note", "equal_rows", (2, 3))


def test_equal_samples_of_test_seen_and_test_unseen_are_of_different_classes() -> None:
    assert codes(check(with_rows([(20, 4)]))) == {"equal_rows_classes"}


@pytest.mark.parametrize(
    "rounding",
    [
        lambda row: row * (1 + 1e-6),
        lambda row: row.round(4),
        lambda row: row.astype(np.float16),
        lambda row: row + np.float32(1e-5),
    ],
)
def test_rows_that_are_equal_but_for_rounding_are_found(rounding: Any) -> None:
    features = sound().features.copy()
    features[4], features[25] = rounding(features[0]), rounding(features[1])
    found = check(sound(features=features))
    seen = one(found, "equal_rows_trainval_test_seen")
    assert seen.rows == (4,)
    assert "row 4 is equal to row 0 but for rounding, 0-based" in seen.sentence
    assert one(found, "equal_rows_classes").rows == (25,)


def test_equal_images_are_found() -> None:
    images = RNG.integers(0, 255, size=(30, 6, 6, 3), dtype=np.uint8)
    images[29] = images[0]
    other = sound()
    benchmark = ImageBenchmark(
        name="toy",
        images=images,
        descriptions=("one", "two", "three", "four", "five", " five "),
        **{
            name: getattr(other, name)
            for name in ("labels", "class_names", "trainval", "test_seen", "test_unseen")
        },
    )
    found = check(benchmark)
    assert one(found, "equal_rows_trainval_test_unseen").rows == (29,)
    assert one(found, "semantics_equal").classes == ("e", "f")


@pytest.mark.parametrize("noise", [0.0, 1e-8])
def test_features_that_are_all_equal_are_an_error(noise: float) -> None:
    features = (0.3 + noise * RNG.normal(size=(30, 40))).astype(np.float32)
    (finding,) = check(sound(features=features))
    assert (finding.level, finding.code) == ("error", "features_all_equal")
    assert "30 equal rows" in finding.sentence


def test_degenerate_features_are_named() -> None:
    features = sound().features.copy()
    features[[3, 8]] = 0
    assert one(check_features(features, "f"), "features_zero").rows == (3, 8)
    assert "features_one_dimension" in codes(check_features(features[:, :1], "f"))
    constant = features.copy()
    constant[:, 4:] = 1
    assert "36 of 40" in one(check_features(constant, "f"), "features_constant_columns").sentence


def test_one_number_beyond_all_others_is_enough() -> None:
    features = sound().features.copy()
    features[17, 5] = -1e30
    assert "features_scale" in codes(check_features(features, "f"))


@pytest.mark.parametrize(
    ("place", "value", "code"),
    [
        ((17, 5), 1e12, "features_unit_sample"),
        ((17, 5), -999, "features_unit_sample"),
        (17, lambda row: row * 1e4, "features_unit_sample"),
        (17, lambda row: row / 1e4, "features_unit_sample"),
        (slice(0, 12), lambda rows: rows / np.linalg.norm(rows, axis=1)[:, None], "unit_sample"),
        (slice(3, 5), -1, "features_constant"),
        ((slice(None), 7), lambda column: column * 1e3, "features_unit_column"),
        ((slice(None), 7), lambda column: np.arange(len(column)) * 1e3, "features_unit_column"),
    ],
)
def test_rows_and_columns_of_another_scale_are_named(place: Any, value: Any, code: str) -> None:
    features = sound().features.copy()
    features[place] = value(features[place]) if callable(value) else value
    assert any(found.endswith(code) for found in codes(check_features(features, "f")))


def test_rows_of_another_scale_are_counted_with_the_farthest_one() -> None:
    features = sound().features.copy()
    features[9] *= 1e4
    features[17] *= 1e6
    finding = one(check_features(features, "f"), "features_unit_sample")
    assert finding.rows == (9, 17)
    assert "found 2 rows of features far off the others" in finding.sentence
    assert "in row 17, 0-based" in finding.sentence
