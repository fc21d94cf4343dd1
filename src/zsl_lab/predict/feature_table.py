"""Feature vectors from a table of text (``.csv``)."""

from __future__ import annotations

import csv
import itertools
import math
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import FloatArray
from zsl_lab.errors import DataError
from zsl_lab.files.rows import RowBuffer

#: features of at least this many bytes are kept in a temporary file
_LARGE = 2**26
#: cells that are converted at once, and bytes at the end of a file that are read first
_AT_A_TIME, _TAIL = 2**20, 2**16
_DELIMITERS = (",", ";", "\t")
_WAYS_OUT = "Correct the file, or save the features with np.save (features=FILE.npy)."


@dataclass
class _FirstColumn:
    """Finds out whether the first cells of the rows are names or an index.

    Attributes:
        names: The cells; None once one of them is a number.
        count_from: The number that the cells count the rows from; None if they do not count them.
        rows: Number of cells so far.
    """

    names: list[str] | None = field(default_factory=list)
    count_from: int | None = None
    rows: int = 0

    def add(self, cell: str) -> None:
        """Take the next row's cell into account."""
        value = _number(cell)
        if value is not None:
            self.names = None
        elif self.names is not None:
            self.names.append(cell)
        if self.rows == 0:
            self.count_from = int(value) if value in (0, 1) else None
        elif self.count_from is not None and value != self.count_from + self.rows:
            self.count_from = None
        self.rows += 1


def read_feature_table(
    path: Path, origin: str, feature_dim: int, folder: Path | None = None
) -> tuple[FloatArray, tuple[str, ...] | None]:
    """Read a table with a row a sample, some rows at a time.

    A first line that holds anything but numbers, or just counts the columns, is a header. A first
    column before the D others is the samples' names if it is text, or an index if it counts the
    rows.

    Args:
        path: Numbers separated by commas, semicolons, tabs or spaces.
        origin: The beginning of messages.
        feature_dim: D.
        folder: Where a temporary file is written if there are many rows; None for the system's
            temporary folder.

    Returns:
        float32 ``[N, columns]``, mapped from a temporary file where it is large, and the samples'
        names; None where it has none.

    Raises:
        DataError: The file is missing, no text, or a cell is no number.
        OutputError: The temporary file cannot be written.
    """
    last = _last_line(path, origin)
    delimiter = _delimiter(last)
    cells = next((cells for _, cells in _rows([last], delimiter, origin)), None)
    if cells is None:
        raise DataError(f"{origin}: found an empty file; expected a row a sample. {_WAYS_OUT}")
    table = _Table(path, origin, delimiter, len(cells))
    if table.width != feature_dim + 1:
        return table.numbers(0, None, folder), None
    first = _FirstColumn()
    rows = table.numbers(1, first, folder)
    if first.names is not None:
        return rows, tuple(first.names)
    # without an index, all columns are features: one too many, which the caller reports
    return (rows if first.count_from is not None else table.numbers(0, None, folder)), None


@dataclass(frozen=True)
class _Table:
    """A table of text.

    Attributes:
        path: The file.
        origin: The beginning of messages.
        delimiter: Separates cells; None for spaces.
        width: Number of cells of a row.
    """

    path: Path
    origin: str
    delimiter: str | None
    width: int

    def numbers(self, start: int, first: _FirstColumn | None, folder: Path | None) -> FloatArray:
        """The cells of all rows from column ``start`` on; the first cells are given to ``first``.

        Args:
            start: 0-based.
            first: Takes the first cells; None where they are numbers too.
            folder: As of :func:`read_feature_table`.
        """
        found = RowBuffer(folder, _LARGE)
        at_a_time = max(1, _AT_A_TIME // self.width)
        block: list[npt.NDArray[np.float32]] = []
        for line, cells in self._samples():
            if first is not None:
                first.add(cells[0])
            with np.errstate(over="ignore"):
                try:
                    row = np.array(cells[start:], dtype=np.float64).astype(np.float32)
                except ValueError:
                    raise _no_number(self.origin, line, cells, start) from None
            block.append(row)
            if len(block) == at_a_time:
                found.append(np.stack(block))
                block = []
        if block:
            found.append(np.stack(block))
        return found.array()

    def _samples(self) -> Iterator[tuple[int, list[str]]]:
        """Line number and cells of each row below the header."""
        rows = _rows(_lines(self.path, self.origin), self.delimiter, self.origin)
        first = next(rows)
        if _is_header(first[1]):
            following = next(rows, None)
            if following is None:
                raise DataError(
                    f"{self.origin}: found a first line of names and no row below it; expected a "
                    f"row a sample. {_WAYS_OUT}"
                )
            first = following
        for line, cells in itertools.chain([first], rows):
            if len(cells) != self.width:
                raise DataError(
                    f"{self.origin}: line {line}: found {len(cells)} cells; expected {self.width}, "
                    f"as in the last line. {_WAYS_OUT}"
                )
            yield line, cells


@contextmanager
def _reading(origin: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{origin}: cannot be read ({error.strerror or error}); expected a table of numbers. "
            f"{_WAYS_OUT}"
        ) from error
    except UnicodeDecodeError:
        raise _no_text(origin) from None


def _no_text(origin: str) -> DataError:
    return DataError(
        f"{origin}: found a file that is no text in UTF-8; expected a table of numbers. {_WAYS_OUT}"
    )


def _lines(path: Path, origin: str) -> Iterator[str]:
    """The lines of a file of text, with their ends."""
    with _reading(origin), path.open(encoding="utf-8-sig", newline="") as file:
        for line in file:
            if "\0" in line:
                raise _no_text(origin)
            yield line


def _last_line(path: Path, origin: str) -> str:
    """The last line that holds more than separators; empty where there is none."""
    end = b""
    with _reading(origin), path.open("rb") as file:
        left = file.seek(0, os.SEEK_END)
        while left:
            step = min(left, max(_TAIL, len(end)))  # doubled, for a file of one line
            left -= step
            file.seek(left)
            end = file.read(step) + end
            lines = [line for line in re.split(rb"[\r\n]", end) if line.strip(b" \t,;")]
            # the first of several lines may be cut at its beginning
            if len(lines) > 1 or (lines and not left):
                return lines[-1].decode("utf-8-sig")
            if not lines:
                end = b""
    return ""


def _delimiter(last: str) -> str | None:
    """What separates cells; None for spaces.

    Args:
        last: The last line, since a header may have names that contain any separator.
    """
    last = last.rstrip()
    if not any(separator in last for separator in _DELIMITERS):
        return None
    delimiter = max(_DELIMITERS, key=last.count)
    # 0,5;0,25: decimal commas
    return ";" if ";" in last and delimiter == "," else delimiter


def _rows(
    lines: Iterable[str], delimiter: str | None, origin: str
) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row that is not empty."""
    if delimiter is None:
        split = ((number, line.split()) for number, line in enumerate(lines, 1))
        yield from ((number, cells) for number, cells in split if cells)
        return
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"{origin}: cannot be read as a table ({error}). {_WAYS_OUT}") from error


def _is_header(cells: list[str]) -> bool:
    """Whether a first line holds names: no number in most cells, or the columns' numbers."""
    values = [_number(cell) for cell in cells]
    if len(values) > 2 and values[-1] is not None:
        # a data frame without names, with its index or without
        counted = values if values[0] is not None else values[1:]
        for first in (0, 1):
            if counted == list(range(first, first + len(counted))):
                return True
    words = sum(value is None and bool(cell) for value, cell in zip(values, cells, strict=True))
    return words > 1 or (len(cells) == 1 and words == 1)


def _number(cell: str) -> float | None:
    try:
        value = float(cell) if "_" not in cell else None
    except ValueError:
        return None
    return value


def _no_number(origin: str, line: int, cells: list[str], start: int) -> DataError:
    column = next(i for i in range(start, len(cells)) if _number(cells[i]) is None)
    cell = cells[column]
    if not cell:
        found, hint = "nothing", "Fill the cell, or take the row out."
    elif (value := _number(cell.replace(",", "."))) is not None and math.isfinite(value):
        found, hint = f"'{cell}'", "Write it with a point as decimal mark."
    else:
        found, hint = f"'{cell[:40]}'", "Take the column or the row out."
    return DataError(
        f"{origin}: line {line}, column {column + 1}: found {found}; expected a number. {hint} "
        f"{_WAYS_OUT}"
    )
