"""Who may know whom: data are read without a method."""

from __future__ import annotations

import ast
from pathlib import Path

import zsl_lab

PACKAGE = Path(zsl_lab.__file__).parent


def imports(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    named = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return named | {
        f"{node.module}.{alias.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_data_know_no_method() -> None:
    above = tuple(
        f"zsl_lab.{name}." for name in ("methods", "config", "run", "inference", "predict", "cli")
    )
    for file in [
        *PACKAGE.glob("data/**/*.py"),
        *PACKAGE.glob("text/*.py"),
        *PACKAGE.glob("nn/*.py"),
        PACKAGE / "validation.py",
    ]:
        assert [name for name in imports(file) if f"{name}.".startswith(above)] == [], file
