"""Matches the class names of two sources: the rows of a table, folders, a benchmark's classes.

Names that are equal match. Others match where they differ only in case, accents' encoding,
separators (space, ``_``, ``+``, ``-``, ``.``) or a number before them (``002.Laysan_Albatross`` and
``laysan albatross``), provided that no third name has the same spelling.
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
#: small letters of Greek and Cyrillic that look like Latin ones
_LOOK_ALIKES = str.maketrans("аеорсухіјѕһԁαο", "aeopcyxijshdao")
#: how many names a message lists
_SHOWN = 5


def normalized(name: str) -> str:
    """A name without case, separators and the number before it; a number stays a number."""
    plain = unicodedata.normalize("NFKC", name).casefold().strip()
    number = _NUMBER.fullmatch(plain)
    if number:
        return number[1]
    return _SEPARATORS.sub("", _NUMBERED.sub("", plain, count=1)) or plain


def alike(name: str) -> str:
    """A name as the eye takes it: without case, separators and invisible characters.

    Numbers stay: they tell ``001.crane`` from ``517.crane``.
    """
    plain = unicodedata.normalize("NFKC", name).casefold().translate(_LOOK_ALIKES)
    visible = "".join(c for c in plain if unicodedata.category(c) != "Cf")
    return _SEPARATORS.sub("", visible) or visible


def by_normalized(names: Sequence[str]) -> dict[str, int]:
    """Position by normalized name; names that share one are left out."""
    found: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        found.setdefault(normalized(name), []).append(position)
    return {name: positions[0] for name, positions in found.items() if len(positions) == 1}


@dataclass(frozen=True)
class Match:
    """How the classes of a benchmark are found among other names.

    Attributes:
        row: The position among the other names by position among the benchmark's; a class without
            a match is absent.
        spelled: Pairs (benchmark's name, other name) that match though they are not equal.
        missing: Positions of the benchmark's classes without a match.
        extra: The other names that match no class.
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
    # unique among all names, not only among those that are left
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
    """The first few names in quotes, and how many follow."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:_SHOWN]) + more
