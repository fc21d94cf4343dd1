"""The data check of class semantics: each kind of fault has its code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.helpers.sound_data import codes, one, sound
from zsl_lab.data.checks.check import check
from zsl_lab.data.checks.semantics import check_semantics

RNG = np.random.default_rng(0)


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


def test_the_sentence_names_file_field_class_and_column() -> None:
    table = sound().semantics.copy()
    table[3, 1] = -1
    finding = one(check(sound(semantics=table)), "semantics_unknown")
    assert finding.sentence.startswith("memory: field 'semantics': found 1 number that")
    assert "'d' in column 2" in finding.sentence
    assert finding.classes == ("d",)
