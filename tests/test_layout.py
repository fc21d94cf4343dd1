"""The layout of the package: how many files a folder has, and which module may import which."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import zsl_lab

PACKAGE = Path(zsl_lab.__file__).parent
#: from the top: a module imports from its own layer and from those below it. Names are first parts
#: of modules below zsl_lab.
LAYERS = (
    {"cli", "demo", "estimator"},
    {"sweep", "report", "predict", "tune"},
    {"run"},
    {"classifiers"},
    {"methods"},
    {"extraction", "sharing"},
    {"text", "metrics", "nn"},
    {"data"},
    {"plots", "console", "hardware"},
    {"result", "result_schema", "keys", "files"},
    {"errors"},
)
#: modules that users start or import from, which pass on what lies deeper
ENTRY_POINTS = {
    "zsl_lab",
    "zsl_lab.__main__",
    "zsl_lab.data.__main__",
    "zsl_lab.demo.__main__",
    "zsl_lab.report.__main__",
    "zsl_lab.predict",
    "zsl_lab.run",
    "zsl_lab.sweep",
    "zsl_lab.tune",
    "zsl_lab.tune.__main__",
}
MOST_FILES = 14
MOST_LOOSE_FILES = 6


def module_of(path: Path) -> str:
    parts = ["zsl_lab", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names: Iterable[str] = (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # of `from package import module` the module, of `from module import name` the module
            found = [f"{node.module}.{alias.name}" for alias in node.names]
            names = (name if name in MODULES else str(node.module) for name in found)
        else:
            continue
        yield from (name for name in names if name in MODULES)


@cache
def graph() -> dict[str, set[str]]:
    """The modules that each module imports."""
    return {module: set(imported(path)) - {module} for module, path in MODULES.items()}


def layer(module: str) -> int:
    name = module.split(".")[1]
    return next(i for i, names in enumerate(LAYERS) if name in names)


def test_every_module_has_a_layer() -> None:
    known = {name for names in LAYERS for name in names}
    assert {m.split(".")[1] for m in MODULES if m not in ENTRY_POINTS} - known == set()


@pytest.mark.slow
def test_imports_point_down() -> None:
    upwards = {
        module: {o for o in others if o in ENTRY_POINTS or layer(o) < layer(module)} - {"zsl_lab"}
        for module, others in graph().items()
        if module not in ENTRY_POINTS
    }
    assert {module: others for module, others in upwards.items() if others} == {}


def test_no_import_is_circular() -> None:
    inner = {module: others - ENTRY_POINTS for module, others in graph().items()}
    try:
        TopologicalSorter(inner).prepare()
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")


def test_folders_are_small() -> None:
    counts = {
        folder: len(list(folder.glob("*.py")))
        for folder in {path.parent for path in MODULES.values()}
    }
    top = counts.pop(PACKAGE)
    assert top <= MOST_LOOSE_FILES
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES} == {}
