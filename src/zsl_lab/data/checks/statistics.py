"""Statistics of the columns of a table, with which new rows are compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Float64Array = npt.NDArray[np.float64]

#: rows of a table that are added at once
_BLOCK = 4096
#: numbers converted to double precision at once: they are read four times, so they should stay in
#: the CPU's cache
_CONVERTED = 2**17


@dataclass(frozen=True, eq=False)
class ColumnStatistics:
    """Statistics of a table ``[N, D]``.

    Attributes:
        rows: N.
        low: The smallest value of each column, float64 ``[D]``.
        high: The largest value of each column.
        mean: The mean of each column.
        std: The standard deviation of each column.
        norms: The smallest, the mean and the largest Euclidean norm of a row, ``[3]``.
    """

    rows: int
    low: Float64Array
    high: Float64Array
    mean: Float64Array
    std: Float64Array
    norms: Float64Array

    @classmethod
    def of(cls, table: npt.NDArray[Any], index: npt.NDArray[Any] | None = None) -> ColumnStatistics:
        """Compute the statistics.

        Args:
            table: ``[N, D]``.
            index: Indices of the rows to use; None for all.
        """
        return cls.of_blocks(_blocks(table, index), table.shape[1])

    @classmethod
    def of_blocks(cls, blocks: Iterable[npt.NDArray[Any]], columns: int) -> ColumnStatistics:
        """Compute the statistics of rows that come in blocks ``[n, D]``, at least one row each."""
        running = RunningStatistics(columns)
        for block in blocks:
            running.add(block)
        return running.result()

    def state(self) -> dict[str, int | Tensor]:
        """Plain values for a checkpoint."""
        arrays = {
            field.name: torch.from_numpy(getattr(self, field.name))
            for field in fields(self)
            if field.name != "rows"
        }
        return {"rows": self.rows, **arrays}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], columns: int) -> ColumnStatistics:
        """The statistics that :meth:`state` describes.

        Args:
            state: The plain values.
            columns: D.

        Raises:
            ValueError: If ``state`` is not of this form.
        """
        rows = state.get("rows")
        if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
            raise ValueError(f"the number of training samples is {rows!r}")
        arrays = {}
        for field in fields(cls):
            if field.name == "rows":
                continue
            found = state.get(field.name)
            length = 3 if field.name == "norms" else columns
            if not isinstance(found, Tensor) or found.shape != (length,):
                raise ValueError(
                    f"the statistic '{field.name}' of the features does not have shape [{length}]"
                )
            arrays[field.name] = found.double().numpy()
            if not np.isfinite(arrays[field.name]).all():
                raise ValueError(f"the statistic '{field.name}' of the features is not finite")
        return cls(rows, **arrays)


class RunningStatistics:
    """Computes the statistics of rows that are added in blocks.

    Args:
        columns: D.
    """

    def __init__(self, columns: int) -> None:
        self._rows = 0
        self._low, self._high = np.full(columns, np.inf), np.full(columns, -np.inf)
        self._mean, self._squares = np.zeros(columns), np.zeros(columns)
        self._norms = [np.inf, 0.0, 0.0]

    def add(self, block: npt.NDArray[Any]) -> None:
        """Add rows ``[n, D]``, at least one."""
        rows = max(1, _CONVERTED // block.shape[1])
        for start in range(0, len(block), rows):
            self._add(block[start : start + rows].astype(np.float64))

    def _add(self, block: Float64Array) -> None:
        """Add a few rows; the block is overwritten."""
        count, total = len(block), self._rows + len(block)
        self._low = np.minimum(self._low, block.min(0))
        self._high = np.maximum(self._high, block.max(0))
        norms = np.sqrt(np.einsum("nd,nd->n", block, block))
        low, sum_, high = self._norms
        self._norms = [min(low, norms.min()), sum_ + norms.sum(), max(high, norms.max())]
        mean = block.mean(0)
        delta = mean - self._mean
        block -= mean
        # Chan et al.: accurate even where means are far larger than deviations
        squares = np.einsum("nd,nd->d", block, block)
        self._squares += squares + delta**2 * self._rows * count / total
        self._mean += delta * count / total
        self._rows = total

    def result(self) -> ColumnStatistics:
        """The statistics of all rows added."""
        low, total, high = self._norms
        return ColumnStatistics(
            self._rows,
            self._low,
            self._high,
            self._mean,
            np.sqrt(self._squares / self._rows),
            np.array([low, total / self._rows, high]),
        )


def _blocks(table: npt.NDArray[Any], index: npt.NDArray[Any] | None) -> Iterator[npt.NDArray[Any]]:
    count = len(table) if index is None else len(index)
    for start in range(0, count, _BLOCK):
        part = slice(start, start + _BLOCK)
        yield table[part if index is None else index[part]]
