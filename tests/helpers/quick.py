"""Saves time that tests would spend on what they do not test: imports, composing configurations."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig, OmegaConf

from tests.helpers.quick_start.sitecustomize import Finder


def install() -> None:
    """Import less, in this process."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder(figures=True))


@contextmanager
def compositions_kept() -> Iterator[None]:
    """Within, Hydra copies a configuration that it has composed before from the same arguments.

    Only where all comes from this package: other folders may change.
    """
    compose = ConfigLoaderImpl.load_configuration
    kept: dict[Any, DictConfig] = {}

    def load_configuration(
        self: ConfigLoaderImpl, config_name: str | None, overrides: list[str], *args: Any, **kw: Any
    ) -> DictConfig:
        sources = tuple((source.scheme(), source.path) for source in self.get_sources())
        given = (config_name, tuple(overrides), args, tuple(sorted(kw.items())))
        user = os.environ.get("ZSL_LAB_SETTINGS", "")
        local = any(scheme == "file" for scheme, _ in sources) or os.path.isdir(user)
        if local or any("searchpath" in override for override in overrides):
            return compose(self, config_name, overrides, *args, **kw)
        key = (given, sources, user)
        if key not in kept:
            kept[key] = compose(self, config_name, overrides, *args, **kw)
        found = copy.deepcopy(kept[key])
        OmegaConf.clear_cache(found)
        found.hydra.runtime.cwd = os.getcwd()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigLoaderImpl, "load_configuration", load_configuration)
        yield
