"""``metrics.csv``: one row per phase and step, appended in training, cut back on resuming."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from zsl_lab.files.atomic import atomic_write

FILE = "metrics.csv"
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
    """The rows of a run's ``metrics.csv`` without empty cells; [] where there is no file."""
    path = folder / FILE
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: _value(name, cell) for name, cell in row.items() if cell} for row in rows]


def rewind(folder: Path, phase: str, step: int) -> None:
    """Remove the rows that a run logged after the checkpoint it resumes from.

    Args:
        folder: The run's folder.
        phase: Phase of the checkpoint; ``refit`` follows ``select``.
        step: Training step of the checkpoint.
    """
    order = ("select", "refit")
    rows = [
        row
        for row in read_rows(folder)
        if (order.index(str(row["phase"])), int(row["step"])) <= (order.index(phase), step)
    ]
    columns = list(dict.fromkeys(["phase", "step", *(name for row in rows for name in row)]))
    atomic_write(folder / FILE, _text(rows, columns, header=True).encode())


def _value(name: str, cell: str) -> str | int | float:
    return cell if name == "phase" else int(cell) if name == "step" else float(cell)


def _text(rows: list[Row], columns: list[str], *, header: bool) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
