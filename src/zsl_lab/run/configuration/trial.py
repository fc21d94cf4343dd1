"""Applies ``sweep.size=smoke`` and ``sweep.missing`` to a composed configuration.

Both are for trying out a whole experiment: the first makes every run short, the second leaves out
runs whose data are missing, or gives them other data. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from zsl_lab.data.datasets.base import DataPaths, DatasetConfig
from zsl_lab.errors import DataError, ZslLabError
from zsl_lab.run.config import RunConfig, parse
from zsl_lab.run.configuration.settings_files import yaml_keys

#: section of a method's yaml that holds the overrides of a short run
_SHORT = "short"
_ABSENT = object()


def adapt(cfg: DictConfig, overrides: Iterable[str]) -> str | None:
    """Shorten a run and replace missing data, as its section ``sweep`` says; changes ``cfg``.

    Args:
        cfg: A composed configuration.
        overrides: What the command line or the sweep sets for this run: such keys stay.

    Returns:
        A sentence on data that were replaced; None where none were.

    Raises:
        ConfigError: The configuration is wrong.
    """
    if not _trains(cfg):
        return None
    if cfg.sweep.size == "smoke":
        _shorten(cfg, {override.partition("=")[0].lstrip("+~") for override in overrides})
    if cfg.sweep.missing != "substitute":
        return None
    return _substitute(cfg)


def _trains(cfg: DictConfig) -> bool:
    """Whether a run trains with its own settings: a checkpoint would bring others."""
    return bool(cfg.task == "fit" and not cfg.ckpt)


def _shorten(cfg: DictConfig, given: set[str]) -> None:
    values: dict[str, Any] = {"figures": False}
    for block in (cfg.method.get(_SHORT), cfg.sweep.smoke):
        plain = OmegaConf.to_container(block) if block else {}
        assert isinstance(plain, dict)
        values |= {str(key): value for key, value in plain.items()}
    for key, value in values.items():
        if key in given:
            continue
        # a method's block sets keys that not every dataset has
        if key.startswith("dataset.") and OmegaConf.select(cfg, key, default=_ABSENT) is _ABSENT:
            continue
        if isinstance(value, str) and OmegaConf.is_dict(OmegaConf.select(cfg, key)):
            # a choice of a group, such as `classifier: own`
            with open_dict(cfg):
                cfg[key] = yaml_keys(key, value)
            continue
        OmegaConf.update(cfg, key, value)


def _substitute(cfg: DictConfig) -> str | None:
    config = _parsed(cfg)
    paths = _paths(config)
    if missing_files(config.dataset, paths) is None:
        return None
    other = config.dataset.stand_in(paths)
    if other is None:
        return None
    section = {
        "_target_": f"{type(other).__module__}.{type(other).__qualname__}",
        **other.model_dump(mode="json"),
    }
    with open_dict(cfg):
        cfg.dataset = section
    if type(other) is type(config.dataset):
        key = next(k for k, v in config.dataset.model_dump().items() if v != section[k])
        return f"{config.dataset.name}: its files are missing; dataset.{key}={section[key]} instead"
    return f"{config.dataset.name}: its files are missing; synthetic data instead"


def _parsed(cfg: DictConfig) -> RunConfig:
    """A configuration without the folder of its run, which the command fills in later."""
    own = deepcopy(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]))
    own.paths.run_dir = own.paths.run_dir or "run"
    return parse(own)


def _paths(config: RunConfig) -> DataPaths:
    return DataPaths(Path(config.paths.data_dir).expanduser(), config.paths.cache_folder)


def missing_files(dataset: DatasetConfig, paths: DataPaths) -> str | None:
    """A sentence on a file of a dataset that is not there; None where all are."""
    try:
        dataset.check_files(paths)
    except DataError as error:
        return str(error)
    return None


def missing(cfg: DictConfig) -> str | None:
    """Name the data or weights that a run lacks, if ``sweep.missing`` leaves such a run out.

    Args:
        cfg: A composed configuration.

    Returns:
        A sentence on what is missing; None if nothing is, or if the run starts in any case.

    Raises:
        ConfigError: The configuration is wrong.
    """
    if cfg.sweep.missing == "error" or not _trains(cfg):
        return None
    config = _parsed(cfg)
    found = missing_files(config.dataset, _paths(config))
    if found is not None:
        return found
    try:
        config.method.check_files()
        config.method.check_models(config.paths.cache_folder)
    except ZslLabError as error:
        return str(error)
    return None
