"""What a check of the data found: the type, and how findings are shown, stored and enforced."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from zsl_lab.errors import DataError, DataWarning

T = TypeVar("T")
Level = Literal["error", "warning", "note"]

#: the levels, the gravest first
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """A property of the data that makes metrics wrong, or hard to interpret.

    Attributes:
        level: ``error`` (no metric on these data means anything), ``warning`` (metrics are
            affected) or ``note``.
        code: A short name of the kind, for programs.
        sentence: What was found and where, and what was expected.
        way_out: What can be done about it.
        rows: Samples concerned, as 0-based indices; the first ones where there are many.
        classes: Names of the classes concerned; the first ones where there are many.
    """

    level: Level
    code: str
    sentence: str
    way_out: str
    rows: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What was found, and the way out."""
        return f"{self.sentence} {self.way_out}".strip()

    def plain(self) -> dict[str, Any]:
        """The fields as ``result.json`` has them."""
        return {
            "level": self.level,
            "code": self.code,
            "sentence": self.sentence,
            "way_out": self.way_out,
            "rows": list(self.rows),
            "classes": list(self.classes),
        }


def by_level(findings: Iterable[Finding]) -> list[Finding]:
    """Findings, the gravest first; each once."""
    return sorted(dict.fromkeys(findings), key=lambda finding: LEVELS.index(finding.level))


def lines(findings: Sequence[Finding]) -> list[str]:
    """Findings as lines of text that begin with the level."""
    return [f"{finding.level}: {finding.text}" for finding in by_level(findings)]


def warn(findings: Iterable[Finding]) -> None:
    """Emit errors and warnings as Python warnings; notes stay silent."""
    for finding in by_level(findings):
        if finding.level != "note":
            warnings.warn(finding.text, stacklevel=2)


def with_reader_findings(read: Callable[[], T]) -> tuple[T, tuple[Finding, ...]]:
    """Call a function that reads data; the warnings it emits become findings.

    Args:
        read: Emits a :class:`UserWarning` or a :class:`DataWarning` for what it left out, replaced
            or found contradictory.

    Returns:
        What it returned, and a finding for each of these warnings. Warnings of other categories are
        emitted, and so are those of level ``note``, which :func:`warn` does not show.
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
    """What a warning says of the data; None where it is about something else."""
    if isinstance(said, DataWarning):
        level: Level = "note" if said.level == "note" else "warning"
        return Finding(level, said.code.replace(" ", "_") or "reader", str(said), "")
    # other categories have a meaning of their own, as that of a cache has
    return Finding("warning", "reader", str(said), "") if type(said) is UserWarning else None


def refuse(findings: Sequence[Finding], name: str) -> None:
    """Stop where the data have errors or warnings (``data.check=strict``).

    Args:
        findings: What the check found.
        name: The benchmark's name.

    Raises:
        DataError: There is at least one; the text lists all of them.
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
