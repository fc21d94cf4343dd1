"""Which settings of ``conf/tuned`` a run takes: those found for its dataset *and* its features.

A file of ``conf/tuned`` may say what its settings were found for, in ``tuned.dataset``: keys of the
dataset with their values. A run with other values takes the method's published settings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig, OmegaConf

from zsl_lab.cli import overrides as command
from zsl_lab.console.messages import say
from zsl_lab.errors import ConfigError

NONE = "none"


def choose(arguments: list[str]) -> list[str]:
    """Add ``tuned=none`` where the settings of the dataset were found for other features.

    Args:
        arguments: The command line.

    Raises:
        ConfigError: Some jobs of a sweep have the features that the settings were found for, and
            some have others.
    """
    given = command.parsed(arguments)
    if "tuned" in given or command.has_checkpoint(given):
        return arguments
    verdicts = list(_verdicts(given))
    others = [text for fits, text in verdicts if not fits]
    if not others:
        return arguments
    if any(fits for fits, _ in verdicts):
        raise ConfigError(
            f"{others[0]}, and other jobs of this sweep have what they were found for. Sweep over "
            "them separately, or set tuned=none: every job then takes its method's published "
            "settings."
        )
    say(f"Note: {others[0]}; the method's published settings are used.")
    return command.insert(arguments, "tuned=none")


def record(cfg: DictConfig) -> None:
    """Store in a composed configuration which settings were taken, as ``tuned.name``."""
    choice = HydraConfig.get().runtime.choices.get("tuned")
    loader = GlobalHydra.instance().config_loader()
    if choice in (None, NONE) or choice not in loader.get_group_options("tuned", ObjectType.CONFIG):
        return
    OmegaConf.update(cfg, "tuned.name", choice, force_add=True)
    text = _mismatch(str(choice), _found_for(cfg), OmegaConf.to_container(cfg.dataset))
    if text is not None:
        say(f"Note: {text}; they are used all the same. tuned=none takes the published ones.")


def _found_for(tuned: DictConfig) -> dict[str, Any]:
    found = OmegaConf.select(tuned, "tuned.dataset")
    return dict(found) if found else {}


def _mismatch(name: str, found_for: Mapping[str, Any], dataset: Any) -> str | None:
    """A clause on the first key of the dataset with another value; None where there is none.

    A dataset without such a key (a file of one's own) may hold the same features: nothing is known.
    """
    for key, value in found_for.items():
        if dataset.get(key, value) != value:
            return (
                f"the settings of conf/tuned/{name}.yaml were found for dataset.{key}={value}, not "
                f"for dataset.{key}={dataset[key]}"
            )
    return None


def _verdicts(given: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    """For each dataset, method and choice of features: whether settings fit, and why not."""
    conf = Path(next(iter(import_module(command.CONFIG_MODULE).__path__)))
    keys = [key for key in given if key.startswith("dataset.")]
    values = [_values(given[key]) for key in keys]
    for dataset in _values(given.get("dataset")) or ["digits"]:
        path = conf / "dataset" / f"{dataset}.yaml"
        if not path.is_file():
            continue
        published = OmegaConf.to_container(_merged(path, conf / "dataset"))
        assert isinstance(published, dict)
        for name in _tuned_names(conf, given, dataset):
            found_for = _found_for(_merged(conf / "tuned" / f"{name}.yaml", conf / "tuned"))
            for choice in itertools.product(*values):
                own = {k.removeprefix("dataset."): v for k, v in zip(keys, choice, strict=True)}
                text = _mismatch(name, found_for, {**published, **own})
                yield text is None, text or ""


def _tuned_names(conf: Path, given: Mapping[str, Any], dataset: str) -> list[str]:
    """The settings for a dataset, of the methods on the command line or of all in a named sweep."""
    methods = _values(given.get("method")) or ([] if "sweep" in given else ["sgal"])
    names = [f"{method}_{dataset}" for method in methods]
    if not all((conf / "method" / f"{method}.yaml").is_file() for method in methods) or not names:
        names = [path.stem for path in (conf / "tuned").glob(f"*_{dataset}.yaml")]
    return [name for name in names if (conf / "tuned" / f"{name}.yaml").is_file()]


def _values(override: Any) -> list[str]:
    return [] if override is None else command.text(override).split(",")


def _merged(path: Path, folder: Path) -> DictConfig:
    """A yaml over those that its ``defaults`` name."""
    own = OmegaConf.load(path)
    assert isinstance(own, DictConfig)
    parents: Sequence[Any] = own.pop("defaults", [])
    names = [str(name).partition("@")[0] for name in parents if name != "_self_"]
    merged = OmegaConf.merge(*(_merged(folder / f"{name}.yaml", folder) for name in names), own)
    assert isinstance(merged, DictConfig)
    return merged
