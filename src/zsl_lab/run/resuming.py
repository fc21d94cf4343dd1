"""Going on with an earlier run of the same configuration: ``resume=auto``, and what a job of a resumed sweep finds in its folder.

Nothing here needs torch: a run that is finished is recognised at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from zsl_lab.console.result_table import print_result, say
from zsl_lab.errors import ConfigError, DataError, ZslLabError, quoted
from zsl_lab.files.cache import file_stamp
from zsl_lab.hardware.processes import REPORT
from zsl_lab.report.tables import (
    CONFIG_FILE,
    Settings,
    all_settings,
    read_configuration,
    shown_value,
)
from zsl_lab.result import Result

#: differing settings that a message names
_MOST_SHOWN = 3
_ABSENT = object()
#: of a hash so much is shown
_HASH = 12
#: a benchmark of the user's own
_OWN, _PATH = "zsl_lab.data.datasets.own.OwnDataset", "dataset.path"


@dataclass(frozen=True)
class Earlier:
    """What a folder holds of a run.

    Attributes:
        folder: The folder.
        differing: What its settings differ in from those looked for, in words; empty where they are
            the same.
        other_data: Whether it is not the settings that differ, but what the file of ``dataset=own``
            holds.
        result: What it found, if it is finished.
        state: Its ``last.ckpt``, if it got that far.
    """

    folder: Path
    differing: str
    other_data: bool
    result: Result | None
    state: Path | None


class ResumeCallback(Callback):
    """Hydra calls it before a single run has a folder: with ``resume=auto`` that is the folder of the run to go on with."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Point the run at what it goes on with; end the command where that is finished, or where the wish makes no sense."""
        call(_resume, config)


def call(prepare: Callable[[DictConfig], None], config: DictConfig) -> None:
    """Call what prepares a command; an error ends the command, where Hydra would make a warning of it and go on."""
    try:
        prepare(config)
    except ZslLabError as error:
        say(str(error))
        sys.exit(2)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def settings_of(cfg: DictConfig) -> Settings | None:
    """The settings that a composed configuration's figures depend on, as ``config.yaml`` would hold them; None if it does not resolve."""
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    try:
        plain = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException:  # the run itself says what is wrong
        return None
    # through YAML, as the other side went
    written = OmegaConf.to_container(OmegaConf.create(OmegaConf.to_yaml(OmegaConf.create(plain))))
    assert isinstance(written, dict)
    return all_settings({str(key): value for key, value in written.items()})


def look(folder: Path, now: Settings | None) -> Earlier | None:
    """What a folder holds of an earlier run; None where there is none that got anywhere.

    Args:
        folder: The folder of a run, which need not exist.
        now: The settings to compare with, of :func:`settings_of`. The file of ``dataset=own`` goes
            by what it holds, not by its place.

    Raises:
        DataError: The settings are the same, and that file cannot be read; likewise CheckpointError
            of an unfinished run's state.
    """
    try:
        result = Result.load(folder)
    except DataError:  # damaged is as good as absent: it is made again
        result = None
    state = folder / "checkpoints" / "last.ckpt"
    if result is None and not state.is_file():
        return None
    differing = _differing(folder, now)
    data = "" if differing else _differing_data(now, result, state)
    return Earlier(
        folder, differing or data, bool(data), result, state if state.is_file() else None
    )


def check_same(found: Earlier, ways_out: str) -> None:
    """Raise ConfigError where a folder holds a run of other settings or data, which must not be written over."""
    if found.differing:
        what = "data" if found.other_data else "settings"
        raise ConfigError(
            f"{found.folder} holds a run of other {what}: {found.differing}. {ways_out}"
        )


def _resume(config: DictConfig) -> None:
    # one process of several that a run consists of: whoever started it has looked, and gave it the
    # folder
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
    HydraConfig.instance().set_config(config)  # the folder's name asks it for the choices made
    place = Path(config.hydra.run.dir)
    now, almost = settings_of(config), ""
    if any(str(override).startswith("hydra.run.dir=") for override in config.hydra.overrides.hydra):
        found = look(place, now)
        if found:
            check_same(found, "Give another hydra.run.dir, or leave resume out to write over it.")
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
    elif found.result is not None:
        say(f"resume=auto: this run is finished, in {found.folder}.", error=False)
        print_result(found.result, found.folder, evaluation(found.result))
        sys.exit(0)
    else:
        if not started:
            say(f"resume=auto: goes on in {found.folder}", error=False)
        config.ckpt = str(found.state)
        with read_write(config.hydra):
            config.hydra.run.dir = str(found.folder)
            config.hydra.output_subdir = None  # Hydra's record of its start stays as it is


def evaluation(result: Result) -> str:
    """The command that evaluates a run's checkpoint again."""
    return f"python -m zsl_lab task=test {quoted('ckpt', str(result.checkpoint))}"


def _earlier(place: Path, now: Settings | None) -> Iterator[Earlier]:
    """Runs of the same settings, the newest first; of other data, too."""
    begun = {path.parent: path.stat().st_mtime for path in place.glob(f"*/{CONFIG_FILE}")}
    for folder in sorted(begun, key=lambda folder: (begun[folder], folder.name), reverse=True):
        found = look(folder, now)
        if found and (found.other_data or not found.differing):
            yield found


def _differing(folder: Path, now: Settings | None) -> str:
    try:
        then = all_settings(read_configuration(folder / CONFIG_FILE))
    except DataError as error:
        return str(error).rstrip(".")
    if now is None:
        return "the settings of this command do not resolve"
    every = [
        key
        for key in (*now, *(key for key in then if key not in now))
        if key != _PATH or not _is_own(now)
    ]
    keys = [key for key in every if not _equal(now.get(key, _ABSENT), then.get(key, _ABSENT))]
    shown = [
        f"{key} is {_shown(then.get(key, _ABSENT))} there, {_shown(now.get(key, _ABSENT))} here"
        for key in keys[:_MOST_SHOWN]
    ]
    return ", ".join(
        [*shown, *([f"{len(keys) - _MOST_SHOWN} more"] if len(keys) > _MOST_SHOWN else [])]
    )


def _is_own(now: Settings) -> bool:
    return bool(now.get("dataset._target_") == _OWN and now.get(_PATH))


def _differing_data(now: Settings | None, result: Result | None, state: Path) -> str:
    """What tells the file of ``dataset=own`` from the one that a run was trained on, in words."""
    if now is None or not _is_own(now):
        return ""
    if result is not None:
        then = result.benchmark
    else:
        from zsl_lab.run import (
            checkpoints,  # this brings torch, which the run that goes on needs as well
        )

        then = vars(checkpoints.read(state, "ckpt").state)
    path = Path(now[_PATH]).expanduser().absolute()
    given = (now.get("dataset.semantics"), now.get("dataset.split"), now.get("dataset.split_seed"))
    hashes = _hashes(path, file_stamp([path]), *given)
    keys = [key for key in hashes if hashes[key] != then.get(key)]
    return ", ".join(
        f"{key} of {_PATH} is {str(then.get(key))[:_HASH]} there, {hashes[key][:_HASH]} here"
        for key in keys
    )


@lru_cache(maxsize=8)  # each job of a sweep asks
def _hashes(
    path: Path, unchanged: object, semantics: str | None, split: str, split_seed: int
) -> dict[str, str]:
    from zsl_lab.data.files import own_file
    from zsl_lab.data.splits import redraw

    benchmark = own_file.load(path, semantics, None)
    provenance = (redraw(benchmark, split_seed) if split == "random" else benchmark).provenance
    return {
        "splits_sha256": provenance.splits_sha256,
        "features_sha256": provenance.features_sha256,
    }


def _equal(now: Any, then: Any) -> bool:
    if now == then:
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
