"""Tables of groups of runs.

A :class:`Sheet` holds the texts of a table; it is printed to the terminal or written as Markdown.
CSV files hold the unrounded metrics. Nothing here needs torch.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zsl_lab.console.messages import console as make_console
from zsl_lab.console.result_table import COLUMNS, settings_text, undefined
from zsl_lab.files.escaping import csv_row, markdown, one_line
from zsl_lab.report.groups import Group, Summary
from zsl_lab.run.configuration.settings import shown_value

#: widths in characters, in a wide and in a narrow terminal: maximum of a head's line, minimum of
#: the label column
_WIDE_HEAD, _NARROW_HEAD = 13, 8
_WIDE_LABEL, _NARROW_LABEL = 28, 11
#: classes of a part that are printed, characters of their names
MAX_PRINTED, _MAX_NAME = 1000, 100


@dataclass(frozen=True)
class Cell:
    """A formatted number, with its standard deviation."""

    text: str
    sd: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """Texts on the left, numbers on the right; without numbers, a heading for the rows below."""

    texts: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Sheet:
    """The contents of a table, independent of the output format.

    Attributes:
        title: Title.
        text_heads: Heads of the text columns.
        metric_heads: Heads of the number columns.
        sections: Rows; those of a section may be compared with each other.
        note: Explanation below the table.
        spare: Heads of number columns that a terminal too narrow for all of them leaves out.
        spans: Two lines of heads for the number columns, where there is room for them: a title,
            and the heads below it. Empty for a single line.
    """

    title: str
    text_heads: tuple[str, ...]
    metric_heads: tuple[str, ...]
    sections: tuple[tuple[Row, ...], ...]
    note: str
    spare: tuple[str, ...] = ()
    spans: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def without_spare(self) -> Sheet:
        """The table without its ``spare`` columns; the note names them."""
        kept = [i for i, head in enumerate(self.metric_heads) if head not in self.spare]
        sections = tuple(
            tuple(
                replace(row, cells=tuple(row.cells[i] for i in kept if row.cells)) for row in rows
            )
            for rows in self.sections
        )
        left_out = f"A wider terminal also shows: {', '.join(self.spare)}."
        return replace(
            self,
            metric_heads=tuple(self.metric_heads[i] for i in kept),
            sections=sections,
            note=f"{self.note} {left_out}",
            spare=(),
            spans=(),
        )


# --------------------------------------------------------------------------- sheets

ORACLE_HEADS = ("oracle zsl_top1 (selected on test)", "oracle H (selected on test)")
#: columns of costs: the field of ``training``, and the unit; of sizes: the field of ``model``
_COST_UNITS = {
    "seconds": ("seconds", 1),
    "steps/s": ("steps_per_second", 1),
    "memory (MB)": ("peak_memory", 10**6),
}
_SIZE_UNITS = {"params (M)": "parameters", "MFLOPs": "flops"}
_STEP = (
    "The step is selected on validation classes unless the row says otherwise; oracle zsl_top1 and "
    "oracle H, each at the step that is best by it on test, are biased estimates."
)
_SPREAD = "Mean ± sample standard deviation over seeds."
_GAP = "gap: oracle H minus H, what a selection on test adds."
_COSTS = (
    "seconds: training of both phases; steps/s: training steps a second, checks not counted; "
    "memory: the peak, data included."
)
_MFLOPS = "MFLOPs: to classify one sample, a multiplication and an addition counted as two."
_BOLD = "Bold: best of those with the same dataset, splits, features and selection."


def result_sheet(groups: Sequence[Group]) -> Sheet:
    """One row per group: seeds, metrics, oracle metrics, cost and size of the model.

    Columns in which no group has a value are left out.
    """
    datasets = list(dict.fromkeys(group.first.dataset for group in groups))
    one_dataset = len(datasets) == 1
    gaps, costs, sizes = (
        [name for name in names if any(find(group, name) for group in groups)]
        for names, find in ((("gap",), _gap), (_COST_UNITS, _cost), (_SIZE_UNITS, _size))
    )
    sections = []
    for members in _sections(groups):
        summaries = [[*group.metrics.values(), *group.oracles.values()] for group in members]
        rows = []
        for group, cells in zip(members, _compared(summaries), strict=True):
            texts = (one_line(group.first.dataset), group.label)[one_dataset:]
            more = (
                *(_gap(group, name) for name in gaps),
                *(_cost(group, name) for name in costs),
                *(_size(group, name) for name in sizes),
            )
            known = (cell or Cell("-") for cell in more)
            rows.append(Row(texts, (Cell(str(len(group.runs))), *cells, *known)))
        sections.append(tuple(rows))
    facts = groups[0].first.benchmark
    classes = f"; {facts['seen']} seen + {facts['unseen']} unseen classes" if one_dataset else ""
    notes = (_GAP if gaps else "", _COSTS if costs else "", _MFLOPS if sizes else "")
    return Sheet(
        title=f"{', '.join(map(one_line, datasets))} (per class, %{classes})",
        text_heads=("dataset", "method")[one_dataset:],
        metric_heads=("seeds", *COLUMNS, *ORACLE_HEADS, *gaps, *costs, *sizes),
        sections=tuple(sections),
        note=_note([_spread(groups), _STEP, *notes, *_undefined(groups)], sections),
        spare=(*ORACLE_HEADS[:1], *gaps, *costs),
    )


def sweep_sheet(
    groups: Sequence[Group], keys: Sequence[str], values: Sequence[Sequence[str]], metric: str
) -> Sheet:
    """One row per setting of a sweep, the best on validation classes first; metrics on test beside.

    Args:
        groups: In the order of :func:`zsl_lab.report.groups.group_runs`.
        keys: The swept keys without ``seed``.
        values: For each group, the value of each key.
        metric: The metric to sort by. Groups without validation metrics are sorted by the metric on
            test, and the note says so.
    """
    texts = {
        id(group): tuple(own) or (group.label,) for group, own in zip(groups, values, strict=True)
    }
    shown = list(dict.fromkeys(["unseen", "seen", "harmonic_mean", metric]))
    sections, unvalidated = [], []
    for members in _sections(groups):
        validated = not all(math.isnan(group.validation[metric].mean) for group in members)
        if not validated:
            unvalidated.append(members[0].first.selection)
        members = _descending(members, metric, on_validation=validated)
        summaries = [
            [group.validation[metric], *(group.metrics[name] for name in shown)]
            for group in members
        ]
        sections.append(
            tuple(
                Row(texts[id(group)], (Cell(str(len(group.runs))), *cells))
                for group, cells in zip(members, _compared(summaries), strict=True)
            )
        )
    notes = [_spread(groups)]
    if len(unvalidated) < len(sections):
        notes.append(f"Sorted by {metric} on validation classes.")
    if unvalidated:
        notes.append(
            f"selection={', '.join(dict.fromkeys(unvalidated))} has no metric on validation "
            f"classes: sorted by {metric} on test, which must not be used to choose settings."
        )
    notes += _undefined(groups)
    names = dict.fromkeys(
        f"{one_line(group.first.method)} on {one_line(group.first.dataset)}" for group in groups
    )
    return Sheet(
        title=f"Sweep of {', '.join(names)} (per class, %)",
        text_heads=tuple(keys) or ("method",),
        metric_heads=(
            *("seeds", f"{metric} on validation classes"),
            *(f"test {name}" for name in shown),
        ),
        sections=tuple(sections),
        note=_note(notes, sections),
    )


def _descending(groups: Sequence[Group], metric: str, *, on_validation: bool) -> list[Group]:
    """Groups sorted by a metric, highest first, NaN last."""

    def key(group: Group) -> float:
        mean = (group.validation if on_validation else group.metrics)[metric].mean
        return math.inf if math.isnan(mean) else -mean

    return sorted(groups, key=key)


def recall_sheets(groups: Sequence[Group], limit: int | None = None) -> list[Sheet]:
    """Recall of each class, one column per group; one sheet per dataset and splits.

    Args:
        groups: The groups.
        limit: Most seen and most unseen classes that are shown; None shows all.
    """
    sheets = []
    for (dataset, version, *_), same in itertools.groupby(
        groups, key=lambda group: group.comparable[:3]
    ):
        columns = list(same)
        names = {part: _classes(columns, part) for part in ("unseen", "seen")}
        sections = tuple(
            tuple(
                Row((part, one_line(name, _MAX_NAME)), _recall_cells(columns, part, name))
                for name in own[:limit]
            )
            for part, own in names.items()
        )
        left_out = sum(len(own) - len(own[:limit]) for own in names.values())
        facts = columns[0].first.benchmark
        sheets.append(
            Sheet(
                title=f"{one_line(dataset)}, recall per class (%; {facts['seen']} seen + "
                f"{facts['unseen']} unseen classes; splits: {version})",
                text_heads=("", "class"),
                metric_heads=tuple(group.label for group in columns),
                sections=sections,
                note=_note(
                    [
                        "Mean over seeds, prediction over all classes.",
                        f"{left_out:,} more classes: --per-class --csv FILE." if left_out else "",
                    ],
                    sections,
                ),
            )
        )
    return sheets


def _recall_cells(groups: Sequence[Group], part: str, name: str) -> tuple[Cell, ...]:
    cells: list[Cell] = []
    for members in _sections(groups):
        means = [replace(group.recall(part, name), sd=None) for group in members]
        cells += map(_cell, means, _best(means))
    return tuple(cells)


def _sections(groups: Sequence[Group]) -> list[list[Group]]:
    return [
        list(members)
        for _, members in itertools.groupby(groups, key=lambda group: group.comparable)
    ]


def _classes(groups: Sequence[Group], part: str) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group.first.per_class[part]))


def _best(summaries: Sequence[Summary]) -> list[bool]:
    """Which means are the highest after rounding; none if all are equal."""
    shown = [round(summary.mean, 1) for summary in summaries]
    known = [value for value in shown if not math.isnan(value)]
    return [bool(known) and value == max(known) > min(known) for value in shown]


def _compared(rows: Sequence[Sequence[Summary]]) -> list[list[Cell]]:
    """Cells of comparable rows, the best of each column marked."""
    best = zip(*(_best(column) for column in zip(*rows, strict=True)), strict=True)
    return [list(map(_cell, row, own)) for row, own in zip(rows, best, strict=True)]


def _cell(summary: Summary, best: bool) -> Cell:
    if math.isnan(summary.mean):
        return Cell("-")
    return Cell(f"{summary.mean:.1f}", "" if summary.sd is None else f"± {summary.sd:.1f}", best)


def _gap(group: Group, name: str) -> Cell | None:
    """Oracle H minus H, the mean over seeds."""
    gap = group.oracles["harmonic_mean"].mean - group.metrics["harmonic_mean"].mean
    return None if math.isnan(gap) else Cell(f"{gap:.1f}")


def _cost(group: Group, name: str) -> Cell | None:
    """Seconds, steps per second or peak memory, the mean over the seeds that know it."""
    key, unit = _COST_UNITS[name]
    mean = _mean_of(group, key)
    if mean is None:
        return None
    decimals = 1 if name == "steps/s" and mean < 10 else 0
    return Cell(f"{mean / unit:.{decimals}f}")


def _mean_of(group: Group, key: str) -> float | None:
    """Mean of a field of ``training`` over the seeds that know it; None if none does."""
    found = [run.result.training.get(key) for run in group.runs]
    known = [value for value in found if value is not None]
    return statistics.fmean(known) if known else None


def _size(group: Group, name: str) -> Cell | None:
    """Parameters or FLOPs, in millions."""
    if group.model is None:
        return None
    return Cell(f"{group.model[_SIZE_UNITS[name]] / 1e6:.2f}")


def _spread(groups: Iterable[Group]) -> str:
    return _SPREAD if any(len(group.runs) > 1 for group in groups) else ""


def _undefined(groups: Iterable[Group]) -> list[str]:
    """A sentence for each reason why metrics of a group are undefined."""
    return list(dict.fromkeys(reason for group in groups for reason in undefined(group.first)))


def _note(sentences: Iterable[str], sections: Iterable[Iterable[Row]]) -> str:
    some_best = any(cell.best for rows in sections for row in rows for cell in row.cells)
    return " ".join(sentence for sentence in (*sentences, _BOLD if some_best else "") if sentence)


# --------------------------------------------------------------------------- terminal


def print_sheet(sheet: Sheet) -> None:
    """Print to standard output.

    In a narrow terminal labels are wrapped, and standard deviations are printed below the means.
    Rows without numbers are headings: a number stands for each, which is explained below the table.
    """
    console = make_console()
    sheet, headings = _with_numbered_headings(sheet)
    longest = max(
        len(text)
        for text in (
            sheet.text_heads[-1],
            *(row.texts[-1] for rows in sheet.sections for row in rows),
        )
    )
    wide, least = min(longest, _WIDE_LABEL), min(longest, _NARROW_LABEL)
    choices = [(sheet, False, wide), (sheet, True, least)]
    if sheet.spare:
        choices.append((sheet.without_spare(), True, least))
    for sheet, narrow, least in choices:
        rest = _width(_table(sheet, narrow, 0))
        if rest + least <= console.width:
            break
    # narrower still: the terminal wraps the table's lines, so that no number is cut off
    console.width = max(console.width, rest + least)
    console.print()
    console.print(Text(sheet.title, style="bold"))
    console.print()
    console.print(_table(sheet, narrow, console.width - rest))
    for number, heading in enumerate(headings, 1):
        console.print(Text(f"[{number}] {heading}"))
    if sheet.note:
        console.print()
        console.print(Text(sheet.note, style="dim"))


def _with_numbered_headings(sheet: Sheet) -> tuple[Sheet, list[str]]:
    """The table with numbers in place of headings, and the headings."""
    headings: list[str] = []

    def numbered(row: Row) -> Row:
        if row.cells:
            return row
        headings.append(row.texts[0].strip("[]"))
        return replace(row, texts=(f"[{len(headings)}]", *row.texts[1:]))

    sections = tuple(tuple(numbered(row) for row in rows) for rows in sheet.sections)
    return replace(sheet, sections=sections), headings


def _table(sheet: Sheet, narrow: bool, label_width: int) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0 if narrow else 1, 0, 0), pad_edge=False
    )
    for head in sheet.text_heads[:-1]:
        table.add_column(Text(head), no_wrap=True)
    table.add_column(Text(sheet.text_heads[-1]), overflow="fold", width=None if label_width else 0)
    for head in sheet.metric_heads:
        table.add_column(
            Text(folded(head, _NARROW_HEAD if narrow else _WIDE_HEAD)),
            justify="right",
            no_wrap=True,
        )
    for rows in sheet.sections:
        for row in rows:
            cells = [
                Text(
                    f"{c.text}{chr(10) if narrow else ' '}{c.sd}".rstrip(),
                    style="bold" if c.best else "",
                )
                for c in row.cells
            ]
            table.add_row(
                *(Text(text) for text in row.texts[:-1]),
                Text(folded(row.texts[-1], label_width)),
                *cells,
            )
        table.add_section()
    return table


def _width(table: Table) -> int:
    return Console(width=10_000).measure(table).maximum


def folded(text: str, width: int) -> str:
    """Wrap a text at blanks, within keys and at equals signs; longer words are not broken."""
    lines = [""]
    for part in re.split(r"(?<=[ =])|(?<=\.)(?=[A-Za-z])|(?=_)", text):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


# --------------------------------------------------------------------------- files


def as_markdown(sheet: Sheet) -> str:
    """The table in Markdown, the best metrics in bold."""
    heads = [markdown(head) for head in (*sheet.text_heads, *sheet.metric_heads)]
    lines = [
        markdown(sheet.title),
        "",
        heads,
        ["---"] * len(sheet.text_heads) + ["---:"] * len(sheet.metric_heads),
    ]
    for row in itertools.chain(*sheet.sections):
        summaries = [f"{cell.text} {cell.sd}".rstrip() for cell in row.cells]
        bold = [
            f"**{text}**" if cell.best else text
            for text, cell in zip(summaries, row.cells, strict=True)
        ]
        texts = [markdown(text) for text in row.texts]
        lines.append([*texts, *(bold if row.cells else [""] * len(sheet.metric_heads))])
    lines += ["", markdown(sheet.note)]
    return (
        "\n".join(line if isinstance(line, str) else f"| {' | '.join(line)} |" for line in lines)
        + "\n"
    )


def result_csv(groups: Sequence[Group]) -> str:
    """One row per group: unrounded means and standard deviations, seeds, hashes of the data.

    Texts that a spreadsheet would take for formulas have an apostrophe before them
    (:func:`zsl_lab.files.escaping.csv_cell`).
    """
    rows = []
    for group in groups:
        first = group.first
        row: dict[str, Any] = {
            "dataset": first.dataset,
            "method": first.method,
            "label": group.label,
            "settings": group.differences,
        }
        row |= {
            "selection": first.selection,
            "calibrated": shown_value(first.calibration is not None),
        }
        row |= {
            "seeds": len(group.runs),
            "seed_list": " ".join(str(run.result.seed) for run in group.runs),
        }
        for name, summary in (
            *group.metrics.items(),
            *((f"oracle_on_test_{name}", found) for name, found in group.oracles.items()),
        ):
            row |= {f"{name}_mean": csv_number(summary.mean), f"{name}_sd": csv_number(summary.sd)}
        if any(other.model for other in groups):
            row |= {name: (group.model or {}).get(name) for name in ("parameters", "flops")}
        row |= {
            key: "" if (mean := _mean_of(group, key)) is None else f"{mean:.12g}"
            for key, _ in _COST_UNITS.values()
        }
        row |= {
            name: first.benchmark[name]
            for name in ("splits_version", "splits_sha256", "features_sha256")
        }
        row["classifier"] = first.classifier
        row["settings_from"] = settings_text(first) or ""
        rows.append(row)
    return as_csv(list(rows[0]), rows)


def recall_csv(groups: Sequence[Group]) -> str:
    """One row per class, one column per group: the mean recall over seeds, unrounded.

    Names are written as in :func:`result_csv`.
    """
    heads = [
        "dataset",
        "splits_sha256",
        "part",
        "class",
        *dict.fromkeys(group.label for group in groups),
    ]
    rows = []
    for (dataset, _, splits), same in itertools.groupby(
        groups, key=lambda group: group.comparable[:3]
    ):
        columns = list(same)
        for part in ("unseen", "seen"):
            for name in _classes(columns, part):
                row: dict[str, Any] = {
                    "dataset": dataset,
                    "splits_sha256": splits,
                    "part": part,
                    "class": name,
                }
                rows.append(
                    row
                    | {group.label: csv_number(group.recall(part, name).mean) for group in columns}
                )
    return as_csv(heads, rows)


def csv_number(value: float | None) -> float | None:
    """A number for a CSV file; None where it is undefined."""
    return None if value is None or math.isnan(value) else value


def as_csv(heads: list[str], rows: Iterable[dict[str, Any]]) -> str:
    """A CSV file with these heads; cells that a row lacks are empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(csv_row(heads))
    writer.writerows(csv_row(row.get(head, "") for head in heads) for row in rows)
    return buffer.getvalue()
