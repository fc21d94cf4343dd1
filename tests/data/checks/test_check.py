"""The data check: kinds of faults are named, and sound data are not."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from zsl_lab.data.benchmark import FeatureBenchmark, ImageBenchmark
from zsl_lab.data.checks.check import check, check_features, check_rounding, check_semantics
from zsl_lab.data.checks.equal_rows import equal_classes, equal_rows, rounded_rows, twins
from zsl_lab.data.checks.findings import Finding, refuse, warn, with_reader_findings
from zsl_lab.data.checks.unknown import fill_unknown, unknown_marks
from zsl_lab.errors import DataError

RNG = np.random.default_rng(0)
CLASSES, PER_CLASS = 6, 5


def sound(**changes: Any) -> FeatureBenchmark:
    """Six classes of five samples; the last two are unseen, the fifth sample is test_seen."""
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(CLASSES), PER_CLASS)
    index = np.arange(len(labels))
    seen = labels < 4
    fields = {
        "name": "toy",
        "features": rng.normal(size=(len(labels), 40)).astype(np.float32),
        "semantics": rng.uniform(0.5, 100, size=(CLASSES, 7)).astype(np.float32),
        "labels": labels,
        "class_names": tuple("abcdef"),
        "trainval": index[seen & (index % PER_CLASS < 4)],
        "test_seen": index[seen & (index % PER_CLASS == 4)],
        "test_unseen": index[~seen],
    }
    return FeatureBenchmark(**(fields | changes))


def codes(found: list[Finding]) -> set[str]:
    return {finding.code for finding in found}


def one(found: list[Finding], code: str) -> Finding:
    (finding,) = [finding for finding in found if finding.code == code]
    return finding


def with_rows(pairs: list[tuple[int, int]]) -> FeatureBenchmark:
    features = sound().features.copy()
    for copy, original in pairs:
        features[copy] = features[original]
    return sound(features=features)


def test_nothing_is_found_in_sound_data() -> None:
    assert check(sound()) == []


# ------------------------------------------------------------------------------- equal rows


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


def test_rows_equal_but_for_rounding_are_those_of_a_comparison_of_all_pairs() -> None:
    rng = np.random.default_rng(4)
    table = np.maximum(rng.normal(size=(3000, 200)), 0).astype(np.float32)
    table[2000:2100] = table[:100].astype(np.float16)
    table[2100:2200] *= rng.uniform(0.99, 1.01, (100, 1)).astype(np.float32)
    expected = np.arange(3000)
    expected[2000:2100] = np.arange(100)
    assert rounded_rows(table, equal_rows(table)).tolist() == expected.tolist()


def test_few_columns_are_near_by_chance() -> None:
    table = RNG.uniform(size=(2000, 3)).astype(np.float32)
    assert rounded_rows(table, equal_rows(table)).tolist() == list(range(2000))


@pytest.mark.parametrize("width", [1, 3, 16, 47, 48, 49, 200, 1280])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.float64])
def test_equal_rows_are_those_of_a_comparison_of_all_pairs(width: int, dtype: Any) -> None:
    table = RNG.integers(0, 3, size=(60, width)).astype(dtype)
    table[40:50] = table[10:20]
    table[50, -1] += 1
    table[51] = table[50]
    expected = [next(j for j in range(60) if (table[j] == table[i]).all()) for i in range(60)]
    assert equal_rows(table).tolist() == expected


def test_minus_zero_is_zero() -> None:
    table = np.zeros((2, 60), np.float32)
    table[1, 3] = -0.0
    assert equal_rows(table).tolist() == [0, 0]


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


def test_equal_classes_are_those_of_a_comparison_of_all_pairs() -> None:
    table = RNG.normal(size=(80, 5)).astype(np.float32)
    table[[7, 30, 31]] = table[2]
    table[50] = table[41] * np.float32(1 + 1e-7)
    table[60:64] = 0
    squares = (table.astype(np.float64) ** 2).sum(1)
    distance = ((table[:, None].astype(np.float64) - table) ** 2).sum(2)
    same = distance <= 1e-12 * (squares[:, None] + squares)
    assert equal_classes(table).tolist() == same.argmax(1).tolist()
    assert twins(table) == (2, 7)


def test_twins_of_many_classes_take_little_memory_and_time() -> None:
    table = RNG.normal(size=(20_000, 16)).astype(np.float32)
    assert twins(table) is None
    table[19_999] = table[4]
    assert twins(table) == (4, 19_999)
    assert twins(np.zeros((20_000, 16), np.float32)) == (0, 1)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_twins_are_found_at_every_magnitude(size: float) -> None:
    table = (RNG.normal(size=(9, 4)) * size).astype(np.float32)
    assert twins(table) is None
    table[5] = table[1]
    assert twins(table) == (1, 5)


# ------------------------------------------------------------------------------- features


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


@pytest.mark.parametrize("size", [1e30, 1e-30, 1e20, 1e-19])
def test_magnitudes_that_single_precision_loses_are_named(size: float) -> None:
    benchmark = sound()
    scaled = (benchmark.features.astype(np.float64) * size).astype(np.float32)
    assert "features_scale" in codes(check(replace(benchmark, features=scaled)))
    table = (benchmark.semantics.astype(np.float64) * size).astype(np.float32)
    assert "semantics_scale" in codes(check(replace(benchmark, semantics=table)))


def test_one_number_beyond_all_others_is_enough() -> None:
    features = sound().features.copy()
    features[17, 5] = -1e30
    assert "features_scale" in codes(check_features(features, "f"))


def test_small_differences_of_large_numbers_are_named() -> None:
    stamps = 1.6e9 + np.arange(30.0)[:, None] * np.ones((1, 3))
    assert codes(check_rounding(stamps, "f", "features")) == {"features_rounding"}
    assert codes(check_rounding(np.full((3, 2), 1e-60), "f", "features")) == {"features_rounding"}
    assert check_rounding(RNG.normal(size=(30, 3)), "f", "features") == []


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


# ------------------------------------------------------------------------------- semantics


def semantics(change: Any) -> set[str]:
    table = RNG.uniform(1, 100, size=(8, 10)).astype(np.float32)
    change(table)
    return codes(check_semantics(table, list("abcdefgh"), "s"))


def put(place: Any, value: Any) -> Any:
    def change(table: Any) -> None:
        table[place] = value(table) if callable(value) else value

    return change


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (put(2, 0), "semantics_zero"),
        (put(2, 7), "semantics_constant"),
        (put(2, lambda table: table[5]), "semantics_equal"),
        (put((slice(None), 3), lambda table: table[:, 3] * 50), "semantics_unit_column"),
        (put((slice(None), 3), lambda table: table[:, 3] / 100), "semantics_unit_column"),
        (put(4, lambda table: table[4] * 100), "semantics_unit_class"),
        (put(4, lambda table: table[4] / 100), "semantics_unit_class"),
        (put((4, 2), 1500), "semantics_unit_value"),
        (put((4, 2), -1), "semantics_unknown"),
        (put((slice(0, 3), 2), -9), "semantics_unknown"),
        (put((4, 2), 999), "semantics_unknown"),
        (put((4, 2), -999), "semantics_unknown"),
        (put((4, slice(0, 4)), 9999), "semantics_unknown"),
        (put((4, 2), 65535), "semantics_unknown"),
        (put((4, 2), 255), "semantics_unknown"),
        (put((4, 2), -128), "semantics_unknown"),
        (put((4, 2), -5), "semantics_exception"),
        (put(2, lambda table: table[5] * 2), "semantics_proportional"),
        (put((slice(None), 3), 7), "semantics_constant_columns"),
    ],
)
def test_each_fault_of_class_semantics_has_its_code(change: Any, code: str) -> None:
    assert semantics(lambda table: None) == set()
    assert code in semantics(change)


def test_a_number_beside_a_code_of_two_values_is_named() -> None:
    table = RNG.integers(0, 2, size=(20, 12)).astype(np.float32)
    table[3, 4] = 9
    finding = one(check_semantics(table, [f"k{i}" for i in range(20)], "s"), "semantics_exception")
    assert "9 for 'k3' in column 5, where all others are 0 or 1" in finding.sentence
    assert finding.classes == ("k3",)


@pytest.mark.parametrize(
    "table",
    [
        RNG.normal(size=(20, 30)),
        RNG.integers(0, 2, size=(20, 30)),
        RNG.integers(-2, 3, size=(20, 30)),
        RNG.uniform(0, 100, size=(20, 30)).round(),
        RNG.poisson(0.3, size=(20, 30)),
        np.eye(12),
    ],
)
def test_no_number_of_a_usual_table_is_an_exception(table: Any) -> None:
    names = [str(i) for i in range(len(table))]
    found = codes(check_semantics(table.astype(np.float32), names, "s"))
    assert not found & {"semantics_exception", "semantics_proportional"}


@pytest.mark.parametrize(
    "table",
    [
        RNG.normal(size=(20, 30)),
        RNG.normal(size=(20, 30)).round(1),
        RNG.integers(-1, 2, size=(20, 30)),
        RNG.choice([-1, 1], size=(20, 30)),
        RNG.integers(-2, 3, size=(20, 30)),
        RNG.integers(0, 2, size=(20, 30)),
        RNG.uniform(0, 1000, size=(20, 30)).round(),
        np.eye(9),
    ],
)
def test_tables_of_signed_numbers_and_codes_have_no_marks(table: Any) -> None:
    assert not unknown_marks(table.astype(np.float32)).any()


def test_marks_are_found_where_classes_were_scaled_to_length_1() -> None:
    table = RNG.uniform(0, 100, size=(12, 15))
    table[4, :3] = -1
    table[7, 1] = -1
    unit = (table / np.linalg.norm(table, axis=1, keepdims=True)).astype(np.float32)
    assert np.argwhere(unknown_marks(unit)).tolist() == [[4, 0], [4, 1], [4, 2], [7, 1]]


def test_unknown_numbers_become_the_mean_of_the_column_over_the_seen_classes() -> None:
    benchmark = sound()
    table = benchmark.semantics.copy()
    table[0, 2] = table[5, 3] = -1
    filled, marks = fill_unknown(replace(benchmark, semantics=table))
    assert np.argwhere(marks).tolist() == [[0, 2], [5, 3]]
    assert filled.semantics[0, 2] == pytest.approx(table[1:4, 2].mean())
    assert filled.semantics[5, 3] == pytest.approx(table[:4, 3].mean())
    assert (filled.semantics[~marks] == table[~marks]).all()
    assert fill_unknown(benchmark)[0] is benchmark


def test_the_sentence_names_file_field_class_and_column() -> None:
    table = sound().semantics.copy()
    table[3, 1] = -1
    finding = one(check(sound(semantics=table)), "semantics_unknown")
    assert finding.sentence.startswith("memory: field 'semantics': found 1 number that")
    assert "'d' in column 2" in finding.sentence
    assert finding.classes == ("d",)


# ------------------------------------------------------------------------------- classes


def test_one_unseen_class_makes_zsl_top1_meaningless() -> None:
    benchmark = sound()
    single = replace(benchmark, test_unseen=benchmark.test_unseen[:PER_CLASS])
    assert one(check(single), "one_unseen_class").classes == ("e",)


def test_classes_without_samples_are_a_note() -> None:
    benchmark = sound()
    table = np.concatenate([benchmark.semantics, benchmark.semantics[:1] + 1])
    (finding,) = check(replace(benchmark, semantics=table, class_names=tuple("abcdefg")))
    assert (finding.level, finding.classes) == ("note", ("g",))


def test_samples_in_no_part_of_the_split_are_a_note() -> None:
    benchmark = sound()
    (finding,) = check(replace(benchmark, trainval=benchmark.trainval[2:]))
    assert (finding.level, finding.code, finding.rows) == ("note", "samples_unused", (0, 1))


@pytest.mark.parametrize(
    "name", ["A ", "a_", "\N{CYRILLIC SMALL LETTER A}", "a\N{ZERO WIDTH SPACE}", "\uff41"]
)
def test_names_that_look_alike_are_named(name: str) -> None:
    finding = one(check(sound(class_names=(*"abcde", name))), "class_names_alike")
    assert finding.classes == ("a", name)


def test_numbers_tell_names_apart() -> None:
    assert check(sound(class_names=("1.a", "2.a", "a 3", "a4", "5a", "a"))) == []


# ------------------------------------------------------------------------------- findings


def test_strict_refuses_errors_and_warnings_and_lists_all() -> None:
    found = [Finding("note", "n", "A note.", ""), Finding("warning", "w", "Bad.", "Mend it.")]
    with pytest.raises(DataError, match=r"check=strict: .*found 1 problem; .*\n- warning: Bad\. M"):
        refuse(found, "toy")
    refuse(found[:1], "toy")


def test_notes_stay_silent_and_warnings_do_not() -> None:
    with pytest.warns(UserWarning, match=r"^Bad\. Mend it\.$") as caught:
        warn([Finding("note", "n", "A note.", ""), Finding("warning", "w", "Bad.", "Mend it.")])
    assert len(caught) == 1


def test_warnings_of_a_reader_become_findings() -> None:
    def read() -> int:
        warnings.warn("file.mat: left out x.", stacklevel=1)
        return 3

    value, found = with_reader_findings(read)
    assert value == 3
    assert [finding.sentence for finding in found] == ["file.mat: left out x."]
    assert check(sound(), found) == list(found)
