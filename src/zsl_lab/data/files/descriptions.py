"""Reads a text for each class from JSON files."""

from __future__ import annotations

import json
import string
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsl_lab.errors import DataError


def read_descriptions(
    path: Path, description_format: str, *, named: bool = False
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Read names and texts of the classes, in the order of their ids.

    If two classes have the same text, a warning is given.

    Args:
        path: A JSON file: a list of ``{"class_id", "name", "description"}``, or ``{name:
            description}``. Ids count from 1, in any order; in a list without ids the order counts.
            A class may have several texts, as a list in ``description`` or ``descriptions``; they
            are joined as sentences.
        description_format: Template of a class's text, with ``{name}`` and ``{description}``; a
            field that it does not use may be missing in the file.
        named: Whether every class must have a name even if the format does not use it.

    Returns:
        Names and texts of the C classes.

    Raises:
        DataError: If the file is missing, damaged or inconsistent, or a class has no name or an
            empty text.
    """
    return _formatted(path, _entries(path)[0], description_format, named=named)


def read_text_lists(path: Path) -> tuple[tuple[str, ...], ...]:
    """The separate texts of each class in a file that :func:`read_descriptions` accepts."""
    found = []
    for entry in _listed_classes(path)[0]:
        texts: Any = entry.get("description", entry.get("descriptions"))
        own = texts if isinstance(texts, list) else [texts]
        found.append(tuple(text.strip() for text in own if text.strip()))
    return tuple(found)


@dataclass(frozen=True)
class ClassTexts:
    """The texts of named classes.

    Attributes:
        names: Names of the classes.
        texts: A text for each, in the description format.
        has_ids: Whether the file has ids; then the classes are in their order.
    """

    names: tuple[str, ...]
    texts: tuple[str, ...]
    has_ids: bool


def read_class_texts(path: Path, description_format: str) -> ClassTexts:
    """Read texts that are to be matched with the classes of other lists.

    Args:
        path: As in :func:`read_descriptions`; every class must have a name.
        description_format: As in :func:`read_descriptions`.

    Raises:
        DataError: As :func:`read_descriptions`.
    """
    entries, has_ids = _entries(path)
    return ClassTexts(*_formatted(path, entries, description_format, named=True), has_ids)


def _formatted(
    path: Path, entries: Sequence[Mapping[str, Any]], description_format: str, *, named: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    fields = format_fields(description_format)
    names, texts = [], []
    for class_id, entry in enumerate(entries, 1):
        known = f"class {class_id}" + (f" ('{entry['name']}')" if "name" in entry else "")
        for field in sorted(fields | ({"name"} if named else {"name"} & entry.keys())):
            text = entry.get(field)
            if not isinstance(text, str) or not text.strip():
                found = (
                    "nothing"
                    if text is None
                    else "an empty text"
                    if isinstance(text, str)
                    else f"{text!r}"
                )
                raise DataError(
                    f"{path}: field '{field}': found {found} for {known}; expected a text for "
                    "every class."
                )
        names.append(entry.get("name", f"class {class_id}"))
        texts.append(description_format.format(**entry).strip())
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"{path}: field 'name': found '{twice[0]}' more than once; expected a name of its own "
            "for each class."
        )
    warn_of_equal_texts(path, names, texts)
    return tuple(names), tuple(texts)


def warn_of_equals(found: str, names: Sequence[str], values: Iterable[Hashable]) -> None:
    """Warn of classes with equal semantics.

    Args:
        found: Beginning of the warning, with the file (``"FILE: found the same text"``).
        names: Names of the C classes.
        values: The semantics of each class, in a form that can be compared.
    """
    alike: dict[Hashable, list[str]] = {}
    for name, value in zip(names, values, strict=True):
        alike.setdefault(value, []).append(name)
    groups = [
        " and ".join(f"'{name}'" for name in group) for group in alike.values() if len(group) > 1
    ]
    if groups:
        warnings.warn(
            f"{found} for {'; for '.join(groups)}. Such classes cannot be told apart.", stacklevel=4
        )


def warn_of_equal_texts(path: Path, names: Sequence[str], texts: Sequence[str]) -> None:
    """Warn of classes whose texts differ only in case and spaces."""
    warn_of_equals(
        f"{path}: field 'description': found the same text",
        names,
        (" ".join(text.casefold().split()) for text in texts),
    )


def format_fields(description_format: str) -> set[str]:
    """The names of the fields in a format string, such as ``{"name", "description"}``.

    Raises:
        ValueError: If a brace has no partner.
    """
    return {
        field
        for _, field, _, _ in string.Formatter().parse(description_format)
        if field is not None
    }


def joined(texts: Sequence[str]) -> str:
    """Several texts of a class as one, a sentence each."""
    parts = [part.strip() for part in texts if part.strip()]
    return " ".join(part if part.endswith((".", "!", "?")) else f"{part}." for part in parts)


def _entries(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """The entry of each class, in the order of ids, and whether the file has ids."""
    content, has_ids = _listed_classes(path)
    found = []
    for entry in content:
        texts = entry.get("description", entry.get("descriptions"))
        if isinstance(texts, list) and all(isinstance(part, str) for part in texts):
            texts = joined(texts)
        found.append(entry if texts is None else {**entry, "description": texts})
    return found, has_ids


def _listed_classes(path: Path) -> tuple[list[dict[str, Any]], bool]:
    expected = (
        'expected a list of {"class_id", "name", "description"}, or a mapping from names to texts'
    )
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_without_repeats)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {expected}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: found no valid JSON ({error}); {expected}.") from error
    if isinstance(content, dict) and content:
        return [{"name": name, "description": text} for name, text in content.items()], False
    if (
        not isinstance(content, list)
        or not content
        or not all(isinstance(entry, dict) for entry in content)
    ):
        raise DataError(f"{path}: found something else, or nothing; {expected}.")
    if not any("class_id" in entry for entry in content):
        return content, False
    by_id: dict[int, dict[str, Any]] = {}
    for entry in content:
        class_id = entry.get("class_id")
        if type(class_id) is not int or not 1 <= class_id <= len(content) or class_id in by_id:
            found = (
                "none"
                if class_id is None
                else f"{class_id} twice"
                if class_id in by_id
                else f"{class_id!r}"
            )
            raise DataError(
                f"{path}: field 'class_id': found {found}; expected each number from 1 to "
                f"{len(content)}, the classes listed, once."
            )
        by_id[class_id] = entry
    return [by_id[class_id] for class_id in sorted(by_id)], True


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(
            f"the key '{next(key for key in keys if keys.count(key) > 1)}' appears in it twice"
        )
    return found
