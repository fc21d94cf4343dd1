"""Marks of unknown values in class semantics: numbers that stand for "nobody knows".

The published attributes of AwA1 and AwA2 have -1 for four attributes of the antelope, where all
others lie between 0 and 100. Taken as numbers such marks change every metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import FloatArray, IntArray, VectorBenchmark

Mask = npt.NDArray[np.bool_]
V = TypeVar("V", bound=VectorBenchmark)

#: numbers that mark unknown values where they are far from all others
_FAR = (99.0, 999.0, 9999.0, 99999.0, 999999.0, 255.0, 32767.0, 65535.0, 2147483647.0)
#: numbers that mark unknown values where no other is negative
_NEGATIVE = (-1.0, -9.0, -99.0, -999.0, -9999.0, -99999.0, -128.0, -32768.0, -2147483648.0)
#: how many times larger than all other numbers a mark of `_FAR` is
_DISTANCE = 5
#: largest share of marks in a table in which -1 might be a value like others
_SHARE = 0.1
#: other numbers that a column needs for a judgement where the table has negative ones elsewhere
_ENOUGH = 8


def unknown_marks(semantics: FloatArray) -> Mask:
    """Which numbers of class semantics are marks of unknown values.

    These are 99, 999, ... and -99, -999, ... that are at least five times larger than all other
    numbers of their column; -1, -9, ... in a column without other negative numbers; and numbers
    that were -1 before each class was scaled to a common length: equal negative numbers of a class
    in a table that has no others.

    Args:
        semantics: ``[C, Q]``.

    Returns:
        bool ``[C, Q]``.
    """
    table = semantics.astype(np.float64)
    found = _far(table)
    found |= _negative(table, found)
    return found | _scaled(table, found)


def _far(table: npt.NDArray[np.float64]) -> Mask:
    size = np.abs(table)
    hits = _among(size, _FAR)
    if not hits.any() or hits.all():
        return np.zeros(table.shape, dtype=bool)
    others = np.where(hits, 0.0, size)
    largest = others.max(axis=0)
    columns = (~hits).any(axis=0)
    largest[~columns] = others.max()  # nothing else in the column: compared with the table
    # 255, what 8 bits make of -1, is no percentage either
    distance = np.where(size == 255, _DISTANCE / 2, _DISTANCE)
    found = hits & (size >= distance * largest)
    # two digits may well be a value where other columns have such
    sure: Mask = (size > 100) | (size >= _DISTANCE * others.max())
    result: Mask = found & sure
    return result


def _among(table: npt.NDArray[np.float64], values: Sequence[float]) -> Mask:
    found = np.zeros(table.shape, dtype=bool)
    for value in values:  # much faster than np.isin for so few
        found |= table == value
    return found


def _negative(table: npt.NDArray[np.float64], known: Mask) -> Mask:
    hits = _among(table, _NEGATIVE) & ~known
    if not hits.any():
        return hits
    rest = ~hits & ~known
    columns = ((table >= 0) | ~rest).all(axis=0)
    found = hits & columns
    if not found.any():
        return found
    values = np.unique(table[rest])
    if len(values) < 2:
        return np.zeros_like(hits)  # -1 and 1, say: a code of two values
    coded = bool((values == np.round(values)).all()) and float(np.abs(values).max()) <= 9
    share = float(found.mean())
    if (table[rest] < 0).any():
        # negative numbers elsewhere: signed values, unless these columns are of another kind
        if coded:
            return np.zeros_like(hits)
        found &= (rest.sum(axis=0) >= _ENOUGH)[None, :]
    elif set(values) <= {0.0, 1.0} and share > _SHARE:
        return np.zeros_like(hits)  # no, unsure, yes
    return found


def _scaled(table: npt.NDArray[np.float64], known: Mask) -> Mask:
    negative = (table < 0) & ~known
    share = float(negative.mean())
    if not 0 < share <= _SHARE or (~negative).sum() < 2 * _ENOUGH:
        return np.zeros_like(negative)
    lengths = np.linalg.norm(table, axis=1)
    unit = bool(np.ptp(lengths) <= 1e-3 * lengths.max())
    for row in np.flatnonzero(negative.any(axis=1)):
        values = table[row][negative[row]]
        if np.ptp(values) > 1e-6 * abs(values[0]) or not (unit or len(values) > 1):
            return np.zeros_like(negative)
    return negative


def fill_unknown(benchmark: V) -> tuple[V, Mask]:
    """Put the mean of the column over the seen classes in the place of each mark.

    Args:
        benchmark: A benchmark.

    Returns:
        The benchmark, the same object where it has no mark; and the marks, bool ``[C, Q]``.
    """
    marks = unknown_marks(benchmark.semantics)
    if not marks.any():
        return benchmark, marks
    filled = filled_table(benchmark.semantics, marks, benchmark.seen_classes)
    return replace(benchmark, semantics=filled), marks


def filled_table(semantics: FloatArray, marks: Mask, classes: IntArray) -> FloatArray:
    """Class semantics with means in the place of marks.

    Args:
        semantics: ``[C, Q]``.
        marks: Which numbers are unknown, bool ``[C, Q]``.
        classes: Ids of the classes whose mean is taken; of all classes where these have only marks
            in a column, and 0 where all have.
    """
    filled = semantics.copy()
    for column in np.flatnonzero(marks.any(axis=0)):
        known = ~marks[:, column]
        chosen = np.intersect1d(classes, np.flatnonzero(known))
        rows = chosen if len(chosen) else np.flatnonzero(known)
        value = semantics[rows, column].mean(dtype=np.float64) if len(rows) else 0.0
        filled[marks[:, column], column] = value
    return filled
