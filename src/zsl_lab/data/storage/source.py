"""Feature vectors, in memory or on disk, that are read by ranges of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from zsl_lab.data.storage.arrays import Array, FloatArray, IntArray, float32

#: bytes that are read at once in a pass over all rows
PASS_BYTES = 2**24
#: largest gap, in bytes, between two wanted rows that is read too rather than skipped
_GAP_BYTES = 2**17


class FeatureSource(Protocol):
    """Feature vectors ``[N, D]``, read by ranges of rows.

    Attributes:
        shape: ``(N, D)``.
        dtype: The type in which the numbers are stored.
        constant: Whether the numbers stay as they are.
    """

    @property
    def constant(self) -> bool:
        """Whether the numbers stay as they are."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(N, D)``."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type in which the numbers are stored."""

    def __len__(self) -> int:
        """N."""

    def read(self, start: int, stop: int) -> Array:
        """Rows ``start`` to ``stop`` (exclusive) in the stored type; not to be written to."""

    def take(self, index: IntArray) -> Array:
        """Rows in any order, ``[n, D]``."""


class ArraySource:
    """Feature vectors in memory.

    Args:
        array: ``[N, D]``.
    """

    def __init__(self, array: Array) -> None:
        self._array = array

    @property
    def constant(self) -> bool:
        """Whether the array cannot be written to."""
        return not self._array.flags.writeable

    @property
    def shape(self) -> tuple[int, int]:
        """``(N, D)``."""
        rows, columns = self._array.shape
        return rows, columns

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the array."""
        return self._array.dtype

    def __len__(self) -> int:
        """N."""
        return len(self._array)

    def read(self, start: int, stop: int) -> Array:
        """A view of the rows."""
        return self._array[start:stop]

    def take(self, index: IntArray) -> Array:
        """A copy of the rows."""
        return self._array[index]


def rows_in(source: FeatureSource, size: int) -> int:
    """Number of rows that fit into ``size`` bytes, at least 1."""
    return max(1, size // (source.shape[1] * source.dtype.itemsize))


def blocks(source: FeatureSource, rows: int | None = None) -> Iterator[tuple[int, FloatArray]]:
    """All rows in their order, as float32.

    Args:
        source: ``[N, D]``.
        rows: Rows of a block; None for as many as fit into :data:`PASS_BYTES`.

    Yields:
        The index of a block's first row, and the block ``[n, D]``.
    """
    size = rows or rows_in(source, PASS_BYTES)
    for start in range(0, len(source), size):
        yield start, float32(source.read(start, min(start + size, len(source))))


def indexed_blocks(
    source: FeatureSource, index: IntArray, rows: int | None = None
) -> Iterator[FloatArray]:
    """The rows ``index`` in blocks, as float32."""
    size = rows or rows_in(source, PASS_BYTES)
    for start in range(0, len(index), size):
        yield float32(source.take(index[start : start + size]))


def gather(source: FeatureSource, index: IntArray) -> Array:
    """Rows in any order, read in the order of the source.

    Args:
        source: ``[N, D]``.
        index: Rows, ``[n]``.

    Returns:
        ``[n, D]`` in the stored type.
    """
    out = np.empty((len(index), source.shape[1]), dtype=source.dtype)
    order = np.argsort(index, kind="stable")
    rows = index[order]
    for first, last in _runs(rows, rows_in(source, _GAP_BYTES), rows_in(source, PASS_BYTES)):
        begin = int(rows[first])
        block = source.read(begin, int(rows[last - 1]) + 1)
        out[order[first:last]] = block[rows[first:last] - begin]
    return out


def _runs(rows: IntArray, gap: int, most: int) -> Iterator[tuple[int, int]]:
    """Ranges of increasing ``rows`` that are read at once, of at most ``most`` rows each."""
    ends = np.append(np.flatnonzero(np.diff(rows) > gap) + 1, len(rows))
    first = 0
    for end in ends:
        while first < end:
            last = int(np.searchsorted(rows[first:end], rows[first] + most)) + first
            yield first, last
            first = last
