"""Configurations of the jobs of a sweep, composed once for each choice of groups.

Hydra composes the configuration of every job from its yaml files, several times a job. Jobs that
differ only in values share what the files give; here it is composed once a process, and each job
sets its values in a copy. What depends on Hydra's loader is in this file.
"""

from __future__ import annotations

import copy
import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import IConfigRepository
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

#: choices of groups that are kept
_MOST_KEPT = 64

#: how Hydra composes a job
_COMPOSE = ConfigLoaderImpl.load_sweep_config


@dataclass(frozen=True)
class _Sweep:
    """What the jobs of a sweep share.

    Attributes:
        repository: Knows which keys are groups.
        composed: Configurations without the values that jobs set, by their choices of groups.
    """

    repository: IConfigRepository
    composed: dict[tuple[str, ...], DictConfig]


_sweeps: dict[Any, _Sweep] = {}


def install() -> None:
    """Let Hydra compose the jobs of sweeps with :func:`load_sweep_config`, in this process."""
    ConfigLoaderImpl.load_sweep_config = load_sweep_config  # type: ignore[method-assign]


def forget() -> None:
    """Compose anew from now on: files may have changed since the sweep before."""
    _sweeps.clear()


def load_sweep_config(
    self: ConfigLoaderImpl, master_config: DictConfig, sweep_overrides: list[str]
) -> DictConfig:
    """The configuration of a job, as Hydra's own method of this name returns it.

    Args:
        self: Hydra's loader.
        master_config: The sweep's configuration.
        sweep_overrides: The overrides of the job.

    Raises:
        HydraException: The configuration cannot be composed.
    """
    parsed = _parsed(tuple(sweep_overrides))
    if parsed is None:
        return _COMPOSE(self, master_config, sweep_overrides)
    sweep = _sweep_of(self, master_config)
    values = [
        override
        for override in parsed
        if isinstance(override.value(), dict)
        or not sweep.repository.group_exists(override.key_or_group)
    ]
    chosen = tuple(str(override.input_line) for override in parsed if override not in values)
    if chosen not in sweep.composed:
        if len(sweep.composed) == _MOST_KEPT:
            sweep.composed.clear()
        sweep.composed[chosen] = _COMPOSE(self, master_config, list(chosen))
    cfg = copy.deepcopy(sweep.composed[chosen])
    try:
        ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
        cfg.hydra.overrides.task = list(sweep_overrides)
        naming = cfg.hydra.job.config.override_dirname
        cfg.hydra.job.override_dirname = get_overrides_dirname(
            overrides=list(parsed),
            kv_sep=naming.kv_sep,
            item_sep=naming.item_sep,
            exclude_keys=naming.exclude_keys,
        )
    except OmegaConfBaseException as error:
        raise ConfigCompositionException().with_traceback(sys.exc_info()[2]) from error
    OmegaConf.copy_cache(from_config=master_config, to_config=cfg)
    return cfg


def _sweep_of(loader: ConfigLoaderImpl, master: DictConfig) -> _Sweep:
    overrides = [str(override) for override in master.hydra.overrides.hydra]
    name = master.hydra.job.config_name
    sources = tuple((source.scheme(), source.path) for source in loader.get_sources())
    key = (name, tuple(overrides), sources, os.getcwd())
    if key not in _sweeps:
        if len(_sweeps) == _MOST_KEPT:
            _sweeps.clear()
        _, repository = loader._parse_overrides_and_create_caching_repo(name, overrides)
        _sweeps[key] = _Sweep(repository, {})
    return _sweeps[key]


@lru_cache(maxsize=4096)
def _parsed(lines: tuple[str, ...]) -> tuple[Override, ...] | None:
    """The overrides of a job; None where one does more than choose from a group or set a value."""
    parsed = OverridesParser.create().parse_overrides(list(lines))
    usual = not any(
        override.is_delete() or override.is_sweep_override() or override.is_hydra_override()
        for override in parsed
    )
    return tuple(parsed) if usual else None
