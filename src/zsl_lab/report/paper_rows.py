"""Which groups of runs belong to which row of a paper's table. Nothing here needs torch."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zsl_lab.errors import ConfigError, nearest
from zsl_lab.files.escaping import one_line
from zsl_lab.report.groups import Group, Summary, relabelled
from zsl_lab.report.published import (
    ANY_DATASET,
    METRICS,
    Table,
    TableRow,
    Value,
    published_file,
)
from zsl_lab.run.configuration.settings import shown_value

#: what a key of ``data`` is called in a table; others by their last part
_KEYS = {
    "benchmark.unseen": "unseen classes",
    "method.base.name": "base network",
    "method.text.encoder": "text encoder",
}
#: for each oracle metric, the metric whose best step on test it is taken at
_ORACLE_STEP = {name: "zsl_top1" if name == "zsl_top1" else "harmonic_mean" for name in METRICS}
#: groups that a sentence names
_MAX_NAMED = 5
_ABSENT = object()


@dataclass(frozen=True)
class Line:
    """A line of a paper's table.

    Attributes:
        table: The table, or a part of it.
        dataset: The dataset, as the table names it.
        row: The row.
        group: Runs of the row's method; None where there are none.
        data: Features, split and the like of these runs, where they are not the paper's; else
            empty. Such runs are not comparable with the row.
    """

    table: Table
    dataset: str
    row: TableRow
    group: Group | None
    data: str

    @property
    def method(self) -> str:
        """The paper's name of the method, and what distinguishes the group."""
        if self.group is None:
            return self.row.method
        found = self.group.label.removeprefix(one_line(self.group.first.method))
        on = f" on {one_line(self.group.first.dataset)}" if self.dataset == ANY_DATASET else ""
        return f"{self.row.method}{found}{on}"

    def measured(self, metric: str) -> Summary | None:
        """A metric of the runs at the step selected without test samples; None if there is none."""
        if self.group is None or self.group.first.selection == "oracle":
            return None
        results = [run.result for run in self.group.runs]
        return Summary.of(
            [
                ({**result.metrics, **(result.extra or {}), **(result.model or {})}).get(
                    metric, math.nan
                )
                for result in results
            ]
        )

    def oracle(self, metric: str) -> Summary | None:
        """An oracle metric: ``zsl_top1`` at its own best step on test, others at that of H."""
        if self.group is None or metric not in _ORACLE_STEP:
            return None
        by = _ORACLE_STEP[metric]
        return Summary.of([run.result.at_best_on_test(by, metric) for run in self.group.runs])

    @property
    def printed(self) -> dict[str, float | None]:
        """What the paper prints, by metric; nothing beside runs on other data."""
        return {} if self.data else self.table.printed(self.row, self.dataset)


# --------------------------------------------------------------------------- rows


def paper_names() -> list[str]:
    """Names of the tables, in the order of the file."""
    return list(dict.fromkeys(table.name for table in published_file().tables))


def paper_parts(name: str) -> list[Table]:
    """The parts of a table.

    Raises:
        ConfigError: There is no table of this name.
    """
    parts = [table for table in published_file().tables if table.name == name]
    if not parts:
        near = nearest(name, paper_names())
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"{one_line(name)}: there is no such table of a paper.{hint} Tables: "
            f"{', '.join(paper_names())}."
        )
    return parts


def paper_lines(name: str, groups: Sequence[Group]) -> list[Line]:
    """The lines of a table: each row with its groups, and after each dataset those on other data.

    Args:
        name: Name of the table.
        groups: Groups of runs; those that belong to no row are left out.

    Raises:
        ConfigError: There is no table of this name.
    """
    parts = paper_parts(name)
    found = [line for group in groups if (line := _line(parts, group))]
    lines = []
    order = [*published_file().datasets, ANY_DATASET]
    for table in parts:
        for dataset in sorted(table.datasets, key=order.index):
            apart = []
            for row in (row for row in table.rows if dataset in row.values):
                own = [one for one in found if one.row is row and one.dataset == dataset]
                same = [one for one in own if not one.data]
                lines += _relabelled(same) or [Line(table, dataset, row, None, "")]
                apart += _relabelled([one for one in own if one.data])
            lines += apart
    return lines


def left_out(name: str, groups: Sequence[Group]) -> list[str]:
    """A sentence about the groups that belong to no row of the table, if there are any."""
    parts = paper_parts(name)
    missing = [
        f"{group.label} on {one_line(group.first.dataset)}"
        for group in groups
        if _line(parts, group) is None
    ]
    if not missing:
        return []
    more = f" and {len(missing) - _MAX_NAMED} more" if len(missing) > _MAX_NAMED else ""
    return [
        f"{name} has no row for: {', '.join(missing[:_MAX_NAMED])}{more}. They are in the table "
        "without --paper."
    ]


def _line(parts: Sequence[Table], group: Group) -> Line | None:
    """The line of a group: at the row that it differs least from, of several the most specific."""
    dataset = published_file().canonical(_without_synthetic(group.first.dataset))
    found: list[tuple[float, int, Line]] = []
    for table in parts:
        for row in table.rows:
            name = next((name for name in (dataset, ANY_DATASET) if name in row.values), None)
            if row.here != group.first.method or name is None:
                continue
            if not all(_has(group, key, value) for key, value in row.overrides.items()):
                continue
            differing, data = _data(table, row, name, group)
            line = Line(table, name, row, group, data if differing else "")
            found.append((differing, -len(row.overrides), line))
    return min(found, key=lambda one: one[:2])[2] if found else None


def _data(table: Table, row: TableRow, dataset: str, group: Group) -> tuple[float, str]:
    """How many keys of ``data`` a group differs in, and its values of all of them in words.

    A split of the paper's kind that is not a published file counts half: it belongs to that part
    of the table rather than to one of another split.
    """
    wanted: dict[str, Value] = {}
    for key, value in {**table.data, **row.data}.items():
        if not isinstance(value, dict):
            wanted[key] = value
        elif dataset in value:
            wanted[key] = value[dataset]
    texts = ["synthetic data"] if is_synthetic(group) else []
    if _value(group, "sweep.size") == "smoke":
        texts.append("short runs (sweep.size=smoke)")
    differing: float = len(texts)
    for key, value in wanted.items():
        found = _value(group, key)
        name = _KEYS.get(key, key.rpartition(".")[2])
        shown = "unknown" if found is _ABSENT else one_line(shown_value(found))
        if key == "dataset.split" and (found, value) == ("proposed", "proposed"):
            # the file's own split, which need not be the published one
            published = is_synthetic(group) or _published_split(group)
            shown = "proposed" if published else "proposed (not a published file)"
            differing += 0 if published else 0.5
        else:
            differing += not _has(group, key, value)
        texts.append(f"{name} {shown}")
    return differing, ", ".join(texts)


def _published_split(group: Group) -> bool:
    return str(group.first.benchmark["splits_version"]).startswith("proposed split")


def is_synthetic(group: Group) -> bool:
    """Whether the samples of a group were generated: its dataset, features or split say so."""
    named = (
        group.first.dataset,
        *(str(_value(group, key)) for key in ("dataset.features", "dataset._target_")),
    )
    version = str(group.first.benchmark["splits_version"])
    return any("synthetic" in name.lower() for name in named) or version.startswith("generated")


def _without_synthetic(dataset: str) -> str:
    """The dataset that a synthetic one stands for: ``AWA2`` of ``AWA2 (synthetic)``."""
    return re.sub(r"[\s_()-]*synthetic[\s_()-]*", "", dataset, flags=re.IGNORECASE) or dataset


def _value(group: Group, key: str) -> Any:
    section, _, name = key.partition(".")
    facts = group.first.benchmark if section == "benchmark" else group.runs[0].settings or {}
    return facts.get(name if section == "benchmark" else key, _ABSENT)


def _has(group: Group, key: str, wanted: Value) -> bool:
    found = _value(group, key)
    return any(_equal(found, value) for value in (wanted if isinstance(wanted, list) else [wanted]))


def _equal(a: Any, b: Any) -> bool:
    numbers = [isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b)]
    # a share of classes is written with a few digits
    return math.isclose(a, b, rel_tol=1e-3) if all(numbers) else bool(a == b)


def _relabelled(lines: Sequence[Line]) -> list[Line]:
    groups = relabelled([line.group for line in lines if line.group is not None])
    return [
        Line(line.table, line.dataset, line.row, group, line.data)
        for line, group in zip(lines, groups, strict=True)
    ]
