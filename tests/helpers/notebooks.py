"""Run a notebook's code cells in a forked process: a kernel of its own would import torch again.

A line ``!python -m MODULE ...`` runs in a process forked from that one, for the same reason.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

from tests.helpers import quick
from tests.helpers.forked import Forked, fork_python
from tests.helpers.quick_start.sitecustomize import draw_figures

#: what stands between what two cells print
_NEXT = "\x1e"


def run_notebook(notebook: Path, folder: Path) -> list[str]:
    """What each code cell of a notebook prints, the commands that it runs included.

    Args:
        notebook: The notebook.
        folder: The working folder of its cells.
    """
    process = Forked(_run_cells, notebook, cwd=folder)
    out, err = process.communicate()
    assert process.returncode == 0, out + err
    return out.split(_NEXT)[:-1]


def _run_cells(notebook: Path) -> None:
    import nbformat
    from IPython.core.history import HistoryManager
    from IPython.core.interactiveshell import InteractiveShell

    class Shell(InteractiveShell):
        """A shell in which ``!`` forks."""

        def system(self, line: str) -> None:
            """Run a module with its arguments, which must succeed."""
            expanded: str = self.var_expand(line, depth=1)  # type: ignore[no-untyped-call]
            command = shlex.split(expanded)
            assert command[:2] == [sys.executable, "-m"]
            _, status = os.waitpid(fork_python(command, dict(os.environ)), 0)
            assert os.waitstatus_to_exitcode(status) == 0, command

    draw_figures()
    history: Any = HistoryManager
    history.enabled = False  # it would be kept in a database
    os.environ["IPYTHONDIR"] = str(Path("ipython").absolute())
    shell: Any = Shell()  # type: ignore[no-untyped-call]
    cells = nbformat.read(notebook, as_version=4).cells  # type: ignore[no-untyped-call]
    with quick.fonts_kept():
        for cell in cells:
            if cell.cell_type == "code":
                shell.run_cell(cell.source).raise_error()
                print(_NEXT, end="", flush=True)
