"""Processes that start at once: forked from one that has imported torch and Lightning already.

For tests in which the start of Python is not what is tested; it takes most of their time.
"""

from __future__ import annotations

import atexit
import math
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, Literal, TextIO

from hydra.core.global_hydra import GlobalHydra
from lightning_utilities.core.rank_zero import rank_zero_only

from tests.helpers import quick
from zsl_lab.hardware import processes

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        *("zsl_lab.run.experiment", "zsl_lab.console.result_table", "zsl_lab.predict.command"),
        *("zsl_lab.sweep.sweep", "zsl_lab.classifiers.means", "zsl_lab.data.datasets.digits"),
        *("zsl_lab.methods.sgal", "zsl_lab.methods.mmvae", "zsl_lab.cli.main"),
        *("torch._dynamo", "sklearn.datasets"),  # imported where they are first used
        "tests.helpers.quick",
    ]
)


class Forked:
    """A function that runs in a process of its own; the part of ``subprocess.Popen`` tests use.

    Args:
        function: A function of a module, so that the other process finds it.
        arguments: Its arguments; they are pickled.
        cwd: The folder it runs in; the one of this process where it is None.
        env: Variables of its environment beside those of this process.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()  # removed with this object
        self._said = [Path(self._folder.name, name) for name in ("out", "err")]
        for path in self._said:
            path.touch()
        given = (function, arguments, cwd or Path.cwd(), {**os.environ, **(env or {})}, self._said)
        self._process = _context.Process(target=_child, args=given)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, minus the number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def communicate(self, timeout: float = 200) -> tuple[str, str]:
        """What it wrote to standard output and standard error, once it has ended."""
        self._process.join(timeout)
        ended = self._process.exitcode is not None
        if not ended:
            self.kill()
        out, err = (path.read_text() for path in self._said)
        assert ended, f"it runs for more than {timeout} s; it said: {out}{err}"
        return out, err

    def group_lives(self) -> bool:
        """Whether it or a process that it started is there."""
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> None:
        """End its whole process group."""
        for end in (os.kill, os.killpg):  # it may not lead a group yet
            with suppress(ProcessLookupError):
                end(self.pid, signal.SIGKILL)
        self._process.join()


def run_ranks(function: Callable[..., Any], *arguments: Any, count: int = 2) -> None:
    """Run a function in the connected processes of one run, and wait until all have ended."""
    port = processes._free_port()
    ranks = [
        Forked(
            function,
            *arguments,
            env=processes._environment(rank, count, port, {"OMP_NUM_THREADS": "1"}),
        )
        for rank in range(count)
    ]
    # one that failed leaves the others waiting
    while any(rank.poll() is None for rank in ranks) and not any(rank.poll() for rank in ranks):
        time.sleep(0.02)
    failed = any(rank.poll() for rank in ranks)
    for rank in ranks:
        if failed:
            rank.kill()
    said = ["".join(rank.communicate()) for rank in ranks]
    assert not failed, "\n".join(said)


def run_command(
    *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command line with these arguments, in a process of its own."""
    process = Forked(command_line, arguments, cwd=cwd, env=env)
    said = process.communicate()
    assert process.returncode is not None
    return subprocess.CompletedProcess(arguments, process.returncode, *said)


def command_line(arguments: Sequence[str]) -> None:
    """``python -m zsl_lab``; the processes that a run starts are forked too."""
    launcher: Any = processes
    launcher.subprocess = SimpleNamespace(
        Popen=ForkedPython, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired
    )
    with quick.compositions_kept():  # the forked processes find what this one composed
        _main(arguments)


def _main(arguments: Sequence[str]) -> None:
    from zsl_lab.__main__ import main

    sys.argv = ["zsl_lab", *arguments]
    # a shell's job in the background ignores it, and so do the processes that it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()


def _child(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    cwd: Path,
    env: Mapping[str, str],
    said: Sequence[Path],
) -> None:
    os.setsid()
    os.chdir(cwd)
    _set_environment(env)
    for stream, path in zip((1, 2), said, strict=True):
        with path.open("wb") as file:
            os.dup2(file.fileno(), stream)
    try:
        with quick.disk_not_waited_for():
            function(*arguments)
    finally:
        atexit._run_exitfuncs()


def _set_environment(env: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(env)
    lightning: Any = rank_zero_only  # which reads the rank when it is imported
    lightning.rank = int(env.get("RANK", 0))


def fork_python(
    command: Sequence[str],
    env: Mapping[str, str],
    streams: Mapping[int, int] = MappingProxyType({}),
    *,
    start_new_session: bool = False,
) -> int:
    """What starting ``python -m MODULE ARGUMENTS`` does, forked from this process; its id.

    Args:
        command: The command.
        env: Its environment.
        streams: Descriptors that take the place of its standard streams.
        start_new_session: Whether it leads a session.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code: Any = 1
        try:
            if start_new_session:
                os.setsid()
            _set_environment(env)
            for stream, descriptor in streams.items():
                os.dup2(descriptor, stream)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            atexit._clear()
            GlobalHydra.instance().clear()
            module, *arguments = command[command.index("-m") + 1 :]
            sys.argv = [module, *arguments]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as error:
            code = error.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else 1)
    return pid


class ForkedPython:
    """Stands for ``subprocess.Popen``, of ``python -m MODULE ARGUMENTS``: see fork_python."""

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        stdin: int | None = None,
        stdout: int | TextIO | None = None,
        stderr: TextIO | None = None,
        *,
        start_new_session: bool = False,
        shell: Literal[False] = False,
        encoding: str | None = None,
    ) -> None:
        self.returncode: int | None = None
        streams = {1: stdout, 2: stderr}
        descriptors = {
            stream: os.open(os.devnull, os.O_WRONLY) if isinstance(to, int) else to.fileno()
            for stream, to in streams.items()
            if to is not None
        }
        self.pid = fork_python(command, env, descriptors, start_new_session=start_new_session)

    def poll(self) -> int | None:
        return self._ended(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int:
        until = math.inf if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("a process of the run", until)
            time.sleep(0.02)
        return code

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def _ended(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode
