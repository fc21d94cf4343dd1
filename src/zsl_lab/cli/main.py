"""The command line: Hydra composes, :func:`zsl_lab.run.run` works, errors become sentences.

Torch and Lightning are imported only once there is something to run, so that ``--help`` answers at
once.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from zsl_lab.errors import (
    ConfigError,
    InterruptionError,
    TerminationError,
    ZslLabError,
    nearest,
    output_error,
    quoted,
)
from zsl_lab.hardware.processes import REPORT, follow_launcher, report

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIG = "pkg://zsl_lab.conf"
#: groups whose keys lie in a section of another name
SECTION_OF_GROUP = {"hardware": "trainer"}
#: what a checkpoint brings with it: changed, it would be another run
FIXED_BY_CHECKPOINT = ("method", "dataset", "selection", "seed", "tuned", "experiment")
#: keys among them that only say where something lies, which another machine has elsewhere
PLACES = ("dataset.path", "method.base.weights", "method.text.model")

#: choices of Hydra's own groups that come with packages, and the extra that brings them
EXTRAS = {
    "hydra/sweeper=optuna": "sweep",
    "hydra/launcher=joblib": "sweep",
    "hydra/launcher=submitit_local": "slurm",
    "hydra/launcher=submitit_slurm": "slurm",
    "hydra/launcher=ray": "ray",
}

#: exit code of a command stopped from the keyboard, as shells have it
INTERRUPTED = 130
#: the folder of a sweep for what its jobs share
PRETRAINED = "pretrained"

#: exit codes of the jobs that failed
_failures: list[int] = []

_usual_format = warnings.formatwarning

# Hydra copies this store, of which there is one, for every group that it looks at; with plugins
# that is most of a second of --help. What is taken out of it is copied anyway.
ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]


@hydra.main(version_base="1.3", config_path=CONFIG, config_name="config")
def _experiment(cfg: DictConfig) -> float | None:
    follow_launcher()
    hydra_cfg = HydraConfig.get()
    overrides = list(hydra_cfg.overrides.task)
    folder = Path(hydra_cfg.runtime.output_dir)
    if hydra_cfg.mode == RunMode.MULTIRUN:
        return _job(cfg, overrides, folder)
    try:
        _run(cfg, overrides, folder)
    except Exception as error:
        sentence = _told(error, cfg, overrides)
        if not report(sentence):
            _say(sentence)
            _discard_record(folder)
        if isinstance(error, InterruptionError):
            sys.exit(error.exit_code)
        _failures.append(_exit_code(error))
    return None


def _job(cfg: DictConfig, overrides: list[str], folder: Path) -> float | None:
    """A job of a sweep, wherever its launcher runs it. That it failed stands in its folder and does not end the others.

    Returns:
        What a sweeper goes by; None where there is no such figure.
    """
    from zsl_lab.result import Result
    from zsl_lab.sweep import sweep

    warnings.formatwarning = _format_warning  # this may be another process than the command's
    hydra_cfg = HydraConfig.get()
    job = sweep.begin(cfg, hydra_cfg, folder)
    try:
        earlier = sweep.earlier(cfg, hydra_cfg, job)
        if earlier and earlier.result:
            result, outcome = earlier.result, "skipped"
        else:
            cfg.ckpt = str(earlier.state) if earlier else cfg.ckpt
            _run(cfg, overrides, folder)
            if cfg.task == "predict":
                sweep.end(job, "finished")
                return None
            result, outcome = Result.load(folder), "finished"
        value = sweep.objective(result, job, hydra_cfg)
    except Exception as error:
        sentence = _told(error, cfg, overrides)
        if isinstance(error, InterruptionError):
            sweep.end(job, "interrupted", why=sentence, exit_code=error.exit_code)
            raise KeyboardInterrupt(
                error.exit_code
            ) from None  # the whole sweep, as the user meant it
        _say(sentence)
        sweep.end(job, "failed", why=sentence, exit_code=_exit_code(error))
        return None
    sweep.end(job, outcome)
    return value


def _told(error: Exception, cfg: DictConfig, overrides: list[str]) -> str:
    return (None if cfg.debug else _sentence(error, overrides)) or traceback.format_exc().rstrip()


def _exit_code(error: Exception) -> int:
    return 2 if isinstance(error, ConfigError) else 1


def _run(cfg: DictConfig, overrides: list[str], folder: Path) -> None:
    if cfg.paths.run_dir is not None:
        raise ConfigError(
            "paths.run_dir is filled in by the command. hydra.run.dir=FOLDER moves the run's "
            "folder."
        )
    if cfg.ckpt and any(
        _key(override) == "ckpt" for override in overrides
    ):  # one that was found has the settings of this command
        cfg = _with_stored_config(cfg, overrides)
    OmegaConf.update(cfg, "paths.run_dir", str(folder))
    _check_folder_is_shared(cfg)
    if HydraConfig.get().mode == RunMode.MULTIRUN and cfg.paths.pretrained_dir is None:
        OmegaConf.update(
            cfg,
            "paths.pretrained_dir",
            str(Path(HydraConfig.get().sweep.dir).absolute() / PRETRAINED),
        )
    if not _run_in_processes(cfg, overrides, folder):
        _run_here(cfg, folder)


def _check_folder_is_shared(cfg: DictConfig) -> None:
    """Processes that somebody else started compose each for itself, and folders are named by the time."""
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
    if not by_slurm and not any(
        str(given).startswith("hydra.run.dir=") for given in hydra_cfg.overrides.hydra
    ):
        raise ConfigError(
            "hydra.run.dir: several processes were started from outside (WORLD_SIZE), and each "
            "would choose a folder of its own. Give them one with hydra.run.dir=FOLDER; or start "
            "one command, which starts the processes itself (trainer.devices=N)."
        )


def _run_in_processes(cfg: DictConfig, overrides: list[str], folder: Path) -> bool:
    """Start the processes of a run that needs several, and wait; False where the run takes place in this one."""
    wanted = OmegaConf.to_container(cfg.trainer, resolve=True)
    assert isinstance(wanted, dict)
    if wanted.get("devices") == 1 or cfg.task == "predict":
        return False
    from pydantic import ValidationError

    from zsl_lab.hardware.processes import launch
    from zsl_lab.hardware.trainer import TrainerConfig, processes_to_start

    try:
        processes = processes_to_start(TrainerConfig.model_validate(wanted))
    except ValidationError:
        return False  # the run itself says what is wrong, with all else that is
    if not processes:
        return False
    if cfg.paths.pretrained_dir:  # they take no part in a sweep
        escaped = cfg.paths.pretrained_dir.replace("\\", "\\\\").replace("'", "\\'")
        overrides = [*overrides, f"paths.pretrained_dir='{escaped}'"]
    launch(overrides, folder, processes)
    return True


def _run_here(cfg: DictConfig, folder: Path) -> None:
    from zsl_lab.console.result_table import print_result
    from zsl_lab.hardware import distributed
    from zsl_lab.predict.command import predict, print_prediction
    from zsl_lab.run.experiment import run

    if cfg.task == "predict":
        print_prediction(predict(cfg))
        return
    result = run(cfg)
    if distributed.is_main():
        print_result(
            result, folder, f"python -m zsl_lab task=test {quoted('ckpt', str(result.checkpoint))}"
        )


def main() -> None:
    """Run the command; a user's mistake ends in a sentence and exit code 1 or 2, an interruption in 130."""
    from zsl_lab.sweep import sweep

    arguments = sys.argv[1:]
    code = 0
    sweep.forget()
    with suppress(ValueError):  # called from a thread, in somebody's program
        signal.signal(signal.SIGTERM, _on_sigterm)
    os.environ["HYDRA_FULL_ERROR"] = (
        "1"  # Hydra then raises what happened instead of printing its own summary
    )
    warnings.formatwarning = _format_warning
    try:
        _check_tuned(arguments)
        sys.argv[1:] = _place_of_checkpoint(
            _composable(_own_dataset([_at_home(argument) for argument in arguments]))
        )
        _experiment()
    except KeyboardInterrupt as error:
        _say(sweep.interrupted(error, arguments) or "Interrupted.")
        sys.exit(error.args[0] if error.args else INTERRUPTED)
    except Exception as error:
        sentence = _sentence(error, arguments)
        if sentence is not None and "debug=true" not in arguments:
            _say(sentence)
        elif sweep.is_running():  # what its jobs have found is reported all the same
            traceback.print_exc()
        else:
            raise
        code = 2
    code = code or next(iter(_failures), 0)
    reported = sweep.finish(arguments)
    if code or reported:
        sys.exit(code or reported)


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    """As Ctrl-C does, end what this process has started; Lightning puts a handler of its own over this one while it trains."""
    if signal.getsignal(signal.SIGTERM) is _on_sigterm:
        raise KeyboardInterrupt(TerminationError.exit_code)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)  # noqa: T201


def _format_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """Our own warnings are sentences, as errors are; those of other packages stay as Python prints them."""
    if issubclass(category, UserWarning) and Path(filename).is_relative_to(
        Path(__file__).parents[1]
    ):
        return f"Warning: {message}\n"
    return _usual_format(message, category, filename, lineno, line)


def _discard_record(folder: Path) -> None:
    """Remove Hydra's record of a run that came to nothing, and the folders made for it; never a file of the user's."""
    record = folder / ".hydra"
    if {path.name for path in folder.iterdir()} != {".hydra"}:
        return
    for name in ("config.yaml", "hydra.yaml", "overrides.yaml"):
        (record / name).unlink(missing_ok=True)
    here = Path.cwd()
    for empty in (record, folder, *folder.parents):
        if empty == here or empty in here.parents or any(empty.iterdir()):
            break
        empty.rmdir()


def _check_tuned(arguments: Sequence[str]) -> None:
    """Hydra takes any name for an optional group; a misspelt one would silently train with other settings."""
    chosen = [argument.partition("=")[2] for argument in arguments if argument.startswith("tuned=")]
    if not chosen:
        return
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.object_type import ObjectType

    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        choices = (
            GlobalHydra.instance().config_loader().get_group_options("tuned", ObjectType.CONFIG)
        )
    for choice in chosen:
        if choice not in choices:
            raise ConfigError(
                f"tuned={choice}: there is no such choice. Choices of tuned: "
                f"{', '.join(sorted(choices))}."
            )


def _sentence(error: Exception, arguments: Sequence[str]) -> str | None:
    """What to tell the user; None for what is not the user's to mend."""
    if isinstance(error, ZslLabError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        if f"{group}={choice}" in EXTRAS:
            return f'{group}={choice} needs more packages: pip install "zsl-lab[{EXTRAS[f"{group}={choice}"]}]".'
        near = nearest(choice.lower(), error.options)
        hint = f" Did you mean {group}={near[0]}?" if near else ""
        return f"{group}={choice}: there is no such choice.{hint} Choices of {group}: {', '.join(sorted(error.options))}."
    if isinstance(error, ConfigCompositionException):
        return _unknown_key(error, arguments)
    if isinstance(error, OverrideParseException):
        return f"{str(error).splitlines()[0]}: expected KEY=VALUE or GROUP=CHOICE."
    if isinstance(error, HydraException | OmegaConfBaseException):
        return str(error).splitlines()[0]
    if isinstance(error, ValueError) and "No trials are completed" in str(error):
        return "No trial has a result: every job failed."
    if isinstance(error, ValueError) and "Config group override" in str(error):
        return "A group takes the name of one of its choices (python -m zsl_lab --help lists them); leave it out for none."
    if isinstance(error, OSError):
        found = output_error(error, "paths.output_dir")
        return str(found) if found else None
    return None


def _unknown_key(error: ConfigCompositionException, arguments: Sequence[str]) -> str:
    first = str(error).splitlines()[0]
    if "'" not in first:
        return first
    key = first.split("'")[1]
    groups, keys = _known(arguments)
    if key in keys:  # a sweep over choices of which one lacks it
        return f"{key}: one of the choices swept over has no such key. Sweep over those that have it, and run the others by themselves."
    near = nearest(key, [*groups, *keys])
    hint = (
        f"Did you mean {' or '.join(near)}?"
        if near
        else "`python -m zsl_lab --cfg job` lists every key."
    )
    return f"{key}: there is no such key. {hint}"


def _known(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """All groups, and all keys of the configuration that the groups chosen on the command line compose."""
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.object_type import ObjectType

    GlobalHydra.instance().clear()
    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        groups = loader.list_groups("")
        chosen = [
            a
            for a in arguments
            if a.partition("=")[0] in groups
            and a.partition("=")[2]
            in loader.get_group_options(a.partition("=")[0], ObjectType.CONFIG)
        ]
        cfg = compose("config", chosen)
    return groups, _flat(OmegaConf.to_container(cfg, resolve=False), "")


def _flat(node: object, prefix: str) -> list[str]:
    if not isinstance(node, dict):
        return [prefix]
    return [
        key for name, child in node.items() for key in _flat(child, f"{prefix}.{name}".strip("."))
    ]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _is_override(argument: str) -> bool:
    """Whether an argument is one of Hydra's overrides, not an option or the value of one."""
    return not argument.startswith("-") and ("=" in argument or argument.startswith("~"))


def _given(arguments: Sequence[str]) -> dict[str, str]:
    """What the command line sets, as it is written there."""
    return {
        _key(argument): argument.partition("=")[2]
        for argument in arguments
        if _is_override(argument)
    }


def _with(arguments: Sequence[str], *overrides: str) -> list[str]:
    """Overrides put beside those that are there: Hydra reads no others once an option has followed some."""
    first = next((place for place, argument in enumerate(arguments) if _is_override(argument)), 0)
    return [*arguments[:first], *overrides, *arguments[first:]]


def _at_home(argument: str) -> str:
    """``~/`` at the start of a value, which the shell leaves as it is and Hydra cannot read."""
    key, equals, value = argument.partition("=")
    return f"{key}{equals}{re.sub('(^|,)~(?=/)', lambda found: found[1] + str(Path.home()), value)}"


def _own_dataset(arguments: list[str]) -> list[str]:
    """``dataset.path=FILE`` is enough to choose the dataset that has this key; a checkpoint brings its own.

    Raises:
        ConfigError: Another dataset is chosen beside it.
    """
    given = _given(arguments)
    if "dataset.path" not in given or given.get("ckpt", "null") not in ("", "null"):
        return arguments
    if "dataset" not in given:
        return _with(arguments, "dataset=own")
    if given["dataset"] != "own":
        raise ConfigError(
            f"dataset={given['dataset']}: dataset.path={given['dataset.path']} names a file, which "
            f"is a dataset of its own. Leave dataset={given['dataset']} out to use the file, or "
            "leave dataset.path out."
        )
    return arguments


def _composable(arguments: list[str]) -> list[str]:
    """With a checkpoint, arguments that Hydra composes although it does not know the checkpoint's method.

    Raises:
        ConfigError: An argument changes what the checkpoint brings.
    """
    if _given(arguments).get("ckpt", "null") in ("", "null"):
        return arguments
    _check_not_fixed([argument for argument in arguments if _is_override(argument)])
    # ++ sets a key that the default method lacks, too
    return [
        f"++{argument.lstrip('+')}"
        if _is_override(argument) and _key(argument) in PLACES
        else argument
        for argument in arguments
    ]


def _check_not_fixed(overrides: Sequence[str]) -> None:
    for override in overrides:
        key = _key(override)
        if key.split(".")[0] in FIXED_BY_CHECKPOINT and (
            key not in PLACES or override.startswith("~")
        ):
            raise ConfigError(
                f"{override}: a checkpoint brings the settings it was trained with. Leave {key} "
                "out, or start a new run without ckpt."
            )


def _place_of_checkpoint(arguments: list[str]) -> list[str]:
    """A resumed run goes on in its own folder, Hydra's record of its start left as it is; a test or a prediction has its own."""
    given = _given(arguments)
    if "ckpt" not in given or "hydra.run.dir" in given:
        return arguments
    if given.get("task") in ("test", "predict"):
        return _with(
            arguments,
            f"hydra.run.dir=${{paths.output_dir}}/{given['task']}/${{now:%Y-%m-%d_%H-%M-%S-%f}}",
        )
    path = Path(given["ckpt"].strip("'\"")).absolute()
    if not path.is_file():
        return arguments
    if path.parent.name != "checkpoints":
        raise ConfigError(
            f"{quoted('ckpt', str(path))}: a run goes on in its own folder; expected "
            "RUN/checkpoints/last.ckpt."
        )
    folder = str(path.parent.parent).replace("'", "\\'")
    return _with(arguments, f"hydra.run.dir='{folder}'", "hydra.output_subdir=null")


def _with_stored_config(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """The configuration that a checkpoint was trained with, under what the command line says explicitly."""
    from zsl_lab.run import checkpoints

    _check_not_fixed(overrides)  # a sweeper's own parameters are known only now
    if cfg.task in ("test", "predict"):
        cfg.ckpt = str(checkpoints.reported(Path(cfg.ckpt)))
    stored = OmegaConf.create(checkpoints.read(Path(cfg.ckpt), "ckpt").state.config)
    assert isinstance(stored, DictConfig)
    stored.task = "fit"
    if not Path(
        stored.paths.get("pretrained_dir") or ""
    ).exists():  # the folder of a sweep that was moved
        OmegaConf.update(stored, "paths.pretrained_dir", cfg.paths.pretrained_dir, force_add=True)
    for name in ("data_dir", "cache_dir"):  # another machine, or another working folder
        if stored.paths[name] is None or not Path(stored.paths[name]).exists():
            stored.paths[name] = cfg.paths[name]
    for override in overrides:
        key = _key(override)
        section = SECTION_OF_GROUP.get(key, key)
        if override.startswith("~"):
            parent, _, name = section.rpartition(".")
            del (OmegaConf.select(stored, parent) if parent else stored)[name]
        else:
            OmegaConf.update(
                stored, section, OmegaConf.select(cfg, section), merge=False, force_add=True
            )
    return stored
