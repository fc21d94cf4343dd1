"""Optional packages."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def skip_without(name: str, extra: str) -> None:
    """Skip a module's tests where a package is missing; it is not imported, which takes seconds."""
    if find_spec(name) is None:
        pytest.skip(f'needs {name}: pip install "zsl-lab[{extra}]"', allow_module_level=True)
