"""The command line: Hydra composes the configuration, :func:`zsl_lab.run.run` does the work.

Torch and Lightning are imported only when there is something to run, so that ``--help`` answers at
once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from zsl_lab.cli import overrides as command
from zsl_lab.cli import settings
from zsl_lab.cli.messages import format_warning, sentence, told
from zsl_lab.console.messages import say
from zsl_lab.errors import (
    ConfigError,
    DataError,
    InterruptionError,
    TerminationError,
    exit_code,
    interruption_code,
    quoted,
)
from zsl_lab.hardware.processes import REPORT, follow_launcher, report
from zsl_lab.run import folder as run_folder
from zsl_lab.run.checkpoints.places import check_exists
from zsl_lab.run.configuration.checks import check_early
from zsl_lab.run.configuration.settings_files import settings_folder
from zsl_lab.run.configuration.trial import adapt, missing
from zsl_lab.run.resuming import NotPreparedError

if TYPE_CHECKING:
    from zsl_lab.sweep.job import Job

#: folder, in a sweep's folder, of the pre-training that its jobs share
PRETRAINED = "pretrained"
#: seconds to wait, when a job begins again, for an earlier worker of it that lost its connection
LOST_SECONDS = 60.0


@dataclass(frozen=True)
class Ended:
    """The outcome of a job that did not end by an exception.

    Attributes:
        outcome: As in :class:`zsl_lab.sweep.job.Job`.
        value: The value that a sweeper maximises; None where there is none.
        why: Why the job was left out; else empty.
    """

    outcome: str
    value: float | None = None
    why: str = ""


#: exit codes of the runs of this process that failed
_failures: list[int] = []


@hydra.main(version_base="1.3", config_path=f"pkg://{command.CONFIG_MODULE}", config_name="config")
def _experiment(cfg: DictConfig) -> float | None:
    follow_launcher()
    hydra_cfg = HydraConfig.get()
    overrides = list(hydra_cfg.overrides.task)
    folder = Path(hydra_cfg.runtime.output_dir)
    if hydra_cfg.mode == RunMode.MULTIRUN:
        return _job(cfg, overrides, folder)
    try:
        _run(_prepared(cfg, overrides, folder), overrides, folder)
    except Exception as error:
        message = told(error, overrides, debug=cfg.debug)
        if not report(message):
            say(message)
            claim = run_folder.claimed(folder)
            if claim is not None:
                claim.discard()
        if isinstance(error, InterruptionError):
            sys.exit(error.exit_code)
        _failures.append(exit_code(error))
    return None


def _job(cfg: DictConfig, overrides: list[str], folder: Path) -> float | None:
    """Run a job of a sweep, in the process that the launcher chose.

    Returns:
        The value that a sweeper maximises; None where there is none.
    """
    from zsl_lab.sweep import job as record

    warnings.formatwarning = format_warning  # this may be another process than the command's
    hydra_cfg = HydraConfig.get()
    again = record.has_begun(folder)
    job = record.begin(cfg, hydra_cfg, folder)
    return _recorded(
        job, cfg, overrides, lambda: _begun(cfg, overrides, job, hydra_cfg, again=again)
    )


def _recorded(
    job: Job, cfg: DictConfig, overrides: list[str], work: Callable[[], Ended | None]
) -> float | None:
    """Do the work of a job and record its outcome.

    A failure is recorded in the job's folder; the other jobs go on.

    Args:
        job: The job.
        cfg: Its configuration.
        overrides: Its overrides.
        work: Does the work; returns None if the job ends in a later call.

    Returns:
        The value that a sweeper maximises; None where there is none.
    """
    from zsl_lab.sweep import job as record

    try:
        ended = work()
    except Exception as error:
        why = told(error, overrides, debug=cfg.debug)
        if isinstance(error, InterruptionError):
            record.end(job, "interrupted", why=why, exit_code=error.exit_code)
            # ends the whole sweep
            raise KeyboardInterrupt(error.exit_code) from None
        say(why)
        record.end(job, "failed", why=why, exit_code=exit_code(error))
        return None
    if ended is None:
        return None
    record.end(job, ended.outcome, why=ended.why)
    return ended.value


def _begun(
    cfg: DictConfig, overrides: list[str], job: Job, hydra_cfg: HydraConf, *, again: bool
) -> Ended | None:
    """Begin a job: run it, unless it has a result already or is to be trained together with others.

    Returns:
        The outcome; None if the job waits to be trained together with others.
    """
    from zsl_lab.sweep import job as record
    from zsl_lab.sweep import sweep, together

    adapt(cfg, overrides)
    lacking = missing(cfg)
    if lacking is not None:
        return Ended(record.LEFT_OUT, why=lacking)
    earlier = sweep.earlier(cfg, hydra_cfg, job, again=again)
    if earlier and earlier.result:
        return Ended("skipped", sweep.objective(earlier.result, job, hydra_cfg))
    cfg.ckpt = str(earlier.state) if earlier else cfg.ckpt
    said = record.announcement(job, Path(hydra_cfg.sweep.dir))
    if said:
        say(said, error=False)
    prepared = _prepared(cfg, overrides, job.folder)
    if together.takes(prepared):

        def train() -> None:
            _recorded(job, prepared, overrides, lambda: _trained(prepared, job, hydra_cfg))

        together.add(prepared, train)
        return None
    with run_folder.held(job.folder, goes_on=True, wait=LOST_SECONDS if again else 0.0):
        _run(prepared, overrides, job.folder)
    return _ended(prepared, job, hydra_cfg)


def _trained(cfg: DictConfig, job: Job, hydra_cfg: HydraConf) -> Ended:
    """Run a job that waited to be trained with others."""
    with run_folder.held(job.folder, goes_on=True):
        _run_here(cfg, job.folder)
    return _ended(cfg, job, hydra_cfg)


def _ended(cfg: DictConfig, job: Job, hydra_cfg: HydraConf) -> Ended:
    from zsl_lab.result import Result
    from zsl_lab.sweep import sweep

    if cfg.task == "predict":
        return Ended("finished")
    return Ended("finished", sweep.objective(Result.load(job.folder), job, hydra_cfg))


def _prepared(cfg: DictConfig, overrides: list[str], folder: Path) -> DictConfig:
    """The complete configuration of a run, checked as far as possible without slow imports."""
    if cfg.paths.run_dir is not None:
        raise ConfigError(
            "paths.run_dir is filled in by the command. hydra.run.dir=FOLDER moves the run's "
            "folder."
        )
    # a checkpoint that resume=auto found has the settings of this command
    if cfg.ckpt and "ckpt" in command.parsed(overrides):
        check_exists(Path(cfg.ckpt), f"ckpt={cfg.ckpt}")
        if cfg.task == "predict":
            _check_inputs_exist(cfg)
        _say_starting(cfg)
        cfg = _with_stored_config(cfg, overrides)
    else:
        settings.record(cfg)
    OmegaConf.update(cfg, "paths.run_dir", str(folder))
    check_early(cfg)
    _say_starting(cfg)
    _check_folder_is_shared(cfg)
    if HydraConfig.get().mode == RunMode.MULTIRUN and cfg.paths.pretrained_dir is None:
        shared = Path(HydraConfig.get().sweep.dir).absolute() / PRETRAINED
        OmegaConf.update(cfg, "paths.pretrained_dir", str(shared))
    return cfg


def _run(cfg: DictConfig, overrides: list[str], folder: Path) -> None:
    """Run a prepared configuration, in this process or in several new ones."""
    if not _run_in_processes(cfg, overrides, folder):
        _run_here(cfg, folder)


def _say_starting(cfg: DictConfig) -> None:
    """On a terminal, say that PyTorch is being imported, which takes seconds without progress."""
    if sys.stderr.isatty() and "torch" not in sys.modules and REPORT not in os.environ:
        say(f"Starting task={cfg.task}: importing PyTorch takes a few seconds.")


def _with_stored_config(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """The configuration stored in a checkpoint, changed by the overrides of the command line."""
    from zsl_lab.run.checkpoints import files as checkpoints
    from zsl_lab.run.configuration import stored_config

    trains = cfg.task not in ("test", "predict")
    if not trains:
        cfg.ckpt = str(checkpoints.reported(Path(cfg.ckpt)))
    read = checkpoints.read_to_resume if trains else checkpoints.read
    found, origin = read(Path(cfg.ckpt), "ckpt"), f"ckpt={cfg.ckpt}"
    plain = stored_config.of_checkpoint(
        command.without_chosen(found.state.config, overrides),
        origin,
        OmegaConf.to_container(cfg, resolve=False),
        trains=trains,
    )
    stored = OmegaConf.create({**plain, "task": "fit"})
    assert isinstance(stored, DictConfig)
    _check_values(stored, origin)
    # the folder of the sweep that trained it may have been moved
    if not Path(stored.paths.get("pretrained_dir") or "").exists():
        OmegaConf.update(stored, "paths.pretrained_dir", cfg.paths.pretrained_dir, force_add=True)
    for name in ("data_dir", "cache_dir"):  # on another machine, or from another working folder
        if stored.paths[name] is None or not Path(stored.paths[name]).exists():
            stored.paths[name] = cfg.paths[name]
    command.update_stored(stored, cfg, overrides)
    return stored


def _check_values(stored: DictConfig, origin: str) -> None:
    from zsl_lab.run.config import parse
    from zsl_lab.run.configuration.stored_config import refused

    try:
        parse(stored)
    except ConfigError as error:
        raise refused(origin, error) from error


def _check_inputs_exist(cfg: DictConfig) -> None:
    """Refuse files to predict from that are missing, before PyTorch is imported."""
    for key in ("features", "classes", "descriptions"):
        given = cfg[key]
        if given and not Path(given).expanduser().exists():
            raise DataError(
                f"{key}={given}: there is no such file. Correct the path, or give another file."
            )


def _check_folder_is_shared(cfg: DictConfig) -> None:
    """Check that processes that were started from outside use the same run folder.

    Each would choose its own folder, named by the time, if none is given.

    Raises:
        ConfigError: If there are several such processes and no folder is given, or for a sweep.
    """
    if REPORT in os.environ:
        return
    by_slurm = cfg.trainer.launch == "slurm"
    if int(os.environ.get("SLURM_NTASKS" if by_slurm else "WORLD_SIZE") or 1) == 1:
        return
    hydra_cfg = HydraConfig.get()
    if hydra_cfg.mode == RunMode.MULTIRUN:
        raise ConfigError(
            "A sweep takes one process: start `python -m zsl_lab -m ...` by itself, which starts "
            "the processes of each job, or let hydra/launcher=submitit_slurm send the jobs to a "
            "cluster."
        )
    given = [str(override) for override in hydra_cfg.overrides.hydra]
    if not by_slurm and "hydra.run.dir" not in command.parsed(given):
        raise ConfigError(
            "hydra.run.dir: several processes were started from outside (WORLD_SIZE), and each "
            "would choose a folder of its own. Give them one with hydra.run.dir=FOLDER; or start "
            "one command, which starts the processes itself (trainer.devices=N)."
        )


def _run_in_processes(cfg: DictConfig, overrides: list[str], folder: Path) -> bool:
    """Start the processes of a run that needs several, and wait; False if one is enough."""
    wanted = OmegaConf.to_container(cfg.trainer, resolve=True)
    assert isinstance(wanted, dict)
    if wanted.get("devices") == 1 or cfg.task == "predict":
        return False
    from pydantic import ValidationError

    from zsl_lab.hardware.processes import launch
    from zsl_lab.hardware.trainer import TrainerConfig, processes_to_start

    try:
        trainer = TrainerConfig.model_validate(wanted)
        processes = processes_to_start(trainer)
    except ValidationError:
        return False  # the run itself reports it, with all other wrong values
    if not processes:
        return False
    if cfg.paths.pretrained_dir:  # the processes do not know that they belong to a sweep
        escaped = cfg.paths.pretrained_dir.replace("\\", "\\\\").replace("'", "\\'")
        overrides = [*overrides, f"paths.pretrained_dir='{escaped}'"]
    launch(overrides, folder, processes, trainer.seconds_to_answer)
    return True


def _run_here(cfg: DictConfig, folder: Path) -> None:
    from zsl_lab.console.result_table import print_result
    from zsl_lab.hardware import distributed
    from zsl_lab.predict.command import predict, print_prediction
    from zsl_lab.run.experiment import run

    if cfg.task == "predict":
        prediction = predict(cfg)
        print_prediction(prediction)
        prediction.check_complete()
        return
    result = run(cfg)
    if distributed.is_main():
        again = f"python -m zsl_lab task=test {quoted('ckpt', str(result.checkpoint))}"
        print_result(result, folder, again)


def main() -> None:
    """Run the command.

    It exits with 1 or 2 after an error, and with 130 (143 after SIGTERM) after an interruption.
    """
    arguments = sys.argv[1:]
    with suppress(ValueError):  # called from a thread of another program
        signal.signal(signal.SIGTERM, _on_sigterm)
    # makes Hydra raise errors instead of printing its own summary
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # the backend of a notebook, which commands started there inherit, cannot always be imported
    os.environ["MPLBACKEND"] = "Agg"
    warnings.formatwarning = format_warning
    sys.unraisablehook = _interrupt_again
    if "zsl_lab.sweep.sweep" in sys.modules:  # state of an earlier command in this process
        _sweep().forget()
    try:
        code = _main(arguments)
    finally:
        run_folder.release_all()
    if code:
        sys.exit(code)


def _main(arguments: list[str]) -> int:
    code = 0
    try:
        prepared = command.prepare(arguments)
        with settings_folder(settings.folder_given(prepared)):
            sys.argv[1:] = settings.choose(prepared)
            _experiment()
            if "zsl_lab.sweep.together" in sys.modules:
                _run_waiting()
    except NotPreparedError as error:
        say(told(error.error, arguments, debug="debug=true" in arguments))
        return 2
    except KeyboardInterrupt as error:
        message = _sweep().interrupted(arguments)
        if message is not None:
            command.cancel_jobs(error.__traceback__)
        ended = "Terminated." if error.args == (TerminationError.exit_code,) else "Interrupted."
        if REPORT not in os.environ:  # else the launching process prints it
            say(message or ended)
        sys.exit(interruption_code(error))
    except Exception as error:
        command.wait_for_jobs(error.__traceback__)
        message = sentence(error, arguments)
        if message is not None and "debug=true" not in arguments:
            say(message)
        elif _sweep().is_running():  # go on, so that the results of its jobs are reported
            traceback.print_exc()
        else:
            raise
        code = 1 if command.is_lost_job(error) else 2
    code = code or next(iter(_failures), 0)
    reported: int = _sweep().finish(arguments)
    return code or reported


def _run_waiting() -> None:
    from zsl_lab.sweep import together

    together.run_waiting()


def _sweep() -> ModuleType:
    from zsl_lab.sweep import sweep  # its imports would make --help slow

    return sweep


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    """Interrupt the command as Ctrl-C does; Lightning's handler replaces this one in training."""
    if signal.getsignal(signal.SIGTERM) is _on_sigterm:
        raise KeyboardInterrupt(TerminationError.exit_code)


def _interrupt_again(lost: sys.UnraisableHookArgs) -> None:
    """Send a signal again whose exception Python ignored.

    Exceptions raised in callbacks of weak references and in ``__del__`` are only printed.
    """
    if not isinstance(lost.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    terminated = lost.exc_value.args == (TerminationError.exit_code,)
    number = signal.SIGTERM if terminated else signal.SIGINT
    threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
