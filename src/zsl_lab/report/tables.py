"""Tables over many runs: find them, group those that differ only by seed, compare the groups.

Finished runs become groups, groups become a :class:`Sheet` of texts, and a sheet is rendered for
the terminal or as Markdown; CSV holds the groups' figures unrounded. Nothing here needs torch.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import os
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zsl_lab.console.result_table import COLUMNS
from zsl_lab.errors import ConfigError, DataError, nearest
from zsl_lab.result import RESULT_FILE, SELECTIONS, Result
from zsl_lab.run.settings import (
    CONFIG_FILE,
    Configuration,
    Settings,
    read_configuration,
    shown_value,
)

#: keys whose value the result itself tells
IN_RESULT = ("seed", "selection.name", "selection.calibrate")
_SELECTED = {"validation": "", "oracle": "selected on test", "last": "last step"}
#: of keys that change together, so many are shown whole; of more, all but the first few are counted
_MOST_KEYS, _FIRST_KEYS = 4, 3
#: columns of the terminal: where heads are folded, and what labels get at the least
_WIDE_HEAD, _NARROW_HEAD = 13, 8
_WIDE_LABEL, _NARROW_LABEL = 28, 11
_ABSENT = object()


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: Where it lies, as the user wrote it.
        result: What it found.
        settings: Its configuration by dotted keys, less what no metric depends on and
            ``IN_RESULT``; None without a ``config.yaml``.
    """

    folder: Path
    result: Result
    settings: Settings | None


@dataclass(frozen=True)
class Found:
    """What lies below the given folders.

    Attributes:
        runs: Every finished run once, in the order of the folders given, then by path.
        unfinished: Run folders without a result.
        problems: A sentence for each file that cannot be used.
    """

    runs: list[Run]
    unfinished: list[Path]
    problems: list[str]


@dataclass(frozen=True)
class Figure:
    """Mean and sample standard deviation over seeds; ``sd`` is None for a single one, ``mean`` NaN where a seed lacks the figure."""

    mean: float
    sd: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """Over one value a seed."""
        if any(math.isnan(value) for value in values):
            return cls(math.nan, None)
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True)
class Group:
    """Runs that differ only by seed.

    Attributes:
        runs: In the order of their seeds.
        label: The method, and what tells this group from others of the same method and dataset.
        differences: Every setting that does so, as overrides.
    """

    runs: tuple[Run, ...]
    label: str
    differences: str

    @property
    def first(self) -> Result:
        """One of the results, for what all of them share."""
        return self.runs[0].result

    @property
    def rivals(self) -> tuple[str, ...]:
        """Equal in groups that may be compared with each other."""
        facts = self.first.benchmark
        return (
            self.first.dataset,
            facts["splits_version"],
            facts["splits_sha256"],
            facts["features_sha256"],
            self.first.selection,
        )

    @cached_property
    def metrics(self) -> dict[str, Figure]:
        """The figures on test, by name."""
        return {
            name: Figure.of([run.result.metrics[name] for run in self.runs]) for name in COLUMNS
        }

    @cached_property
    def validation(self) -> dict[str, Figure]:
        """The same on validation classes at the chosen step; NaN where none chose it."""
        found = [run.result.validation or dict.fromkeys(COLUMNS, math.nan) for run in self.runs]
        return {name: Figure.of([figures[name] for figures in found]) for name in COLUMNS}

    @cached_property
    def oracle(self) -> Figure:
        """Harmonic mean at the step that is best on test."""
        return Figure.of(
            [
                run.result.oracle["harmonic_mean"] if run.result.oracle else math.nan
                for run in self.runs
            ]
        )

    @cached_property
    def model(self) -> dict[str, int] | None:
        """Parameters and operations, where a run knows them."""
        return next((run.result.model for run in self.runs if run.result.model), None)

    def recall(self, part: str, name: str) -> Figure:
        """Recall of a class; ``part`` is ``unseen`` or ``seen``."""
        return Figure.of([run.result.per_class[part].get(name, math.nan) for run in self.runs])


@dataclass(frozen=True)
class Cell:
    """A figure as it is shown."""

    text: str
    sd: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """Texts on the left, figures on the right."""

    texts: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Sheet:
    """A table as it is shown, whatever it is shown on.

    Attributes:
        title: What the table is about.
        text_heads: Heads of the columns of texts.
        figure_heads: Heads of the columns of figures.
        sections: Rows that may be compared with each other stand together.
        note: What a reader must know to read the figures.
    """

    title: str
    text_heads: tuple[str, ...]
    figure_heads: tuple[str, ...]
    sections: tuple[tuple[Row, ...], ...]
    note: str


# --------------------------------------------------------------------------- finding


def find_runs(places: Iterable[Path]) -> Found:
    """Find the runs below folders.

    Args:
        places: Run folders, folders of such, or ``result.json`` files.

    Raises:
        ConfigError: If a place does not exist, or is another kind of file.
    """
    found = Found([], [], [])
    visited: set[str] = set()
    for place in places:
        if place.is_dir():
            _walk(place, found, visited)
        elif place.is_file() and place.name == RESULT_FILE:
            real = os.path.realpath(place.parent)
            if real not in visited:
                visited.add(real)
                _add(place.parent, found)
        elif place.exists():
            raise ConfigError(
                f"{place}: this is no run; expected a run's folder, a folder of runs, or a "
                f"{RESULT_FILE}."
            )
        else:
            siblings = (
                [path.name for path in place.parent.iterdir()] if place.parent.is_dir() else []
            )
            near = nearest(place.name, siblings)
            hint = f" Did you mean {place.with_name(near[0])}?" if near else ""
            raise ConfigError(
                f"{place}: there is no such folder; expected a run's folder, or a folder of "
                f"runs.{hint}"
            )
    return found


def _walk(place: Path, found: Found, visited: set[str]) -> None:
    def unreadable(error: OSError) -> None:
        found.problems.append(
            f"{error.filename}: cannot be read ({error.strerror}). Mend its rights, or give the "
            "folders beside it."
        )

    # links are followed, so a folder may be met twice, or within itself
    for name, folders, files in os.walk(place, followlinks=True, onerror=unreadable):
        real = os.path.realpath(name)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        # hidden ones hold no runs: .hydra has a config.yaml of its own, .venv is large
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        if RESULT_FILE in files:
            _add(Path(name), found)
        elif CONFIG_FILE in files and _is_run(Path(name) / CONFIG_FILE):
            found.unfinished.append(Path(name))


def _add(folder: Path, found: Found) -> None:
    try:
        result = Result.load(folder)
        config = folder / CONFIG_FILE
        found.runs.append(
            Run(folder, result, _settings(read_configuration(config)) if config.exists() else None)
        )
    except DataError as error:
        found.problems.append(str(error))


def _is_run(path: Path) -> bool:
    # other programs have a config.yaml too
    try:
        read_configuration(path)
    except DataError:
        return False
    return True


def _settings(configuration: Configuration) -> Settings:
    marks = configuration.marks
    # the result has the hashes of what the dataset's files hold
    files = (key for key in marks.places if key.startswith("dataset."))
    settings = configuration.settings((*IN_RESULT, *files))
    # of a file of each seed's own, only whether there is one counts
    given = {key: "given" for key in marks.per_seed if settings.get(key) is not None}
    return settings | given


# --------------------------------------------------------------------------- grouping


def group_runs(runs: Iterable[Run], sort: str = "harmonic_mean") -> tuple[list[Group], list[str]]:
    """Group the runs that differ only by seed.

    Args:
        runs: Of runs with the same seed and settings, the first counts.
        sort: The metric that decides the order among comparable groups.

    Returns:
        The groups, by dataset and comparable ones together, the highest first; and a sentence for
        each run that does not count.
    """
    by_key: dict[Any, dict[int, Run]] = {}
    repeated = []
    for run in runs:
        seeds = by_key.setdefault(_key(run), {})
        first = seeds.setdefault(run.result.seed, run)
        if first is not run:
            repeated.append(_repetition(run, first))
    members = [tuple(seeds[seed] for seed in sorted(seeds)) for seeds in by_key.values()]
    groups = [Group(runs, *_label(runs[0], [other[0] for other in members])) for runs in members]

    def order(group: Group) -> tuple[Any, ...]:
        *benchmark, selection = group.rivals
        mean = group.metrics[sort].mean
        return (
            *benchmark,
            SELECTIONS.index(selection),
            math.inf if math.isnan(mean) else -mean,
            group.label,
        )

    return sorted(groups, key=order), repeated


def _key(run: Run) -> tuple[Any, ...]:
    result, facts = run.result, run.result.benchmark
    settings = None if run.settings is None else frozenset(run.settings.items())
    measured = facts["splits_sha256"], facts["features_sha256"]
    return (
        result.method,
        result.dataset,
        result.selection,
        result.calibration is not None,
        measured,
        settings,
    )


def _repetition(run: Run, first: Run) -> str:
    figures = "" if _same_figures(run.result, first.result) else ", but other figures"
    why = (
        "same seed and settings as"
        if run.settings is not None
        else f"without {CONFIG_FILE} nothing but its folder tells it from"
    )
    return f"{run.folder}: left out, {why} {first.folder}{figures}."


def _same_figures(a: Result, b: Result) -> bool:
    pairs = [(a.metrics[name], b.metrics[name]) for name in COLUMNS]
    return all(x == y or (math.isnan(x) and math.isnan(y)) for x, y in pairs)


def _label(run: Run, others: Sequence[Run]) -> tuple[str, str]:
    """What a group is called, and all its settings that tell it from the others of its method and dataset."""
    mine = run.result
    same_dataset = [other for other in others if other.result.dataset == mine.dataset]
    siblings = [
        other
        for other in same_dataset
        if (other.result.method, other.result.selection) == (mine.method, mine.selection)
    ]
    parts = [_SELECTED[mine.selection], "calibrated" if mine.calibration is not None else ""]
    differences = []
    if run.settings is None:
        parts.append(f"no {CONFIG_FILE}" if len(siblings) > 1 else "")
    else:
        for keys in _differing(
            [other.settings for other in siblings if other.settings is not None]
        ):
            texts = [
                f"{key}={shown_value(run.settings[key])}" for key in keys if key in run.settings
            ]
            differences += texts
            parts += (
                texts
                if len(texts) <= _MOST_KEYS
                else [*texts[:_FIRST_KEYS], f"{len(texts) - _FIRST_KEYS} more"]
            )
    for what in ("splits", "features"):
        hashes = {other.result.benchmark[f"{what}_sha256"] for other in same_dataset}
        parts.append(f"{what} {mine.benchmark[f'{what}_sha256'][:8]}" if len(hashes) > 1 else "")
    text = ", ".join(part for part in parts if part)
    return f"{mine.method} ({text})" if text else mine.method, " ".join(differences)


def _differing(settings: Sequence[Settings]) -> list[list[str]]:
    """The keys that differ; those that tell the same ones apart together, so that one of them would do."""
    together: dict[tuple[int, ...], list[str]] = {}
    for key in dict.fromkeys(key for one in settings for key in one):
        values = [one.get(key, _ABSENT) for one in settings]
        pattern = tuple(values.index(value) for value in values)
        if any(pattern):
            together.setdefault(pattern, []).append(key)
    return list(together.values())


# --------------------------------------------------------------------------- sheets

_ORACLE_HEAD = "oracle H (selected on test)"
_STEP = "The step is chosen on validation classes unless the row says otherwise; oracle H, the best step on test, is no fair estimate."
_SPREAD = "Mean ± sample standard deviation over seeds."
_MFLOPS = "MFLOPs: to classify one sample, a multiplication and an addition counted as two."
_BOLD = "Bold: best of those with the same dataset, splits, features and selection."


def result_sheet(groups: Sequence[Group]) -> Sheet:
    """One row a group: its seeds, its metrics, the oracle beside them, and the model's size where it is known."""
    datasets = list(dict.fromkeys(group.first.dataset for group in groups))
    sized = any(group.model for group in groups)
    sections = []
    for rivals in _sections(groups):
        figures = [[*group.metrics.values(), group.oracle] for group in rivals]
        best = list(zip(*(_best(column) for column in zip(*figures, strict=True)), strict=True))
        rows = []
        for i in range(len(rivals)):
            group = rivals[i]
            cells = [Cell(str(len(group.runs))), *map(_cell, figures[i], best[i])]
            if sized:
                cells += _size(group)
            rows.append(Row((group.first.dataset, group.label)[len(datasets) == 1 :], tuple(cells)))
        sections.append(tuple(rows))
    facts = groups[0].first.benchmark
    classes = (
        f"; {facts['seen']} seen + {facts['unseen']} unseen classes" if len(datasets) == 1 else ""
    )
    return Sheet(
        title=f"{', '.join(datasets)} (per class, %{classes})",
        text_heads=("dataset", "method")[len(datasets) == 1 :],
        figure_heads=(
            "seeds",
            *COLUMNS,
            _ORACLE_HEAD,
            *(("params (M)", "MFLOPs") if sized else ()),
        ),
        sections=tuple(sections),
        note=_note(
            [
                _SPREAD if any(len(group.runs) > 1 for group in groups) else "",
                _STEP,
                _MFLOPS if sized else "",
            ],
            sections,
        ),
    )


def sweep_sheet(
    groups: Sequence[Group], keys: Sequence[str], values: Sequence[Sequence[str]], metric: str
) -> Sheet:
    """One row a setting of a sweep, the best on validation classes first; its figures on test beside.

    Args:
        groups: As :func:`group_runs` orders them.
        keys: What was swept, seeds apart.
        values: A value of each key, for each group.
        metric: What to sort by. Groups without validation classes go by their figure on test, and
            the note says so.
    """
    places = {id(group): place for place, group in enumerate(groups)}
    shown = list(dict.fromkeys(["unseen", "seen", "harmonic_mean", metric]))
    sections, untold = [], []
    for rivals in _sections(groups):
        told = not all(math.isnan(group.validation[metric].mean) for group in rivals)
        if not told:
            untold.append(rivals[0].first.selection)
        ordered = sorted(
            rivals,
            key=lambda group: _descending(
                (group.validation if told else group.metrics)[metric].mean
            ),
        )
        figures = [
            [group.validation[metric], *(group.metrics[name] for name in shown)]
            for group in ordered
        ]
        best = list(zip(*(_best(column) for column in zip(*figures, strict=True)), strict=True))
        sections.append(
            tuple(
                Row(
                    tuple(values[places[id(group)]]) or (group.label,),
                    (Cell(str(len(group.runs))), *map(_cell, figures[i], best[i])),
                )
                for i, group in enumerate(ordered)
            )
        )
    names = dict.fromkeys(f"{group.first.method} on {group.first.dataset}" for group in groups)
    fallback = (
        f"selection={', '.join(dict.fromkeys(untold))} has no figure on validation classes: sorted "
        f"by {metric} on test, which is no way to choose settings."
    )
    return Sheet(
        title=f"Sweep of {', '.join(names)} (per class, %)",
        text_heads=tuple(keys) or ("method",),
        figure_heads=(
            "seeds",
            f"{metric} on validation classes",
            *(f"test {name}" for name in shown),
        ),
        sections=tuple(sections),
        note=_note(
            [
                _SPREAD if any(len(group.runs) > 1 for group in groups) else "",
                f"Sorted by {metric} on validation classes." if len(untold) < len(sections) else "",
                fallback if untold else "",
            ],
            sections,
        ),
    )


def _descending(value: float) -> float:
    return math.inf if math.isnan(value) else -value


def recall_sheets(groups: Sequence[Group]) -> list[Sheet]:
    """Recall of each class, the groups side by side; a sheet for each dataset and splits."""
    sheets = []
    for (dataset, version, *_), same in itertools.groupby(
        groups, key=lambda group: group.rivals[:3]
    ):
        columns = list(same)
        sections = []
        for part in ("unseen", "seen"):
            rows = []
            for name in _classes(columns, part):
                cells: list[Cell] = []
                for rivals in _sections(columns):
                    figures = [Figure(group.recall(part, name).mean, None) for group in rivals]
                    cells += map(_cell, figures, _best(figures))
                rows.append(Row((part, name), tuple(cells)))
            sections.append(tuple(rows))
        facts = columns[0].first.benchmark
        sheets.append(
            Sheet(
                title=f"{dataset}, recall per class (%; {facts['seen']} seen + {facts['unseen']} "
                f"unseen classes; splits: {version})",
                text_heads=("", "class"),
                figure_heads=tuple(group.label for group in columns),
                sections=tuple(sections),
                note=_note(["Mean over seeds, prediction over all classes."], sections),
            )
        )
    return sheets


def _sections(groups: Sequence[Group]) -> list[list[Group]]:
    return [list(rivals) for _, rivals in itertools.groupby(groups, key=lambda group: group.rivals)]


def _classes(groups: Sequence[Group], part: str) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group.first.per_class[part]))


def _best(figures: Sequence[Figure]) -> list[bool]:
    """Which figures are the highest as they are shown; none of them where there is nothing lower."""
    shown = [round(figure.mean, 1) for figure in figures]
    known = [value for value in shown if not math.isnan(value)]
    return [bool(known) and value == max(known) > min(known) for value in shown]


def _cell(figure: Figure, best: bool) -> Cell:
    if math.isnan(figure.mean):
        return Cell("-")
    return Cell(f"{figure.mean:.1f}", "" if figure.sd is None else f"± {figure.sd:.1f}", best)


def _size(group: Group) -> list[Cell]:
    if group.model is None:
        return [Cell("-"), Cell("-")]
    return [Cell(f"{group.model[name] / 1e6:.2f}") for name in ("parameters", "flops")]


def _note(sentences: Iterable[str], sections: Iterable[Iterable[Row]]) -> str:
    some_best = any(cell.best for rows in sections for row in rows for cell in row.cells)
    return " ".join(sentence for sentence in (*sentences, _BOLD if some_best else "") if sentence)


# --------------------------------------------------------------------------- terminal


def print_sheet(sheet: Sheet) -> None:
    """Print to standard output; in a narrow terminal labels are folded, and standard deviations stand below their means."""
    console = Console(highlight=False, markup=False, emoji=False)
    longest = max(
        len(text)
        for text in (
            sheet.text_heads[-1],
            *(row.texts[-1] for rows in sheet.sections for row in rows),
        )
    )
    for narrow, least in ((False, min(longest, _WIDE_LABEL)), (True, min(longest, _NARROW_LABEL))):
        rest = _width(_table(sheet, narrow, 0))
        if rest + least <= console.width:
            break
    # a still narrower terminal breaks the lines of the table itself, rather than the table losing
    # figures
    console.width = max(console.width, rest + least)
    console.print()
    console.print(Text(sheet.title, style="bold"))
    console.print()
    console.print(_table(sheet, narrow, console.width - rest))
    console.print()
    console.print(Text(sheet.note, style="dim"))


def _table(sheet: Sheet, narrow: bool, label_width: int) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0 if narrow else 1, 0, 0), pad_edge=False
    )
    for head in sheet.text_heads[:-1]:
        table.add_column(Text(head), no_wrap=True)
    table.add_column(Text(sheet.text_heads[-1]), overflow="fold", width=None if label_width else 0)
    for head in sheet.figure_heads:
        table.add_column(
            Text(_folded(head, _NARROW_HEAD if narrow else _WIDE_HEAD)),
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
                Text(_folded(row.texts[-1], label_width)),
                *cells,
            )
        table.add_section()
    return table


def _width(table: Table) -> int:
    return Console(width=10_000).measure(table).maximum


def _folded(text: str, width: int) -> str:
    """A text on several lines, broken at blanks, within keys and at equals signs; a longer word is left whole."""
    lines = [""]
    for part in re.split(r"(?<=[ =])|(?<=\.)(?=[A-Za-z])|(?=_)", text):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


# --------------------------------------------------------------------------- files


def as_markdown(sheet: Sheet) -> str:
    """The table in Markdown, the best figures between two asterisks each."""
    heads = [_escaped(head) for head in (*sheet.text_heads, *sheet.figure_heads)]
    lines = [
        sheet.title,
        "",
        heads,
        ["---"] * len(sheet.text_heads) + ["---:"] * len(sheet.figure_heads),
    ]
    for row in itertools.chain(*sheet.sections):
        figures = [f"{cell.text} {cell.sd}".rstrip() for cell in row.cells]
        bold = [
            f"**{text}**" if cell.best else text
            for text, cell in zip(figures, row.cells, strict=True)
        ]
        lines.append([*(_escaped(text) for text in row.texts), *bold])
    lines += ["", sheet.note]
    return (
        "\n".join(line if isinstance(line, str) else f"| {' | '.join(line)} |" for line in lines)
        + "\n"
    )


def _escaped(text: str) -> str:
    # an underscore within a word is no emphasis
    return re.sub(r"([\\`*|<\[])", r"\\\1", " ".join(text.split()))


def result_csv(groups: Sequence[Group]) -> str:
    """One row a group, unrounded: mean and standard deviation in columns of their own, seeds, what was measured on."""
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
        for name, figure in (
            *group.metrics.items(),
            ("oracle_on_test_harmonic_mean", group.oracle),
        ):
            row |= {f"{name}_mean": _number(figure.mean), f"{name}_sd": _number(figure.sd)}
        if any(other.model for other in groups):
            row |= {name: (group.model or {}).get(name) for name in ("parameters", "flops")}
        row |= {
            name: first.benchmark[name]
            for name in ("splits_version", "splits_sha256", "features_sha256")
        }
        rows.append(row)
    return _csv(list(rows[0]), rows)


def recall_csv(groups: Sequence[Group]) -> str:
    """One row a class of each dataset and splits, one column a group: the mean recall over seeds, unrounded."""
    heads = [
        "dataset",
        "splits_sha256",
        "part",
        "class",
        *dict.fromkeys(group.label for group in groups),
    ]
    rows = []
    for (dataset, _, splits), same in itertools.groupby(groups, key=lambda group: group.rivals[:3]):
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
                    row | {group.label: _number(group.recall(part, name).mean) for group in columns}
                )
    return _csv(heads, rows)


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _csv(heads: list[str], rows: Iterable[dict[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, heads, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
