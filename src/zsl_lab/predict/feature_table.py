"""Feature vectors from a table of text (``.csv``)."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np

from zsl_lab.data.benchmark import FloatArray
from zsl_lab.errors import DataError

_DELIMITERS = (",", ";", "\t")
_WAYS_OUT = "Correct the file, or save the features with np.save (features=FILE.npy)."


def read_feature_table(
    path: Path, origin: str, feature_dim: int
) -> tuple[FloatArray, tuple[str, ...] | None]:
    """Read a table with a row a sample.

    A first line that holds anything but numbers, or just counts the columns, is a header. A first
    column before the D others is the samples' names if it is text, or an index if it counts the
    rows.

    Args:
        path: Numbers separated by commas, semicolons, tabs or spaces.
        origin: Begins messages.
        feature_dim: D.

    Returns:
        float32 ``[N, columns]`` and the samples' names; None where it has none.

    Raises:
        DataError: The file is missing, no text, or a cell is no number.
    """
    lines = _rows(_text(path, origin), origin)
    if not lines:
        raise DataError(f"{origin}: found an empty file; expected a row a sample. {_WAYS_OUT}")
    width = len(lines[-1][1])
    if _is_header(lines[0][1]):
        header = lines.pop(0)[1]
        if not lines:
            raise DataError(
                f"{origin}: found a first line of names and no row below it; expected a row a "
                f"sample. {_WAYS_OUT}"
            )
        if len(header) == width - 1:  # as R writes it: the names of rows have none
            header = ["", *header]
    for line, cells in lines:
        if len(cells) != width:
            raise DataError(
                f"{origin}: line {line}: found {len(cells)} cells; expected {width}, as in the "
                f"last line. {_WAYS_OUT}"
            )
    names, start = _first_column([cells[0] for _, cells in lines], width, feature_dim)
    rows = np.empty((len(lines), width - start), dtype=np.float32)
    for number, (line, cells) in enumerate(lines):
        with np.errstate(over="ignore"):
            try:
                rows[number] = np.array(cells[start:], dtype=np.float64)
            except ValueError:
                raise _no_number(origin, line, cells, start) from None
    return rows, names


def _text(path: Path, origin: str) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{origin}: cannot be read ({error.strerror or error}); expected a table of numbers. "
            f"{_WAYS_OUT}"
        ) from error
    try:
        if b"\0" in content:
            raise ValueError
        return content.decode("utf-8-sig")
    except ValueError:
        raise DataError(
            f"{origin}: found a file that is no text in UTF-8; expected a table of numbers. "
            f"{_WAYS_OUT}"
        ) from None


def _rows(text: str, origin: str) -> list[tuple[int, list[str]]]:
    """Line number and cells of each row that is not empty."""
    # the last line has no names, which may hold any separator
    last = text.rstrip().rpartition("\n")[2]
    delimiter = max(_DELIMITERS, key=last.count)
    if ";" in last and delimiter == ",":  # 0,5;0,25: decimal commas
        delimiter = ";"
    found = []
    try:
        if not any(separator in last for separator in _DELIMITERS):
            split = [(n, line.split()) for n, line in enumerate(text.splitlines(), 1)]
            return [(number, cells) for number, cells in split if cells]
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                found.append((reader.line_num, cells))
    except csv.Error as error:
        raise DataError(f"{origin}: cannot be read as a table ({error}). {_WAYS_OUT}") from error
    return found


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


def _first_column(
    cells: list[str], width: int, feature_dim: int
) -> tuple[tuple[str, ...] | None, int]:
    """The samples' names, and how many columns come before the features."""
    values = [_number(cell) for cell in cells]
    if width == feature_dim + 1:
        if all(value is None for value in values):
            return tuple(cells), 1
        for first in (0, 1):
            if values == list(range(first, first + len(values))):
                return None, 1
    return None, 0


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
