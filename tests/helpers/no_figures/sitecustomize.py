"""Python processes that find this module on their path draw no figures of runs.

Drawing takes longer than the training of most tests.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

_MODULE = "zsl_lab.run.records.run_figures"


class _WithoutFigures(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        module.draw_figures = lambda *args, **kwargs: None  # type: ignore[attr-defined]


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _MODULE:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.origin is not None:
            loader: Loader = _WithoutFigures(fullname, spec.origin)
            spec.loader = loader
        return spec


sys.meta_path.insert(0, _Finder())
