"""The report of a sweep: a table, best settings on validation classes first, and figures."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsl_lab.console.messages import say
from zsl_lab.console.result_table import COLUMNS
from zsl_lab.errors import OutputError
from zsl_lab.files.atomic import atomic_write
from zsl_lab.files.escaping import csv_row
from zsl_lab.report.groups import Group, Run, find_runs, group_runs
from zsl_lab.report.tables import Sheet, print_sheet, sweep_sheet
from zsl_lab.sweep.job import LEFT_OUT, Job

CSV_FILE = "sweep.csv"
#: the key whose values are repetitions of a setting
SEED = "seed"
#: outcomes of jobs that have a result
COMPLETE = ("finished", "skipped")
_UNFINISHED = "it stopped without a message: killed, or its machine was lost"


@dataclass(frozen=True)
class Swept:
    """The settings of a sweep, compared.

    Attributes:
        keys: The swept keys, without the seed.
        groups: The runs of the sweep, grouped if they differ only by seed.
        values: A value of each key, for each group.
        metric: The metric that steps were selected by; the settings are sorted by it.
        repeated: A sentence for each run that is left out as a repetition of another.
    """

    keys: list[str]
    groups: list[Group]
    values: list[list[str]]
    metric: str
    repeated: list[str]

    def sheet(self) -> Sheet:
        """The table; there must be a group."""
        return sweep_sheet(
            self.groups,
            self.keys,
            [[_short(value) for value in own] for own in self.values],
            self.metric,
        )

    def draw(self, folder: Path, suffix: str = ".png") -> None:
        """Draw H against the swept keys, if any, with :func:`zsl_lab.sweep.figures.draw`."""
        if not self.groups or not self.keys:
            return
        from zsl_lab.sweep import figures

        points = [
            figures.Setting(
                tuple(own), group.validation["harmonic_mean"], group.metrics["harmonic_mean"]
            )
            for own, group in zip(self.values, self.groups, strict=True)
        ]
        figures.draw(points, self.keys, folder, suffix)


def compare(jobs: Sequence[Job], runs: Sequence[Run]) -> Swept:
    """Compare the settings of a sweep.

    Args:
        jobs: The jobs, in their order.
        runs: The finished runs among them.
    """
    with_result = {run.folder for run in runs}
    metric = _metric([job for job in jobs if job.folder in with_result])
    groups, repeated = group_runs(runs, metric)
    keys = [key for key in swept_keys(jobs) if key != SEED]
    return Swept(keys, groups, [_values(group, jobs, keys) for group in groups], metric, repeated)


def report(jobs: Sequence[Job], folder: Path) -> list[Run]:
    """Print the table and the jobs without a result; write ``sweep.csv`` and ``figures/``.

    Args:
        jobs: The jobs, in their order.
        folder: The sweep's folder.

    Returns:
        The finished runs.
    """
    found = find_runs([job.folder for job in jobs if job.outcome in COMPLETE])
    runs = {run.folder: run for run in found.runs}
    keys = swept_keys(jobs)
    swept = compare(jobs, found.runs)
    try:
        atomic_write(
            folder / CSV_FILE, sweep_csv(jobs, keys, runs).encode(errors="backslashreplace")
        )
        swept.draw(folder / "figures")
    except OutputError as error:  # the metrics are in the jobs' folders in any case
        say(str(error))
    if swept.groups:
        print_sheet(swept.sheet())
    for sentence in (*swept.repeated, *found.problems):
        say(sentence)
    skipped = [job for job in jobs if job.outcome == "skipped"]
    if skipped:
        names = ", ".join(job.folder.name for job in skipped)
        say(f"\nSkipped, since they were finished: {names}.", error=False)
    missing = [job for job in jobs if job.outcome not in (*COMPLETE, LEFT_OUT)]
    left_out = [job for job in jobs if job.outcome == LEFT_OUT]
    if left_out:
        say(f"\n{len(left_out)} of {len(jobs)} jobs left out, since their data are missing.")
    if missing:
        say(f"\n{len(missing)} of {len(jobs)} jobs without a result:")
    for job in missing:
        say(f"  {job.folder.name} ({_told(job, keys)}): {job.why or _UNFINISHED}")
    say(f"\nsweep folder:   {folder}", error=False)
    return found.runs


def swept_keys(jobs: Sequence[Job]) -> list[str]:
    """The keys whose value differs between jobs."""
    names = dict.fromkeys(key for job in jobs for key in job.values)
    return [key for key in names if len({job.values.get(key) for job in jobs}) > 1]


def sweep_csv(jobs: Sequence[Job], keys: Sequence[str], runs: Mapping[Path, Run]) -> str:
    """One row a job, unrounded; metrics in percent, empty where there are none."""
    heads = ["job", "folder", "outcome", *keys, "selection", "metric"]
    heads += [
        *(f"validation_{name}" for name in (*COLUMNS, "step")),
        *(f"test_{name}" for name in COLUMNS),
        "steps",
        "seconds",
        "why",
    ]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(csv_row(heads))
    for job in jobs:
        row: dict[str, Any] = {
            "job": job.number,
            "folder": job.folder.name,
            "outcome": job.outcome,
            "metric": job.metric,
            "why": job.why,
        }
        row |= {key: job.values.get(key, "") for key in keys}
        if job.folder in runs:
            result = runs[job.folder].result
            row |= {
                f"validation_{name}": value for name, value in (result.validation or {}).items()
            }
            row |= {f"test_{name}": value for name, value in result.metrics.items()}
            row |= {
                "selection": result.selection,
                "steps": result.training["steps"],
                "seconds": result.training["seconds"],
            }
        values = (row.get(head, "") for head in heads)
        writer.writerow(
            csv_row(
                "" if isinstance(value, float) and math.isnan(value) else value for value in values
            )
        )
    return buffer.getvalue()


def _metric(jobs: Sequence[Job]) -> str:
    """The metric that steps were selected by; ``harmonic_mean`` if jobs differ in it."""
    metrics = {job.metric for job in jobs}
    return metrics.pop() if len(metrics) == 1 else "harmonic_mean"


def _values(group: Group, jobs: Sequence[Job], keys: Sequence[str]) -> list[str]:
    own = next(job for job in jobs if job.folder == group.runs[0].folder).values
    return [own.get(key, "") for key in keys]


def _told(job: Job, keys: Sequence[str]) -> str:
    return " ".join(f"{key}={job.values[key]}" for key in keys if key in job.values) or " ".join(
        job.overrides
    )


def _short(value: str) -> str:
    """A value for the table: a long number is rounded to four digits."""
    try:
        return value if len(value) <= 7 or value.isdecimal() else f"{float(value):.4g}"
    except ValueError:
        return value
