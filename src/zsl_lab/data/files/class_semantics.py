"""A table of class semantics in a file of its own (``dataset.semantics=FILE``).

Rows are matched with the classes of a benchmark by name if the file, or a file of names beside it,
has names. Otherwise they are taken in the benchmark's order, with a warning; if they turn out to be
in another order than a known table of the benchmark, an error is raised.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import IntArray
from zsl_lab.data.checks.class_names import listed, match, near_name
from zsl_lab.data.checks.table_order import Relation, relate
from zsl_lab.data.files.mat import matrix, read_mat, texts
from zsl_lab.data.files.tables import (
    check_separator,
    class_table,
    number,
    read_class_table,
    table_lines,
    table_text,
)
from zsl_lab.errors import DataError, DataWarning
from zsl_lab.files.memory import out_of_memory
from zsl_lab.files.npy import load_npy

Array = npt.NDArray[Any]

#: suffixes of the files that can be read
SUFFIXES = (".mat", ".csv", ".txt", ".json", ".npy")
#: fields of a ``.mat`` that may hold names; the first one that exists is used
NAME_FIELDS = ("allclasses_names", "class_names", "classes", "names")
_ATT, _ORIGINAL = "att", "original_att"
#: two rows are proportional if 1 minus their cosine is below the first, and not if it is above the
#: second
_EQUAL, _OTHER = 1e-6, 1e-4
#: share of proportional rows of two tables from which on the other rows are warned of
_NEARLY_ALL = 0.8
#: with fewer classes these rows are not compared
_FEW_CLASSES = 5
#: with more classes only att and original_att are compared
_MOST_CLASSES = 2048
_NUMBERED_NAME = re.compile(r"(\d+)[\s,;:]+(\S.*)")


@dataclass(frozen=True, eq=False)
class SemanticsTable:
    """The content of a file.

    Attributes:
        path: The file.
        field: The field in it, for messages.
        rows: Numbers ``[R, Q]``.
        names: Different names of the R rows; None where neither the file nor one beside it has
            names.
        names_file: The file with the names.
    """

    path: Path
    field: str
    rows: Array
    names: tuple[str, ...] | None
    names_file: Path


@dataclass(frozen=True, eq=False)
class KnownClasses:
    """The classes of a benchmark.

    Attributes:
        source: The file that they are from, for messages.
        count: Number of classes, C.
        names: Names of the C classes; None where the benchmark has none.
        tables: The benchmark's own class semantics ``[C, Q]`` by kind.
    """

    source: Path
    count: int
    names: tuple[str, ...] | None
    tables: Mapping[str, Array]


def is_semantics_file(semantics: str) -> bool:
    """Whether ``dataset.semantics`` names a file, by its ending."""
    return Path(semantics).suffix.lower() in SUFFIXES


def names_file(path: Path) -> Path | None:
    """The file with the names of a table's rows, in its folder; None where there is none.

    It is ``NAME.names.txt`` for a table ``NAME.csv``, or ``classes.txt``.
    """
    for candidate in (path.with_name(f"{path.stem}.names.txt"), path.with_name("classes.txt")):
        if candidate.is_file() and candidate != path:
            return candidate
    return None


def read_semantics_table(path: Path) -> SemanticsTable:
    """Read a table of class semantics.

    Args:
        path: ``.mat`` (``att [Q, C]``, and names in one of :data:`NAME_FIELDS`), ``.csv`` (with a
            column ``class`` and a header; or rows of numbers, with or without a name before them),
            ``.txt`` (numbers), ``.json`` (``{name: [numbers]}``) or ``.npy`` (``[C, Q]``).

    Raises:
        DataError: If the file is missing, damaged or not such a table, if names are repeated, or if
            there are not as many names as rows.
    """
    suffix = path.suffix.lower()
    if suffix == ".mat":
        table = _of_mat(path)
    elif suffix == ".csv":
        table = _of_csv(path)
    elif suffix == ".json":
        named = read_class_table(path)
        if named.attributes is None:
            raise DataError(
                f"{path}: found descriptions; expected numbers, {{name: [numbers]}}. Encode the "
                "texts first, or give a table of attributes."
            )
        table = SemanticsTable(path, "semantics", named.attributes, named.names, path)
    elif suffix in SUFFIXES:
        table = SemanticsTable(path, "semantics", _numbers(path, suffix), None, path)
    else:
        raise DataError(
            f"{path}: found the ending '{suffix}'; expected a table of classes that ends in "
            f"{', '.join(SUFFIXES)}. Save it as CSV, with a column class."
        )
    beside = names_file(path)
    if table.names is None and beside is not None:
        table = replace(table, names=read_names(beside), names_file=beside)
    return _checked(table)


def join(table: SemanticsTable, known: KnownClasses) -> Array:
    """The rows ``[C, Q]`` of a benchmark's classes, in their order.

    Args:
        table: The table.
        known: The benchmark's classes.

    Raises:
        DataError: If a class has no row, or the rows contradict the benchmark's own tables: they
            are in another order.
    """
    if table.names is not None:
        return _by_name(table, known)
    if len(table.rows) != known.count:
        _fail(
            table,
            f"found {len(table.rows)} classes; expected {known.count}, as in {known.source}."
            + _transposed_hint(table.rows, known.count),
        )
    _check_no_ids(table)
    relations = _relations(table.rows, known, by_similarity=True)
    _check_order(table, known, relations, "rows that are in the order of the benchmark's classes")
    same = [kind for kind, relation in relations.items() if relation.kind == "same"]
    agrees = f" (they agree with '{same[0]}' row by row)" if same else ""
    first = f"the first one for '{known.names[0]}'" if known.names else "from class 1 on"
    warnings.warn(
        DataWarning(
            f"{table.path}: field '{table.field}': the rows have no names; they were taken in the "
            f"order of {known.source}, {first}{agrees}. Name them to be sure: a CSV file with a "
            f"column class, or {table.path.stem}.names.txt beside it with one name per line.",
            "semantics by position",
            "note" if same else "warning",
        ),
        stacklevel=3,
    )
    return table.rows


def check_agreement(
    tables: Mapping[str, Array], names: Sequence[str] | None, source: Path | str
) -> None:
    """Check that the tables of class semantics of a file agree in their order of classes.

    A contradiction between ``att`` and ``original_att`` is an error. Other tables may have other
    attributes: they are compared only if they have as many columns, for up to 2,048 classes, and a
    contradiction is a warning.

    Args:
        tables: Semantics ``[C, Q]`` by kind.
        names: Names of the C classes, or None.
        source: The file, for messages.

    Raises:
        DataError: If ``att`` and ``original_att`` have their classes in different orders, or one of
            them is transposed.
    """
    usable = {
        kind: table
        for kind, table in tables.items()
        # other tables are refused elsewhere, with another message
        if table.ndim == 2 and table.dtype.kind in "biuf" and np.isfinite(table).all()
    }
    if {_ATT, _ORIGINAL} <= usable.keys():
        _check_original(usable[_ATT], usable[_ORIGINAL], names, source)
    known = _ATT if _ATT in usable else next(iter(usable), "")
    few = len(usable.get(known, ())) <= _MOST_CLASSES  # every row is compared with every other
    for kind in sorted(usable.keys() - {known, _ORIGINAL}) if few else ():
        relation = relate(usable[kind], usable[known], names, by_similarity=False)
        if relation.kind == "permuted":
            found = _moved(relation, names, f" of '{kind}'", known, source)
            warnings.warn(
                DataWarning(
                    f"{source}: fields '{kind}' and '{known}' contradict each other: {found} "
                    "Expected the same classes in the same order. Correct the wrong one, or take "
                    "it out of the file.",
                    "tables contradict each other",
                ),
                stacklevel=3,
            )


def _check_original(
    att: Array, original: Array, names: Sequence[str] | None, source: Path | str
) -> None:
    if att.shape != original.shape and att.shape == original.shape[::-1]:
        relation = Relation("transposed")
    else:
        relation = relate(att, original, names, by_similarity=False)
    if relation.kind in ("same", "unknown"):
        _warn_of_other_numbers(att, original, names, source)
        return
    ways = (
        f"Correct the wrong one, or take the field '{_ORIGINAL}' or '{_ATT}' out of the file if "
        "they are not of the same attributes."
    )
    if relation.kind == "transposed":
        found = f"found '{_ATT}' to agree with '{_ORIGINAL}' only when one of them is transposed."
        ways = (
            "Transpose the wrong one ([attributes, classes] in a .mat file, [classes, attributes] "
            "elsewhere), or take it out."
        )
    elif relation.kind == "permuted":
        found = _moved(relation, names, f" of '{_ATT}'", _ORIGINAL, source)
    else:
        found = f"found rows of '{_ATT}' that do not correlate with those of '{_ORIGINAL}'."
    raise DataError(
        f"{source}: fields '{_ATT}' and '{_ORIGINAL}' contradict each other: {found} Expected the "
        f"same classes in the same order, up to scaling. {ways}"
    )


def _warn_of_other_numbers(
    att: Array, original: Array, names: Sequence[str] | None, source: Path | str
) -> None:
    """Warn of classes whose rows are not proportional while those of nearly all others are."""
    if att.shape != original.shape or len(att) < _FEW_CLASSES:
        return
    rows = [table.astype(np.float64) for table in (att, original)]
    lengths = [np.linalg.norm(table, axis=1) for table in rows]
    product = lengths[0] * lengths[1]
    known = product > 0
    cosine = np.ones(len(att))
    cosine[known] = np.einsum("ij,ij->i", *rows)[known] / product[known]
    other = np.flatnonzero(cosine < 1 - _OTHER)
    if not len(other) or (cosine > 1 - _EQUAL).mean() < _NEARLY_ALL:
        return
    called = [names[int(row)] if names is not None else f"class {row + 1}" for row in other]
    warnings.warn(
        DataWarning(
            f"{source}: fields '{_ATT}' and '{_ORIGINAL}' contradict each other: found other "
            f"numbers for {listed(called)}, where the rows of all other classes are the same but "
            "for a factor. Correct the wrong one, or take it out of the file.",
            "tables contradict each other",
        ),
        stacklevel=3,
    )


def is_transposed(table: Array, classes: int) -> bool:
    """Whether a table has ``classes`` columns, and not ``classes`` rows as expected."""
    return table.ndim == 2 and len(table) != classes and table.shape[1] == classes


def _by_name(table: SemanticsTable, known: KnownClasses) -> Array:
    assert table.names is not None
    names = known.names or tuple(f"class {i + 1}" for i in range(known.count))
    found = match(table.names, names)
    where = f"{table.names_file}: " if table.names_file != table.path else ""
    if found.missing:
        missing = [names[c] for c in found.missing]
        near = near_name(missing[0], found.extra) if len(found.row) or known.names else None
        hint = f" Did you mean '{missing[0]}' by '{near}'?" if near else ""
        if known.names is None:
            hint += (
                f" {known.source} has no names: number the rows class 1 to class {known.count}, "
                "or leave names out, and they are taken in its order."
            )
        _fail(
            table,
            f"{where}found no row for {len(missing)} of {known.count} classes ({listed(missing)})"
            + (f", and rows for {listed(found.extra)}" if found.extra else "")
            + f"; expected one for every class of {known.source}.{hint} Add the rows, or correct "
            "the names.",
        )
    if found.spelled:
        pairs = [f"{own} for {name}" for name, own in found.spelled]
        warnings.warn(
            DataWarning(
                f"{table.path}: {where}{len(pairs)} names are spelled otherwise than in "
                f"{known.source} and were matched ({listed(pairs)}).",
                "names spelled otherwise",
                "note",
            ),
            stacklevel=4,
        )
    if found.extra:
        warnings.warn(
            DataWarning(
                f"{table.path}: {where}{len(found.extra)} rows are of no class of {known.source} "
                f"and were left out ({listed(found.extra)}).",
                "rows left out",
                "note",
            ),
            stacklevel=4,
        )
    rows: Array = table.rows[[found.row[c] for c in range(known.count)]]
    joined = replace(table, rows=rows)
    relations = _relations(rows, known, by_similarity=False)
    _check_order(joined, known, relations, "rows that belong to their names")
    return rows


def _relations(rows: Array, known: KnownClasses, *, by_similarity: bool) -> dict[str, Relation]:
    finite = rows.dtype.kind in "biuf" and np.isfinite(rows).all()
    return (
        {
            kind: relate(rows, table, known.names, by_similarity=by_similarity)
            for kind, table in known.tables.items()
            if table.dtype.kind in "biuf" and np.isfinite(table).all()
        }
        if finite
        else {}
    )


def _check_order(
    table: SemanticsTable, known: KnownClasses, relations: Mapping[str, Relation], expected: str
) -> None:
    if any(relation.kind == "same" for relation in relations.values()):
        return
    for kind, relation in relations.items():
        if relation.kind == "transposed":
            _fail(
                table,
                f"found a transposed table: it agrees with '{kind}' of {known.source} when classes "
                "are taken from its columns; expected a row for each class"
                + (" (in a .mat file, a column)" if table.path.suffix.lower() == ".mat" else "")
                + ". Transpose it.",
            )
        if relation.kind == "permuted":
            _fail(
                table,
                f"{_moved(relation, known.names, '', kind, known.source)} Expected {expected}. "
                f"Name the rows correctly (a CSV file with a column class, or "
                f"{table.path.stem}.names.txt beside it with one name per line), or put them in "
                "that order.",
            )


def _moved(
    relation: Relation, names: Sequence[str] | None, table: str, kind: str, source: Path | str
) -> str:
    """A sentence on the number of rows that belong to other classes, with the first of them."""
    assert relation.row is not None
    moved = relation.moved
    row = int(moved[0])

    def called(class_id: int) -> str:
        return f"'{names[class_id]}'" if names is not None else f"class {class_id + 1}"

    order = f" It is {relation.order}." if relation.order else ""
    return (
        f"found another order of classes than in '{kind}' of {source}: {len(moved)} of "
        f"{len(relation.row)} rows{table} are those of other classes (the first one: row "
        f"{row + 1}, of {called(row)}, is that of {called(int(relation.row[row]))}).{order}"
    )


def _transposed_hint(rows: Array, classes: int) -> str:
    if not is_transposed(rows, classes):
        return ""
    return f" It is transposed: it has {classes} columns. Transpose it."


def _check_no_ids(table: SemanticsTable) -> None:
    """Raise an error if the first column numbers the rows, and so is not an attribute."""
    count = len(table.rows)
    if table.rows.shape[1] < 2 or count < 5 or table.rows.dtype.kind not in "iuf":
        return
    first: IntArray = np.sort(table.rows[:, 0])
    start = first[0]
    if start in (0, 1) and np.array_equal(first, start + np.arange(count)):
        _fail(
            table,
            f"found the numbers from {int(start)} to {int(start) + count - 1} in the first column; "
            "expected attributes. Take the column out, or, if these are the classes' ids, give it "
            "the header class.",
        )


def _of_mat(path: Path) -> SemanticsTable:
    fields = read_mat(path, [_ATT], [_ORIGINAL, *NAME_FIELDS])
    rows = matrix(fields[_ATT], path, _ATT).T
    field = next((name for name in NAME_FIELDS if name in fields), None)
    names = texts(fields[field], path, field) if field is not None else None
    if _ORIGINAL in fields:
        check_agreement({_ATT: rows, _ORIGINAL: fields[_ORIGINAL].T}, None, path)
    return SemanticsTable(path, _ATT, rows, names, path)


def _of_csv(path: Path) -> SemanticsTable:
    lines = list(table_lines(path, table_text(path)))
    if not lines:
        raise DataError(
            f"{path}: found an empty file; expected a row of numbers for each class. Fill it, or "
            "give another table."
        )
    first = lines[0][1]
    numeric = [np.isfinite(number(cell)) for cell in first]
    # a header of pandas for columns without names: 0, 1, 2, ...
    counted = len(first) > 2 and first[1:] == [str(i) for i in range(len(first) - 1)]
    if all(numeric) or (len(first) > 1 and not numeric[0] and all(numeric[1:]) and not counted):
        return _without_header(path, lines, named=not numeric[0])
    header, body = first, lines[1:]
    if "class" not in header and not any(np.isfinite(number(row[0])) for _, row in body):
        check_separator(path, header)
        # names in the first column, whatever its header is called
        header = ["class", *header[1:]]
    named = class_table(path, header, iter(body))
    if named.attributes is None:
        raise DataError(
            f"{path}: found no column of numbers; expected attributes. Add them, or encode the "
            "descriptions first."
        )
    return SemanticsTable(path, "semantics", named.attributes, named.names, path)


def _without_header(
    path: Path, lines: Sequence[tuple[int, list[str]]], *, named: bool
) -> SemanticsTable:
    width = len(lines[0][1])
    rows = []
    for line, cells in lines:
        if len(cells) != width:
            raise DataError(
                f"{path}: line {line}: found {len(cells)} cells; expected {width}, as in the first "
                "line. Correct the line, or take it out."
            )
        values = [number(cell) for cell in cells[named:]]
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            cell = cells[int(bad[0]) + named]
            raise DataError(
                f"{path}: line {line}, column {int(bad[0]) + named + 1}: found "
                f"{json.dumps(cell[:40], ensure_ascii=False)}; cannot be read as a table of "
                "numbers, one row per class. Put a number there, or give columns names in the "
                "first line, one of them class."
            )
        rows.append(values)
    names = tuple(cells[0] for _, cells in lines) if named else None
    return SemanticsTable(path, "semantics", np.array(rows), names, path)


def _numbers(path: Path, suffix: str) -> Array:
    try:
        if suffix == ".txt":
            text = table_text(path)
            first = next(iter(text.splitlines()), "")
            table: Any = np.loadtxt(
                text.splitlines(), delimiter="," if "," in first else None, ndmin=2
            )
        else:
            table = load_npy(path)
    except MemoryError as error:
        raise out_of_memory(str(path)) from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as a table ({error}); expected numbers, one row per class."
        ) from error
    return matrix(table, path, "semantics")


def read_names(path: Path) -> tuple[str, ...]:
    """Read names, one per line; if each line begins with a number, in the order of the numbers."""
    lines = [line.strip() for line in table_text(path).splitlines() if line.strip()]
    numbered = [_NUMBERED_NAME.fullmatch(line) for line in lines]
    found = [(int(line[1]), line[2]) for line in numbered if line is not None and len(line[1]) < 10]
    numbers = sorted(position for position, _ in found)
    if len(found) == len(lines) and numbers in (
        list(range(len(lines))),
        list(range(1, len(lines) + 1)),
    ):
        return tuple(name for _, name in sorted(found))
    return tuple(lines)


def _checked(table: SemanticsTable) -> SemanticsTable:
    if table.names is None:
        return table
    if len(table.names) != len(table.rows):
        hint = _transposed_hint(table.rows, len(table.names))
        _fail(
            table,
            f"found {len(table.names)} names in {table.names_file} and {len(table.rows)} rows; "
            f"expected as many names as rows.{hint} Correct either, or put the names of the rows "
            f"into {table.path.stem}.names.txt beside it.",
        )
    seen: dict[str, int] = {}
    for row, name in enumerate(table.names):
        if not name.strip() or name in seen:
            found = (
                f"'{name}' in rows {seen[name] + 1} and {row + 1}"
                if name in seen
                else (f"no name for row {row + 1}")
            )
            _fail(
                table,
                f"found {found} in {table.names_file}; expected a name for each row, no two the "
                "same. Rename one of them, or take its row out.",
            )
        seen[name] = row
    return table


def _fail(table: SemanticsTable, text: str) -> NoReturn:
    raise DataError(f"{table.path}: field '{table.field}': {text}")
