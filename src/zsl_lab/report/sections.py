"""Contents of a dataset's section of the page: results, papers, trade-offs, recalls.

Plain dataclasses of formatted texts and charts; ``templates/section.html.j2`` renders them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zsl_lab.console.result_table import COLUMNS, undefined
from zsl_lab.files.escaping import one_line
from zsl_lab.report import charts
from zsl_lab.report.charts import Line, Mark
from zsl_lab.report.groups import Group, Run
from zsl_lab.report.published import Published, published
from zsl_lab.report.tables import ORACLE_HEADS, Cell, Row, recall_sheets, result_sheet
from zsl_lab.run.configuration.settings import shown_value
from zsl_lab.run.records.tradeoff_csv import Point

#: number of groups in a table of recalls
MAX_COLUMNS = 24
#: number of seen or unseen classes in a table of recalls
MAX_CLASSES = 2000
#: a table of more classes is collapsed
MAX_OPEN = 12
#: number of run folders that a sentence lists
_MAX_FOLDERS = 3
#: number of findings of the data check that are listed
_MAX_FINDINGS = 5
#: digits of a hash that are shown
_HASH = 8
_SELECTION = {"validation": "validation", "oracle": "test (oracle)", "last": "last step"}

Curves = Mapping[Path, Sequence[Point]]
Fact = tuple[str, str]


@dataclass(frozen=True)
class ResultRow:
    """Row of a group in the table of results; ``style`` is that of its curve."""

    style: str
    label: str
    seeds: str
    metrics: tuple[Cell, ...]
    oracles: tuple[Cell, ...]
    selected_on: str
    calibrated: bool


@dataclass(frozen=True)
class PaperRow:
    """Row of a paper's table; ``ran_here`` if runs of the same method are on the page."""

    method: str
    ran_here: bool
    metrics: tuple[Cell, ...]
    features: str
    split: str
    source: str


@dataclass(frozen=True)
class Paper:
    """A source of rows, with notes on its tables."""

    name: str
    title: str
    notes: str


@dataclass(frozen=True)
class Papers:
    """What papers print on the dataset."""

    rows: list[PaperRow]
    sources: list[Paper]


@dataclass(frozen=True)
class SeedCurves:
    """The curves of all seeds of a group."""

    label: str
    chart: charts.Tradeoff


@dataclass(frozen=True)
class Tradeoffs:
    """Curves of seen against unseen accuracy.

    Attributes:
        chart: One curve per group; None if no run has a curve.
        legend: Style and label of each curve.
        calibrated: Whether a run is calibrated.
        several_seeds: Whether the curves are those of one seed out of several.
        total: Number of groups with a curve; the chart has at most ``charts.MAX_LINES``.
        every_seed: The curves of all seeds, for groups of several.
        missing: Number of runs without a curve.
        missing_folders: Their folders, as text.
    """

    chart: charts.Tradeoff | None
    legend: list[tuple[str, str]]
    calibrated: bool
    several_seeds: bool
    total: int
    every_seed: list[SeedCurves]
    missing: int
    missing_folders: str


@dataclass(frozen=True)
class RecallProfile:
    """Sorted recalls of a group's seen or unseen classes, and statistics of them."""

    chart: charts.Profile
    lowest: str
    median: str
    never_found: str


@dataclass(frozen=True)
class RecallRow:
    """Row of a group in the overview of recalls; None where there are no test samples."""

    style: str
    label: str
    unseen: RecallProfile | None
    seen: RecallProfile | None


@dataclass(frozen=True)
class HeatCell:
    """A recall; ``shade`` is a class of the style sheet, empty for no recall."""

    text: str
    best: bool
    shade: str


@dataclass(frozen=True)
class HeatMap:
    """Recall of each seen or unseen class, one column per group."""

    title: str
    open: bool
    heads: tuple[str, ...]
    rows: list[tuple[str, list[HeatCell]]]


@dataclass(frozen=True)
class Recalls:
    """Recalls per class of the first groups; ``left_out`` more are not shown.

    ``classes_note`` says how many classes are not.
    """

    rows: list[RecallRow]
    heat_maps: list[HeatMap]
    left_out: int
    classes_note: str


@dataclass(frozen=True)
class Section:
    """A section of the page: runs on the same dataset, splits and features."""

    anchor: str
    heading: str
    dataset: str
    facts: list[Fact]
    metric_heads: tuple[str, ...]
    oracle_heads: tuple[str, ...]
    results: list[list[ResultRow]]
    papers: Papers | None
    tradeoffs: Tradeoffs
    recalls: Recalls


@dataclass(frozen=True)
class _Benchmark:
    """Groups that were measured on the same samples."""

    groups: list[Group]

    @property
    def dataset(self) -> str:
        return self.groups[0].first.dataset

    @property
    def features(self) -> str:
        """Name of the features in the configuration; empty if unknown."""
        return self.setting("dataset.features")

    @property
    def name(self) -> str:
        return f"{self.dataset}, {self.features}" if self.features else self.dataset

    @property
    def long_name(self) -> str:
        """A heading for the case that another section has the same name."""
        facts = self.groups[0].first.benchmark
        splits, features = facts["splits_sha256"][:_HASH], facts["features_sha256"][:_HASH]
        return f"{self.name} (splits {splits}, features {features})"

    def setting(self, key: str) -> str:
        """The values of a configuration key that are not null."""
        values = dict.fromkeys(
            run.settings.get(key)
            for group in self.groups
            for run in group.runs
            if run.settings is not None
        )
        return ", ".join(shown_value(value) for value in values if value is not None)

    def findings(self) -> str:
        """Errors and warnings of the data check, a line each; empty if there are none."""
        found = dict.fromkeys(
            f"⚠ {finding['level']}: {finding['sentence']}"
            for group in self.groups
            for run in group.runs
            for finding in run.result.findings or ()
            if finding["level"] != "note"
        )
        shown = list(found)[:_MAX_FINDINGS]
        more = len(found) - len(shown)
        return "\n".join([*shown, *([f"And {more} more."] if more else [])])

    def facts(self) -> list[Fact]:
        facts = self.groups[0].first.benchmark
        features = self.features or "the dataset’s own"
        pairs = [
            ("classes", f"{facts['seen']} seen + {facts['unseen']} unseen"),
            ("samples", f"{facts['samples']:,}"),
            ("splits", f"{facts['splits_version']} (sha256 {facts['splits_sha256'][:_HASH]})"),
            ("features", f"{features} (sha256 {facts['features_sha256'][:_HASH]})"),
            ("not measured", " ".join(undefined(self.groups[0].first))),
            ("semantics", self.setting("dataset.semantics")),
            ("base network", self.setting("method.base.name")),
            ("data check", self.findings()),
        ]
        return [(name, value) for name, value in pairs if value]


def sections(groups: Sequence[Group], curves: Curves) -> list[Section]:
    """The sections of the page, one per dataset, splits and features.

    Args:
        groups: In the order of :func:`zsl_lab.report.groups.group_runs`.
        curves: Trade-off curves by run folder.
    """
    benchmarks = [
        _Benchmark(list(own))
        for _, own in itertools.groupby(groups, key=lambda group: group.comparable[:4])
    ]
    names = [benchmark.name for benchmark in benchmarks]
    return [
        _section(
            f"data-{number}",
            benchmark.long_name if names.count(benchmark.name) > 1 else benchmark.name,
            benchmark,
            curves,
        )
        for number, benchmark in enumerate(benchmarks, 1)
    ]


def _section(anchor: str, heading: str, benchmark: _Benchmark, curves: Curves) -> Section:
    groups = benchmark.groups
    sheet = result_sheet(groups)
    # the sheet's columns: number of seeds, metrics, the oracle's, sizes
    oracles = slice(1 + len(COLUMNS), 1 + len(COLUMNS) + len(ORACLE_HEADS))
    numbers = itertools.count()
    results = [
        [
            _result_row(groups[number], number, row, oracles)
            for row, number in zip(rows, numbers, strict=False)
        ]
        for rows in sheet.sections
    ]
    return Section(
        anchor=anchor,
        heading=heading,
        dataset=benchmark.dataset,
        facts=benchmark.facts(),
        metric_heads=sheet.metric_heads[1 : oracles.start],
        oracle_heads=sheet.metric_heads[oracles],
        results=results,
        papers=_papers(benchmark),
        tradeoffs=_tradeoffs(benchmark, curves),
        recalls=_recalls(groups),
    )


def _result_row(group: Group, number: int, row: Row, oracles: slice) -> ResultRow:
    return ResultRow(
        style=charts.style(number),
        label=group.label,
        seeds=f"{len(group.runs)} ({_seeds(group)})",
        metrics=row.cells[1 : oracles.start],
        oracles=row.cells[oracles],
        selected_on=_SELECTION[group.first.selection],
        calibrated=group.first.calibration is not None,
    )


def _seeds(group: Group) -> str:
    """Seeds in ascending order; three or more consecutive ones as a range."""
    seeds = [run.result.seed for run in group.runs]
    parts: list[str] = []
    for _, row in itertools.groupby(enumerate(seeds), key=lambda pair: pair[1] - pair[0]):
        own = [seed for _, seed in row]
        parts += [f"{own[0]} to {own[-1]}"] if len(own) > 2 else map(str, own)
    return ", ".join(parts)


# --------------------------------------------------------------------------- papers


def _papers(benchmark: _Benchmark) -> Papers | None:
    own = list(dict.fromkeys(group.first.method for group in benchmark.groups))
    rows = published(benchmark.dataset, own)
    if not rows:
        return None
    return Papers([_paper_row(row, row.here in own) for row in rows], _sources(rows))


def _paper_row(row: Published, ran_here: bool) -> PaperRow:
    decimals = 1 if row.sd is None else 2
    cells = []
    for name, value in row.metrics.items():
        text = "-" if math.isnan(value) else f"{value:.{decimals}f}"
        sd = f"± {row.sd:.2f}" if row.sd is not None and name == "zsl_top1" else ""
        cells.append(Cell(text, sd))
    source = f"{row.paper}, {row.table}"
    return PaperRow(row.method, ran_here, tuple(cells), row.features, row.split, source)


def _sources(rows: Iterable[Published]) -> list[Paper]:
    notes: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        notes.setdefault((row.paper, row.title), {}).setdefault(row.note)
    return [
        Paper(paper, title, " ".join(f"{note}." for note in own if note))
        for (paper, title), own in sorted(notes.items())
    ]


# --------------------------------------------------------------------------- trade-offs


def _tradeoffs(benchmark: _Benchmark, curves: Curves) -> Tradeoffs:
    shown = {
        number: group
        for number, group in enumerate(benchmark.groups)
        if any(run.folder in curves for run in group.runs)
    }
    missing = [
        str(run.folder)
        for group in benchmark.groups
        for run in group.runs
        if run.folder not in curves
    ]
    first = dict(itertools.islice(shown.items(), charts.MAX_LINES))
    lines = []
    for number, group in first.items():
        run = _median_run([run for run in group.runs if run.folder in curves])
        lines.append(_line(run, curves[run.folder], number))
    labels = ", ".join(group.label for group in first.values())
    about = f"Seen against unseen accuracy on {benchmark.dataset}: {labels}"
    return Tradeoffs(
        chart=charts.tradeoff(lines, about) if lines else None,
        legend=[(charts.style(number), group.label) for number, group in first.items()],
        calibrated=any(group.first.calibration is not None for group in first.values()),
        several_seeds=any(len(group.runs) > 1 for group in first.values()),
        total=len(shown),
        every_seed=[
            _seed_curves(group, number, curves)
            for number, group in shown.items()
            if len(group.runs) > 1
        ],
        missing=len(missing),
        missing_folders=_listed(missing),
    )


def _listed(folders: Sequence[str]) -> str:
    more = len(folders) - _MAX_FOLDERS
    return ", ".join([*folders[:_MAX_FOLDERS], *([f"{more} more"] if more > 0 else [])])


def _seed_curves(group: Group, number: int, curves: Curves) -> SeedCurves:
    lines = [_line(run, curves[run.folder], number) for run in group.runs if run.folder in curves]
    about = f"Seen against unseen accuracy of {group.label}, seeds {_seeds(group)}"
    return SeedCurves(group.label, charts.tradeoff(lines, about, width=300, height=240))


def _median_run(runs: Sequence[Run]) -> Run:
    """The run with the median H; of an even number, the lower of the two."""
    ordered = sorted(runs, key=lambda run: run.result.metrics["harmonic_mean"])
    return ordered[(len(ordered) - 1) // 2]


def _line(run: Run, points: Sequence[Point], number: int) -> Line:
    result = run.result
    name = f"{result.method}, seed {result.seed}"
    plain = min(points, key=lambda point: abs(point.constant))
    label = f"{name}: u {plain.unseen:.1f}, s {plain.seen:.1f}"
    marks = [Mark(plain.unseen, plain.seen, False, label)]
    u, s, h = (result.metrics[metric] for metric in ("unseen", "seen", "harmonic_mean"))
    if result.calibration is not None:
        label = f"{name}, {result.calibration:.3g} added: u {u:.1f}, s {s:.1f}, H {h:.1f}"
        marks.append(Mark(u, s, True, label))
    return Line([(point.unseen, point.seen) for point in points], marks, number, name)


# --------------------------------------------------------------------------- recalls


def _recalls(groups: Sequence[Group]) -> Recalls:
    shown = groups[:MAX_COLUMNS]
    [sheet] = recall_sheets(shown, MAX_CLASSES)
    return Recalls(
        rows=[
            RecallRow(
                charts.style(number),
                group.label,
                _profile(group, "unseen"),
                _profile(group, "seen"),
            )
            for number, group in enumerate(shown)
        ],
        heat_maps=[
            _heat_map(rows, part, sheet.metric_heads)
            for rows, part in zip(sheet.sections, ("unseen", "seen"), strict=True)
            if rows
        ],
        left_out=len(groups) - len(shown),
        classes_note=sheet.note if "more classes" in sheet.note else "",
    )


def _profile(group: Group, part: str) -> RecallProfile | None:
    means = {name: group.recall(part, name).mean for name in group.first.per_class[part]}
    known = {name: mean for name, mean in means.items() if not math.isnan(mean)}
    if not known:
        return None
    ordered = sorted(known, key=lambda name: known[name])
    worst, best = ordered[0], ordered[-1]
    median = known[ordered[(len(ordered) - 1) // 2]]
    label = (
        f"{part}: {one_line(worst)} {known[worst]:.1f}, median {median:.1f}, "
        f"{one_line(best)} {known[best]:.1f}"
    )
    never = sum(value == 0 for value in known.values())
    return RecallProfile(
        # more bars than pixels cannot be seen
        charts.profile([known[name] for name in ordered[:: 1 + len(ordered) // 1000]], label, part),
        f"{known[worst]:.1f}",
        f"{median:.1f}",
        f"{never} of {len(known)}",
    )


def _heat_map(rows: Sequence[Row], part: str, heads: tuple[str, ...]) -> HeatMap:
    title = f"{len(rows)} {part} class{'' if len(rows) == 1 else 'es'}"
    cells = [(row.texts[-1], [_heat_cell(cell) for cell in row.cells]) for row in rows]
    return HeatMap(title, len(rows) <= MAX_OPEN, heads, cells)


def _heat_cell(cell: Cell) -> HeatCell:
    shade = "" if cell.text == "-" else f"r{round(float(cell.text) / 10)}"
    return HeatCell(cell.text, cell.best, shade)
