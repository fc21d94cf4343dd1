"""One HTML page over finished runs: tables, what papers print, trade-offs, recalls, sweeps, speed. It needs no other file.

Figures come from the sheets of :mod:`zsl_lab.report.tables`, so that the page and the terminal
never disagree.
"""

from __future__ import annotations

import base64
import itertools
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TypeVar

from zsl_lab import __version__
from zsl_lab.console.result_table import COLUMNS
from zsl_lab.errors import DataError
from zsl_lab.report import charts
from zsl_lab.report.charts import Line, Mark
from zsl_lab.report.markup import Html, element, joined
from zsl_lab.report.published import Published, published
from zsl_lab.report.tables import (
    Cell,
    Figure,
    Found,
    Group,
    Row,
    Run,
    Sheet,
    recall_sheets,
    result_sheet,
)
from zsl_lab.result import RESULT_FILE, Result
from zsl_lab.run.records import tradeoff_csv
from zsl_lab.run.records.tradeoff_csv import Point
from zsl_lab.run.settings import shown_value

#: settings side by side in a table of classes; more would be no table to read
MAX_COLUMNS = 24
#: classes up to which that table stands open
MAX_OPEN = 12
#: digits of a hash or a commit that are shown
_HASH = 8
_SELECTION = {"validation": "validation", "oracle": "test (oracle)", "last": "last step"}
_MEANINGS = (
    ("zsl_top1", "Test samples of unseen classes, predicted among the unseen classes alone."),
    (
        "unseen (u), seen (s)",
        "Test samples of unseen and of seen classes, predicted among all classes.",
    ),
    ("harmonic_mean (H)", "2us / (u + s): high only where both are."),
    (
        "ausuc",
        "The area under the curve of seen against unseen accuracy, as a constant is added to the "
        "scores of unseen classes.",
    ),
    (
        "accuracy",
        "The recall of each class that has a test sample, averaged over these classes; in percent.",
    ),
    (
        "calibrated",
        "Such a constant, chosen on validation classes, is part of the model: no look at a test "
        "sample.",
    ),
    (
        "selected on",
        "What chose the training step: validation (held-out seen classes), test (an oracle), or "
        "nothing: the last step.",
    ),
    (
        "oracle H",
        "H at the step that is best on test. Papers often print that one; it is no fair estimate, "
        "and stands apart.",
    ),
    (
        "mean ± sd",
        "Over seeds; the sample standard deviation. Bold: the best of the runs with the same data "
        "and selection.",
    ),
)
_OTHER_MEASURE = (
    "Printed by the papers, not measured here: other features, often other splits, and mostly the "
    "best step on test. A figure below belongs beside one above only where features and splits are "
    "the same; the nearest of ours is oracle H."
)

Curves = Mapping[Path, Sequence[Point]]
_T = TypeVar("_T")


def read_curves(runs: Iterable[Run]) -> tuple[dict[Path, list[Point]], list[str]]:
    """The trade-off curves that runs left, by folder, and a sentence for each file that is damaged."""
    curves, problems = {}, []
    for run in runs:
        try:
            points = tradeoff_csv.read(run.folder)
        except DataError as error:
            problems.append(str(error))
            continue
        if points:
            curves[run.folder] = points
    return curves, problems


def make(groups: Sequence[Group], curves: Curves, found: Found, repeated: Sequence[str]) -> str:
    """The page.

    Args:
        groups: At least one, as :func:`group_runs` orders them.
        curves: As :func:`read_curves` gives them.
        found: What lies below the given folders; every problem in it is named.
        repeated: A sentence for each run that does not count.
    """
    sections = [
        _Section(f"data-{number}", list(own))
        for number, (_, own) in enumerate(
            itertools.groupby(groups, key=lambda group: group.rivals[:4]), 1
        )
    ]
    runs = [run for group in groups for run in group.runs]
    swept = _sweeps(runs)
    datasets = list(dict.fromkeys(section.dataset for section in sections))
    title = f"zsl_lab: {_count(len(runs), 'run')} on {', '.join(datasets)}"
    names = [section.name for section in sections]
    headings = [
        section.long_name if names.count(section.name) > 1 else section.name for section in sections
    ]
    places = [
        (section.anchor, heading) for section, heading in zip(sections, headings, strict=True)
    ]
    places += [("sweeps", "Sweeps")] if swept else []
    places += [("speed", "Training and size"), ("runs", "Runs")]
    body = joined(
        element("header", element("h1", title), _facts(_about(runs, groups)), _navigation(places)),
        _left_out(found, repeated),
        _how_to_read(),
        element(
            "main",
            [
                _section(section, heading, curves)
                for section, heading in zip(sections, headings, strict=True)
            ],
            swept,
            _speed(groups),
            _runs(groups),
        ),
        element(
            "footer",
            element("p", f"Made by python -m zsl_lab.report, zsl_lab {__version__}."),
        ),
    )
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("title", title),
        element("style", Html(_shipped("page.css"))),
    )
    script = element("script", Html(_shipped("page.js")))
    return f"<!DOCTYPE html>\n{element('html', head, element('body', body, script), lang='en')}\n"


def _shipped(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


# --------------------------------------------------------------------------- head


def _about(runs: Sequence[Run], groups: Sequence[Group]) -> list[tuple[str, str]]:
    results = [run.result for run in runs]
    facts = [
        ("settings", str(len(groups))),
        ("methods", ", ".join(sorted({result.method for result in results}))),
    ]
    for package in ("zsl_lab", "torch", "python"):
        facts.append(
            (
                package,
                ", ".join(sorted({result.versions.get(package, "unknown") for result in results})),
            )
        )
    commits = sorted({_commit(result) for result in results})
    facts.append((f"commit{'s' * (len(commits) > 1)}", ", ".join(commits)))
    return facts


def _facts(facts: Iterable[tuple[str, str]]) -> Html:
    return element(
        "dl",
        [element("div", element("dt", name), element("dd", value)) for name, value in facts],
        class_="facts",
    )


def _navigation(places: Iterable[tuple[str, str]]) -> Html:
    items = [element("li", element("a", name, href=f"#{anchor}")) for anchor, name in places]
    return element("nav", element("ul", items), aria_label="Sections")


def _left_out(found: Found, repeated: Sequence[str]) -> Html | None:
    sentences = [*found.problems, *repeated]
    sentences += [f"{folder}: unfinished, without {RESULT_FILE}." for folder in found.unfinished]
    if not sentences:
        return None
    heading = element("h2", f"Left out or incomplete ({len(sentences)})", id="left-out")
    return element(
        "section",
        heading,
        element("ul", [element("li", text) for text in sentences]),
        class_="warning",
    )


def _how_to_read() -> Html:
    meanings = [
        part for name, text in _MEANINGS for part in (element("dt", name), element("dd", text))
    ]
    return element(
        "details",
        element("summary", "How to read this"),
        element("dl", meanings),
        class_="how",
        open=True,
    )


# --------------------------------------------------------------------------- a section: the same
# dataset, splits and features


@dataclass(frozen=True)
class _Section:
    """Groups that were measured on the same samples.

    Attributes:
        anchor: Its id in the page.
        groups: As :func:`group_runs` orders them.
    """

    anchor: str
    groups: list[Group]

    @property
    def dataset(self) -> str:
        return self.groups[0].first.dataset

    @property
    def features(self) -> str:
        """What features are called in the configuration; empty where nothing says it."""
        return self.setting("dataset.features")

    @property
    def name(self) -> str:
        """What it is called where no other section has that name."""
        return f"{self.dataset}, {self.features}" if self.features else self.dataset

    @property
    def long_name(self) -> str:
        """What it is called beside such a one."""
        facts = self.groups[0].first.benchmark
        return f"{self.name} (splits {facts['splits_sha256'][:_HASH]}, features {facts['features_sha256'][:_HASH]})"

    def setting(self, key: str) -> str:
        """The values of a key, where there are any."""
        values = dict.fromkeys(
            run.settings.get(key)
            for group in self.groups
            for run in group.runs
            if run.settings is not None
        )
        return ", ".join(shown_value(value) for value in values if value is not None)


def _section(section: _Section, heading: str, curves: Curves) -> Html:
    facts = section.groups[0].first.benchmark
    about = [
        ("classes", f"{facts['seen']} seen + {facts['unseen']} unseen"),
        ("samples", f"{facts['samples']:,}"),
        ("splits", f"{facts['splits_version']} (sha256 {facts['splits_sha256'][:_HASH]})"),
        (
            "features",
            f"{section.features or 'the dataset’s own'} (sha256 {facts['features_sha256'][:_HASH]})",
        ),
    ]
    about += [
        (name, section.setting(key))
        for name, key in (("semantics", "dataset.semantics"), ("base network", "method.base.name"))
    ]
    return element(
        "section",
        element("h2", heading, id=section.anchor),
        _facts((name, value) for name, value in about if value),
        _results(section),
        _papers(section),
        _tradeoffs(section, curves),
        _recalls(section),
    )


def _results(section: _Section) -> Html:
    sheet = result_sheet(section.groups)
    oracle = 1 + len(COLUMNS)  # the sheet's first figure is the number of seeds
    heads = [_head("method", text=True), _head("seeds", text=True)]
    heads += [
        _head(name, class_="oracle" if place == oracle else None)
        for place, name in _first(sheet.figure_heads, oracle)
    ]
    heads += [_head("selected on", text=True), _head("calibrated", text=True)]
    bodies, number = [], 0
    for rows in sheet.sections:
        lines = []
        for row in rows:
            group = section.groups[number]
            cells = [_row_head(group.label, number), _text(_seeds(group))]
            cells += [
                _figure(cell, class_="oracle" if place == oracle else "")
                for place, cell in _first(row.cells, oracle)
            ]
            cells += [
                _text(_SELECTION[group.first.selection]),
                _text("yes" if group.first.calibration is not None else "no"),
            ]
            lines.append(element("tr", cells))
            number += 1
        bodies.append(element("tbody", lines))
    caption = (
        "Measured here, per class, in percent. Oracle H is selected on test and no fair estimate."
    )
    return _table(caption, heads, bodies)


def _papers(section: _Section) -> Html | None:
    own = list(dict.fromkeys(group.first.method for group in section.groups))
    rows = published(section.dataset, own)
    if not rows:
        return None
    heads = [_head("method", text=True), *(_head(name) for name in COLUMNS[:-1])]
    heads += [_head("features", text=True), _head("split", text=True), _head("where", text=True)]
    lines = [
        element("tr", _printed(row), class_="mine" if row.here in own else None) for row in rows
    ]
    return element(
        "section",
        element("h3", f"What papers print on {section.dataset}"),
        element("p", _OTHER_MEASURE, " Bold: methods that ran here.", class_="note"),
        _table("Figures of papers, as printed, in percent.", heads, [element("tbody", lines)]),
        _sources(rows),
        class_="papers",
    )


def _printed(row: Published) -> list[Html]:
    cells = [element("th", row.method, scope="row")]
    for name, value in row.figures.items():
        decimals = 2 if row.sd is not None else 1
        text = "-" if math.isnan(value) else f"{value:.{decimals}f}"
        cells.append(
            _figure(
                Cell(text, f"± {row.sd:.2f}" if row.sd is not None and name == "zsl_top1" else "")
            )
        )
    return [
        *cells,
        _text(row.features, "long"),
        _text(row.split),
        _text(f"{row.paper}, {row.table}"),
    ]


def _sources(rows: Sequence[Published]) -> Html:
    """The papers' titles, and what else their tables' readers must know."""
    notes: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        notes.setdefault((row.paper, row.title), {}).setdefault(row.note)
    items = []
    for (paper, title), own in sorted(notes.items()):
        items.append(
            element(
                "li",
                f"{paper}: ",
                element("cite", title),
                ". ",
                " ".join(f"{note}." for note in own if note),
            )
        )
    return element("ul", items, class_="note")


# --------------------------------------------------------------------------- trade-offs


def _tradeoffs(section: _Section, curves: Curves) -> Html:
    heading = element("h3", "Seen against unseen accuracy")
    shown = {
        number: group
        for number, group in enumerate(section.groups)
        if any(run.folder in curves for run in group.runs)
    }
    without = [
        str(run.folder)
        for group in section.groups
        for run in group.runs
        if run.folder not in curves
    ]
    missing = None
    if without:
        many = without if len(without) <= 3 else [*without[:3], f"{len(without) - 3} more"]
        text = f"No curve of {_count(len(without), 'run')} without a usable {tradeoff_csv.FILE} (versions before it left none): "
        missing = element("p", f"{text}{', '.join(many)}.", class_="note")
    if not shown:
        return joined(heading, missing)
    first = dict(itertools.islice(shown.items(), charts.MAX_LINES))
    typical = {
        number: _typical([run for run in group.runs if run.folder in curves])
        for number, group in first.items()
    }
    lines = [_line(run, curves[run.folder], number) for number, run in typical.items()]
    legend = [
        element("li", charts.swatch(number), element("span", group.label))
        for number, group in first.items()
    ]
    legend.append(
        element(
            "li",
            charts.mark_sign(calibrated=False),
            "nothing added to the scores of unseen classes",
            class_="signs",
        )
    )
    if any(group.first.calibration is not None for group in first.values()):
        legend.append(
            element(
                "li",
                charts.mark_sign(calibrated=True),
                "with the constant chosen on validation classes",
                class_="signs",
            )
        )
    told = f"Seen against unseen accuracy on {section.dataset}: {', '.join(group.label for group in first.values())}"
    about = (
        "As a constant is added to the scores of unseen classes, on test samples; dotted lines "
        "have the same H. A point on a curve other than its marks is one that only a look at test "
        "would choose."
    )
    if any(len(group.runs) > 1 for group in first.values()):
        about += " Of several seeds, the one with the median H."
    if len(shown) > len(first):
        about += f" The first {len(first)} of {len(shown)} rows of the table."
    return joined(
        heading,
        element("p", about, class_="note"),
        element(
            "figure",
            charts.tradeoff(lines, told),
            element("ul", legend, class_="legend"),
            class_="tradeoff",
        ),
        _every_seed(shown, curves),
        missing,
    )


def _every_seed(shown: Mapping[int, Group], curves: Curves) -> Html | None:
    several = {number: group for number, group in shown.items() if len(group.runs) > 1}
    if not several:
        return None
    panels = []
    for number, group in several.items():
        lines = [
            _line(run, curves[run.folder], number) for run in group.runs if run.folder in curves
        ]
        told = f"Seen against unseen accuracy of {group.label}, seeds {_seed_list(group)}"
        panels.append(
            element(
                "figure",
                element("h4", group.label),
                charts.tradeoff(lines, told, width=300, height=240),
            )
        )
    return element(
        "details", element("summary", "Every seed"), element("div", panels, class_="multiples")
    )


def _typical(runs: Sequence[Run]) -> Run:
    """The run with the median H; of an even number, the lower of the two."""
    ordered = sorted(runs, key=lambda run: run.result.metrics["harmonic_mean"])
    return ordered[(len(ordered) - 1) // 2]


def _line(run: Run, points: Sequence[Point], number: int) -> Line:
    result = run.result
    marks = []
    plain = min(points, key=lambda point: abs(point.constant))
    name = f"{result.method}, seed {result.seed}"
    marks.append(
        Mark(plain.unseen, plain.seen, False, f"{name}: u {plain.unseen:.1f}, s {plain.seen:.1f}")
    )
    u, s, h = (result.metrics[metric] for metric in ("unseen", "seen", "harmonic_mean"))
    if result.calibration is not None:
        marks.append(
            Mark(
                u,
                s,
                True,
                f"{name}, {result.calibration:.3g} added: u {u:.1f}, s {s:.1f}, H {h:.1f}",
            )
        )
    return Line([(point.unseen, point.seen) for point in points], marks, number)


# --------------------------------------------------------------------------- recalls


def _recalls(section: _Section) -> Html:
    groups = section.groups[:MAX_COLUMNS]
    left_out = len(section.groups) - len(groups)
    parts = [element("h3", "Recall of each class")]
    parts.append(
        element(
            "p",
            "Mean over seeds, prediction over all classes; the outlines show the classes from "
            "worst to best.",
            class_="note",
        )
    )
    heads = [_head("method", text=True)]
    for part in ("unseen", "seen"):
        heads += [
            element("th", f"{part} classes", scope="col", class_="text"),
            _head("lowest"),
            _head("median"),
            _head("never found"),
        ]
    lines = [
        element(
            "tr",
            _row_head(group.label, number),
            *(_profile(group, part) for part in ("unseen", "seen")),
        )
        for number, group in enumerate(groups)
    ]
    parts.append(_table(None, heads, [element("tbody", lines)], sortable=False))
    [sheet] = recall_sheets(groups)
    for rows, part in zip(sheet.sections, ("unseen", "seen"), strict=True):
        if rows:
            parts.append(_heat(sheet, rows, part))
    if left_out:
        parts.append(
            element(
                "p",
                f"The first {len(groups)} rows of the table; {left_out} more: --per-class --csv "
                "FILE.",
                class_="note",
            )
        )
    return joined(parts)


def _profile(group: Group, part: str) -> list[Html]:
    names = list(group.first.per_class[part])
    means = {name: group.recall(part, name).mean for name in names}
    known = {name: mean for name, mean in means.items() if not math.isnan(mean)}
    if not known:
        return [_text("no test samples"), *(element("td", "-") for _ in range(3))]
    ordered = sorted(known, key=lambda name: known[name])
    worst, best, median = ordered[0], ordered[-1], ordered[(len(ordered) - 1) // 2]
    never = sum(value == 0 for value in known.values())
    told = (
        f"{part}: {worst} {known[worst]:.1f}, median {known[median]:.1f}, {best} {known[best]:.1f}"
    )
    return [
        element("td", charts.profile(list(known.values()), told, part), class_="text"),
        element("td", f"{known[worst]:.1f}"),
        element("td", f"{known[median]:.1f}"),
        element("td", f"{never} of {len(known)}"),
    ]


def _heat(sheet: Sheet, rows: Sequence[Row], part: str) -> Html:
    heads = [_head("class", text=True), *(_head(name) for name in sheet.figure_heads)]
    lines = [
        element("tr", element("th", row.texts[-1], scope="row"), map(_shaded, row.cells))
        for row in rows
    ]
    table = _table(None, heads, [element("tbody", lines)], class_="heat")
    return element(
        "details",
        element("summary", f"{_count(len(rows), f'{part} class', 'es')}"),
        table,
        open=len(rows) <= MAX_OPEN,
    )


def _shaded(cell: Cell) -> Html:
    shade = None if cell.text == "-" else f"r{round(float(cell.text) / 10)}"
    return element("td", element("b", cell.text) if cell.best else cell.text, class_=shade)


# --------------------------------------------------------------------------- sweeps


def _sweeps(runs: Sequence[Run]) -> Html | None:
    from zsl_lab.sweep.job import read_jobs
    from zsl_lab.sweep.report import Swept, compare
    from zsl_lab.sweep.sweep import SWEEP_FILE

    by_folder: dict[Path, list[Run]] = {}
    for run in runs:
        by_folder.setdefault(run.folder.parent, []).append(run)
    found: list[tuple[Path, Swept]] = []
    for folder, own in by_folder.items():
        if (folder / SWEEP_FILE).is_file():
            known = {run.folder for run in own}
            jobs = [job for job in read_jobs(folder) if job.folder in known]
            recorded = {job.folder for job in jobs}
            swept = compare(jobs, [run for run in own if run.folder in recorded])
            if len(swept.groups) > 1 and swept.keys:
                found.append((folder, swept))
    if not found:
        return None
    parts: list[Html] = [element("h2", "Sweeps", id="sweeps")]
    for folder, swept in found:
        sheet = swept.sheet()
        heads = [
            *(_head(key, text=True) for key in sheet.text_heads),
            *map(_head, sheet.figure_heads),
        ]
        bodies = [
            element(
                "tbody",
                [element("tr", map(_text, row.texts), map(_figure, row.cells)) for row in rows],
            )
            for rows in sheet.sections
        ]
        pictures = element("div", _pictures(swept.draw), class_="sweep-figures")
        parts += [
            element("h3", sheet.title),
            element("p", element("code", str(folder))),
            _table(sheet.note, heads, bodies),
            pictures,
        ]
    return element("section", parts)


def _pictures(draw: object) -> list[Html]:
    assert callable(draw)
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), ".svg")
        pictures = []
        for path in sorted(Path(folder).glob("*.svg")):
            source = f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"
            keys = path.stem.removeprefix("h_by_").replace("_and_", " and ")
            pictures.append(
                element(
                    "img",
                    src=source,
                    alt=f"Harmonic mean by {keys}; the table above has the figures",
                )
            )
    return pictures


# --------------------------------------------------------------------------- speed, runs


def _speed(groups: Sequence[Group]) -> Html:
    heads = [_head("method", text=True), _head("dataset", text=True)]
    heads += [
        _head(name) for name in ("steps", "seconds", "steps/s", "params (M)", "MFLOPs", "processes")
    ]
    heads += [_head("precision", text=True), _head("device", text=True)]
    lines = []
    for group in groups:
        cells = [element("th", group.label, scope="row"), _text(group.first.dataset)]
        for name, decimals in (("steps", 0), ("seconds", 1), ("steps_per_second", 0)):
            values = [run.result.training[name] for run in group.runs]
            figure = Figure.of([math.nan if value is None else float(value) for value in values])
            cells.append(_figure(_rounded(figure, decimals)))
        sizes = [
            "-" if group.model is None else f"{group.model[name] / 1e6:.2f}"
            for name in ("parameters", "flops")
        ]
        cells += [element("td", text) for text in (*sizes, _known(group, "world_size"))]
        lines.append(
            element(
                "tr",
                cells,
                _text(_known(group, "precision")),
                _text(_known(group, "device"), "long"),
            )
        )
    note = (
        "Steps and seconds of selection and final training together, checks left out; a "
        "pre-training that jobs of a sweep share counts for each of them. MFLOPs: to classify one "
        "sample, a multiplication and an addition counted as two. Speeds of different devices "
        "don’t compare."
    )
    return element(
        "section",
        element("h2", "Training and size", id="speed"),
        _table(note, heads, [element("tbody", lines)]),
    )


def _known(group: Group, name: str) -> str:
    values = dict.fromkeys(run.result.training[name] for run in group.runs)
    return ", ".join("unknown" if value is None else str(value) for value in values)


def _rounded(figure: Figure, decimals: int) -> Cell:
    if math.isnan(figure.mean):
        return Cell("-")
    return Cell(
        f"{figure.mean:.{decimals}f}", "" if not figure.sd else f"± {figure.sd:.{decimals}f}"
    )


def _runs(groups: Sequence[Group]) -> Html:
    heads = [
        _head("method", text=True),
        _head("dataset", text=True),
        _head("seed"),
        _head("H"),
        _head("oracle H", class_="oracle"),
    ]
    heads += [_head(name, text=True) for name in ("folder", "commit", "zsl_lab", "torch")]
    lines = []
    for group in groups:
        for run in group.runs:
            result = run.result
            oracle = math.nan if result.oracle is None else result.oracle["harmonic_mean"]
            cells = [
                element("th", group.label, scope="row"),
                _text(result.dataset),
                element("td", str(result.seed)),
            ]
            cells.append(_figure(_rounded(Figure(result.metrics["harmonic_mean"], None), 1)))
            cells.append(_figure(_rounded(Figure(oracle, None), 1), class_="oracle"))
            cells.append(element("td", element("code", str(run.folder)), class_="text path"))
            cells.append(
                element(
                    "td", element("code", _commit(result)), class_="text", title=result.git_commit
                )
            )
            cells += [
                _text(result.versions.get(package, "unknown")) for package in ("zsl_lab", "torch")
            ]
            lines.append(element("tr", cells))
    return element(
        "section", element("h2", "Runs", id="runs"), _table(None, heads, [element("tbody", lines)])
    )


def _commit(result: Result) -> str:
    if result.git_commit is None:
        return "unknown"
    commit, _, dirty = result.git_commit.partition("-")
    return commit[:_HASH] + (f"-{dirty}" if dirty else "")


# --------------------------------------------------------------------------- parts


def _table(
    caption: str | None,
    heads: Sequence[Html],
    bodies: Sequence[Html],
    *,
    sortable: bool = True,
    class_: str = "",
) -> Html:
    names = " ".join(name for name in ("sortable" if sortable else "", class_) if name)
    table = element("table", element("thead", element("tr", heads)), bodies, class_=names or None)
    # what scrolls must be reachable with the keyboard
    scrolling = element(
        "div", table, class_="scroll", tabindex=0, role="region", aria_label=caption or "Table"
    )
    return joined(element("p", caption, class_="note"), scrolling) if caption else scrolling


def _head(name: str, *, text: bool = False, class_: str | None = None) -> Html:
    return element("th", name, scope="col", class_="text" if text else class_)


def _row_head(label: str, number: int) -> Html:
    return element("th", charts.swatch(number), label, scope="row")


def _text(text: str, class_: str = "") -> Html:
    return element("td", text, class_=f"text {class_}".rstrip())


def _figure(cell: Cell, class_: str = "") -> Html:
    names = " ".join(name for name in (class_, "best" if cell.best else "") if name)
    spread = (" ", element("span", cell.sd, class_="sd")) if cell.sd else ()
    return element("td", cell.text, *spread, class_=names or None)


def _first(items: Sequence[_T], last: int) -> list[tuple[int, _T]]:
    """Items with their places, from the second to the one at ``last``."""
    return list(enumerate(items))[1 : last + 1]


def _seeds(group: Group) -> str:
    return f"{len(group.runs)} ({_seed_list(group)})"


def _seed_list(group: Group) -> str:
    """Seeds in their order; three or more in a row by the first and the last."""
    seeds = [run.result.seed for run in group.runs]
    parts: list[str] = []
    for _, row in itertools.groupby(enumerate(seeds), key=lambda pair: pair[1] - pair[0]):
        own = [seed for _, seed in row]
        parts += [f"{own[0]} to {own[-1]}"] if len(own) > 2 else map(str, own)
    return ", ".join(parts)


def _count(number: int, name: str, plural: str = "s") -> str:
    return f"{number} {name}{plural if number != 1 else ''}"
