"""``metrics.csv``: one row per phase and step, appended in training, cut back on resuming."""

from __future__ import annotations

import csv
import io
import math
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from zsl_lab.files.atomic import atomic_write

FILE = "metrics.csv"
#: the phases of a run, with the number of the draw from the second on
_PHASE = re.compile(r"select(?:_([1-9][0-9]*))?|refit")
Row = dict[str, str | int | float]


class MetricsCSV(Logger):
    """Writes ``metrics.csv``, with the columns ``phase``, ``step`` and one for each logged name.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._path = Path(folder) / FILE
        self._rows = read_rows(self._path.parent)
        self._columns = list(dict.fromkeys(name for row in self._rows for name in row)) or [
            "phase",
            "step",
        ]
        self._written = len(self._rows)

    @property
    def name(self) -> str:
        """Empty: the file lies in the run's folder."""
        return ""

    @property
    def version(self) -> str:
        """Empty: the file lies in the run's folder."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: they are in ``config.yaml``."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add values named ``<phase>/<what>`` to the row of that phase and step."""
        for name, value in metrics.items():
            phase, _, column = name.partition("/")
            last = self._rows[-1] if len(self._rows) > self._written else {}
            if (last.get("phase"), last.get("step")) != (phase, step):
                last = {"phase": phase, "step": step or 0}
                self._rows.append(last)
            last[column] = value

    @rank_zero_only
    def save(self) -> None:
        """Append new rows; rewrite the file if there are new columns."""
        new = self._rows[self._written :]
        columns = list(dict.fromkeys([*self._columns, *(name for row in new for name in row)]))
        if columns != self._columns or not self._path.exists():
            self._columns = columns
            atomic_write(self._path, _text(self._rows, columns, header=True).encode())
        elif new:
            with self._path.open("a", encoding="utf-8", newline="") as file:
                file.write(_text(new, columns, header=False))
        self._written = len(self._rows)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the remaining rows."""
        self.save()


def read_rows(folder: Path) -> list[Row]:
    """The rows of a run's ``metrics.csv`` without empty cells; [] where there is no file.

    A run that is killed while it writes can leave an incomplete row, which is left out.
    """
    return _read(folder / FILE)[0]


def _read(path: Path) -> tuple[list[Row], list[int]]:
    """The complete rows of a file, and the numbers of its incomplete lines."""
    if not path.exists():
        return [], []
    lines = path.read_bytes().decode("utf-8", errors="replace").split("\n")
    columns = _cells(lines[0]) or []
    rows, incomplete = [], []
    # what follows the last newline is empty, or an incomplete line
    for number, line in enumerate(lines[1:-1], start=2):
        row = _row(columns, line)
        if row is None:
            incomplete.append(number)
        else:
            rows.append(row)
    return rows, incomplete + ([len(lines)] if lines[-1] else [])


def _row(columns: list[str], line: str) -> Row | None:
    """A line's values without empty cells; None if it does not fit the columns."""
    cells = _cells(line)
    if cells is None or len(cells) != len(columns):
        return None
    pairs = zip(columns, cells, strict=True)
    try:
        row = {name: _value(name, cell) for name, cell in pairs if cell}
    except ValueError:
        return None
    return row if _PHASE.fullmatch(str(row.get("phase"))) and "step" in row else None


def _cells(line: str) -> list[str] | None:
    try:
        return next(csv.reader([line]), None)
    except csv.Error:  # a NUL byte, as a power cut leaves them
        return None


def rewind(folder: Path, phase: str, step: int) -> None:
    """Remove the rows that a run logged after the checkpoint it resumes from.

    Args:
        folder: The run's folder.
        phase: Phase of the checkpoint; ``refit`` follows ``select`` and its further draws.
        step: Training step of the checkpoint.
    """
    found, incomplete = _read(folder / FILE)
    if incomplete:
        warnings.warn(
            f"{folder / FILE}: line {', '.join(map(str, incomplete[:3]))} is incomplete, as after "
            f"a run that was killed; it is left out, and {len(found)} rows are kept.",
            stacklevel=1,
        )
    last = (_order(phase), step)
    rows = [row for row in found if (_order(str(row["phase"])), int(row["step"])) <= last]
    columns = list(dict.fromkeys(["phase", "step", *(name for row in rows for name in row)]))
    atomic_write(folder / FILE, _text(rows, columns, header=True).encode())


def _order(phase: str) -> float:
    found = _PHASE.fullmatch(phase)
    return math.inf if found is None or phase == "refit" else int(found[1] or 1)


def _value(name: str, cell: str) -> str | int | float:
    return cell if name == "phase" else int(cell) if name == "step" else float(cell)


def _text(rows: list[Row], columns: list[str], *, header: bool) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
