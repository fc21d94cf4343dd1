"""The data check of class semantics (tables of numbers) and of descriptions (texts)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import FloatArray, ImageBenchmark, IntArray, VectorBenchmark
from zsl_lab.data.checks.equal_rows import equal_classes
from zsl_lab.data.checks.findings import Finding
from zsl_lab.data.checks.numbers import PROBED, check_scale, off_columns
from zsl_lab.data.checks.unknown import Mask, unknown_marks
from zsl_lab.data.checks.words import (
    LISTED,
    SHOWN,
    classes_text,
    columns_text,
    count_text,
    groups_text,
    place,
)

#: factor by which a number of other units is larger than those of all other classes in its column
_CELL_ABOVE = 12.0
#: factor by which a row of other units is longer or shorter than the median row
_ROW_ABOVE = 20.0
#: maximum share of a table's numbers that count as exceptions
_EXCEPTIONS = 0.01
#: minimum number of values of a table that is examined for exceptions
_ENOUGH_NUMBERS = 50


def check_semantics(
    semantics: FloatArray,
    class_names: Sequence[str],
    where: str,
    attributes: Sequence[str] = (),
) -> list[Finding]:
    """Check class semantics, without samples.

    Args:
        semantics: ``[C, Q]``, unscaled.
        class_names: Names of the C classes.
        where: File and field, for the sentences.
        attributes: Names of the Q columns; empty where they have none.
    """
    found: list[Finding] = []
    size = np.abs(semantics).max(axis=1)
    zero = np.flatnonzero(size == 0)
    if len(zero):
        names = [class_names[int(i)] for i in zero]
        found.append(
            Finding(
                "warning",
                "semantics_zero",
                f"{where}: found only zeros for {classes_text(names)}; expected numbers that "
                f"describe {'each class' if len(names) > 1 else 'it'}. No method can recognise a "
                "class without a description.",
                "Describe these classes, or leave them out.",
                classes=tuple(names[:LISTED]),
            )
        )
    constant = np.flatnonzero((np.ptp(semantics, axis=1) <= 1e-6 * size) & (size > 0))
    coded = len(np.unique(semantics[:, : SHOWN * 8])) <= 2  # yes and no: a class may have all
    if len(constant) and semantics.shape[1] > 1 and not coded:
        names = [class_names[int(i)] for i in constant]
        found.append(
            Finding(
                "warning",
                "semantics_constant",
                f"{where}: found the same number in all {semantics.shape[1]:,} columns for "
                f"{classes_text(names)}; expected numbers that differ.",
                "Describe these classes, or leave them out.",
                classes=tuple(names[:LISTED]),
            )
        )
    groups: dict[int, list[str]] = {}
    first = equal_classes(semantics)
    for row in np.flatnonzero(size > 0):
        groups.setdefault(int(first[row]), []).append(class_names[int(row)])
    equal = [names for names in groups.values() if len(names) > 1]
    if equal:
        found.append(_coinciding(where, equal, "semantics"))
    found += _check_proportional(semantics, first, class_names, where)
    found += _check_constant_attributes(semantics, where, attributes)
    marks = unknown_marks(semantics)
    found += _check_exceptions(semantics, marks, class_names, where, attributes)
    if marks.any():
        found.append(_unknown(semantics, marks, class_names, where, attributes))
    largest, remedy = float(size.max(initial=0)), "Write them in other units"
    found += check_scale(semantics, largest, where, "semantics", remedy)
    found += _check_units(np.where(marks, 0, semantics), class_names, where, attributes)
    return found


def _check_proportional(
    semantics: FloatArray, first: IntArray, class_names: Sequence[str], where: str
) -> Iterator[Finding]:
    """Classes with different semantics that become equal once each row is scaled to length 1.

    Args:
        semantics: ``[C, Q]``.
        first: For each class the first class with equal unscaled semantics.
        class_names: Names of the C classes.
        where: File and field, for the sentence.
    """
    lengths = np.linalg.norm(semantics.astype(np.float64), axis=1)
    rows = np.flatnonzero(lengths > 0)
    if semantics.shape[1] < SHOWN or not np.isfinite(lengths).all():
        return
    groups: dict[int, list[int]] = {}
    unit = (semantics[rows] / lengths[rows, None]).astype(np.float32)
    for row, leader in zip(rows.tolist(), equal_classes(unit), strict=True):
        groups.setdefault(int(leader), []).append(row)
    pairs = [
        [class_names[row] for row in group]
        for group in groups.values()
        if len({int(first[row]) for row in group}) > 1
    ]
    if pairs:
        yield Finding(
            "warning",
            "semantics_proportional",
            f"{where}: found semantics that are the same but for a factor: {groups_text(pairs)}; "
            "expected different proportions for each class. Scaled to length 1 such classes cannot "
            "be told apart.",
            "Describe them differently, or scale columns instead of classes "
            "(dataset.normalize_semantics=standard or minmax).",
            classes=tuple(name for names in pairs for name in names)[:LISTED],
        )


def _check_constant_attributes(
    semantics: FloatArray, where: str, attributes: Sequence[str]
) -> Iterator[Finding]:
    constant = np.flatnonzero(np.ptp(semantics, axis=0) == 0)
    if len(constant) and len(semantics) > SHOWN:
        yield Finding(
            "note",
            "semantics_constant_columns",
            f"{where}: found the same number for all classes in "
            f"{columns_text(constant, attributes)} of {semantics.shape[1]:,}. They tell no class "
            "from another.",
            "Nothing need be done, unless their numbers were lost.",
        )


def _check_exceptions(
    semantics: FloatArray,
    marks: Mask,
    class_names: Sequence[str],
    where: str,
    attributes: Sequence[str],
) -> Iterator[Finding]:
    """Few numbers unlike all others: negative among positive ones, or neither of two values."""
    if semantics.size < _ENOUGH_NUMBERS or min(semantics.shape) < 4:
        return
    few = max(1, int(_EXCEPTIONS * semantics.size))
    odd, others = (semantics < 0) & ~marks, "none of the others is below 0"
    if not 0 < odd.sum() <= few:
        probe = semantics[:: max(1, len(semantics) // PROBED)]
        if len(np.unique(probe)) > max(_ENOUGH_NUMBERS, probe.size // 2):
            return  # not a code of two values; sorting all numbers of a large table takes long
        values, counts = np.unique(semantics[~marks], return_counts=True)
        if len(values) < 3 or len(values) > 2 + few:
            return
        common = np.sort(values[np.argsort(counts)[-2:]])
        odd = ~np.isin(semantics, common) & ~marks
        others = f"all others are {common[0]:.4g} or {common[1]:.4g}"
        if odd.sum() > few or counts.min() == counts.max():
            return
    row, column = np.argwhere(odd)[0]
    names = [class_names[int(i)] for i in np.flatnonzero(odd.any(axis=1))]
    yield Finding(
        "warning",
        "semantics_exception",
        f"{where}: found {count_text(int(odd.sum()), 'number')} unlike all others "
        f"({semantics[row, column]:.4g} for '{class_names[int(row)]}' in "
        f"{columns_text(np.array([column]), attributes)}, where {others}); expected numbers of one "
        "kind. It may mark an unknown value, and is taken as a number.",
        "Write the true numbers into the table, or leave those columns out.",
        classes=tuple(names[:LISTED]),
    )


def check_texts(benchmark: ImageBenchmark) -> Iterator[Finding]:
    """Find classes with the same text."""
    where = place(benchmark, "descriptions")
    classes: dict[str, list[str]] = {}
    for name, text in zip(benchmark.class_names, benchmark.descriptions, strict=True):
        classes.setdefault(" ".join(text.split()), []).append(name)
    equal = [names for names in classes.values() if len(names) > 1]
    if equal:
        yield _coinciding(where, equal, "description")


def _coinciding(where: str, groups: Sequence[Sequence[str]], what: str) -> Finding:
    return Finding(
        "warning",
        "semantics_equal",
        f"{where}: found the same {what} for different classes: {groups_text(groups)}; expected "
        f"{what} of its own for each class. Such classes cannot be told apart.",
        "Describe them differently, or merge them.",
        classes=tuple(name for names in groups for name in names)[:LISTED],
    )


def unknown_finding(benchmark: VectorBenchmark, marks: Mask) -> Finding:
    """The finding about marks of unknown values.

    Args:
        benchmark: The benchmark with the marks.
        marks: Whether each number is a mark, bool ``[C, Q]``
            (:func:`zsl_lab.data.checks.unknown.unknown_marks`).
    """
    return _unknown(
        benchmark.semantics,
        marks,
        benchmark.class_names,
        place(benchmark, "semantics"),
        benchmark.recipe.attributes,
    )


def _unknown(
    semantics: FloatArray,
    marks: Mask,
    class_names: Sequence[str],
    where: str,
    attributes: Sequence[str],
) -> Finding:
    rows = np.flatnonzero(marks.any(axis=1))
    shown = [
        f"'{class_names[row]}' in {columns_text(np.flatnonzero(marks[row]), attributes)}"
        for row in rows[:SHOWN]
    ]
    more = f" and {len(rows) - SHOWN} more classes" if len(rows) > SHOWN else ""
    values = np.unique(semantics[marks])
    listed = ", ".join(f"{value:.4g}" for value in values[:SHOWN])
    rest = semantics[~marks]
    others = f"; all other numbers lie from {rest.min():.4g} to {rest.max():.4g}" * bool(len(rest))
    return Finding(
        "warning",
        "semantics_unknown",
        f"{where}: found {count_text(int(marks.sum()), 'number')} that seem to mark unknown values "
        f"({listed}): of {', '.join(shown)}{more}{others}.",
        "A run takes the mean of the column over the seen classes in their place; a prediction "
        "takes them as numbers. Write the true numbers into the table, or leave those columns out "
        "(dataset.semantics=FILE takes another table).",
        classes=tuple(class_names[row] for row in rows[:LISTED]),
    )


def _check_units(
    table: FloatArray, class_names: Sequence[str], where: str, attributes: Sequence[str]
) -> Iterator[Finding]:
    """Columns, classes and single numbers far off the others, as if in other units."""
    size = np.abs(table.astype(np.float64))
    if min(table.shape) < 4:
        return
    columns = size.max(axis=0)
    middle = float(np.median(columns[columns > 0])) if columns.any() else 0.0
    off = off_columns(columns, middle)
    if len(off) and len(off) <= max(1, len(columns) // 4):
        worst = off[np.abs(np.log(columns[off] / middle)).argmax()]
        yield Finding(
            "warning",
            "semantics_unit_column",
            f"{where}: found {columns_text(off, attributes)} far off the others: up to "
            f"{columns[worst]:.4g} in {columns_text(np.array([worst]), attributes)}, where half of "
            f"the columns stay below {middle:.4g}; expected columns in similar units. A larger "
            "column outweighs all others in the length of a class's vector.",
            "Write these columns in other units, or scale each column "
            "(dataset.normalize_semantics=standard or minmax).",
        )
    lengths = np.sqrt((size**2).sum(axis=1))
    typical = float(np.median(lengths[lengths > 0])) if lengths.any() else 0.0
    rows = np.flatnonzero(
        (lengths > _ROW_ABOVE * typical) | ((lengths > 0) & (lengths * _ROW_ABOVE < typical))
    )
    if len(rows) and len(rows) <= len(lengths) // 4:
        names = [class_names[int(row)] for row in rows]
        yield Finding(
            "warning",
            "semantics_unit_class",
            f"{where}: found {classes_text(names)} far off the others: a vector of length "
            f"{lengths[rows[0]]:.4g}, where that of half of the classes is below {typical:.4g}; "
            "expected all classes in the same units.",
            "Correct the numbers of these classes, or scale each class to length 1 "
            "(dataset.normalize_semantics=l2).",
            classes=tuple(names[:LISTED]),
        )
    yield from _check_cells(size, class_names, where, attributes, np.union1d(rows, []), middle)


def _check_cells(
    size: npt.NDArray[np.float64],
    class_names: Sequence[str],
    where: str,
    attributes: Sequence[str],
    rows: npt.NDArray[np.generic],
    middle: float,
) -> Iterator[Finding]:
    top = size.argmax(axis=0)
    columns = np.arange(size.shape[1])
    largest, others = size[top, columns], size.copy()
    others[top, columns] = 0
    second = others.max(axis=0)
    common = np.count_nonzero(size, axis=0) >= max(3, len(size) // 2)
    off = np.flatnonzero(
        common & (largest > _CELL_ABOVE * second) & (largest > middle / 10) & ~np.isin(top, rows)
    )
    if len(off):
        names = [class_names[i] for i in dict.fromkeys(top[off].tolist())]
        column = off[0]
        yield Finding(
            "warning",
            "semantics_unit_value",
            f"{where}: found {largest[column]:.4g} for '{class_names[top[column]]}' in "
            f"{columns_text(np.array([column]), attributes)}, where the largest of all other "
            f"classes is {second[column]:.4g}"
            + (f", and {len(off) - 1} more such columns" if len(off) > 1 else "")
            + "; expected all classes in the same units.",
            "Correct the number, if it is of other units than those of the other classes.",
            classes=tuple(names[:LISTED]),
        )
