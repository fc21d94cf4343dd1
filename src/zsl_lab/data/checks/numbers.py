"""Numbers that single precision loses, and columns of other units: for features and semantics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import FloatArray, IntArray
from zsl_lab.data.checks.findings import Finding
from zsl_lab.data.checks.words import columns_text, count_text

#: how many rows are looked at where a sample of them is enough
PROBED = 64
#: float32 holds squares of numbers between these, and sums of many
_LARGE, _SMALL = 1e15, 1e-15
#: spread of a column over its largest number, below which float32 keeps no more than two digits
_PRECISION = 1e-5
#: share of the typical size below which a column is taken as empty, not as one of other units
_NEGLIGIBLE = 1e-4
#: how many times larger or smaller a column is than the median one
_COLUMN_ABOVE, _COLUMN_BELOW = 30.0, 80.0
#: the same, from where on a column lies between the median one and those of other units
_GAP = 15.0


def off_columns(columns: npt.NDArray[np.float64], middle: float) -> IntArray:
    """Columns far above or below the median size; none where sizes in between are found too."""
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
    """Numbers that float32, in which training computes, loses."""
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
            "others alike); single precision, in which training computes, keeps seven digits.",
            "Subtract a constant from these columns before writing the file, or leave them out.",
        )


def check_rounding(
    table: npt.NDArray[np.generic], where: str, what: Literal["features", "semantics"]
) -> list[Finding]:
    """Check what single precision, in which training computes, makes of numbers.

    Args:
        table: ``[N, D]``, of the type that the file has.
        where: File and field, for the sentence.
        what: What the table holds.
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
