"""Equal rows and classes are those of a comparison of all pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zsl_lab.data.checks.equal_rows import equal_classes, equal_rows, rounded_rows, twins

RNG = np.random.default_rng(0)


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
