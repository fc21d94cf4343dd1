"""Marks of unknown values are found, and filled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.helpers.sound_data import sound
from zsl_lab.data.checks.unknown import fill_unknown, unknown_marks

RNG = np.random.default_rng(0)


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
