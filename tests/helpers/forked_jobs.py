"""Jobs of hydra's launchers whose processes are forked, as :mod:`tests.helpers.forked` says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from tests.helpers.forked import ForkedPython, command_line, fork_python


def sweep_with_submitit(arguments: Sequence[str]) -> None:
    """``python -m zsl_lab``; submitit's controllers and jobs are forked."""
    from submitit.local import local

    launcher: Any = local
    launcher.subprocess = SimpleNamespace(Popen=ForkedPython)
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
