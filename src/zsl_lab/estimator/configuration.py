"""From the estimator's settings to the configuration of a run, as the command line composes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from zsl_lab.cli import overrides as command
from zsl_lab.cli import settings as settings_files
from zsl_lab.errors import ConfigError, ZslLabError
from zsl_lab.methods import catalogue

#: groups whose choice is a setting by its bare name
GROUPS = ("classifier", "hardware", "logger", "selection", "settings")


def override(name: str, value: Any) -> str:
    """A setting as an override of the command line.

    Args:
        name: A key of the method (``g``), a dotted key (``dataset.normalize``), or one of
            :data:`GROUPS`.
        value: A plain value, or one of NumPy.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if name in GROUPS:
        return f"{name}={value}"
    return f"{name if '.' in name else f'method.{name}'}={command.literal(value)}"


def compose_run(
    method: str,
    settings: Mapping[str, Any],
    *,
    seed: int,
    folder: Path,
    progress: bool,
    figures: bool,
) -> DictConfig:
    """The configuration of a run on a benchmark in memory.

    Args:
        method: A choice of ``method=``.
        settings: See :func:`override`.
        seed: The run's seed.
        folder: The run's folder.
        progress: Whether it shows a line of progress.
        figures: Whether it draws figures.

    Raises:
        ConfigError: A method, a key or a choice is unknown.
    """
    from hydra import compose, initialize_config_module

    own = [override(name, value) for name, value in settings.items()]
    given = [
        f"method={method}",
        "dataset=own",
        f"callbacks={'default' if progress else 'none'}",
        f"seed={seed}",
        f"figures={command.literal(figures)}",
        # no sample is tested
        "selection.report_oracle=false",
        *own,
    ]
    try:
        chosen = settings_files.choose(given)
        with initialize_config_module(command.CONFIG_MODULE, version_base="1.3"):
            cfg = compose("config", chosen)
    except ZslLabError:
        raise
    except Exception as error:
        explained = command.explain(error, given)
        if explained is None:
            raise
        raise ConfigError(explained) from error
    cfg.paths.run_dir = str(folder)
    return cfg


def refuse_images(method: str) -> ConfigError:
    """The error of a method that takes images."""
    able = ", ".join(catalogue.names(lambda entry: entry.takes == "features", variants=False))
    return ConfigError(
        f"method={method}: it takes images, and X holds feature vectors; expected a method that "
        f"takes features ({able}). Choose one of these, or run `python -m zsl_lab method={method}` "
        "on a dataset of images."
    )
