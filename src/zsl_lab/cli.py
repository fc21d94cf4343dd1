"""The command line: Hydra composes, :func:`zsl_lab.run.run` works, errors become sentences.

Torch and Lightning are imported only once there is something to run, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from zsl_lab.errors import ConfigError, InterruptionError, ZslLabError, nearest, output_error, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIG = "pkg://zsl_lab.conf"
#: groups whose keys lie in a section of another name
SECTION_OF_GROUP = {"hardware": "trainer"}
#: what a resumed run cannot change without becoming another run
FIXED_ON_RESUME = ("method", "dataset", "selection", "seed", "tuned", "experiment")


#: exit codes of the jobs that failed
_failures: list[int] = []


@hydra.main(version_base="1.3", config_path=CONFIG, config_name="config")
def _experiment(cfg: DictConfig) -> None:
    from zsl_lab.reporting.console import print_result
    from zsl_lab.run import run

    overrides = list(HydraConfig.get().overrides.task)
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        if cfg.ckpt:
            cfg = _with_stored_config(cfg, overrides)
        OmegaConf.update(cfg, "paths.run_dir", str(folder))
        result = run(cfg)
    except Exception as error:  # reported here, so that one job of a sweep does not end the others
        sentence = None if cfg.debug else _sentence(error, overrides)
        if sentence is None:
            traceback.print_exc()
        else:
            _say(sentence)
        _failures.append(130 if isinstance(error, InterruptionError) else 2 if isinstance(error, ConfigError) else 1)
        _discard_if_empty(folder)
        return
    print_result(result, folder, f"python -m zsl_lab task=test {quoted('ckpt', str(result.checkpoint))}")


def main() -> None:
    """Run the command; a user's mistake ends in a sentence and exit code 1 or 2, an interruption in 130."""
    arguments = sys.argv[1:]
    sys.argv[1:] = _resume_in_place(arguments)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what happened instead of printing its own summary
    try:
        _experiment()
    except KeyboardInterrupt:
        _say("Interrupted.")
        sys.exit(130)
    except Exception as error:
        sentence = _sentence(error, arguments)
        if sentence is None or "debug=true" in arguments:
            raise
        _say(sentence)
        sys.exit(2)
    if _failures:
        sys.exit(_failures[0])


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)  # noqa: T201


def _discard_if_empty(folder: Path) -> None:
    """Remove the folder of a run that came to nothing: one with Hydra's record in it and nothing else worth keeping."""
    found = {path.relative_to(folder).parts[0] for path in folder.rglob("*") if path.is_file()}
    if found <= {".hydra", "config.yaml"}:
        shutil.rmtree(folder, ignore_errors=True)


def _sentence(error: Exception, arguments: Sequence[str]) -> str | None:
    """What to tell the user; None for what is not the user's to mend."""
    if isinstance(error, ZslLabError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).partition("/")
        near = nearest(choice, error.options)
        hint = f" Did you mean {group}={near[0]}?" if near else ""
        return f"{group}={choice}: there is no such choice.{hint} Choices of {group}: {', '.join(sorted(error.options))}."
    if isinstance(error, ConfigCompositionException):
        return _unknown_key(error, arguments)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return str(error).splitlines()[0]
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
    near = nearest(key, [*groups, *keys])
    hint = f"Did you mean {' or '.join(near)}?" if near else "`python -m zsl_lab --cfg job` lists every key."
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
            if a.partition("=")[0] in groups and a.partition("=")[2] in loader.get_group_options(a.partition("=")[0], ObjectType.CONFIG)
        ]
        cfg = compose("config", chosen)
    return groups, _flat(OmegaConf.to_container(cfg, resolve=False), "")


def _flat(node: object, prefix: str) -> list[str]:
    if not isinstance(node, dict):
        return [prefix]
    return [key for name, child in node.items() for key in _flat(child, f"{prefix}.{name}".strip("."))]


def _resume_in_place(arguments: list[str]) -> list[str]:
    """A resumed run goes on in its own folder."""
    given = dict(argument.partition("=")[::2] for argument in arguments if not argument.startswith("-"))
    if "ckpt" not in given or given.get("task", "fit") != "fit" or "hydra.run.dir" in given:
        return arguments
    path = Path(given["ckpt"].strip("'\""))
    if not path.is_file():
        return arguments
    folder = str(path.parent.parent).replace("'", "\\'")
    return [*arguments, f"hydra.run.dir='{folder}'"]


def _with_stored_config(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """The configuration that a checkpoint was trained with, under what the command line says explicitly."""
    from zsl_lab import checkpoints

    stored = OmegaConf.create(checkpoints.read(Path(cfg.ckpt))["zsl_lab"]["config"])
    assert isinstance(stored, DictConfig)
    stored.task = "fit"
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~")
        if cfg.task == "fit" and key.split(".")[0] in FIXED_ON_RESUME:
            raise ConfigError(
                f"{override}: a resumed run keeps the settings it was started with. Leave {key} out, or start a new run without ckpt."
            )
        section = SECTION_OF_GROUP.get(key, key)
        OmegaConf.update(stored, section, OmegaConf.select(cfg, section), merge=False, force_add=True)
    return stored
