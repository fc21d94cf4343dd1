"""Run a notebook's code cells in this process: a kernel of its own would import torch again.

A line ``!python -m MODULE ...`` runs in a process forked from this one, for the same reason.
"""

from __future__ import annotations

import atexit
import os
import runpy
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hydra.core.global_hydra import GlobalHydra
from IPython.core.history import HistoryManager
from IPython.core.interactiveshell import InteractiveShell

_history: Any = HistoryManager
_history.enabled = False  # it would be kept in a database


class _Shell(InteractiveShell):
    """A shell in which ``!`` forks."""

    def system(self, line: str) -> None:
        """Run a module with its arguments; what it writes goes where this process writes."""
        expanded: str = self.var_expand(line, depth=1)  # type: ignore[no-untyped-call]
        python, option, module, *arguments = shlex.split(expanded)
        assert (python, option) == (sys.executable, "-m")
        _run_module(module, arguments)

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


def _run_module(name: str, arguments: Sequence[str]) -> None:
    """``python -m`` in a forked process, which must succeed."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code: object = 1
        try:
            atexit._clear()
            GlobalHydra.instance().clear()
            sys.argv = [name, *arguments]
            runpy.run_module(name, run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as error:
            code = error.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, (name, *arguments)
