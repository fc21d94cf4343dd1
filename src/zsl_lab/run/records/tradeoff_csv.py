"""``tradeoff.csv``: seen and unseen accuracy against a constant added to unseen classes' scores."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from zsl_lab.errors import DataError
from zsl_lab.files.atomic import atomic_write
from zsl_lab.files.bounded import read_bounded
from zsl_lab.files.escaping import one_line

FILE = "tradeoff.csv"
#: a curve has a point for each test sample, of about 30 bytes
_MAX_BYTES = 2**23
HEADS = ("constant", "seen", "unseen")


@dataclass(frozen=True)
class Point:
    """A point of the curve.

    Attributes:
        constant: Added to the method's scores of unseen classes, from -inf (all samples predicted
            as seen) to inf.
        seen: Accuracy on samples of seen classes, in percent.
        unseen: On samples of unseen classes.
    """

    constant: float
    seen: float
    unseen: float


def write(folder: Path, points: Iterable[tuple[float, float, float]]) -> None:
    """Write the curve.

    Args:
        folder: The run's folder.
        points: As :meth:`ZeroShotMetrics.tradeoff` returns them.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(HEADS)
    writer.writerows(
        (f"{constant:.9g}", f"{seen:.4f}", f"{unseen:.4f}") for constant, seen, unseen in points
    )
    atomic_write(folder / FILE, buffer.getvalue().encode())


def read(folder: Path) -> list[Point]:
    """Read the curve of a run; [] where there is no file.

    Raises:
        DataError: The file is damaged.
    """
    path = folder / FILE
    try:
        text = read_bounded(path, _MAX_BYTES).decode()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, f"cannot be read ({error})") from error
    try:
        rows = list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise _damaged(path, f"found no table ({error})") from error
    if not rows or tuple(rows[0]) != HEADS:
        found = one_line(",".join(rows[0])) if rows else "nothing"
        raise _damaged(path, f"line 1: found {found}; expected {','.join(HEADS)}")
    return [_point(row, path, number) for number, row in enumerate(rows[1:], 2)]


def _point(row: list[str], path: Path, line: int) -> Point:
    try:
        constant, seen, unseen = map(float, row)
    except ValueError as error:
        raise _damaged(
            path, f"line {line}: found {one_line(','.join(row))}; expected three numbers"
        ) from error
    if math.isnan(constant) or not (0 <= seen <= 100 and 0 <= unseen <= 100):
        raise _damaged(
            path,
            f"line {line}: found {','.join(row)}; expected a constant and two accuracies from 0 to "
            "100",
        )
    return Point(constant, seen, unseen)


def _damaged(path: Path, found: str) -> DataError:
    return DataError(
        f"{path}: {found}. Test the run again (task=test ckpt=RUN), or remove the file: the report "
        "then leaves its curve out."
    )
