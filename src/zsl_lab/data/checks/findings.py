"""Findings of the data check: their type, and how they are shown, stored and enforced."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from zsl_lab.errors import DataError, DataWarning

T = TypeVar("T")
Level = Literal["error", "warning", "note"]

#: the levels, the most serious first
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """A property of the data that makes metrics wrong, or hard to interpret.

    Attributes:
        level: ``error`` (metrics on these data are meaningless), ``warning`` (metrics are affected)
            or ``note`` (metrics are not affected).
        code: A short name of the kind of finding, for programs.
        sentence: Says what was found, where, and what was expected.
        way_out: Says what to do about it.
        rows: 0-based indices of the affected samples; of many, the first ones.
        classes: Names of the affected classes; of many, the first ones.
    """

    level: Level
    code: str
    sentence: str
    way_out: str
    rows: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The sentence and the way out."""
        return f"{self.sentence} {self.way_out}".strip()

    def plain(self) -> dict[str, Any]:
        """The fields as plain values, for ``result.json``."""
        return {
            "level": self.level,
            "code": self.code,
            "sentence": self.sentence,
            "way_out": self.way_out,
            "rows": list(self.rows),
            "classes": list(self.classes),
        }


def by_level(findings: Iterable[Finding]) -> list[Finding]:
    """Findings without repetitions, the most serious first."""
    return sorted(dict.fromkeys(findings), key=lambda finding: LEVELS.index(finding.level))


def lines(findings: Sequence[Finding]) -> list[str]:
    """Findings as lines of text that begin with the level, the most serious first."""
    return [f"{finding.level}: {finding.text}" for finding in by_level(findings)]


def warn(findings: Iterable[Finding]) -> None:
    """Emit errors and warnings as Python warnings; notes stay silent."""
    for finding in by_level(findings):
        if finding.level != "note":
            warnings.warn(finding.text, stacklevel=2)


def with_reader_findings(read: Callable[[], T]) -> tuple[T, tuple[Finding, ...]]:
    """Call a function that reads data, and turn the warnings it emits into findings.

    Args:
        read: Emits a :class:`UserWarning` or a :class:`DataWarning` for data that it left out,
            replaced or found contradictory.

    Returns:
        The function's result, and a finding for each of these warnings. Warnings of other
        categories are emitted again, and so are those of level ``note``, which :func:`warn` does
        not show.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = read()
    found = []
    for entry in caught:
        finding = _finding_of(entry.message)
        if finding is not None:
            found.append(finding)
        if finding is None or finding.level == "note":
            warnings.warn_explicit(entry.message, entry.category, entry.filename, entry.lineno)
    return value, tuple(dict.fromkeys(found))


def _finding_of(said: Warning | str) -> Finding | None:
    """The finding of a warning about the data; None for other warnings."""
    if isinstance(said, DataWarning):
        level: Level = "note" if said.level == "note" else "warning"
        return Finding(level, said.code.replace(" ", "_") or "reader", str(said), "")
    # other categories, such as CacheWarning, are not about the data
    return Finding("warning", "reader", str(said), "") if type(said) is UserWarning else None


def refuse(findings: Sequence[Finding], name: str) -> None:
    """Raise an error if there are findings above the level ``note`` (``data.check=strict``).

    Args:
        findings: The findings.
        name: The benchmark's name.

    Raises:
        DataError: If there is such a finding; the message lists all of them.
    """
    grave = [finding for finding in findings if finding.level != "note"]
    if not grave:
        return
    listed = "\n".join(f"- {line}" for line in lines(grave))
    raise DataError(
        f"data.check=strict: the check of {name} found {len(grave)} "
        f"problem{'s' if len(grave) > 1 else ''}; expected none. Correct the data, or set "
        f"data.check=warn to train on them as they are:\n{listed}"
    )
