"""Sweeps: their folder, resuming an earlier one, the report at the end.

Hydra calls :class:`SweepCallback` before there is a job; each job records how it ended
(:mod:`zsl_lab.sweep.job`), whatever process it runs in; the command calls :func:`finish`. Nothing
here needs torch.
"""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hydra.conf import HydraConf
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from zsl_lab.console.messages import say
from zsl_lab.errors import ConfigError, TrainingError
from zsl_lab.keys import is_below
from zsl_lab.result import Result
from zsl_lab.run import folder as run_folder
from zsl_lab.run.configuration.schema import run_marks
from zsl_lab.run.resuming import Earlier, call, check_composed, check_same, configuration_of, look
from zsl_lab.sweep import composition, ray_launcher, together
from zsl_lab.sweep.job import JOB_FILE, LEFT_OUT, SWEEP_FILE, Job, read_jobs, read_json, write_json
from zsl_lab.sweep.plan import check, leave_out, planned, short_keys

#: Hydra's own sweeper, which needs no metric of a job
_BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
#: Hydra's own launcher, which runs jobs in this process
_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
#: overrides of the section ``sweep`` that distinguish one sweep from another
_CHOSEN = ("sweep=", "sweep.size=", "sweep.missing=")
#: a key that may change when a sweep is resumed
_MORE_TRIALS = "hydra.sweeper.n_trials="


@dataclass(frozen=True)
class Running:
    """The sweep that this process runs.

    Attributes:
        place: Its folder.
        experiment: The choice of ``experiment=``; empty where there is none.
        figures: File names and functions of the figures that compare its jobs.
        style: The style of these figures.
    """

    place: Path
    experiment: str
    figures: Mapping[str, str]
    style: Literal["screen", "paper"] = "screen"


_running: list[Running] = []


class SweepCallback(Callback):
    """Prepares a sweep; Hydra calls it before the folder is made."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the command, choose the folder and record the command in it."""
        call(_begin, config)


# --------------------------------------------------------------------------- the sweep begins


def _begin(config: DictConfig) -> None:
    composition.forget()
    composition.install_in_sweeper()
    together.forget()
    check_composed(config)
    if config.resume is not None:
        raise ConfigError("resume=auto is for single runs. sweep.resume=true goes on with a sweep.")
    if config.sweep.resume and config.task != "fit":
        raise ConfigError(
            f"sweep.resume=true goes on with training; here task={config.task}. Leave sweep.resume "
            "out, or give task=fit."
        )
    given = [str(override) for override in config.hydra.overrides.hydra]
    if config.hydra.launcher["_target_"] == ray_launcher.TARGET:
        ray_launcher.register()
    if needs_objective(config.hydra):
        _check_objective(config)
    elif "interval(" in " ".join(config.hydra.overrides.task):
        raise ConfigError(
            "interval(...): a sweep makes a run of each value; give some: KEY=1,2,3. To search "
            "between two values: python -m zsl_lab.tune."
        )
    if config.sweep.together > 1:
        _check_together(config)
    place = Path(config.hydra.sweep.dir)
    plan = planned(config, listed=not needs_objective(config.hydra))
    leave_out(plan.without)
    _say_missing(check(config, plan), config.sweep.missing)
    command, goes_on = _command(config), bool(config.overwrite)
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
            place, goes_on = earlier, True
    if not goes_on:
        _check_free(place)
    run_folder.claim(place, goes_on=True)
    for record in place.glob(f"*/{JOB_FILE}"):  # only jobs from now on count
        record.unlink()
    config.hydra.sweep.dir = str(place)
    # jobs compose their configuration anew, from this list
    escaped = str(place).replace("\\", "\\\\").replace("'", "\\'")
    config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{escaped}'")
    begun = {"jobs": plan.jobs, "swept": short_keys(plan.swept), "begun": time.time()}
    write_json(place / SWEEP_FILE, {"command": command, **begun})
    experiment = str(config.hydra.runtime.choices.get("experiment") or "")
    _running[:] = [Running(place, experiment, dict(config.sweep.figures), config.plots.style)]


def _say_missing(notes: Sequence[str], missing: str) -> None:
    if notes:
        say(f"Missing data (sweep.missing={missing}):", error=False)
        for note in notes:
            say(f"  {note}", error=False)


def _check_free(place: Path) -> None:
    """Raise ConfigError where a sweep would replace runs in its folder."""
    found = [place, *(path for path in sorted(place.glob("*")) if path.is_dir())]
    for run in found:
        name = next((name for name in run_folder.RESULTS if (run / name).exists()), None)
        if name is not None:
            raise ConfigError(
                f"hydra.sweep.dir={place}: this folder holds runs (found {run / name}); expected a "
                "new or empty folder. Give another hydra.sweep.dir, go on with the sweep in it "
                "(sweep.resume=true), or replace its runs: overwrite=true."
            )


def needs_objective(hydra: HydraConf) -> bool:
    """Whether the sweeper chooses values by the metrics of earlier jobs."""
    return bool(hydra.sweeper["_target_"] != _BASIC)


def _check_objective(cfg: DictConfig) -> None:
    name = cfg.selection.name
    if name != "validation":
        raise ConfigError(
            f"selection={name} has no metric on validation classes, and a metric on test must "
            "not choose settings. Use selection=validation, or list the values instead: KEY=1,2,3 "
            "without hydra/sweeper."
        )


def _check_together(config: DictConfig) -> None:
    launcher = config.hydra.launcher["_target_"]
    if launcher == _LAUNCHER and not needs_objective(config.hydra):
        return
    raise ConfigError(
        f"sweep.together={config.sweep.together}: jobs are trained together in this process, so "
        "that neither hydra/launcher nor hydra/sweeper can be given. Leave those out, or "
        "sweep.together."
    )


def _command(config: DictConfig) -> list[str]:
    """The part of a command that identifies its sweep.

    These are the overrides that a metric depends on, in their order, which numbers the jobs.
    """
    irrelevant = (*run_marks().irrelevant, "callbacks")
    task = [str(override) for override in config.hydra.overrides.task]
    named = [override for override in task if override.startswith(_CHOSEN)]
    sweeper = [
        str(override)
        for override in config.hydra.overrides.hydra
        if str(override).startswith(("hydra/sweeper", "hydra.sweeper"))
    ]
    return [
        *named,
        *(override for override in task if not is_below(_key(override), irrelevant)),
        *(override for override in sweeper if not override.startswith(_MORE_TRIALS)),
    ]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _earlier_sweep(place: Path, command: Sequence[str], *, named: bool) -> Path | None:
    """The folder of the sweep to resume; None if there is none.

    Args:
        place: The folder that was given, or that a new sweep would have.
        command: See :func:`_command`.
        named: Whether the user gave the folder; otherwise the newest sweep of the same command
            beside it is meant.
    """
    if named:
        return place if (place / SWEEP_FILE).is_file() else None
    folders = sorted(place.parent.iterdir(), reverse=True) if place.parent.is_dir() else []
    return next(
        (
            folder
            for folder in folders
            if read_json(folder / SWEEP_FILE).get("command") == list(command)
        ),
        None,
    )


# --------------------------------------------------------------------------- a job


def earlier(cfg: DictConfig, hydra: HydraConf, job: Job, *, again: bool = False) -> Earlier | None:
    """The earlier run that a job resumes; None where it begins anew.

    Args:
        cfg: The job's configuration.
        hydra: Hydra's own.
        job: The job.
        again: Whether the job began in this sweep before, in a process that was lost.

    Raises:
        ConfigError: Its folder holds a run of other settings, or the sweeper needs a metric that
            the job will not have.
    """
    if needs_objective(hydra):
        _check_objective(cfg)
    if not (cfg.sweep.resume or again):
        return None
    found = look(job.folder, configuration_of(cfg))
    if found:
        check_same(
            found,
            "Leave sweep.resume out for a sweep in a new folder, or move this one away and resume "
            "again.",
        )
    return found


def objective(result: Result, job: Job, hydra: HydraConf) -> float | None:
    """The value that a sweeper maximises: the selection metric on validation classes.

    Raises:
        TrainingError: The sweeper needs one, and there is none.
    """
    value = float((result.validation or {}).get(job.metric, math.nan))
    if not math.isnan(value):
        return value
    if needs_objective(hydra):
        raise TrainingError(
            f"{job.folder}: the result has no {job.metric} on validation classes, which the "
            "sweeper maximises."
        )
    return None


# --------------------------------------------------------------------------- the sweep ends


def forget() -> None:
    """Forget the sweep of this process, if there is one."""
    _running.clear()


def is_running() -> bool:
    """Whether this process runs a sweep that has not been reported."""
    return bool(_running)


def interrupted(arguments: Sequence[str]) -> str | None:
    """The message with the command that resumes an interrupted sweep; None if none was running.

    Args:
        arguments: The command line.
    """
    return f"Interrupted. Go on with:\n  {_resuming(arguments)}" if _running else None


def finish(arguments: Sequence[str]) -> int:
    """Report the sweep that this process ran, if there is one.

    Args:
        arguments: The command line.

    Returns:
        The exit code: of the first job that failed, 0 if none did.
    """
    if not _running:
        return 0
    running = _running.pop()
    jobs = read_jobs(running.place)
    if not jobs:
        return 0
    _report(running, jobs)
    bad = [job for job in jobs if job.outcome not in ("finished", "skipped", LEFT_OUT)]
    if bad:
        say(f"Run what is missing:  {_resuming(arguments)}")
    return next((job.exit_code or 1 for job in bad), 0)


def _report(running: Running, jobs: Sequence[Job]) -> None:
    # matplotlib takes a while to import
    from zsl_lab.plots.style import figure_style
    from zsl_lab.sweep.report import report

    with figure_style(running.style):
        runs = report(jobs, running.place)
        if running.experiment:
            from zsl_lab.sweep import experiment

            experiment.report(running.experiment, running.figures, runs, running.place)


def _resuming(arguments: Sequence[str]) -> str:
    typed = [argument for argument in arguments if not argument.startswith("sweep.resume=")]
    return shlex.join(["python", "-m", "zsl_lab", *typed, "sweep.resume=true"])
