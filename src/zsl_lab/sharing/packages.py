"""Packages of extras, imported when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from zsl_lab.errors import ConfigError


def required(name: str, extra: str, use: str) -> Any:
    """Import a package of an extra.

    Args:
        name: The module.
        extra: The extra of this package that it comes with.
        use: The feature that needs it, as the start of a sentence.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{use} needs the package {error.name}, which is not installed. Install it: "
            f'pip install "zsl-lab[{extra}]".'
        ) from error
