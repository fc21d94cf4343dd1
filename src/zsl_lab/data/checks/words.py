"""Names of fields, rows, classes and columns in the sentences of the data check."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import Benchmark, IntArray

#: maximum number of rows, classes or columns that a sentence names
SHOWN = 3
#: maximum number of rows and of classes that a finding lists
LISTED = 100


def place(benchmark: Benchmark, name: str) -> str:
    """The file and the field that an attribute of the benchmark was read from, for a sentence."""
    provenance = benchmark.provenance
    file, field = provenance.sources.get(name, (provenance.origin, name))
    return f"{file}: field '{field}'"


def first_rows(rows: npt.NDArray[np.generic]) -> tuple[int, ...]:
    """The first :data:`LISTED` rows, for a finding."""
    return tuple(int(row) for row in rows[:LISTED])


def groups_text(groups: Sequence[Sequence[str]]) -> str:
    """The first groups of class names, and the number of further groups."""
    shown = "; ".join(names_text(names) for names in groups[:SHOWN])
    more = f"; and {len(groups) - SHOWN} more groups" if len(groups) > SHOWN else ""
    return shown + more


def rows_text(rows: IntArray) -> str:
    """The first row numbers: ``row 3, 5, 8, ..., 0-based``."""
    shown = ", ".join(str(int(row)) for row in rows[:SHOWN])
    return f"row {shown}{', ...' if len(rows) > SHOWN else ''}, 0-based"


def names_of(benchmark: Benchmark, ids: IntArray) -> list[str]:
    """Names of classes by their ids, without repetitions."""
    return [benchmark.class_names[class_id] for class_id in np.unique(ids)]


def names_text(names: Sequence[str]) -> str:
    """The first names, quoted, and the number of further names."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:SHOWN]) + more


def classes_text(names: Sequence[str]) -> str:
    """The first class names after "the class" or "the classes"."""
    return f"the class{'es' if len(names) > 1 else ''} {names_text(names)}"


def columns_text(columns: npt.NDArray[np.generic], attributes: Sequence[str]) -> str:
    """The first column numbers, counted from 1, with their attributes: ``columns 1 (big), 4``."""
    shown = [
        f"{int(column) + 1}" + (f" ({attributes[int(column)]})" if attributes else "")
        for column in columns[: SHOWN + 1]
    ]
    more = f" and {len(columns) - SHOWN - 1} more" if len(columns) > SHOWN + 1 else ""
    return f"column{'s' if len(columns) > 1 else ''} {', '.join(shown)}{more}"


def count_text(number: int, singular: str, plural: str = "") -> str:
    """A number with its noun: ``1 row``, ``2 rows``."""
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"
