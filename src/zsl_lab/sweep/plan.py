"""The jobs of a sweep before the first one starts: how many, what is swept, whether each can run.

Hydra composes a job when its turn comes; a wrong value would be found after hours of training. What
depends on Hydra's sweepers is in this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product, starmap
from math import prod
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig, OmegaConf, open_dict

from zsl_lab.errors import ConfigError, ZslLabError
from zsl_lab.run.configuration.trial import adapt, missing
from zsl_lab.run.resuming import check_keys, check_sections

#: up to this many jobs, all are checked; with more, each value with the other keys' first values
MAX_CHECKED = 32
#: how Hydra's own sweeper makes jobs of the command's overrides
_SPLIT = BasicSweeper.split_arguments
#: jobs with wrong values that a message names
_MOST_SHOWN = 5
#: message of a sweep whose jobs are all left out
NO_DATA = "Data of every job are missing"


@dataclass(frozen=True)
class Plan:
    """What a sweep will do.

    Attributes:
        values: Each key of the command, and its values as overrides, in the sweeper's order.
        jobs: Number of jobs.
        listed: Whether the jobs are every combination of the values; else a sweeper chooses.
        without: Combinations that are left out (``sweep.without``).
    """

    values: dict[str, list[str]]
    jobs: int
    listed: bool
    without: Sequence[Mapping[str, Any]] = ()

    @property
    def swept(self) -> list[str]:
        """The keys that have several values."""
        return [key for key, values in self.values.items() if len(values) > 1]

    def to_check(self) -> list[list[str]]:
        """The overrides of the jobs to check."""
        every = self.values.values()
        if self.listed and (self.jobs <= MAX_CHECKED or self.without):
            return [list(job) for job in product(*every) if not _left_out(job, self.without)]
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
    without = OmegaConf.to_container(config.sweep.without)
    assert isinstance(without, list)
    if not listed:
        jobs = int(sweeper.get("n_trials") or 0)
    elif without:
        jobs = sum(not _left_out(job, without) for job in product(*values.values()))
    else:
        jobs = prod(len(found) for found in values.values())
    return Plan(values, jobs, listed, without)


def leave_out(without: Sequence[Mapping[str, Any]]) -> None:
    """Let Hydra's own sweeper leave out combinations; in effect until it is called again.

    Args:
        without: As ``sweep.without`` has them.
    """

    def split(overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:
        jobs = [job for batch in _SPLIT(overrides, None) for job in batch]
        left = [job for job in jobs if not _left_out(job, without)]
        return list(BasicSweeper.split_overrides_to_chunks(left, max_batch_size))

    BasicSweeper.split_arguments = staticmethod(  # type: ignore[method-assign]
        split if without else _SPLIT
    )


def _left_out(job: Sequence[str], without: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the overrides of a job agree with one of the combinations in all of its keys."""
    given = dict(override.split("=", 1) for override in job if "=" in override)
    return any(
        all(
            given.get(key) in [str(v) for v in (values if isinstance(values, list) else [values])]
            for key, values in combination.items()
        )
        for combination in without
    )


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


def check(config: DictConfig, plan: Plan) -> list[str]:
    """Check the values of the jobs, and that the files they name exist.

    Args:
        config: The command's configuration.
        plan: The jobs.

    Returns:
        Sentences about missing data: one for each dataset that is replaced by another, or for which
        jobs are left out.

    Raises:
        ConfigError: A job cannot run; the message names it. Or every job is left out.
        HydraException: A job's configuration cannot be composed.
    """
    jobs = plan.to_check()
    composed = [_composed(config, job) for job in jobs]
    notes: dict[str, int] = {}
    left_out: set[int] = set()

    def without_data(number: int) -> None:
        cfg = composed[number]
        replaced, lacking = adapt(cfg, jobs[number]), missing(cfg)
        if lacking:
            left_out.add(number)
        note = f" left out: {lacking}" if lacking else f": {replaced}" if replaced else ""
        if note:
            notes[note] = notes.get(note, 0) + 1

    def everything(number: int) -> None:
        if number not in left_out:
            _everything(composed[number])

    for examine in (lambda number: check_keys(composed[number]), without_data, everything):
        problems: dict[str, list[str]] = {}  # the jobs of each
        for number, job in enumerate(jobs):
            try:
                examine(number)  # the second and third may import packages that take seconds
            except ZslLabError as error:
                name = f"job {number} " if plan.listed and plan.jobs == len(jobs) else "a job "
                shown = " ".join(item for item in job if item.partition("=")[0] in plan.swept)
                problems.setdefault(str(error), []).append(f"{name}({shown})" if shown else "")
        if problems:
            more = sum(len(wrong) for wrong in list(problems.values())[_MOST_SHOWN:])
            raise ConfigError(
                "\n".join(
                    [
                        *islice(starmap(_problem, problems.items()), _MOST_SHOWN),
                        *([f"{more} more jobs have wrong values."] if more > 0 else []),
                        "No job was started.",
                    ]
                )
            )
    said = [f"{_counted(count)}{note}" for note, count in notes.items()]
    if len(left_out) == len(jobs):
        raise ConfigError("\n".join([*said, f"{NO_DATA}: no job was started."]))
    return said


def _problem(sentence: str, jobs: Sequence[str]) -> str:
    """A sentence after the job that it is about, or after the first of several."""
    others = len(jobs) - 1
    more = f" and {others} other{'s' if others > 1 else ''}" if others else ""
    return f"{jobs[0]}{more}: {sentence}" if jobs[0] else sentence


def _counted(jobs: int) -> str:
    return f"{jobs} job{'s' * (jobs > 1)}"


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
    from zsl_lab.hardware.trainer import check_hardware

    check_hardware(config.trainer)
    config.method.check_files()
    config.method.check_models(config.paths.cache_folder)
    # below, imports that take seconds, and that a launcher's process does without
    if config.method.initial_weights is not None:
        from zsl_lab.run import initial_weights
        from zsl_lab.run.checkpoints import files as checkpoints

        checkpoints.read(Path(config.method.initial_weights), initial_weights.KEY)
    paths = DataPaths(Path(config.paths.data_dir).expanduser(), config.paths.cache_folder)
    sources = config.dataset.sources(paths)
    if sources is not None and not all(Path(source).exists() for source in sources):
        from zsl_lab.run.context import load_benchmark

        load_benchmark(config)  # raises an error that names what is missing, if it is needed


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Keys without the sections before them, where that leaves them different."""
    last = [key.rpartition(".")[2] for key in keys]
    return {
        key: short if last.count(short) == 1 else key for key, short in zip(keys, last, strict=True)
    }
