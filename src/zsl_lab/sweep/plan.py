"""The jobs of a sweep before the first one starts: how many, what is swept, whether each can run.

Hydra composes a job when its turn comes; a wrong value would be found after hours of training. What
depends on Hydra's sweepers is in this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig, OmegaConf, open_dict

from zsl_lab.errors import ConfigError, ZslLabError
from zsl_lab.run.resuming import check_keys, check_sections

#: jobs up to which every one is checked; of more, each value beside the first of the other keys
MAX_CHECKED = 32
#: jobs with wrong values that a message names
_MOST_SHOWN = 5


@dataclass(frozen=True)
class Plan:
    """What a sweep will do.

    Attributes:
        values: Each key of the command, and its values as overrides, in the sweeper's order.
        jobs: Number of jobs.
        listed: Whether the jobs are every combination of the values; else a sweeper chooses.
    """

    values: dict[str, list[str]]
    jobs: int
    listed: bool

    @property
    def swept(self) -> list[str]:
        """The keys that have several values."""
        return [key for key, values in self.values.items() if len(values) > 1]

    def to_check(self) -> list[list[str]]:
        """The overrides of the jobs to check."""
        every = self.values.values()
        if self.listed and self.jobs <= MAX_CHECKED:
            return [list(job) for job in product(*every)]
        first = [values[0] for values in every]
        return [
            first,
            *(
                [*first[:place], value, *first[place + 1 :]]
                for place, values in enumerate(every)
                for value in values[1:]
            ),
        ]


def planned(config: DictConfig, *, listed: bool) -> Plan:
    """The jobs of a composed sweep.

    Args:
        config: The command's configuration.
        listed: Whether the sweeper runs every combination of listed values.
    """
    sweeper = config.hydra.sweeper
    params = OmegaConf.to_container(sweeper.get("params") or OmegaConf.create({}), resolve=True)
    assert isinstance(params, dict)
    typed = [f"{key!s}={value}" for key, value in params.items()]
    typed += [str(override) for override in config.hydra.overrides.task]
    values: dict[str, list[str]] = {}
    for override in OverridesParser.create().parse_overrides(typed):
        values[override.get_key_element()] = _values(override)
    jobs = 1
    for found in values.values():
        jobs *= len(found)
    if not listed:
        jobs = int(sweeper.get("n_trials") or 0)
    return Plan(values, jobs, listed)


def _values(override: Override) -> list[str]:
    """What an override may become, as overrides: listed values, or the bounds of an interval."""
    key = override.get_key_element()
    if override.is_delete():
        return [str(override.input_line)]
    if not override.is_sweep_override():
        return [f"{key}={override.get_value_element_as_str()}"]
    value: Any = override.value()
    if isinstance(value, IntervalSweep):
        return [f"{key}={value.start}", f"{key}={value.end}"]
    # a range may be long
    return [f"{key}={item}" for item in islice(override.sweep_string_iterator(), 100_000)]


def check(config: DictConfig, plan: Plan) -> None:
    """Check the values of the jobs, and that the files they name exist.

    Args:
        config: The command's configuration.
        plan: The jobs.

    Raises:
        ConfigError: A job cannot run; the message names it.
        HydraException: A job's configuration cannot be composed.
    """
    jobs = plan.to_check()
    composed = [_composed(config, job) for job in jobs]
    for examine in (check_keys, _everything):  # the second imports packages that take seconds
        problems = []
        for number, (job, cfg) in enumerate(zip(jobs, composed, strict=True)):
            try:
                examine(cfg)
            except ZslLabError as error:
                name = f"job {number} " if plan.listed and plan.jobs == len(jobs) else "a job "
                shown = " ".join(item for item in job if item.partition("=")[0] in plan.swept)
                problems.append(f"{name}({shown}): {error}" if shown else str(error))
        if problems:
            more = len(problems) - _MOST_SHOWN
            raise ConfigError(
                "\n".join(
                    [
                        *problems[:_MOST_SHOWN],
                        *([f"{more} more jobs have wrong values."] if more > 0 else []),
                        "No job was started.",
                    ]
                )
            )


def _composed(config: DictConfig, overrides: list[str]) -> DictConfig:
    cfg = GlobalHydra.instance().config_loader().load_sweep_config(config, overrides)
    with open_dict(cfg):
        del cfg["hydra"]
    check_sections(cfg)
    cfg.paths.run_dir = "run"
    return cfg


def _everything(cfg: DictConfig) -> None:
    if cfg.ckpt:  # it brings the other settings
        return
    from zsl_lab.run.config import parse

    config = parse(cfg)
    if config.task != "fit":
        return
    from zsl_lab.data.datasets.base import DataPaths
    from zsl_lab.hardware.trainer import find_hardware
    from zsl_lab.run import checkpoints, initial_weights
    from zsl_lab.run.context import load_benchmark

    find_hardware(config.trainer)
    config.method.check_files()
    if config.method.initial_weights is not None:
        checkpoints.read(Path(config.method.initial_weights), initial_weights.KEY)
    paths = DataPaths(Path(config.paths.data_dir).expanduser(), config.paths.cache_folder)
    sources = config.dataset.sources(paths)
    if sources is not None and not all(Path(source).exists() for source in sources):
        load_benchmark(config)  # it says what is missing, or needs less than all of them


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Keys without the sections before them, where that leaves them different."""
    last = [key.rpartition(".")[2] for key in keys]
    return {
        key: short if last.count(short) == 1 else key for key, short in zip(keys, last, strict=True)
    }
