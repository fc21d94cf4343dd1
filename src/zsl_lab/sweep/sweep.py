"""Sweeps: every job leaves a record of how it ended, whatever process it ran in; the command goes on with an earlier sweep and reports.

Hydra calls :class:`SweepCallback` before there is a job; jobs call :func:`begin` and :func:`end`;
the command calls :func:`finish`. Nothing here needs torch.
"""

from __future__ import annotations

import json
import logging
import math
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from zsl_lab.console.result_table import say
from zsl_lab.errors import ConfigError, OutputError, TrainingError
from zsl_lab.files.atomic import atomic_write
from zsl_lab.report.tables import IRRELEVANT
from zsl_lab.result import Result
from zsl_lab.run.resuming import Earlier, call, check_same, look, settings_of

#: in a sweep's folder, the command that it is of; in a job's, how it ended
SWEEP_FILE, JOB_FILE = "sweep.json", "job.json"
#: Hydra's own sweeper, which wants no figure of a job
_BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
_OPTUNA = "hydra_plugins.hydra_optuna_sweeper"
#: keys of hydra.sweeper with Optuna: what its plugin sets, and what is better here. The objective
#: is an accuracy; a job that fails leaves the others running; one trial after the other, and always
#: the same ones, is a sweep that can be resumed.
_OPTUNA_KEYS: dict[str, tuple[Any, Any]] = {
    "direction": ("minimize", "maximize"),
    "max_failure_rate": (0.0, 1.0),
    "n_jobs": (2, 1),
    "sampler.seed": (None, 0),
}
#: more of the same trials is the same sweep
_MORE_TRIALS = "hydra.sweeper.n_trials="

#: the folder of the sweep that this process runs
_running: list[Path] = []


@dataclass(frozen=True)
class Job:
    """How a job of a sweep went.

    Attributes:
        number: Its place in the sweep.
        folder: Where it wrote everything.
        overrides: What the command line or the sweeper set for it.
        metric: What its step is selected by; empty where that is not known.
        outcome: ``started`` (and never ended), ``finished``, ``skipped`` (finished earlier),
            ``failed`` or ``interrupted``.
        why: Why it failed: a sentence.
        exit_code: What a command of this job alone would have ended with.
    """

    number: int
    folder: Path
    overrides: tuple[str, ...]
    metric: str
    outcome: str = "started"
    why: str = ""
    exit_code: int = 0

    @property
    def values(self) -> dict[str, str]:
        """What was set, by key."""
        return {
            key.lstrip("+~"): value
            for key, _, value in (override.partition("=") for override in self.overrides)
        }


class SweepCallback(Callback):
    """Hydra calls it before a sweep has a folder."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check what is asked for, choose the folder, leave a record of the command in it."""
        call(_begin, config)


# --------------------------------------------------------------------------- the sweep begins


def _begin(config: DictConfig) -> None:
    if config.resume is not None:
        raise ConfigError("resume=auto is for single runs. sweep.resume=true goes on with a sweep.")
    if config.sweep.resume and config.task != "fit":
        raise ConfigError(
            f"sweep.resume=true goes on with training; here task={config.task}. Leave sweep.resume "
            "out, or give task=fit."
        )
    given = [str(override) for override in config.hydra.overrides.hydra]
    if config.hydra.sweeper._target_.startswith(_OPTUNA):
        _prepare_optuna(config, given)
    if needs_objective(config.hydra):
        _check_objective(config)
    elif "interval(" in " ".join(config.hydra.overrides.task):
        raise ConfigError(
            "interval(...) is for a sweeper that chooses values: add hydra/sweeper=optuna, or give "
            "values: KEY=1,2,3."
        )
    place = Path(config.hydra.sweep.dir)
    command = _command(config)
    if config.sweep.resume:
        named = any(override.startswith("hydra.sweep.dir=") for override in given)
        earlier = _earlier_sweep(place, command, named=named)
        if earlier is None:
            say(
                "sweep.resume=true: no earlier sweep of this command in "
                f"{place if named else place.parent}; a new one begins.",
                error=False,
            )
        else:
            say(f"sweep.resume=true: goes on in {earlier}", error=False)
            place = earlier
    for record in place.glob(f"*/{JOB_FILE}"):  # what jobs say from now on counts
        record.unlink()
    config.hydra.sweep.dir = str(place)
    # jobs compose their configuration anew, from this list
    escaped = str(place).replace("\\", "\\\\").replace("'", "\\'")
    config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{escaped}'")
    atomic_write(place / SWEEP_FILE, _json({"command": command}))
    _running[:] = [place]


def _prepare_optuna(config: DictConfig, given: Sequence[str]) -> None:
    import optuna

    # a trial that failed has said so
    optuna.logging.set_verbosity(logging.ERROR)
    logging.getLogger(_OPTUNA).setLevel(logging.ERROR)
    for key, (plugins, ours) in _OPTUNA_KEYS.items():
        path = f"hydra.sweeper.{key}"
        value = OmegaConf.select(config, path, default=math.nan)
        if getattr(value, "name", value) == plugins and not any(
            override.startswith(f"{path}=") for override in given
        ):
            OmegaConf.update(config, path, ours)
    if config.sweep.resume and config.hydra.sweeper.sampler.get("seed", 0) is None:
        raise ConfigError(
            "sweep.resume=true needs hydra.sweeper.sampler.seed: without it, trials are others "
            "each time."
        )


def needs_objective(hydra: HydraConf) -> bool:
    """Whether the sweeper chooses values by what jobs find."""
    return bool(hydra.sweeper["_target_"] != _BASIC)


def _check_objective(cfg: DictConfig) -> None:
    name = cfg.selection.name
    if name != "validation":
        raise ConfigError(
            f"selection={name} finds no figure on validation classes, and a figure on test must "
            "not choose settings. Use selection=validation, or list the values instead: KEY=1,2,3 "
            "without hydra/sweeper."
        )


def _command(config: DictConfig) -> list[str]:
    """What makes two commands the same sweep: overrides that a figure depends on, in their order, which numbers the jobs."""
    left_out = tuple(f"{name}{end}" for name in (*IRRELEVANT, "callbacks") for end in ("=", "."))
    task = [str(override) for override in config.hydra.overrides.task]
    named = [override for override in task if override.startswith("sweep=")]
    sweeper = [
        str(override)
        for override in config.hydra.overrides.hydra
        if str(override).startswith(("hydra/sweeper", "hydra.sweeper"))
    ]
    return [
        *named,
        *(override for override in task if not override.lstrip("+~").startswith(left_out)),
        *(override for override in sweeper if not override.startswith(_MORE_TRIALS)),
    ]


def _earlier_sweep(place: Path, command: Sequence[str], *, named: bool) -> Path | None:
    """The sweep to go on with: ``place`` itself where it was named, else the newest of the same command beside it."""
    if named:
        return place if (place / SWEEP_FILE).is_file() else None
    folders = sorted(place.parent.iterdir(), reverse=True) if place.parent.is_dir() else []
    return next(
        (
            folder
            for folder in folders
            if _read(folder / SWEEP_FILE).get("command") == list(command)
        ),
        None,
    )


# --------------------------------------------------------------------------- a job


def begin(cfg: DictConfig, hydra: HydraConf, folder: Path) -> Job:
    """Record that a job has begun; raises OutputError where that cannot be written.

    Args:
        cfg: The job's configuration.
        hydra: Hydra's own.
        folder: The job's folder.
    """
    overrides = tuple(str(override) for override in hydra.overrides.task)
    job = Job(
        int(hydra.job.num), folder, overrides, str(OmegaConf.select(cfg, "selection.metric") or "")
    )
    return _write(job)


def earlier(cfg: DictConfig, hydra: HydraConf, job: Job) -> Earlier | None:
    """What a job may go on with; None where it begins anew.

    Raises:
        ConfigError: Its folder holds a run of other settings, or the sweeper wants a figure that it
            will not find.
    """
    if needs_objective(hydra):
        _check_objective(cfg)
    if not cfg.sweep.resume:
        return None
    found = look(job.folder, settings_of(cfg))
    if found:
        check_same(
            found,
            "Leave sweep.resume out for a sweep in a new folder, or move this one away and resume "
            "again.",
        )
    return found


def end(job: Job, outcome: str, *, why: str = "", exit_code: int = 0) -> None:
    """Record how a job ended; what cannot be written is left as a job that never ended."""
    with suppress(OutputError):
        _write(replace(job, outcome=outcome, why=why, exit_code=exit_code))


def objective(result: Result, job: Job, hydra: HydraConf) -> float | None:
    """The figure on validation classes that a sweeper goes by, of the metric that the step is selected by.

    Raises:
        TrainingError: The sweeper wants one, and there is none.
    """
    value = float((result.validation or {}).get(job.metric, math.nan))
    if not math.isnan(value):
        return value
    if needs_objective(hydra):
        raise TrainingError(
            f"{job.folder}: {job.metric} on validation classes was not found, which the sweeper "
            "goes by."
        )
    return None


def _write(job: Job) -> Job:
    values = asdict(job)
    del values["folder"]  # it may be moved
    atomic_write(job.folder / JOB_FILE, _json(values))
    return job


# --------------------------------------------------------------------------- the sweep ends


def forget() -> None:
    """No sweep is running in this process."""
    _running.clear()


def is_running() -> bool:
    """Whether this process runs a sweep that has not been reported."""
    return bool(_running)


def interrupted(error: KeyboardInterrupt, arguments: Sequence[str]) -> str | None:
    """End what is left of the sweep that was interrupted, and give the command that goes on; None where none was running."""
    if not _running:
        return None
    frame = error.__traceback__
    while (
        frame is not None
    ):  # submitit's launcher leaves its jobs to themselves, and keeps them in this variable
        for job in frame.tb_frame.f_locals.get("jobs", ()):
            if hasattr(job, "cancel"):
                job.cancel()
        frame = frame.tb_next
    return f"Interrupted. Go on with:\n  {_resuming(arguments)}"


def finish(arguments: Sequence[str]) -> int:
    """Report the sweep that this process ran, if there is one.

    Args:
        arguments: The command line.

    Returns:
        The exit code: of the first job that failed, 0 if none did.
    """
    if not _running:
        return 0
    folder = _running.pop()
    jobs = read_jobs(folder)
    if not jobs:
        return 0
    from zsl_lab.sweep.report import report

    report(jobs, folder)
    bad = [job for job in jobs if job.outcome not in ("finished", "skipped")]
    if bad:
        say(f"Run what is missing:  {_resuming(arguments)}")
    return next((job.exit_code or 1 for job in bad), 0)


def read_jobs(folder: Path) -> list[Job]:
    """The jobs that have begun since the sweep did or was resumed, in their order."""
    jobs = []
    for path in folder.glob(f"*/{JOB_FILE}"):
        values = _read(path)
        if values:
            jobs.append(
                Job(**{**values, "folder": path.parent, "overrides": tuple(values["overrides"])})
            )
    return sorted(jobs, key=lambda job: job.number)


def _resuming(arguments: Sequence[str]) -> str:
    typed = [argument for argument in arguments if not argument.startswith("sweep.resume=")]
    return shlex.join(["python", "-m", "zsl_lab", *typed, "sweep.resume=true"])


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
