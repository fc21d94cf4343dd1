"""Resuming an earlier run of the same configuration, for ``resume=auto`` and jobs of a sweep.

A finished run is recognised without torch, unless its dataset's files must be compared.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel

from zsl_lab.console.messages import say
from zsl_lab.console.result_table import print_result
from zsl_lab.errors import CheckpointError, ConfigError, DataError, ZslLabError, quoted
from zsl_lab.files.cache import LRUCache, file_stamp
from zsl_lab.hardware.processes import REPORT
from zsl_lab.hardware.trainer import rank_from_outside
from zsl_lab.keys import checked
from zsl_lab.methods.catalogue import without_examples
from zsl_lab.result import RESULT_FILE, Result
from zsl_lab.run import folder as run_folder
from zsl_lab.run.configuration.old_names import with_current_targets
from zsl_lab.run.configuration.schema import RunKeys, run_groups, run_marks
from zsl_lab.run.configuration.settings import (
    CONFIG_FILE,
    Configuration,
    read_configuration,
    shown_value,
)
from zsl_lab.run.configuration.trial import adapt

if TYPE_CHECKING:
    from zsl_lab.data.benchmark import Benchmark

#: differing settings that a message names
_MOST_SHOWN = 3
_ABSENT = object()
#: format of the name of a run's folder, as in conf/config.yaml
_FOLDER_NAME = "%Y-%m-%d_%H-%M-%S-%f"
#: names of checkpoints to resume from, as in zsl_lab.run.checkpoints.files, which needs torch
_STATES = ("last.ckpt", "last-previous.ckpt")
#: characters of a hash that messages show
_HASH = 12


@dataclass(frozen=True)
class Earlier:
    """An earlier run, found in a folder.

    Attributes:
        folder: The folder.
        differing: How its settings or data differ from those wanted; empty if they are the same.
        other_data: Whether the settings are the same, but the contents of the dataset's files
            differ.
        result: Its result; None if it is not finished.
        state: Its ``last.ckpt``; None if it has no checkpoint to resume from.
    """

    folder: Path
    differing: str
    other_data: bool
    result: Result | None
    state: Path | None


class ResumeCallback(Callback):
    """Chooses the folder of a single run: with ``resume=auto`` that of the run to resume.

    Hydra calls it before the folder is made.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Set the run's folder and checkpoint, and claim the folder.

        Exits if the run to resume is finished, and on an error.
        """
        call(_start, config)


class NotPreparedError(BaseException):
    """A configuration cannot be composed; Hydra would turn an ``Exception`` into a warning.

    Args:
        error: Hydra's or OmegaConf's own error.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def call(prepare: Callable[[DictConfig], None], config: DictConfig) -> None:
    """Call a preparation and exit on an error, which Hydra would only report as a warning."""
    try:
        prepare(config)
    except ZslLabError as error:
        say(str(error))
        sys.exit(2)
    except (HydraException, OmegaConfBaseException) as error:
        raise NotPreparedError(error) from error
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def configuration_of(cfg: DictConfig) -> Configuration | None:
    """A composed configuration as ``config.yaml`` would hold it; None if it does not resolve."""
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    try:
        plain = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException:  # the run itself says what is wrong
        return None
    assert isinstance(plain, dict)
    if isinstance(plain.get("method"), dict):
        plain["method"] = without_examples(plain["method"])
    # through YAML, like the stored configuration that it is compared with
    written = OmegaConf.to_container(OmegaConf.create(OmegaConf.to_yaml(OmegaConf.create(plain))))
    assert isinstance(written, dict)
    return Configuration(
        with_current_targets({str(key): value for key, value in written.items()}), run_marks()
    )


def look(folder: Path, now: Configuration | None) -> Earlier | None:
    """Find an earlier run in a folder; None if it has neither a result nor a checkpoint.

    Args:
        folder: The folder of a run, which need not exist.
        now: The configuration to compare with, of :func:`configuration_of`. Files of a dataset are
            compared by their contents, not by their paths.

    Raises:
        DataError: The settings are the same, and a file of the dataset cannot be read.
    """
    try:
        result = Result.load(folder)
    except DataError:  # a damaged result counts as absent
        result = None
    state = folder / "checkpoints" / "last.ckpt"
    resumable = any((state.parent / name).is_file() for name in _STATES)
    if result is None and not resumable:
        return None
    try:
        then = read_configuration(folder / CONFIG_FILE)
    except DataError as error:
        differing, data = str(error).rstrip("."), ""
    else:
        differing = _differing(now, then)
        known: Mapping[str, Any] | None = result.benchmark if result is not None else None
        if known is None and now is not None and not differing:
            known = _state_to_resume(state)
            if known is None:
                return None
        data = "" if now is None or known is None else _differing_data(now, then, known)
    return Earlier(folder, differing or data, bool(data), result, state if resumable else None)


def _state_to_resume(path: Path) -> Mapping[str, Any] | None:
    """The state in an unfinished run's checkpoint; None, with a message, if all are damaged."""
    from zsl_lab.run.checkpoints import files as checkpoints

    try:
        return vars(checkpoints.read_to_resume(path, "ckpt").state)
    except CheckpointError as error:
        say(f"{error} No earlier checkpoint of this run is whole, so it begins anew.")
        return None


def check_same(found: Earlier, ways_out: str) -> None:
    """Raise ConfigError if a folder holds a run with other settings or data.

    Args:
        found: The run in the folder.
        ways_out: The end of the message: what the user can do.
    """
    if found.differing:
        what = "data" if found.other_data else "settings"
        raise ConfigError(
            f"{found.folder} holds a run of other {what}: {found.differing}. {ways_out}"
        )


def check_composed(config: DictConfig) -> None:
    """Check what the command itself reads of a composed configuration.

    Raises:
        ConfigError: A key of the run is wrong, or a relative path would be looked for in the run's
            folder.
    """
    check_sections(config)
    check_keys(config)
    if config.hydra.job.chdir:
        _check_absolute(config)


def check_keys(config: DictConfig) -> None:
    """Check the keys of the run itself, without importing the classes of method and dataset.

    Raises:
        ConfigError: A key is unknown, missing, of the wrong type or out of range.
    """
    try:
        plain = {str(key): _plain(config[key]) for key in config if key != "hydra"}
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    values = with_current_targets(plain)
    values["paths"] = {**values["paths"], "run_dir": str(values["paths"].get("run_dir"))}
    checked(RunKeys, values, "")


def _plain(value: Any) -> Any:
    if OmegaConf.is_config(value):
        return OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
    return value


def check_sections(config: DictConfig) -> None:
    """Raise ConfigError where a section of a composed configuration is no mapping."""
    for name, info in RunKeys.model_fields.items():
        if name not in config and not info.is_required():
            continue
        kind = info.annotation
        needed = kind == dict[str, Any] or (isinstance(kind, type) and issubclass(kind, BaseModel))
        value = OmegaConf.select(config, name)
        if needed and not isinstance(value, DictConfig):
            group = run_groups().get(name, name if kind == dict[str, Any] else None)
            other = f"choose {group}=CHOICE" if group else "set a key in it"
            raise ConfigError(
                f"{name}={shown_value(value)}: this is a section of keys; expected a key in it, "
                f"such as {name}.KEY=VALUE. Leave {name} out, or {other}."
            )


def _check_absolute(config: DictConfig) -> None:
    """Refuse relative paths where Hydra changes the working folder to that of the run."""
    for override in map(str, config.hydra.overrides.task):
        key, _, typed = override.lstrip("+").partition("=")
        value = OmegaConf.select(config, key, default=None) if typed else None
        if not isinstance(value, str) or Path(value).expanduser().is_absolute():
            continue
        if key in run_marks().places or Path(value).exists():
            raise ConfigError(
                f"{override}: a relative path, and hydra.job.chdir=true changes the working folder "
                f"to the run's, where it is not found. Give an absolute path "
                f"({quoted(key, str(Path(value).absolute()))}), or leave hydra.job.chdir out."
            )
    for key in ("data_dir", "cache_dir", "pretrained_dir"):
        value = OmegaConf.select(config.paths, key)
        if value is not None:
            config.paths[key] = str(Path(str(value)).expanduser().absolute())


def _start(config: DictConfig) -> None:
    check_composed(config)
    note = adapt(config, [str(override) for override in config.hydra.overrides.task])
    if note is not None and REPORT not in os.environ:
        say(note, error=False)
    HydraConfig.instance().set_config(config)  # the name of the folder is resolved from it
    _resume(config)
    if REPORT in os.environ or rank_from_outside(config.trainer.get("launch")) > 0:
        return  # the process that started it, or the first one, has claimed the folder
    place = Path(config.hydra.run.dir)
    goes_on = _continues(config, place)
    if config.task == "predict":
        if (place / RESULT_FILE).exists() or (place / "checkpoints").exists():
            raise ConfigError(
                f"hydra.run.dir={place}: this folder holds a run. Predictions need a folder of "
                "their own. Give another."
            )
        goes_on = True
    run_folder.claim(place, overwrite=config.overwrite, goes_on=goes_on)


def _continues(config: DictConfig, place: Path) -> bool:
    """Whether a command goes on with the run in a folder, by one of its checkpoints."""
    if config.task != "fit" or not isinstance(config.ckpt, str):
        return False
    state = Path(config.ckpt).expanduser().absolute()
    return state.parent.name == "checkpoints" and state.parent.parent == place.absolute()


def _resume(config: DictConfig) -> None:
    # one of the processes of a run: the process that started it has chosen the folder
    started = REPORT in os.environ
    if config.resume != "auto" and not (started and config.sweep.resume):
        if config.sweep.resume:
            raise ConfigError(
                "sweep.resume=true: this is a single run. Use resume=auto to go on with one, or -m "
                "for a sweep."
            )
        return
    if config.ckpt:
        raise ConfigError(
            "resume=auto looks for the checkpoint by itself. Leave ckpt out, or resume."
        )
    if config.task != "fit":
        raise ConfigError(
            f"resume=auto goes on with training; here task={config.task}. Leave resume out, or "
            "give task=fit."
        )
    place = Path(config.hydra.run.dir)
    now, almost = configuration_of(config), ""
    if any(str(override).startswith("hydra.run.dir=") for override in config.hydra.overrides.hydra):
        found = look(place, now)
        if found and not (found.differing and config.overwrite):
            check_same(found, "Give another hydra.run.dir, or replace it: overwrite=true.")
        elif found:
            found = None
    else:
        found = None
        for earlier in _earlier(place.parent, now):
            if not earlier.differing:
                found = earlier
                break
            almost = (
                almost
                or f" {earlier.folder} has these settings, but other data: {earlier.differing}."
            )
    if found is None:
        if not started:
            say(
                f"resume=auto: no earlier run of this configuration in {place.parent}; a new one "
                f"begins.{almost}",
                error=False,
            )
        return
    if found.result is None and not started:
        run_folder.claim(found.folder, goes_on=True)
        # another command may have ended it since it was looked at
        found = look(found.folder, now) or found
    if found.result is not None:
        say(f"resume=auto: this run is finished, in {found.folder}.", error=False)
        print_result(found.result, found.folder, evaluation(found.result))
        sys.exit(0)
    if not started:
        say(f"resume=auto: goes on in {found.folder}", error=False)
    config.ckpt = str(found.state)
    with read_write(config.hydra):
        config.hydra.run.dir = str(found.folder)
        config.hydra.output_subdir = None  # Hydra's record of its start stays as it is


def evaluation(result: Result) -> str:
    """The command that evaluates a run's checkpoint again."""
    return f"python -m zsl_lab task=test {quoted('ckpt', str(result.checkpoint))}"


def _earlier(place: Path, now: Configuration | None) -> Iterator[Earlier]:
    """Runs with the same settings, the newest first, including those with other data."""
    begun = {path.parent: _begun(path) for path in place.glob(f"*/{CONFIG_FILE}")}
    for folder in sorted(begun, key=lambda folder: (begun[folder], folder.name), reverse=True):
        found = look(folder, now)
        if found and (found.other_data or not found.differing):
            yield found


def _begun(config: Path) -> float:
    """When a run began: by the name of its folder, else by the time of its configuration.

    Copying a folder, or restoring it from a backup, changes the times of files.
    """
    try:
        return datetime.strptime(config.parent.name, _FOLDER_NAME).timestamp()
    except ValueError:
        return config.stat().st_mtime


def _differing(now: Configuration | None, then: Configuration) -> str:
    if now is None:
        return "the settings of this command do not resolve"
    by_contents = _files_of_dataset(now, then)
    here = now.settings((*then.marks.irrelevant, *by_contents))
    there = then.settings(by_contents)
    keys = [
        key
        for key in dict.fromkeys((*here, *there))
        if not _equal(here.get(key, _ABSENT), there.get(key, _ABSENT))
    ]
    if any(key not in here or key not in there for key in keys):
        from zsl_lab.run.config import added_later

        later = added_later(now.plain)
        keys = [
            key
            for key in keys
            if not (key in later and _equal(here.get(key, later[key]), there.get(key, later[key])))
        ]
    shown = [
        f"{key} is {_shown(there.get(key, _ABSENT))} there, {_shown(here.get(key, _ABSENT))} here"
        for key in keys[:_MOST_SHOWN]
    ]
    more = [f"{len(keys) - _MOST_SHOWN} more"] if len(keys) > _MOST_SHOWN else []
    return ", ".join([*shown, *more])


def _files_of_dataset(now: Configuration, then: Configuration) -> list[str]:
    """Keys of the dataset that name a file or folder in both configurations."""
    if now.plain["dataset"].get("_target_") != then.plain["dataset"].get("_target_"):
        return []
    here, there = now.settings(), then.settings()
    return [
        key
        for key in sorted(then.marks.places)
        if key.startswith("dataset.") and here.get(key) and there.get(key)
    ]


def _differing_data(now: Configuration, then: Configuration, known: Mapping[str, Any]) -> str:
    """How the contents of the dataset's files differ from those that a run was trained on."""
    keys = _files_of_dataset(now, then)
    if not keys:
        return ""
    return ", ".join(
        f"{name} of {', '.join(keys)} is {str(known.get(name))[:_HASH]} there, {found[:_HASH]} here"
        for name, found in _hashes_now(now.plain).items()
        if found != known.get(name)
    )


def _hashes_now(plain: dict[str, Any]) -> dict[str, str]:
    """Hashes of the benchmark as its files are now, as a result has them."""
    from zsl_lab.run.config import data_of

    method_class, dataset, paths = data_of(plain)
    load = dataset.load_images if method_class.takes == "images" else dataset.load
    sources = dataset.sources(paths)
    unchanged = file_stamp(sources) if sources is not None else object()
    key = (type(dataset), dataset.model_dump_json(), method_class.takes, paths, unchanged)
    return _hashes.get(key, lambda: _hashes_of(dataset.with_split(load(paths), paths)))


def _hashes_of(benchmark: Benchmark) -> dict[str, str]:
    provenance = benchmark.provenance
    return {
        "splits_sha256": provenance.splits_sha256,
        "features_sha256": provenance.features_sha256,
    }


#: hashes of the last benchmarks, which each job of a sweep needs
_hashes: LRUCache[dict[str, str]] = LRUCache(8, lambda hashes: 1)


def _equal(now: Any, then: Any) -> bool:
    # a key that is null here may be absent in a configuration of an older version
    if now == then or (now in (None, _ABSENT) and then in (None, _ABSENT)):
        return True
    # places are stored absolute
    return (
        isinstance(now, str)
        and isinstance(then, str)
        and os.path.isabs(then)
        and str(Path(now).expanduser().absolute()) == then
    )


def _shown(value: Any) -> str:
    return "absent" if value is _ABSENT else shown_value(value)
