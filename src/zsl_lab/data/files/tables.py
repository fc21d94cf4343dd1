"""Reads a user's table of classes: their names, with attributes, descriptions, or both."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from zsl_lab.data.benchmark import FloatArray
from zsl_lab.data.files.descriptions import (
    read_descriptions,
    read_text_lists,
    warn_of_equal_texts,
    warn_of_equals,
)
from zsl_lab.errors import DataError, nearest

#: values of the column ``split``; with the empty one, the seed chooses the class's part
Part = Literal["seen", "validation", "unseen", ""]

#: keys of JSON that may hold the name of a class, and the names of all classes
_NAME_KEYS, _NAMES_KEYS = ("class", "name"), ("classes", "class_names", "names")
#: the columns that are not attributes
COLUMNS = ("class", "description", "split", "pretrained")
_PARTS: tuple[Part, ...] = get_args(Part)
_YES_NO = {"yes": True, "no": False, "": False}
_EXPECTED = (
    "expected a CSV file whose first line names the columns: class, and description, attributes as "
    "numbers, or both (optional: split, pretrained)"
)
#: maximum number of characters of a cell that a message shows
_SHOWN = 40


@dataclass(frozen=True, eq=False)
class ClassTable:
    """The classes of a table, in its order.

    Attributes:
        path: The file, for messages.
        names: Different names of the C classes (column ``class``).
        attributes: float32 ``[C, A]``, all columns but those named here; None where there are none.
        attribute_names: Names of the A attributes.
        descriptions: C texts, none of them empty (column ``description``); None where there is no
            such column.
        parts: Part of the split of each class (column ``split``); None where there is no such
            column.
        pretrained: Whether the backbone has been trained on each class (column ``pretrained``, yes
            or no); None where there is no such column.
        text_lists: For each class the separate texts that ``descriptions`` joins; None where each
            class has one text or none.
    """

    path: Path
    names: tuple[str, ...]
    attributes: FloatArray | None
    attribute_names: tuple[str, ...]
    descriptions: tuple[str, ...] | None
    parts: tuple[Part, ...] | None = None
    pretrained: tuple[bool, ...] | None = None
    text_lists: tuple[tuple[str, ...], ...] | None = None

    @property
    def texts(self) -> tuple[tuple[str, ...], ...] | None:
        """The separate texts of each class, at least one; None where the table has no texts."""
        if self.text_lists is not None or self.descriptions is None:
            return self.text_lists
        return tuple((text,) for text in self.descriptions)


def read_class_table(path: Path, *, names_suffice: bool = False) -> ClassTable:
    """Read a table of classes.

    Args:
        path: CSV with a header, or JSON: ``{name: text}`` or a list of ``{"name", "description"}``,
            or attributes, ``{name: [numbers]}`` or another form of docs/guides/formats.md.
        names_suffice: Whether the classes need neither attributes nor texts; JSON may then be a
            list of names.

    Raises:
        DataError: If the file is missing or unreadable, names are missing or repeated, a value is
            not a number, or a description is empty. The message names file, line and column, what
            was found and expected, and what to do.
    """
    if path.suffix.lower() == ".json":
        attributes = json_attributes(path)
        if attributes is not None:
            return attributes
        names = _listed_names(path)
        if names is not None and not names_suffice:
            raise DataError(
                f"{path}: found a list of names; expected a text or attributes for each class: "
                "names suffice only where the prompts of an image-text model have {name} and "
                "nothing else. Add texts, {name: text}, or give another table."
            )
        if names is not None:
            return ClassTable(path, names, None, (), None)
        try:
            names, texts = read_descriptions(path, "{description}", named=True)
        except DataError as error:
            raise DataError(f"{error} Correct the table, or give another.") from error
        return ClassTable(path, names, None, (), texts, text_lists=read_text_lists(path))
    lines = table_lines(path, table_text(path))
    header = next(lines, (0, []))[1]
    return class_table(path, header, lines, names_suffice=names_suffice)


def _listed_names(path: Path) -> tuple[str, ...] | None:
    """The names in a JSON list; None if the file holds something else."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        return None
    return _names(path, [(line, name.strip()) for line, name in enumerate(content, 1)])


def class_table(
    path: Path,
    header: list[str],
    lines: Iterator[tuple[int, list[str]]],
    *,
    names_suffice: bool = False,
) -> ClassTable:
    """Build a table from the cells of a CSV file.

    Args:
        path: The file, for messages.
        header: Cells of the first line: the names of the columns.
        lines: Line number and cells of each further line.
        names_suffice: As in :func:`read_class_table`.

    Raises:
        DataError: As :func:`read_class_table`.
    """
    _check_header(path, header)
    columns: dict[str, list[tuple[int, str]]] = {name: [] for name in header}
    for line, row in lines:
        if len(row) != len(header):
            raise DataError(
                f"{path}: line {line}: found {len(row)} cell{'' if len(row) == 1 else 's'}; "
                f"expected {len(header)}, one for each column of"
                " the first line. Correct the line (double quotes enclose a text with commas), or "
                "take it out."
            )
        for name, cell in zip(header, row, strict=True):
            columns[name].append((line, cell))
    names = _names(path, columns["class"])
    attribute_names = tuple(name for name in header if name not in COLUMNS)
    if not attribute_names and "description" not in columns and not names_suffice:
        raise DataError(
            f"{path}: found no column that tells one class from another; expected attributes, a "
            "column of numbers each, or the column description. Add either."
        )
    attributes = [_numbers(path, name, columns[name], names) for name in attribute_names]
    if attributes:
        warn_of_equals(
            f"{path}: found the same attributes",
            names,
            zip(*(column.tolist() for column in attributes), strict=True),
        )
    descriptions = (
        _descriptions(path, columns["description"], names) if "description" in columns else None
    )
    if descriptions is not None:
        warn_of_equal_texts(path, names, descriptions)
    return ClassTable(
        path,
        names,
        np.stack(attributes, axis=1) if attributes else None,
        attribute_names,
        descriptions,
        _parts(path, columns["split"], names) if "split" in columns else None,
        _pretrained(path, columns["pretrained"], names) if "pretrained" in columns else None,
    )


def json_attributes(path: Path) -> ClassTable | None:
    """Read attributes from a JSON file; None if it has texts, or another form.

    Raises:
        DataError: If a class has other attributes than the first one, or a value is not a number.
    """
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_Pairs)
    except (OSError, ValueError, RecursionError):
        return None
    content = _by_name(content)
    if not content or not all(isinstance(value, list) for _, value in content):
        return None
    if all(isinstance(part, str) for _, value in content for part in value):
        return None  # several texts of each class
    names = _names(path, [(line, name.strip()) for line, (name, _) in enumerate(content, 1)])
    labels: tuple[str, ...] | None = None
    rows: list[list[Any]] = []
    for name, (_, value) in zip(names, content, strict=True):
        own = tuple(key for key, _ in value) if isinstance(value, _Pairs) else None
        found = dict(value) if isinstance(value, _Pairs) else {}
        if labels is None:
            labels = own or tuple(f"attribute {i + 1}" for i in range(len(value)))
        if len(value) != len(labels) or (own and set(own) != set(labels)) or not labels:
            raise DataError(
                f"{path}: class '{name}': found {len(value)} attributes, other than those of "
                f"'{names[0]}'; expected the same {len(labels)} for every class. Correct the "
                "class, or take it out."
            )
        rows.append([found[label] for label in labels] if own else list(value))
    for name, row in zip(names, rows, strict=True):
        for label, value in zip(labels or (), row, strict=True):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not abs(value) <= float(np.finfo(np.float32).max):
                raise DataError(
                    f"{path}: class '{name}', '{label}': found {_shown(json.dumps(value))}; "
                    "expected a number. Put one there, or take the class out."
                )
    return ClassTable(path, names, np.array(rows, dtype=np.float32), labels or (), None)


def _by_name(content: Any) -> list[tuple[str, Any]]:
    """Pairs of a class and its attributes; empty if the content has none of the known forms.

    These are ``{class: attributes}``, ``[{"class": class, ...}, ...]``, ``{"classes": [...], "att":
    [[...], ...]}``, and ``{"columns": [...], "index": [...], "data": [[...], ...]}`` (pandas).
    """
    if isinstance(content, _Pairs):
        fields = dict(content)
        names, rows, columns = _names_and_rows(fields)
        if names is None:
            return content
        return [
            (name, row if columns is None else _Pairs(zip(columns, row, strict=True)))
            for name, row in zip(names, rows, strict=True)
        ]
    if not isinstance(content, list) or not all(isinstance(entry, _Pairs) for entry in content):
        return []
    found = []
    for entry in content:
        key = next((key for key, _ in entry if key in _NAME_KEYS), None)
        others = _Pairs(pair for pair in entry if pair[0] not in (key, "class_id"))
        texts = any(key in dict(others) for key in ("description", "descriptions"))
        if key is None or texts or not others:
            return []
        whole = len(others) == 1 and isinstance(others[0][1], list)
        found.append((str(dict(entry)[key]), others[0][1] if whole else others))
    return found


def _names_and_rows(
    fields: dict[str, Any],
) -> tuple[list[str] | None, list[Any], list[str] | None]:
    """Names, rows and columns of an object with a key for each; None for names if it is not one."""
    key = next((key for key in (*_NAMES_KEYS, "index") if key in fields), None)
    tables = [
        value
        for value in fields.values()
        if isinstance(value, list) and value and all(type(row) is list for row in value)
    ]
    columns = fields.get("columns")
    known = {key, "columns"} if columns is not None else {key}
    if key is None or len(tables) != 1 or len(fields) != len(known) + 1:
        return None, [], None
    names = fields[key]
    width = None if columns is None else len(columns)
    if (
        not isinstance(names, list)
        or len(names) != len(tables[0])
        or any(len(row) != width for row in tables[0] if width is not None)
    ):
        return None, [], None
    return [str(name) for name in names], tables[0], columns


class _Pairs(list[Any]):
    """An object of JSON as a list of pairs, which keeps repeated keys."""


def table_text(path: Path) -> str:
    """The text of a CSV file in UTF-8.

    Raises:
        DataError: If the file cannot be read, or is not UTF-8.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); {_EXPECTED}. Correct the path, or give "
            "another table."
        ) from error
    if b"\0" in content:
        found = (
            "a spreadsheet or another binary file"
            if content[:2] == b"PK"
            else "UTF-16 or a binary file"
        )
        raise DataError(
            f"{path}: found {found}; {_EXPECTED}. Save the table as CSV in UTF-8, or give another."
        )
    try:
        # spreadsheets write a byte order mark before UTF-8
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}: line {line}: found the byte 0x{content[error.start]:02x}, which is not UTF-8"
            "; expected a table in UTF-8. Save it so (spreadsheets call it CSV UTF-8), or convert "
            "it: iconv -f latin1 -t utf-8."
        ) from error


def table_lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and stripped cells of each row; empty rows are left out.

    Raises:
        DataError: If a row cannot be parsed.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    line = 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}: line {line}: cannot be read as a row of a table ({error}). Correct its "
            "quotes "
            "(a quote inside a quoted text is written"
            ' twice: ""), or take the line out.'
        ) from error


def check_separator(path: Path, first: Sequence[str]) -> None:
    """Raise a DataError if the cells of the first line are separated by semicolons or tabs."""
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if separator in ",".join(first):
            raise DataError(
                f"{path}: found columns separated by {name}; expected commas. Save the table "
                "with commas and points as decimal marks, or give another."
            )


def _check_header(path: Path, header: list[str]) -> None:
    if not header:
        raise DataError(
            f"{path}: found an empty file; {_EXPECTED}. Fill it, or give another table."
        )
    for name in header:
        meant = "".join(name.casefold().split())
        if meant in COLUMNS and name != meant:
            other = (
                "take it out, since there is one"
                if meant in header
                else "give it another name if it is an attribute"
            )
            raise DataError(
                f"{path}: line 1: found the column '{name}'; expected '{meant}', in lower case. "
                f"Write it so, or {other}."
            )
    if "class" not in header:
        check_separator(path, header)
        near = nearest("class", header)
        hint = f"Rename the column '{near[0]}'" if near else "Add it"
        raise DataError(
            f"{path}: found the columns {', '.join(header)}; expected one called class. {hint}, or "
            "give another table."
        )
    for position, name in enumerate(header):
        if not name:
            raise DataError(
                f"{path}: line 1: found no name for column {position + 1} of {len(header)}; "
                "expected one. Name it, or take the column out."
            )
        if name in header[:position]:
            raise DataError(
                f"{path}: line 1: found the column '{name}' twice; expected each once. Rename one, "
                "or take it out."
            )


def _names(path: Path, cells: list[tuple[int, str]]) -> tuple[str, ...]:
    if not cells:
        raise DataError(
            f"{path}: found a first line and no class below it; expected a line for each. Add "
            "them, or give another table."
        )
    line_of: dict[str, int] = {}
    for line, name in cells:
        if not name:
            raise DataError(
                f"{path}: line {line}, column 'class': found no name; expected one. Name the "
                "class, or take the line out."
            )
        if name in line_of:
            raise DataError(
                f"{path}: line {line}, column 'class': found '{name}', which line {line_of[name]} "
                "has too; expected each class once. Rename one of them, or take the line out."
            )
        line_of[name] = line
    return tuple(line_of)


def _numbers(
    path: Path, column: str, cells: list[tuple[int, str]], names: Sequence[str]
) -> FloatArray:
    numbers = np.array([number(cell) for _, cell in cells], dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        line, cell = cells[bad[0]]
        near = nearest(column, [known for known in COLUMNS if known != "class"])
        also = f"Rename the column {near[0]}, if that is what it means" if near else "Put one there"
        if math.isfinite(number(cell.replace(",", "."))):
            also = "Write it with a point as decimal mark"
        raise DataError(
            f"{path}: line {line}, column '{column}': found {_shown(cell)} for '{names[bad[0]]}'; "
            f"expected a number, as every column but {', '.join(COLUMNS)} is an attribute. {also}, "
            "or take the column out."
        )
    return numbers


def number(cell: str) -> float:
    """The number in a cell; NaN if it is not a number, infinite if it is too large for float32."""
    try:
        value = float(cell) if "_" not in cell else math.nan
    except ValueError:
        return math.nan
    return value if abs(value) <= float(np.finfo(np.float32).max) else math.inf


def _descriptions(
    path: Path, cells: list[tuple[int, str]], names: Sequence[str]
) -> tuple[str, ...]:
    for (line, text), name in zip(cells, names, strict=True):
        if not text:
            raise DataError(
                f"{path}: line {line}, column 'description': found no text for '{name}'; expected "
                "one for every class. Describe the class, or take the line or the whole column "
                "out."
            )
    return tuple(text for _, text in cells)


def _parts(path: Path, cells: list[tuple[int, str]], names: Sequence[str]) -> tuple[Part, ...]:
    found: list[Part] = []
    for (line, cell), name in zip(cells, names, strict=True):
        part = next((known for known in _PARTS if known == cell), None)
        if part is None:
            near = nearest(cell, [known for known in _PARTS if known])
            hint = f"Did you mean {near[0]}? " if near else ""
            raise DataError(
                f"{path}: line {line}, column 'split': found {_shown(cell)} for '{name}'; expected "
                f"{_listed(_PARTS)}. {hint}Correct the cell, or leave it empty, and the seed "
                "decides."
            )
        found.append(part)
    return tuple(found)


def _pretrained(path: Path, cells: list[tuple[int, str]], names: Sequence[str]) -> tuple[bool, ...]:
    for (line, cell), name in zip(cells, names, strict=True):
        if cell not in _YES_NO:
            raise DataError(
                f"{path}: line {line}, column 'pretrained': found {_shown(cell)} for '{name}'; "
                f"expected {_listed(_YES_NO)}. Correct the cell"
                " (yes: the backbone was trained on this class), or take the column out."
            )
    return tuple(_YES_NO[cell] for _, cell in cells)


def _shown(cell: str) -> str:
    if not cell:
        return "nothing"
    return f"'{cell}'" if len(cell) <= _SHOWN else f"'{cell[: _SHOWN - 3]}...'"


def _listed(values: Sequence[str] | dict[str, bool]) -> str:
    return ", ".join(value for value in values if value) + " or nothing"
