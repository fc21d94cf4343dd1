"""A job of a sweep, and the file in its folder that says how it ended."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

from zsl_lab.console.messages import duration
from zsl_lab.errors import OutputError
from zsl_lab.files.atomic import atomic_write
from zsl_lab.run.records import job_file

#: in a job's folder: how it ended
JOB_FILE = job_file.FILE
#: in a sweep's folder: the command that started it, and what its jobs are
SWEEP_FILE = "sweep.json"
#: outcomes of jobs that this command has run to their end
_ENDED = ("finished", "failed")


@dataclass(frozen=True)
class Job:
    """How a job of a sweep went.

    Attributes:
        number: Its position in the sweep.
        folder: The folder of its run.
        overrides: What the command line or the sweeper set for it.
        metric: The metric that its step is selected by; empty where that is not known.
        outcome: ``started`` (and never ended), ``finished``, ``skipped`` (finished earlier),
            ``failed`` or ``interrupted``.
        why: Why it failed: a sentence.
        exit_code: The exit code that a command of this job alone would have.
        label: ``[3/8] g=0.9 seed=0``: its place among the jobs, and what was swept over.
    """

    number: int
    folder: Path
    overrides: tuple[str, ...]
    metric: str
    outcome: str = "started"
    why: str = ""
    exit_code: int = 0
    label: str = ""

    @property
    def values(self) -> dict[str, str]:
        """What was set, by key."""
        return {
            key.lstrip("+~"): value
            for key, _, value in (override.partition("=") for override in self.overrides)
        }


_FIELDS = {field.name for field in fields(Job)} - {"folder"}


def begin(cfg: DictConfig, hydra: HydraConf, folder: Path) -> Job:
    """Record that a job has begun.

    Args:
        cfg: The job's configuration.
        hydra: Hydra's own.
        folder: The job's folder.

    Raises:
        OutputError: The record cannot be written.
    """
    overrides = tuple(str(override) for override in hydra.overrides.task)
    job = Job(
        int(hydra.job.num), folder, overrides, str(OmegaConf.select(cfg, "selection.metric") or "")
    )
    job = replace(job, label=_label(job, read_json(Path(hydra.sweep.dir) / SWEEP_FILE)))
    _write(job)
    return job


def _label(job: Job, sweep: Mapping[str, Any]) -> str:
    total, swept = sweep.get("jobs"), sweep.get("swept")
    if not isinstance(total, int) or not isinstance(swept, dict):
        return ""
    values = [f"{short}={job.values[key]}" for key, short in swept.items() if key in job.values]
    return " ".join([f"[{job.number + 1}/{max(total, job.number + 1)}]", *values])


def announcement(job: Job, sweep: Path) -> str:
    """The label of a job, and about how long the jobs of the sweep that have not ended will take.

    Args:
        job: A job that begins.
        sweep: The sweep's folder.
    """
    values = read_json(sweep / SWEEP_FILE)
    total, begun = values.get("jobs"), values.get("begun")
    jobs = read_jobs(sweep)
    ended = [other for other in jobs if other.outcome in _ENDED]
    if not job.label or not ended or not isinstance(begun, float) or not isinstance(total, int):
        return job.label
    left = total - len(ended) - sum(other.outcome == "skipped" for other in jobs)
    seconds = (time.time() - begun) / len(ended) * left
    return f"{job.label}, {duration(seconds)} left"


def end(job: Job, outcome: str, *, why: str = "", exit_code: int = 0) -> None:
    """Record how a job ended; where that cannot be written, the job counts as never ended."""
    with suppress(OutputError):
        _write(replace(job, outcome=outcome, why=why, exit_code=exit_code))


def read_jobs(folder: Path) -> list[Job]:
    """The jobs of a sweep that have begun since it did or was resumed, by number."""
    jobs = []
    for path in folder.glob(f"*/{JOB_FILE}"):
        values = {key: value for key, value in read_json(path).items() if key in _FIELDS}
        overrides = values.get("overrides")
        # a record that is damaged is as good as none
        if isinstance(overrides, list) and isinstance(values.get("number"), int):
            named = {"metric": "", **values, "folder": path.parent}
            jobs.append(Job(**{**named, "overrides": tuple(map(str, overrides))}))
    return sorted(jobs, key=lambda job: job.number)


def _write(job: Job) -> None:
    values = asdict(job)
    del values["folder"]  # it may be moved
    write_json(job.folder / JOB_FILE, values)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a file of a sweep; raises OutputError where that fails."""
    atomic_write(path, (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """A file of a sweep; empty where it is missing or damaged."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
