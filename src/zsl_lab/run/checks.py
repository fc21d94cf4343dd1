"""Checks of a run's values and files before anything is imported that takes seconds."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.errors import ConfigError
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
        folder = Path(config.paths.data_dir).expanduser()
        config.dataset.check_files(DataPaths(folder, config.paths.cache_folder))


def check_task(config: RunConfig) -> None:
    """Check that ``task=test`` has a checkpoint.

    Raises:
        ConfigError: It has none.
    """
    if config.task == "test" and config.ckpt is None:
        raise ConfigError("task=test needs a checkpoint: ckpt=<run>/checkpoints/best.ckpt.")
