"""A job of a sweep, and the file in its folder that says how it ended."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

from zsl_lab.console.messages import duration
from zsl_lab.errors import DataError, OutputError
from zsl_lab.files.atomic import atomic_write
from zsl_lab.files.bounded import read_bounded
from zsl_lab.files.escaping import one_line
from zsl_lab.run.records import job_file

#: in a job's folder: how it ended
JOB_FILE = job_file.FILE
#: in a sweep's folder: the command that started it, and what its jobs are
SWEEP_FILE = "sweep.json"
#: outcome of a job whose data are missing
LEFT_OUT = "left out"
#: outcomes of jobs that this command has run to their end
_ENDED = ("finished", "failed", LEFT_OUT)
#: a record has about 500 bytes
_MAX_BYTES = 2**20


@dataclass(frozen=True)
class Job:
    """How a job of a sweep went.

    Attributes:
        number: Its position in the sweep.
        folder: The folder of its run.
        overrides: What the command line or the sweeper set for it.
        metric: The metric that its step is selected by; empty where that is not known.
        outcome: ``started`` (and never ended), ``finished``, ``skipped`` (finished earlier),
            ``failed``, ``interrupted`` or ``left out`` (its data are missing).
        why: Why it failed or was left out: a sentence.
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


def has_begun(folder: Path) -> bool:
    """Whether a job of the present sweep began in a folder and did not end.

    A cluster starts a job again after its worker was lost or its time was up.

    Args:
        folder: The job's folder.
    """
    return read_json(folder / JOB_FILE).get("outcome") in ("started", "interrupted")


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


def read_jobs(folder: Path, problems: list[str] | None = None) -> list[Job]:
    """The jobs that have begun since the sweep was started or last resumed, sorted by number.

    Args:
        folder: The sweep's folder.
        problems: Receives a sentence for each record that is damaged, and left out.
    """
    jobs = []
    for path in sorted(folder.glob(f"*/{JOB_FILE}")):
        try:
            jobs.append(_read_job(path))
        except DataError as error:
            if problems is not None:
                problems.append(str(error))
    return sorted(jobs, key=lambda job: job.number)


def _read_job(path: Path) -> Job:
    values = read_json(path)
    overrides = values.get("overrides")
    defaults = {"metric": "", "outcome": "started", "why": "", "label": "", "exit_code": 0}
    rest: dict[str, Any] = {name: values.get(name, default) for name, default in defaults.items()}
    if not (
        _is_integer(values.get("number"))
        and isinstance(overrides, list)
        and all(isinstance(override, str) for override in overrides)
        and all(isinstance(rest[name], type(default)) for name, default in defaults.items())
        and _is_integer(rest["exit_code"])
    ):
        raise DataError(
            f"{path}: found no record of a job ({one_line(', '.join(values)) or 'damaged'}); "
            "expected number, overrides, metric, outcome, why and exit_code as a sweep writes "
            "them. Run the job again, or take the file out: the job then counts as a run alone."
        )
    return Job(values["number"], path.parent, tuple(overrides), **rest)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


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
        values = json.loads(read_bounded(path, _MAX_BYTES))
    except (OSError, ValueError, RecursionError, DataError):
        return {}
    return values if isinstance(values, dict) else {}
