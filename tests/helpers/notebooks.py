"""Run a notebook's code cells in this process: a kernel of its own would import torch again.

A line ``!python -m MODULE ...`` runs in a process forked from this one, for the same reason.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.history import HistoryManager
from IPython.core.interactiveshell import InteractiveShell

from tests.helpers.forked import fork_python

_history: Any = HistoryManager
_history.enabled = False  # it would be kept in a database


class _Shell(InteractiveShell):
    """A shell in which ``!`` forks."""

    def system(self, line: str) -> None:
        """Run a module with its arguments; what it writes goes where this process writes."""
        expanded: str = self.var_expand(line, depth=1)  # type: ignore[no-untyped-call]
        command = shlex.split(expanded)
        assert command[:2] == [sys.executable, "-m"]
        _, status = os.waitpid(fork_python(command, dict(os.environ)), 0)
        assert os.waitstatus_to_exitcode(status) == 0, command

    def init_sys_modules(self) -> None:
        """Leaves ``__main__`` to pytest."""


def run_notebook(notebook: Path, folder: Path, capture: pytest.CaptureFixture[str]) -> list[str]:
    """What each code cell of a notebook prints, the commands that it runs included.

    Args:
        notebook: The notebook.
        folder: The working folder of its cells.
        capture: pytest's ``capfd``.
    """
    printed = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        shell: Any = _Shell()  # type: ignore[no-untyped-call]
        cells = nbformat.read(notebook, as_version=4).cells  # type: ignore[no-untyped-call]
        for cell in cells:
            if cell.cell_type == "code":
                shell.run_cell(cell.source).raise_error()
                said = capture.readouterr()
                printed.append(said.out + said.err)
    return printed
