"""Matches the class names of two sources: the rows of a table, folders, a benchmark's classes.

Equal names match. Other names match if they have the same normalized form: they differ only in
case, the encoding of accents, separators (space, ``_``, ``+``, ``-``, ``.``) or a number before
them (``002.Laysan_Albatross`` and ``laysan albatross``). A third name of the same normalized form
prevents the match.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zsl_lab.errors import nearest

_NUMBER = re.compile(r"(?:class)?[\W_]*0*(\d+)(?:\.0*)?")
_NUMBERED = re.compile(r"\d+[\W_]+(?=.*[^\W\d_])")
_SEPARATORS = re.compile(r"[\W_]+")
#: lower-case letters of Greek and Cyrillic that look like Latin ones
_LOOK_ALIKES = str.maketrans("аеорсухіјѕһԁαο", "aeopcyxijshdao")
#: how many names a message lists
_SHOWN = 5


def normalized(name: str) -> str:
    """A name in lower case, without separators and without a number before it.

    Of a name that is only a number (``007``, ``class 7``), the number without leading zeros.
    """
    plain = unicodedata.normalize("NFKC", name).casefold().strip()
    number = _NUMBER.fullmatch(plain)
    if number:
        return number[1]
    return _SEPARATORS.sub("", _NUMBERED.sub("", plain, count=1)) or plain


def alike(name: str) -> str:
    """A name reduced to what distinguishes it for a reader.

    It is in lower case, without separators and invisible characters, and with look-alike letters
    replaced. Numbers stay, as they distinguish ``001.crane`` from ``517.crane``.
    """
    plain = unicodedata.normalize("NFKC", name).casefold().translate(_LOOK_ALIKES)
    visible = "".join(c for c in plain if unicodedata.category(c) != "Cf")
    return _SEPARATORS.sub("", visible) or visible


def by_normalized(names: Sequence[str]) -> dict[str, int]:
    """Position by normalized name; names with the same normalized form are left out."""
    found: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        found.setdefault(normalized(name), []).append(position)
    return {name: positions[0] for name, positions in found.items() if len(positions) == 1}


@dataclass(frozen=True)
class Match:
    """The classes of a benchmark matched with the names of a table.

    Attributes:
        row: For the position of each class in the benchmark, the position of its name in the
            table; classes without a match are absent.
        spelled: Pairs (benchmark's name, table's name) that match though they are not equal.
        missing: Positions of the benchmark's classes without a match.
        extra: The table's names that match no class.
    """

    row: Mapping[int, int]
    spelled: tuple[tuple[str, str], ...]
    missing: tuple[int, ...]
    extra: tuple[str, ...]


def match(own: Sequence[str], known: Sequence[str]) -> Match:
    """Match names of a table to those of a benchmark.

    Args:
        own: The table's names, each once.
        known: The benchmark's names, each once.
    """
    position = {name: row for row, name in enumerate(own)}
    row = {c: position[name] for c, name in enumerate(known) if name in position}
    taken = set(row.values())
    left = [r for r in range(len(own)) if r not in taken]
    # normalized forms must be unique among all classes, not only among those without a match
    classes = by_normalized(known)
    rows = {name: left[i] for name, i in by_normalized([own[r] for r in left]).items()}
    similar = {c: rows[name] for name, c in classes.items() if c not in row and name in rows}
    row |= similar
    taken = set(row.values())
    return Match(
        row=row,
        spelled=tuple((known[c], own[r]) for c, r in sorted(similar.items())),
        missing=tuple(c for c in range(len(known)) if c not in row),
        extra=tuple(own[r] for r in range(len(own)) if r not in taken),
    )


def near_name(name: str, names: Sequence[str]) -> str | None:
    """The name most similar to another, by their normalized forms; None where none is similar."""
    plain: dict[str, str] = {}
    for known in names:
        plain.setdefault(normalized(known), known)
    if normalized(name) in plain:
        return plain[normalized(name)]
    near = nearest(normalized(name), plain)
    return plain[near[0]] if near else None


def listed(names: Sequence[str]) -> str:
    """The first five names in quotes, and the number of further ones."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:_SHOWN]) + more
