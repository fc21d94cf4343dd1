"""The table of a paper with the metrics of runs beside those that it prints.

Each row has what the runs measured at the step selected without test samples, what they measured
at the step that is best on test (an oracle, as papers mostly print), and what the paper prints.
:mod:`zsl_lab.report.paper_rows` decides which runs belong to which row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from zsl_lab.report.groups import Group, Summary
from zsl_lab.report.paper_rows import Line, paper_lines
from zsl_lab.report.published import ANY_DATASET, COUNTS, Table
from zsl_lab.report.tables import Cell, Row, Sheet, as_csv, csv_number

#: column heads of metrics; other metrics have their name as head
_HEADS = {
    "harmonic_mean": "H",
    "zsl_top5": "top-5",
    "zsl_average_precision": "average precision",
    "parameters": "parameters (M)",
    "flops": "MFLOPs",
}
_MILLION = 1e6
_SPREAD = "Mean ± sample standard deviation over seeds."
_VALIDATION = "validation: step selected on validation classes, unless the row says otherwise."
_ORACLE = (
    "oracle: step that is best on test by zsl_top1, for the others by H: biased estimates, as "
    "papers mostly print."
)
_APART = (
    "Below a heading in brackets: runs on data that are not known to be like the paper's, not "
    "comparable with it."
)


@dataclass(frozen=True)
class _Block:
    """Columns of metrics under one title."""

    title: str
    metrics: list[str]
    cell: Callable[[Line, str], Cell]

    @property
    def heads(self) -> tuple[str, ...]:
        return tuple(_HEADS.get(metric, metric) for metric in self.metrics)


def paper_tables(name: str, groups: Sequence[Group]) -> list[Sheet]:
    """The table, one sheet per part and dataset.

    Args:
        name: Name of the table in ``published.yaml``.
        groups: Groups of runs; without any, the paper's metrics alone.

    Raises:
        ConfigError: There is no table of this name.
    """
    lines = paper_lines(name, groups)
    blocks = [
        list(own)
        for _, own in itertools.groupby(lines, key=lambda line: (id(line.table), line.dataset))
    ]
    # a dataset without printed values is shown only if there are runs on it
    blocks = [own for own in blocks if any(map(_has_content, own))] or blocks[:1]
    last = {id(own[0].table): i for i, own in enumerate(blocks)}
    return [_sheet(own, last[id(own[0].table)] == i) for i, own in enumerate(blocks)]


def _has_content(line: Line) -> bool:
    printed = any(value is not None for value in line.printed.values())
    return line.group is not None or printed


def _sheet(lines: Sequence[Line], with_note: bool) -> Sheet:
    """The lines of a part of the table on one dataset; ``with_note`` adds the part's note."""
    table, dataset = lines[0].table, lines[0].dataset
    blocks = _blocks(lines)
    titles = {block.title for block in blocks}
    ran = any(line.group for line in lines)
    # runs on other data last, a section for each kind of data
    data = dict.fromkeys(["", *(line.data for line in lines)])
    sections = [[line for line in lines if line.data == one] for one in data]
    notes = [
        _SPREAD if any(line.group and len(line.group.runs) > 1 for line in lines) else "",
        _VALIDATION if "validation" in titles else "",
        _ORACLE if "oracle" in titles else "",
        _APART if len(data) > 1 else "",
        f"{table.note}." if table.note and with_note else "",
    ]
    return Sheet(
        title=_title(table, dataset),
        text_heads=("method",),
        metric_heads=(
            *(["seeds"] if ran else []),
            *(f"{block.title} {head}" for block in blocks for head in block.heads),
        ),
        sections=tuple(_section(section, blocks, ran) for section in sections),
        note=" ".join(note for note in notes if note),
        spare=tuple(f"oracle {name}" for name in ("unseen", "seen") if "oracle" in titles),
        spans=(
            *([("", ("seeds",))] if ran else []),
            *((block.title, block.heads) for block in blocks),
        ),
    )


def _title(table: Table, dataset: str) -> str:
    title = f"{table.paper}, {table.table}"
    if dataset == ANY_DATASET:
        return title
    features = f"; features: {table.features}" if table.features else ""
    return f"{title}: {dataset} (split: {table.split}{features})"


def _blocks(lines: Sequence[Line]) -> list[_Block]:
    """The blocks of columns for which a line has a value."""
    table = lines[0].table
    metrics: list[str] = list(table.metrics)
    blocks = []
    if any(line.group for line in lines):
        counts = set(metrics) <= set(COUNTS)
        blocks.append(_Block("here" if counts else "validation", metrics, _measured))
    known = [name for name in metrics if any(_known(line.oracle(name)) for line in lines)]
    if known:
        blocks.append(_Block("oracle", known, lambda line, name: _cell(line.oracle(name), name)))
    blocks.append(_Block("paper", metrics, _printed))
    return blocks


def _section(lines: Sequence[Line], blocks: Sequence[_Block], ran: bool) -> tuple[Row, ...]:
    """Rows on the same data; where these are not the paper's, a heading names them."""
    heading = [Row((f"[{lines[0].data}]",), ())] if lines[0].data else []
    return (*heading, *(_row(line, blocks, ran) for line in lines))


def _row(line: Line, blocks: Iterable[_Block], ran: bool) -> Row:
    features = "" if line.data else line.row.features
    seeds = [Cell(str(len(line.group.runs)) if line.group else "-")] if ran else []
    cells = [block.cell(line, metric) for block in blocks for metric in block.metrics]
    return Row((f"{line.method} [{features}]" if features else line.method,), (*seeds, *cells))


def _measured(line: Line, metric: str) -> Cell:
    return _cell(line.measured(metric), metric)


def _cell(summary: Summary | None, metric: str) -> Cell:
    if summary is None or not _known(summary):
        return Cell("-")
    unit = _MILLION if metric in COUNTS else 1
    text = f"{summary.mean / unit:.{2 if metric in COUNTS else 1}f}"
    sd = "" if summary.sd is None or metric in COUNTS else f"± {summary.sd:.1f}"
    return Cell(text, sd)


def _printed(line: Line, metric: str) -> Cell:
    value = line.printed.get(metric)
    if value is None:
        return Cell("-")
    if metric in COUNTS:
        return Cell(f"{value / _MILLION:.1f}")
    sd = line.row.sd.get(line.dataset) if metric == line.table.metrics[0] else None
    decimals = _decimals(line.table)
    return Cell(f"{value:.{decimals}f}", "" if sd is None else f"± {sd:.{decimals}f}")


def _decimals(table: Table) -> int:
    """How many decimals the paper prints."""
    values = [
        value
        for row in table.rows
        for own in row.values.values()
        for value in own
        if value is not None
    ]
    return 1 if all(math.isclose(value, round(value, 1)) for value in values) else 2


def _known(summary: Summary | None) -> bool:
    return summary is not None and not math.isnan(summary.mean)


def paper_csv(name: str, groups: Sequence[Group]) -> str:
    """One row per line of the table, unrounded, with what identifies the runs and their data.

    Args:
        name: Name of the table.
        groups: Groups of runs.

    Raises:
        ConfigError: There is no table of this name.
    """
    lines = paper_lines(name, groups)
    metrics = dict.fromkeys(metric for line in lines for metric in line.table.metrics)
    rows = [_csv_row(line, metrics) for line in lines]
    return as_csv(list(rows[0]), rows)


def _csv_row(line: Line, metrics: Iterable[str]) -> dict[str, Any]:
    group = line.group
    row: dict[str, Any] = {
        "paper": line.table.paper,
        "table": line.table.table,
        "split": line.table.split,
        "features": line.row.features or line.table.features or "",
        "dataset": line.dataset,
        "method": line.row.method,
        "runs": "" if group is None else group.label,
        "runs_dataset": "" if group is None else group.first.dataset,
        "runs_other_data": line.data,
        "selection": "" if group is None else group.first.selection,
        "seeds": 0 if group is None else len(group.runs),
    }
    for metric in metrics:
        for prefix, found in (
            ("", line.measured(metric)),
            ("oracle_on_test_", line.oracle(metric)),
        ):
            row[f"{prefix}{metric}_mean"] = None if found is None else csv_number(found.mean)
            row[f"{prefix}{metric}_sd"] = None if found is None else csv_number(found.sd)
        row[f"paper_{metric}"] = line.printed.get(metric)
    first = line.table.metrics[0]
    row["paper_sd"] = line.row.sd.get(line.dataset) if first in line.printed else None
    return row
