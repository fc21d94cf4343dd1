"""Marks of unknown values in class semantics: numbers such as -1 or 999 that mean "not known".

The published attributes of AwA1 and AwA2 have -1 for four attributes of the antelope, while all
others lie between 0 and 100. If such marks are taken as numbers, they change every metric.
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

#: numbers that mark unknown values if they are far from all others
_FAR = (99.0, 999.0, 9999.0, 99999.0, 999999.0, 255.0, 32767.0, 65535.0, 2147483647.0)
#: numbers that mark unknown values if no other number of the column is negative
_NEGATIVE = (-1.0, -9.0, -99.0, -999.0, -9999.0, -99999.0, -128.0, -32768.0, -2147483648.0)
#: factor by which a mark of `_FAR` is at least larger than all other numbers
_DISTANCE = 5
#: maximum share of marks in a table in which -1 might be an ordinary value
_SHARE = 0.1
#: minimum number of other values in a column with marks, in a table with negative numbers elsewhere
_ENOUGH = 8


def unknown_marks(semantics: FloatArray) -> Mask:
    """Whether each number of class semantics is a mark of an unknown value.

    Marks are 99, 999, ... and -99, -999, ... at least five times larger than all other numbers of
    their column; -1, -9, ... in a column without other negative numbers; and, in tables whose rows
    were scaled to a common length, what -1 became: the negative numbers of a class, if they are
    equal and the table has no other negative numbers.

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
    largest[~columns] = others.max()  # a column of marks only is compared with the table
    # 255 (-1 in 8 bits) needs a smaller distance: it cannot be a percentage
    distance = np.where(size == 255, _DISTANCE / 2, _DISTANCE)
    found = hits & (size >= distance * largest)
    # 99 may be an ordinary value if other columns have numbers of this size
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
        return np.zeros_like(hits)  # a code of -1, 0 and 1: no, unsure, yes
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
    """Replace each mark of an unknown value by the column's mean over the seen classes.

    Args:
        benchmark: A benchmark.

    Returns:
        The filled benchmark, or the same object if it has no mark; and the marks, bool ``[C, Q]``.
    """
    marks = unknown_marks(benchmark.semantics)
    if not marks.any():
        return benchmark, marks
    filled = filled_table(benchmark.semantics, marks, benchmark.seen_classes)
    return replace(benchmark, semantics=filled), marks


def filled_table(semantics: FloatArray, marks: Mask, classes: IntArray) -> FloatArray:
    """A copy of class semantics with marks replaced by means of their column.

    Args:
        semantics: ``[C, Q]``.
        marks: Whether each number is unknown, bool ``[C, Q]``.
        classes: Ids of the classes over which means are taken. Where a column has only marks for
            these, the mean is over all classes; where it has only marks, it is 0.
    """
    filled = semantics.copy()
    for column in np.flatnonzero(marks.any(axis=0)):
        known = ~marks[:, column]
        chosen = np.intersect1d(classes, np.flatnonzero(known))
        rows = chosen if len(chosen) else np.flatnonzero(known)
        value = semantics[rows, column].mean(dtype=np.float64) if len(rows) else 0.0
        filled[marks[:, column], column] = value
    return filled
