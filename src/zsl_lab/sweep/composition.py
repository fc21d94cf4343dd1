"""Configurations of the jobs of a sweep, composed once for each choice of groups.

Hydra composes the configuration of every job from its yaml files, several times a job. Jobs that
differ only in values share what the files give; here it is composed once a process, and each job
sets its values in a copy. What depends on Hydra's loader is in this file.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import omegaconf._utils
import omegaconf.omegaconf
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import IConfigRepository
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from zsl_lab.files import fast_yaml

#: choices of groups that are kept
_MOST_KEPT = 64

#: how Hydra composes a job
_COMPOSE = ConfigLoaderImpl.load_sweep_config


@dataclass(frozen=True)
class _Sweep:
    """What the jobs of a sweep share.

    Attributes:
        repository: Knows which keys are groups.
        composed: Configurations without the values that jobs set, by their choices of groups;
            pickled, since reading that takes a fifth of the time of a deep copy.
    """

    repository: IConfigRepository
    composed: dict[tuple[str, ...], bytes]


_sweeps: dict[Any, _Sweep] = {}


def install() -> None:
    """Let Hydra read, compose and record configurations in less time, in this process."""
    ConfigLoaderImpl.load_sweep_config = load_sweep_config  # type: ignore[method-assign]
    writer: Any = omegaconf.omegaconf
    writer.get_omega_conf_dumper = fast_yaml.dumper
    reader: Any = omegaconf._utils  # where each reading function looks it up
    reader.get_yaml_loader = fast_yaml.loader


def install_in_sweeper() -> None:
    """Let Hydra's own sweeper compose fewer jobs before the first one."""
    # not at the top: Hydra loads the module anew when it looks for plugins
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    BasicSweeper.validate_batch_is_legal = _validate  # type: ignore[method-assign,assignment]


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
        sweep.composed[chosen] = pickle.dumps(_COMPOSE(self, master_config, list(chosen)))
    cfg: DictConfig = pickle.loads(sweep.composed[chosen])
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


def _validate(sweeper: Any, batch: Sequence[Sequence[str]]) -> None:
    """Check that jobs can be composed: one for each combination of keys and choices of groups."""
    loader = sweeper.hydra_context.config_loader
    repository = _sweep_of(loader, sweeper.config).repository
    kinds: dict[tuple[str, ...], list[str]] = {}
    for job in batch:
        keys = (override.partition("=")[0] for override in job)
        chosen = (repository.group_exists(key.lstrip("+~")) for key in keys)
        kind = (
            o if is_group else o.partition("=")[0] for o, is_group in zip(job, chosen, strict=True)
        )
        kinds.setdefault(tuple(kind), list(job))
    for job in kinds.values():
        loader.load_sweep_config(sweeper.config, job)


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
