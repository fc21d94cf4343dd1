"""How findings of the data check name places, rows, classes and columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import Benchmark, IntArray

#: how many rows, classes or columns a sentence names
SHOWN = 3
#: how many rows and classes a finding lists
LISTED = 100


def place(benchmark: Benchmark, name: str) -> str:
    """File and field that an attribute was read from."""
    provenance = benchmark.provenance
    file, field = provenance.sources.get(name, (provenance.origin, name))
    return f"{file}: field '{field}'"


def first_rows(rows: npt.NDArray[np.generic]) -> tuple[int, ...]:
    """Rows that a finding lists."""
    return tuple(int(row) for row in rows[:LISTED])


def groups_text(groups: Sequence[Sequence[str]]) -> str:
    """Groups of names of classes, a few of them."""
    shown = "; ".join(names_text(names) for names in groups[:SHOWN])
    more = f"; and {len(groups) - SHOWN} more groups" if len(groups) > SHOWN else ""
    return shown + more


def rows_text(rows: IntArray) -> str:
    """Numbers of rows, a few of them."""
    shown = ", ".join(str(int(row)) for row in rows[:SHOWN])
    return f"row {shown}{', ...' if len(rows) > SHOWN else ''}, 0-based"


def names_of(benchmark: Benchmark, ids: IntArray) -> list[str]:
    """Names of classes by their ids, each once."""
    return [benchmark.class_names[class_id] for class_id in np.unique(ids)]


def names_text(names: Sequence[str]) -> str:
    """Quoted names, a few of them."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:SHOWN]) + more


def classes_text(names: Sequence[str]) -> str:
    """Names of classes, a few of them, after "the class" or "the classes"."""
    return f"the class{'es' if len(names) > 1 else ''} {names_text(names)}"


def columns_text(columns: npt.NDArray[np.generic], attributes: Sequence[str]) -> str:
    """Numbers of columns, counted from 1, with their attributes; a few of them."""
    shown = [
        f"{int(column) + 1}" + (f" ({attributes[int(column)]})" if attributes else "")
        for column in columns[: SHOWN + 1]
    ]
    more = f" and {len(columns) - SHOWN - 1} more" if len(columns) > SHOWN + 1 else ""
    return f"column{'s' if len(columns) > 1 else ''} {', '.join(shown)}{more}"


def count_text(number: int, singular: str, plural: str = "") -> str:
    """A number and what it counts."""
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"
