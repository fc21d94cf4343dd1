"""Checks of a run's values and files before anything is imported that takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from zsl_lab.data.datasets.base import DataPaths, DatasetConfig
from zsl_lab.errors import ConfigError, InputError
from zsl_lab.methods import catalogue
from zsl_lab.run.config import RunConfig, parse


def check_early(cfg: DictConfig) -> None:
    """Check what needs no torch: every value, the task, and that the dataset's files exist.

    Args:
        cfg: A composed configuration.

    Raises:
        ZslLabError: As of :func:`zsl_lab.run.run`, which checks the same and more.
    """
    config = parse(cfg)
    check_task(config)
    if config.task != "predict":
        dataset, folder = config.dataset, Path(config.paths.data_dir).expanduser()
        paths = DataPaths(folder, config.paths.cache_folder)
        with naming_methods():
            if config.takes == "images":
                dataset.image_view()
            elif type(dataset).load is DatasetConfig.load:
                dataset.load(paths)  # says that it holds no features
        dataset.check_files(paths)


@contextmanager
def naming_methods() -> Iterator[None]:
    """Name the methods that fit a dataset in the error that it does not hold what a method takes.

    Raises:
        ConfigError: Instead of an :class:`InputError`.
    """
    try:
        yield
    except InputError as error:
        methods = catalogue.methods_taking(error.holds).replace(",", ", ")
        raise ConfigError(f"{error} Methods that take {error.holds}: {methods}.") from error


def check_task(config: RunConfig) -> None:
    """Check that ``task=test`` has a checkpoint.

    Raises:
        ConfigError: It has none.
    """
    if config.task == "test" and config.ckpt is None:
        raise ConfigError("task=test needs a checkpoint: ckpt=<run>/checkpoints/best.ckpt.")
