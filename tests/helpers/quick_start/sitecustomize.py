"""Python processes that find this module on their path import less and draw no figures of runs.

Drawing takes longer than the training of most tests.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import reload
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

_FIGURES = "zsl_lab.run.records.run_figures"
_METRICS = "torchmetrics"
#: packages that torchmetrics imports where it finds them, for metrics that nobody asks for here
_OPTIONAL = ("torchvision", "transformers")


class _WithoutFigures(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        module.draw_figures = lambda *args, **kwargs: None  # type: ignore[attr-defined]


class Finder(MetaPathFinder):
    """Changes modules before they are imported; finds none but that of the figures.

    Args:
        figures: Whether figures are drawn.
    """

    def __init__(self, *, figures: bool) -> None:
        self._figures = figures

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Called for every module."""
        if fullname == _METRICS:
            _find_no_optional_packages()
        if fullname != _FIGURES or self._figures:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.origin is not None:
            spec.loader = _WithoutFigures(fullname, spec.origin)
        return spec


def _find_no_optional_packages() -> None:
    from lightning_utilities.core.imports import RequirementCache

    check = RequirementCache._check_available

    def check_others(self: RequirementCache) -> None:
        name = self.requirement or self.module or ""
        if name.startswith(_OPTIONAL):
            self.available, self.message = False, f"{name} is not looked for"
        else:
            check(self)

    RequirementCache._check_available = check_others  # type: ignore[method-assign]


def draw_figures() -> None:
    """Runs of this process draw their figures from now on."""
    # Python has imported this module under another name, and its class is another one
    for finder in [one for one in sys.meta_path if type(one).__name__ == Finder.__name__]:
        sys.meta_path.remove(finder)
    if _FIGURES in sys.modules:
        reload(sys.modules[_FIGURES])


if __name__ == "sitecustomize":
    sys.meta_path.insert(0, Finder(figures=False))
