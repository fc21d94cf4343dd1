"""``python -m zsl_lab.tune``: find settings of a method for a dataset on validation classes."""

from __future__ import annotations

import argparse
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from zsl_lab.cli import overrides as command
from zsl_lab.cli import settings
from zsl_lab.cli.messages import format_warning, sentence
from zsl_lab.console.messages import say
from zsl_lab.errors import (
    ConfigError,
    InterruptionError,
    TerminationError,
    exit_code,
    interruption_code,
)
from zsl_lab.run.configuration.settings_files import settings_folder

PROG = "python -m zsl_lab.tune"
#: default number of trials
TRIALS = 50
#: default number of draws of validation classes
DRAWS = 3
HELP = f"""\
{PROG} [KEY=VALUE ...]

Finds settings of a method for a dataset by trials on validation classes; no test sample is used.
The best are written to your folder of settings, where runs of the same method, dataset and features
find them by themselves.

  {PROG} method=sgal dataset=cub paths.data_dir=DIR
  {PROG} method=sgal dataset=cub trials=100       continues the same study
  {PROG} method=sgal dataset=cub minutes=60       in two terminals: two processes share the study

  trials=50            trials of the study, of all processes together
  minutes=M            instead: this process begins no trial after that time
  study=NAME           its folder below paths.output_dir/studies; default: METHOD_DATASET_FEATURES
  space=FILE.yaml      the keys that are varied; default: conf/search/METHOD.yaml
  selection.draws={DRAWS}    draws of validation classes over which a trial is averaged
  selection.metric=harmonic_mean   the metric that is maximised
  settings=general     values of the keys that are not varied, and of all keys in the first trial
  paths.settings_dir=DIR           your folder of settings (or the variable ZSL_LAB_SETTINGS)
  --config-dir FOLDER              a folder of yamls of your own (method/, dataset/, search/, ...)

Every other key is that of a run: python -m zsl_lab --help
"""


@dataclass(frozen=True)
class Options:
    """The parsed arguments.

    Attributes:
        trials: Number of trials of the study; None for no limit.
        minutes: Minutes after which no trial begins; None for no limit.
        study: Name of the study; None for that of method, dataset and features.
        space: File of the search space; None for the method's own.
        config_dir: The user's folder of yamls; None for none.
        overrides: All other arguments: overrides of the trials' configuration.
    """

    trials: int | None
    minutes: float | None
    study: str | None
    space: Path | None
    config_dir: Path | None
    overrides: list[str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The command line; None for that of the process.

    Returns:
        The exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given in (["--help"], ["-h"]):
        print(HELP)  # noqa: T201
        return 0
    warnings.formatwarning = format_warning
    before = signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        _tune(_options(given))
    except (KeyboardInterrupt, InterruptionError) as error:
        say("Interrupted. No finished trial is lost; the same command goes on with the study.")
        if isinstance(error, InterruptionError):
            return error.exit_code
        return interruption_code(error)
    except Exception as error:
        message = sentence(error, given)
        if message is None or "debug=true" in given:
            raise
        say(message)
        return exit_code(error) if not isinstance(error, OSError) else 1
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(TerminationError.exit_code)


def _options(arguments: Sequence[str]) -> Options:
    own: dict[str, str] = {}
    config_dir, arguments = _config_dir(arguments)
    rest = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key in ("trials", "minutes", "study", "space") and equals:
            own[key] = value
        elif not command.is_override(argument):
            raise ConfigError(f"{argument}: expected KEY=VALUE. `{PROG} --help` shows examples.")
        else:
            rest.append(argument)
    study = own.get("study")
    if study is not None and (not study or Path(study).name != study):
        raise ConfigError(f"study={study}: expected a name, not a path.")
    minutes = _number(own, "minutes")
    trials = _number(own, "trials", None if minutes is not None else TRIALS)
    if trials is not None and trials != int(trials):
        raise ConfigError(f"trials={own['trials']}: expected a whole number.")
    space = Path(own["space"]).expanduser() if "space" in own else None
    return Options(None if trials is None else int(trials), minutes, study, space, config_dir, rest)


def _config_dir(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The folder that ``--config-dir`` (or ``-cd``) names, as Hydra reads it, and the rest."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config-dir", "-cd", type=Path)
    try:
        found, rest = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error}. Give a folder of yamls: --config-dir FOLDER.") from error
    if found.config_dir is None:
        return None, rest
    folder = found.config_dir.expanduser().absolute()
    if not folder.is_dir():
        raise ConfigError(
            f"--config-dir {found.config_dir}: there is no such folder; expected one of yamls, in "
            "folders such as method/ and search/."
        )
    return folder, rest


def _number(own: dict[str, str], key: str, default: float | None = None) -> float | None:
    if key not in own:
        return default
    try:
        value = float(own[key])
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise ConfigError(f"{key}={own[key]}: expected a number above 0.")
    return value


def _tune(options: Options) -> None:
    given = command.parsed(options.overrides)
    if "ckpt" in given or "task" in given or "resume" in given:
        raise ConfigError(
            f"{PROG} trains and validates anew in each trial: leave ckpt, task and resume out."
        )
    selection = given.get("selection")
    if selection is not None and command.text(selection) != "validation":
        raise ConfigError(
            f"{selection.input_line}: settings are found on validation classes only. Leave it out, "
            "or give selection=validation."
        )
    defaults = {
        "settings": "general",
        "selection.draws": str(DRAWS),
        "callbacks": "none",
        "selection.report_oracle": "false",
    }
    own = [
        f"{key}={value}"
        for key, value in defaults.items()
        if key not in given and not (key == "settings" and "tuned" in given)
    ]
    prepared = command.prepare([*own, *options.overrides])
    with settings_folder(settings.folder_given(prepared)), _hydra(options.config_dir):
        chosen = settings.choose(prepared)
        choices, cfg = _composed(chosen)
        # the method's own defaults on the same data
        data = [a for a in options.overrides if _is_of_data(a)]
        _, none = _composed([*command.prepare(data), "settings=none"])
        _search(options, choices, cfg, none)


def _is_of_data(override: str) -> bool:
    key = override.partition("=")[0].lstrip("+")
    return key in ("method", "dataset") or (
        key.startswith("dataset.") and not key.startswith("dataset.normalize")
    )


@contextmanager
def _hydra(config_dir: Path | None) -> Iterator[None]:
    """Initialize Hydra with the package's yamls and the user's own, within this context."""
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_module(command.CONFIG_MODULE, version_base="1.3"):
        if config_dir is not None:
            loader: Any = GlobalHydra.instance().config_loader()
            # as hydra.main does for --config-dir; Hydra's compose API has no such argument
            path = loader.get_search_path()
            path.prepend("command-line", f"file://{config_dir}", "schema")
            loader.repository.initialize_sources(path)
        yield


def _composed(overrides: list[str]) -> tuple[dict[str, Any], DictConfig]:
    from hydra import compose

    cfg = compose("config", overrides, return_hydra_config=True)
    choices = OmegaConf.to_container(cfg.hydra.runtime.choices)
    assert isinstance(choices, dict)
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    OmegaConf.set_struct(own, False)
    own.paths.run_dir = "unused"
    return {str(key): value for key, value in choices.items()}, own


def _search(options: Options, choices: dict[str, Any], cfg: DictConfig, none: DictConfig) -> None:
    from zsl_lab.run.configuration.checks import check_early
    from zsl_lab.tune import space as spaces

    method, dataset = str(choices["method"]), str(choices["dataset"])
    space = spaces.read(method, options.space)
    spaces.check(space, cfg)
    check_early(cfg)
    if cfg.trainer.devices not in (1, "auto"):
        raise ConfigError(
            f"trainer.devices={cfg.trainer.devices}: a trial takes one process. Start the command "
            "several times instead: the processes share the study."
        )
    from zsl_lab.tune import command as tuning

    job = tuning.Job(method, dataset, cfg, none, space, options.study)
    until = time.monotonic() + 60 * options.minutes if options.minutes is not None else None
    tuning.tune(job, options.trials, until)
