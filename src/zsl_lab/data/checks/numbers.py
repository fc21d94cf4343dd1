"""Checks of features and semantics: numbers beyond single precision, columns of other units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import FloatArray, IntArray
from zsl_lab.data.checks.findings import Finding
from zsl_lab.data.checks.words import columns_text, count_text

#: number of rows that are examined where a sample is enough
PROBED = 64
#: sums of squares of numbers between these neither overflow nor underflow in float32
_LARGE, _SMALL = 1e15, 1e-15
#: ratio of a column's spread to its largest number below which float32 keeps at most two digits of
#: the differences
_PRECISION = 1e-5
#: share of the typical size below which a column counts as empty, not as one of other units
_NEGLIGIBLE = 1e-4
#: factors by which a column of other units is larger or smaller than the median column
_COLUMN_ABOVE, _COLUMN_BELOW = 30.0, 80.0
#: factor from which on a column is neither of the median size nor of other units: such a column
#: shows that sizes vary gradually
_GAP = 15.0


def off_columns(columns: npt.NDArray[np.float64], middle: float) -> IntArray:
    """Indices of columns of other units: far above or below the median size, with a gap between.

    Args:
        columns: Size of each column, ``[D]``.
        middle: The median size.
    """
    above, below = columns > _COLUMN_ABOVE * middle, columns * _COLUMN_BELOW < middle
    below &= columns > _NEGLIGIBLE * middle
    if ((columns > _GAP * middle) & (columns <= _COLUMN_ABOVE * middle)).any():
        above[:] = False
    if ((columns * _GAP < middle) & (columns * _COLUMN_BELOW >= middle)).any():
        below[:] = False
    return np.flatnonzero(above | below)


def check_scale(
    table: FloatArray, largest: float, where: str, what: str, remedy: str
) -> Iterator[Finding]:
    """Find numbers that float32, in which training computes, cannot represent well.

    Args:
        table: ``[N, D]``.
        largest: The largest absolute value.
        where: File and field, for the sentence.
        what: ``features`` or ``semantics``.
        remedy: Begins the way out.
    """
    if largest > _LARGE or 0 < largest < _SMALL:
        odd = "large" if largest > _LARGE else "small"
        yield Finding(
            "warning",
            f"{what}_scale",
            f"{where}: found {what} of up to {largest:.3g}; expected numbers whose squares single "
            f"precision holds ({_SMALL:.0e} to {_LARGE:.0e}). Methods compute with these, and lose "
            f"numbers as {odd} as that.",
            f"{remedy}, or set dataset.normalize"
            f"{'_semantics' if what == 'semantics' else ''}=standard.",
        )
        return
    if len(table) < 3:
        return
    probe = table[:: max(1, len(table) // PROBED)]
    size = np.abs(probe).max(axis=0).astype(np.float64)
    spread = np.ptp(probe, axis=0).astype(np.float64)
    lost = np.flatnonzero(
        (spread > 0) & (spread < _PRECISION * size) & (size > _NEGLIGIBLE * largest)
    )
    if len(lost):
        column = lost[0]
        yield Finding(
            "warning",
            f"{what}_precision",
            f"{where}: found {count_text(len(lost), 'column')} whose numbers differ by less than "
            f"{_PRECISION:.0e} of their size (column {column + 1}: {probe[0, column]:.8g} and "
            "similar ones); single precision, in which training computes, keeps seven digits.",
            "Subtract a constant from these columns before writing the file, or leave them out.",
        )


def check_rounding(
    table: npt.NDArray[np.generic], where: str, what: Literal["features", "semantics"]
) -> list[Finding]:
    """Find numbers that change their meaning in single precision, in which training computes.

    Args:
        table: ``[N, D]``, in the type that the file has.
        where: File and field, for the sentence.
        what: The content of the table.
    """
    if table.dtype.kind not in "iuf" or table.dtype.itemsize <= 2 or table.dtype == np.float32:
        return []
    probe = table[:: max(1, len(table) // 1024)]
    with np.errstate(over="ignore", under="ignore"):
        rounded = probe.astype(np.float32)
    vanished = int(((probe != 0) & (rounded == 0)).sum())
    merged = np.flatnonzero((np.ptp(probe, axis=0) > 0) & (np.ptp(rounded, axis=0) == 0))
    if not vanished and not len(merged):
        return []
    problems = []
    if vanished:
        problems.append(f"{count_text(vanished, 'number')} that become 0")
    if len(merged):
        problems.append(f"{columns_text(merged, ())} with numbers that differ and become equal")
    return [
        Finding(
            "warning",
            f"{what}_rounding",
            f"{where}: found {' and '.join(problems)} in single precision, in which training "
            f"computes; expected numbers of which seven digits suffice ({table.dtype}).",
            "Write the numbers in other units, or subtract a constant from these columns.",
        )
    ]
