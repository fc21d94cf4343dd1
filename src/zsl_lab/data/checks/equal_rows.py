"""Equal rows of a table, found without comparing every pair."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import FloatArray, IntArray
from zsl_lab.files.rows import row_blocks

Array = npt.NDArray[Any]

#: largest squared distance of equal rows, relative to the sum of their squared lengths
_SAME = 1e-12
#: bytes at the beginning, in the middle and at the end of a row that are compared first
_SAMPLED = 64
#: largest distance, relative to their length, of rows that are equal up to rounding (to half
#: precision, or to a few decimals)
_ROUNDED = 1e-3
#: minimum number of columns: with fewer, different rows are as near by chance
_COLUMNS = 16
#: columns that are compared first, directions that they are projected onto, neighbours compared
_FIRST_COLUMNS, _DIRECTIONS, _NEIGHBOURS = 64, 4, 64
#: maximum number of values in the columns compared first: of large tables fewer columns are taken
_FIRST_NUMBERS = 2**24


def equal_rows(table: Array) -> IntArray:
    """For each row the index of the first row that is bit-equal to it (0 and -0 count as equal).

    Most rows already differ in a sample of their bytes; only the others are read as a whole.

    Args:
        table: ``[N, D]`` or ``[N, ...]``; may be a memory map.

    Returns:
        int64 ``[N]``; a row without an equal row before it has its own index.
    """
    first = np.arange(len(table), dtype=np.int64)
    candidates = _repeated(_sampled(table))
    seen: dict[bytes, int] = {}
    for row in candidates:
        values = np.ascontiguousarray(table[row])
        if values.dtype.kind == "f":
            values = values + values.dtype.type(0)  # -0 becomes 0
        first[row] = seen.setdefault(values.tobytes(), int(row))
    return first


def rounded_rows(table: FloatArray, first: IntArray) -> IntArray:
    """Like :func:`equal_rows`, for rows that are equal up to rounding.

    These are rows whose distance is at most a thousandth of their length: copies that were stored
    in half precision, or as text with a few decimals. Rows are sorted by a projection of some
    columns, so that equal rows are neighbours.

    Args:
        table: ``[N, D]``.
        first: The result of :func:`equal_rows`.

    Returns:
        int64 ``[N]``; ``first`` itself where D is less than 16.
    """
    rows = np.flatnonzero(first == np.arange(len(first)))
    width = table.shape[1]
    if width < _COLUMNS or len(rows) < 2:
        return first
    columns = max(_COLUMNS, min(_FIRST_COLUMNS, _FIRST_NUMBERS // len(table)))
    start = max(0, (width - columns) // 2)
    # copies: views would keep the pages of a mapped file in memory
    parts = [block[:, start : start + columns].copy() for block in row_blocks(table)]
    part = np.concatenate(parts)
    lengths = np.sqrt(np.einsum("ij,ij->i", part, part))
    places = (part @ _directions(part)) / np.where(lengths > 0, lengths, 1)[:, None]
    rows = rows[lengths[rows] > 0]
    rows = rows[np.argsort(places[rows, 0])]
    lines, found = np.ascontiguousarray(places[rows].T), first.copy()
    # of a difference of random direction, the largest projection to be expected: four standard
    # deviations
    reach = 4 * _ROUNDED / np.sqrt(part.shape[1])
    for lag in range(1, min(_NEIGHBOURS, len(rows))):
        near = np.flatnonzero(lines[0, lag:] - lines[0, :-lag] <= reach)
        if not len(near):
            break
        for line in lines[1:]:
            near = near[np.abs(line[near + lag] - line[near]) <= reach]
        for one, other in zip(rows[near], rows[near + lag], strict=True):
            if _is_rounded(table[one], table[other]):
                _join(found, int(one), int(other))
    return _roots(found)


def _directions(part: FloatArray) -> FloatArray:
    """Unit vectors ``[columns, directions]``; along the first one the rows vary most."""
    found = np.random.default_rng(0).standard_normal((part.shape[1], _DIRECTIONS))
    some = part[:: max(1, len(part) // (2 * part.shape[1]))].astype(np.float64)
    if np.isfinite(some).all():
        found[:, 0] = np.linalg.eigh(np.cov(some.T))[1][:, -1]
    unit: FloatArray = (found / np.linalg.norm(found, axis=0)).astype(np.float32)
    return unit


def _is_rounded(one: Array, other: Array) -> bool:
    exact, rounded = one.astype(np.float64), other.astype(np.float64)
    distance = float(np.linalg.norm(exact - rounded))
    return distance <= _ROUNDED * max(float(np.linalg.norm(exact)), float(np.linalg.norm(rounded)))


def _sampled(table: Array) -> Array:
    """A sample of each row's bytes, ``[N, bytes]``; those of equal rows are equal."""
    flat = table.reshape(len(table), -1)
    width = flat.shape[1]
    count = max(1, _SAMPLED // flat.dtype.itemsize)
    if width <= 3 * count:
        part = flat
    else:
        middle = (width - count) // 2
        columns = np.r_[:count, middle : middle + count, width - count : width]
        part = np.concatenate([block[:, columns] for block in row_blocks(flat)])
    if part.dtype.kind == "f":
        part = part + part.dtype.type(0)
    return np.ascontiguousarray(part).view(np.uint8).reshape(len(table), -1)


def _repeated(rows: npt.NDArray[np.uint8]) -> IntArray:
    """Indices, increasing, of the rows of bytes that occur (or seem to occur) more than once."""
    keys = rows.view(f"V{rows.shape[1]}").ravel()
    if rows.shape[1] >= 8:
        # a hash is sorted much faster than bytes; a collision only adds a row to be compared
        padded = np.zeros((len(rows), -(-rows.shape[1] // 8) * 8), dtype=np.uint8)
        padded[:, : rows.shape[1]] = rows
        words = padded.view(np.uint64)
        factors = np.random.default_rng(0).integers(1, 2**63, words.shape[1], dtype=np.uint64)
        keys = ((words ^ (words >> np.uint64(31))) * (factors * np.uint64(2) + np.uint64(1))).sum(
            axis=1, dtype=np.uint64
        )
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return np.flatnonzero(counts[inverse.ravel()] > 1)


def equal_classes(semantics: FloatArray) -> IntArray:
    """For each row the index of the first row that is equal to it up to rounding.

    Rows are equal if their squared distance is at most 1e-12 of the sum of their squared lengths.
    They are sorted by their projection onto one direction, so that equal rows are neighbours: this
    takes the time of a sort, and the memory of the table.

    Args:
        semantics: ``[C, Q]``.

    Returns:
        int64 ``[C]``; a row without an equal row before it has its own index.
    """
    exact = semantics.astype(np.float64)
    # scaled so that squares neither overflow nor underflow
    scale = np.abs(exact).max(initial=0.0)
    exact = exact / scale if scale > 0 else exact
    squares = (exact**2).sum(axis=1)
    direction = np.random.default_rng(0).standard_normal(exact.shape[1])
    direction /= np.linalg.norm(direction)
    position = exact @ direction
    order = np.argsort(position, kind="stable")
    first = np.arange(len(exact), dtype=np.int64)
    # no two equal rows are farther apart than this in any direction of length 1
    reach = np.sqrt(_SAME * 2 * squares) * (1 + 1e-6) + 1e-15 * np.sqrt(squares)
    for lag in range(1, len(order)):
        left, right = order[:-lag], order[lag:]
        near = position[right] - position[left] <= reach[left] + reach[right]
        left, right = left[near], right[near]
        apart = first[left] != first[right]
        if not apart.any():
            break  # no rows are near, or all near rows are known to be equal
        left, right = left[apart], right[apart]
        distance = ((exact[left] - exact[right]) ** 2).sum(axis=1)
        same = distance <= _SAME * (squares[left] + squares[right])
        for one, other in zip(left[same], right[same], strict=True):
            _join(first, int(one), int(other))
        first = _roots(first)
    return first


def twins(rows: FloatArray) -> tuple[int, int] | None:
    """Indices of the first two equal rows of ``[C, Q]``, up to rounding; None where all differ."""
    first = equal_classes(rows)
    later = np.flatnonzero(first != np.arange(len(first)))
    if not len(later):
        return None
    earliest = later[np.lexsort((later, first[later]))[0]]
    return int(first[earliest]), int(earliest)


def _join(first: IntArray, one: int, other: int) -> None:
    """Merge the groups of two rows."""
    one, other = _root(first, one), _root(first, other)
    first[max(one, other)] = min(one, other)


def _root(first: IntArray, row: int) -> int:
    while first[row] != row:
        row = int(first[row])
    return row


def _roots(first: IntArray) -> IntArray:
    """The first row of each row's group."""
    while (first[first] != first).any():
        first = first[first]
    return first
