"""Saves time that tests would spend on what they do not test.

That is importing, composing configurations, cutting fonts for PDFs, and waiting until files are on
the disk.
"""

from __future__ import annotations

import os
import pickle
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import omegaconf
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tests.helpers.quick_start.sitecustomize import Finder
from zsl_lab.files import fast_yaml

#: a key of this package's, or a folder of Hydra's, and its value
_VALUE = re.compile(r"(?!hydra)\w+(\.\w+)*=|hydra\.(mode|(run|sweep)\.\w+)=")
_FOLDER = re.compile(r"file://([^\],'\"]+)")


_COMPOSE = ConfigLoaderImpl.load_configuration


def _subfolders(folder: str | Path) -> set[str]:
    return {path.name for path in Path(folder).glob("*/")} if folder else set()


_GROUPS = _subfolders(Path(__file__).parents[2] / "conf")


def install() -> None:
    """Import less, in this process."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder(figures=True))


@contextmanager
def disk_not_waited_for() -> Iterator[None]:
    """Within, ``os.fsync`` does nothing: no test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@contextmanager
def fonts_kept() -> Iterator[None]:
    """Within, a PDF embeds every printable ASCII character of a font, which is cut once for all.

    Cutting takes a third of the time in which a figure is drawn and written.
    """
    from matplotlib.backends import _backend_pdf_ps as fonts
    from matplotlib.font_manager import get_font

    cut: Any = fonts.get_glyphs_subset
    written: Any = fonts.font_as_file
    kept: dict[Any, SimpleNamespace] = {}

    @contextmanager
    def get_glyphs_subset(file: Any, glyphs: Collection[int]) -> Iterator[SimpleNamespace]:
        indices = get_font(file).get_charmap()
        wanted = frozenset(glyphs).union(indices[i] for i in range(32, 127) if i in indices)
        if (file, wanted) not in kept:
            with cut(file, wanted) as subset:
                kept[file, wanted] = SimpleNamespace(
                    font=written(subset.font).getvalue(), glyph_index_map=subset.glyph_index_map
                )
        yield kept[file, wanted]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fonts, "get_glyphs_subset", get_glyphs_subset)
        patch.setattr(fonts, "font_as_file", BytesIO)
        yield


@contextmanager
def compositions_kept() -> Iterator[None]:
    """Within, Hydra composes each combination of choices once, and sets the other keys in a copy.

    Where a file of another folder that it searches has changed, it composes anew. OmegaConf reads
    yamls by libyaml.
    """
    kept: dict[Any, bytes] = {}

    def load_configuration(
        self: ConfigLoaderImpl,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        swept = _swept(overrides) if run_mode == RunMode.MULTIRUN else []
        set_here = [override for override in overrides if override not in swept]
        sources = tuple((source.scheme(), source.path) for source in self.get_sources())
        user = os.environ.get("ZSL_LAB_SETTINGS", "")
        if not os.path.isdir(user):  # it is not searched
            user = ""
        folders = [user, *(path for scheme, path in sources if scheme == "file")]
        for override in overrides:
            folders += _FOLDER.findall(override)
        values = _values(set_here, _GROUPS.union(*map(_subfolders, folders)))
        choices = [override for override in set_here if override not in values]
        files = tuple(map(_files, folders))
        rest = (run_mode, from_shell, validate_sweep_overrides)
        key = (config_name, tuple(choices), rest, sources, user, files)
        if key not in kept:  # reading it takes a fifth of the time of a deep copy
            kept[key] = pickle.dumps(_COMPOSE(self, config_name, choices, *rest))
        found: DictConfig = pickle.loads(kept[key])
        OmegaConf.clear_cache(found)
        found.hydra.runtime.cwd = os.getcwd()
        if len(choices) < len(overrides):
            _set(found, overrides, values)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigLoaderImpl, "load_configuration", load_configuration)
        patch.setattr(omegaconf._utils, "get_yaml_loader", fast_yaml.loader)
        yield


@contextmanager
def hydra_itself() -> Iterator[None]:
    """Within, Hydra composes, and nothing is kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigLoaderImpl, "load_configuration", _COMPOSE)
        yield


def _files(folder: str) -> tuple[tuple[str, int, int], ...]:
    """The yamls of a folder, with what changes when one is written."""
    found = sorted(Path(folder).resolve().rglob("*.yaml")) if os.path.isdir(folder) else []
    return tuple((str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in found)


def _swept(overrides: Sequence[str]) -> list[str]:
    """Those that the jobs of a sweep set, which Hydra only records where it composes the sweep."""
    try:
        parsed = {override: _parsed(override) for override in overrides}
    except HydraException:  # Hydra says what is wrong with it
        return []
    return [
        override
        for override, found in parsed.items()
        if found.is_sweep_override() and not found.is_hydra_override()
    ]


def _values(overrides: Sequence[str], groups: Collection[str]) -> list[str]:
    """Those that set keys to one value; none where an order may matter that copies do not keep."""
    if any(override.startswith(("+", "~")) for override in overrides):
        return []
    found = [o for o in overrides if _VALUE.match(o) and o.split("=")[0] not in groups]
    try:
        return [override for override in found if not _parsed(override).is_sweep_override()]
    except HydraException:  # Hydra says what is wrong with it
        return []


def _set(cfg: DictConfig, overrides: Sequence[str], values: Sequence[str]) -> None:
    """Set keys of a composed configuration as Hydra does, and what it says of its overrides."""
    try:
        ConfigLoaderImpl._apply_overrides_to_config([_parsed(value) for value in values], cfg)
    except OmegaConfBaseException as error:
        raise ConfigCompositionException from error
    of_hydra = [override for override in overrides if _parsed(override).is_hydra_override()]
    of_task = [override for override in overrides if override not in of_hydra]
    cfg.hydra.overrides.hydra = of_hydra
    cfg.hydra.overrides.task = of_task
    form = cfg.hydra.job.config.override_dirname
    cfg.hydra.job.override_dirname = get_overrides_dirname(
        [_parsed(override) for override in of_task],
        kv_sep=form.kv_sep,
        item_sep=form.item_sep,
        exclude_keys=form.exclude_keys,
    )


@cache
def _parsed(override: str) -> Override:
    return OverridesParser.create().parse_override(override)
