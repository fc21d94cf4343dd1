"""Jobs of hydra's launchers whose processes are forked, as :mod:`tests.helpers.forked` says."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from tests.helpers.forked import ForkedPython, command_line, fork_python


def sweep_with_submitit(arguments: Sequence[str]) -> None:
    """``python -m zsl_lab``; submitit's controllers and jobs are forked."""
    from submitit.core.utils import JobPaths
    from submitit.local import local

    launcher: Any = local
    launcher.subprocess = SimpleNamespace(Popen=ForkedPython)
    start_tasks = launcher.Controller.start_tasks

    def once_submitted(self: Any) -> None:
        """A forked controller may be there before what it is to run is."""
        while not JobPaths(self.folder, self.pid).submitted_pickle.exists():
            time.sleep(0.01)
        start_tasks(self)

    launcher.Controller.start_tasks = once_submitted
    # for the result of a lost job, on a slow file system: 15 by itself
    launcher.LocalJob._results_timeout_s = 1
    command_line(arguments)


def sweep_with_joblib(arguments: Sequence[str]) -> None:
    """``python -m zsl_lab``; joblib's workers are forked."""
    starting: Any = import_module("joblib.externals.loky.backend.fork_exec")

    def fork_exec(command: Sequence[str], keep: Any, env: Mapping[str, str] | None = None) -> int:
        return fork_python(command, {**os.environ, **(env or {})})

    starting.fork_exec = fork_exec
    command_line(arguments)
