"""A self-contained HTML page of finished runs, rendered from ``templates/page.html.j2``.

It has tables, what papers print, trade-off curves, recalls, sweeps and speed. Its numbers come from
the sheets of :mod:`zsl_lab.report.tables`, so that the page and the terminal agree.
"""

from __future__ import annotations

import base64
import math
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from zsl_lab import __version__
from zsl_lab.console.result_table import settings_text
from zsl_lab.errors import DataError
from zsl_lab.files.escaping import one_line
from zsl_lab.report import charts
from zsl_lab.report.groups import Found, Group, Run, Summary
from zsl_lab.report.sections import Curves, Fact, Section, sections
from zsl_lab.report.tables import Cell, Sheet
from zsl_lab.result import ORACLE_METRICS, RESULT_FILE, Result
from zsl_lab.run.records import tradeoff_csv
from zsl_lab.run.records.tradeoff_csv import Point

#: digits of a commit that are shown
_COMMIT = 8
#: characters that neither HTML nor XML may contain, and those that turn the text around them
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)


@dataclass(frozen=True)
class Figure:
    """A plot: its data URL, and a description."""

    source: str
    description: str


@dataclass(frozen=True)
class Sweep:
    """The table and the figures of a sweep."""

    folder: str
    sheet: Sheet
    figures: list[Figure]


@dataclass(frozen=True)
class SpeedRow:
    """Training and size of a group's models."""

    label: str
    dataset: str
    steps: Cell
    seconds: Cell
    steps_per_second: Cell
    memory: Cell
    parameters: str
    flops: str
    processes: str
    precision: str
    device: str


@dataclass(frozen=True)
class RunRow:
    """A run: where it is, and which code made it."""

    label: str
    dataset: str
    seed: int
    harmonic_mean: Cell
    oracles: tuple[Cell, ...]
    folder: str
    commit: str
    full_commit: str | None
    zsl_lab: str
    torch: str
    settings: str


@dataclass(frozen=True)
class Page:
    """Contents of the page.

    Attributes:
        title: Title.
        facts: Facts about all runs.
        problems: A sentence for each run or file that is left out or incomplete.
        sections: One per dataset, splits and features.
        papers: Tables of a paper with the runs beside its rows.
        sweeps: Sweeps of more than one setting.
        speed: One row per group.
        runs: One row per run.
        version: Version of zsl_lab that made the page.
    """

    title: str
    facts: list[Fact]
    problems: list[str]
    sections: list[Section]
    papers: Sequence[Sheet]
    sweeps: list[Sweep]
    speed: list[SpeedRow]
    runs: list[RunRow]
    version: str


def read_curves(runs: Iterable[Run]) -> tuple[dict[Path, list[Point]], list[str]]:
    """Trade-off curves of runs by folder, and a sentence for each file that is damaged."""
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


def make(
    groups: Sequence[Group],
    curves: Curves,
    found: Found,
    repeated: Sequence[str],
    papers: Sequence[Sheet] = (),
) -> str:
    """Make the page.

    Args:
        groups: At least one, in the order of :func:`zsl_lab.report.groups.group_runs`.
        curves: Trade-off curves by run folder, see :func:`read_curves`.
        found: What is below the given folders; all its problems are listed.
        repeated: A sentence for each run that was left out.
        papers: Tables of a paper, see :func:`zsl_lab.report.paper.paper_tables`.

    Returns:
        HTML that is also well-formed XML.
    """
    runs = [run for group in groups for run in group.runs]
    own = sections(groups, curves)
    sweeps = _sweeps(runs, found.problems)
    datasets = ", ".join(dict.fromkeys(section.dataset for section in own))
    unfinished = [f"{folder}: unfinished, without {RESULT_FILE}." for folder in found.unfinished]
    return render(
        Page(
            title=f"zsl_lab: {len(runs)} run{'' if len(runs) == 1 else 's'} on {datasets}",
            facts=_facts(runs, groups),
            problems=[*found.problems, *repeated, *unfinished],
            sections=own,
            papers=papers,
            sweeps=sweeps,
            speed=[_speed_row(group) for group in groups],
            runs=[_run_row(group, run) for group in groups for run in group.runs],
            version=__version__,
        )
    )


def _breakable(text: str) -> Markup:
    """A label that may be broken after the punctuation of keys, but not inside a word."""
    return Markup(re.sub(r"([.=_/,])(?=\w)", r"\1<wbr/>", str(escape(_without_forbidden(text)))))


def render(page: Page) -> str:
    """Render the page as HTML; every text is escaped."""
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_without_forbidden,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["breakable"] = _breakable
    template = environment.get_template("page.html.j2")
    return template.render(
        page=page,
        style=Markup(_packaged("page.css")),
        script=Markup(_packaged("page.js")),
        max_lines=charts.MAX_LINES,
        tradeoff_file=tradeoff_csv.FILE,
    )


def _without_forbidden(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, Markup):
        return _FORBIDDEN.sub("\ufffd", value)
    return value


def _packaged(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


# --------------------------------------------------------------------------- head


def _facts(runs: Sequence[Run], groups: Sequence[Group]) -> list[Fact]:
    results = [run.result for run in runs]
    facts = [
        ("settings", str(len(groups))),
        ("methods", ", ".join(sorted({result.method for result in results}))),
    ]
    for package in ("zsl_lab", "torch", "python"):
        versions = sorted({_version(result, package) for result in results})
        facts.append((package, ", ".join(versions)))
    commits = sorted({_commit(result) for result in results})
    facts.append((f"commit{'s' * (len(commits) > 1)}", ", ".join(commits)))
    return facts


def _version(result: Result, package: str) -> str:
    return result.versions.get(package, "unknown")


def _commit(result: Result) -> str:
    if result.git_commit is None:
        return "unknown"
    commit, _, dirty = result.git_commit.partition("-")
    return commit[:_COMMIT] + (f"-{dirty}" if dirty else "")


# --------------------------------------------------------------------------- sweeps


def _sweeps(runs: Sequence[Run], problems: list[str]) -> list[Sweep]:
    from zsl_lab.sweep.job import SWEEP_FILE

    by_folder: dict[Path, list[Run]] = {}
    for run in runs:
        by_folder.setdefault(run.folder.parent, []).append(run)
    found = []
    for folder, own in by_folder.items():
        if not (folder / SWEEP_FILE).is_file():
            continue
        try:
            sweep = _sweep(folder, own, problems)
        except Exception as error:  # one damaged sweep must not hide the others
            problems.append(
                f"{folder}: its comparison is left out ({type(error).__name__}: "
                f"{one_line(str(error))}). Its runs are shown one by one; restore the job.json of "
                "its jobs, or take them away."
            )
            continue
        if sweep is not None:
            found.append(sweep)
    return found


def _sweep(folder: Path, runs: Sequence[Run], problems: list[str]) -> Sweep | None:
    from zsl_lab.sweep.job import read_jobs
    from zsl_lab.sweep.report import compare

    known = {run.folder for run in runs}
    jobs = [job for job in read_jobs(folder, problems) if job.folder in known]
    recorded = {job.folder for job in jobs}
    swept = compare(jobs, [run for run in runs if run.folder in recorded])
    if len(swept.groups) < 2 or not swept.keys:
        return None
    return Sweep(str(folder), swept.sheet(), _figures(swept.draw))


def _figures(draw: Callable[[Path, str], None]) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), ".svg")
        figures = []
        for path in sorted(Path(folder).glob("*.svg")):
            source = f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"
            keys = path.stem.removeprefix("h_by_").replace("_and_", " and ")
            description = f"Harmonic mean by {keys}; the table above has the numbers"
            figures.append(Figure(source, description))
    return figures


# --------------------------------------------------------------------------- speed, runs


def _speed_row(group: Group) -> SpeedRow:
    model = group.model
    parameters, flops = (
        "-" if model is None else f"{model[name] / 1e6:.2f}" for name in ("parameters", "flops")
    )
    return SpeedRow(
        label=group.label,
        dataset=group.first.dataset,
        steps=_training(group, "steps", 0),
        seconds=_training(group, "seconds", 1),
        steps_per_second=_training(group, "steps_per_second", 0),
        memory=_training(group, "peak_memory", 0, unit=1e6),
        parameters=parameters,
        flops=flops,
        processes=_known(group, "world_size"),
        precision=_known(group, "precision"),
        device=_known(group, "device"),
    )


def _training(group: Group, name: str, decimals: int, unit: float = 1.0) -> Cell:
    values = [run.result.training.get(name) for run in group.runs]
    summary = Summary.of([math.nan if value is None else float(value) / unit for value in values])
    sd = f"± {summary.sd:.{decimals}f}" if summary.sd else ""
    return Cell(_number(summary.mean, decimals), sd)


def _known(group: Group, name: str) -> str:
    values = dict.fromkeys(run.result.training[name] for run in group.runs)
    return ", ".join("unknown" if value is None else str(value) for value in values)


def _number(value: float, decimals: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{decimals}f}"


def _run_row(group: Group, run: Run) -> RunRow:
    result = run.result
    return RunRow(
        label=group.label,
        dataset=result.dataset,
        seed=result.seed,
        harmonic_mean=Cell(_number(result.metrics["harmonic_mean"], 1)),
        oracles=tuple(Cell(_number(result.at_best_on_test(name), 1)) for name in ORACLE_METRICS),
        folder=str(run.folder),
        commit=_commit(result),
        full_commit=result.git_commit,
        zsl_lab=_version(result, "zsl_lab"),
        torch=_version(result, "torch"),
        settings=settings_text(result) or "unknown",
    )
