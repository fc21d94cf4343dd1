"""Starts the processes of one run on this machine, and stops them together.

Lightning starts them by running the command line again, which in a sweep is the whole sweep; here
each process gets the overrides of its own job. This module imports neither torch nor Lightning,
because the process that starts the others only waits.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from hydra.core.hydra_config import HydraConfig

from zsl_lab.errors import (
    ConfigError,
    InterruptionError,
    TerminationError,
    TrainingError,
    ZslLabError,
    quoted,
)

#: seconds for the other processes to end by themselves after one failed, or after an interrupt
PATIENCE = 10.0
#: seconds for a process to import packages before its first sign of life, and to end after its last
START = 60.0
#: seconds between two signs of life of a process
BEAT = 1.0
#: seconds between two polls of the processes
INTERVAL = 0.1
#: the command of a process, without overrides
COMMAND = (sys.executable, "-m", "zsl_lab")
#: environment variable: the file that a process writes its error message to, for its launcher
REPORT = "ZSL_LAB_REPORT"
#: environment variable: the process id of the launcher
LAUNCHER = "ZSL_LAB_LAUNCHER"
#: ending of the file beside a process's report that it touches as a sign of life
_ALIVE = ".alive"


def launch(overrides: Sequence[str], folder: Path, processes: int, timeout: float = 60.0) -> None:
    """Run a job in several processes and wait for them; only the first prints.

    Args:
        overrides: The job's own overrides, without those of Hydra.
        folder: The run's folder.
        processes: Number of processes.
        timeout: Seconds without a sign of life of a process (it was stopped, say) after which the
            run ends.

    Raises:
        ConfigError: A process failed with exit code 2, a mistake of the user; with its message.
        TrainingError: A process failed otherwise, with its message, or was silent.
        InterruptionError: Ctrl-C, or SIGTERM to this or another process of the run (a
            TerminationError); it says how to resume.
    """
    place = str(folder.absolute()).replace("'", "\\'")
    hydra = [f"hydra.run.dir='{place}'", "hydra.output_subdir=null", "hydra.mode=RUN"]
    hydra += _search_path()
    command = [*COMMAND, *overrides, *hydra]
    port = _free_port()
    terminated = False

    def on_sigterm(signum: int, frame: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        raise KeyboardInterrupt

    # only the main thread may set a handler; sweep launchers may use other threads
    may = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, on_sigterm) if may else None
    children: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="zsl_lab-") as reports:
        try:
            for rank in range(processes):
                # a session of its own: Ctrl-C reaches only this process, which stops the others
                children.append(
                    subprocess.Popen(
                        command,
                        env=_environment(
                            rank,
                            processes,
                            port,
                            {**os.environ, REPORT: str(Path(reports) / str(rank))},
                        ),
                        stdin=subprocess.DEVNULL,
                        stdout=None if rank == 0 else subprocess.DEVNULL,
                        start_new_session=True,
                    )
                )
            failed = _wait(children, Path(reports), timeout)
        except KeyboardInterrupt:
            _interrupt(children)
            happened = "Terminated" if terminated else "Interrupted"
            raise (TerminationError if terminated else InterruptionError)(
                how_to_go_on(folder, happened)
            ) from None
        finally:
            _kill(children)
            if may:
                signal.signal(signal.SIGTERM, before)
        if failed is not None:
            raise _error(failed, children[failed.rank], Path(reports) / str(failed.rank), folder)


@dataclass(frozen=True)
class _Failure:
    """The process that ended a run.

    Attributes:
        rank: Its rank.
        silent: Seconds for which it gave no sign of life; 0 where it ended by itself.
    """

    rank: int
    silent: float = 0.0


def _search_path() -> list[str]:
    """The user's folders of yamls (``--config-dir``), as an override."""
    if not HydraConfig.initialized():
        return []
    sources = HydraConfig.get().runtime.config_sources
    folders = [f"'file://{source.path}'" for source in sources if source.schema == "file"]
    return [f"hydra.searchpath=[{','.join(folders)}]"] if folders else []


def follow_launcher() -> None:
    """In a process that :func:`launch` started, exit when the launcher exits, however it does.

    Until then the process gives a sign of life every second: it touches a file.
    """
    if LAUNCHER not in os.environ:
        return
    launcher = int(os.environ[LAUNCHER])
    alive = Path(os.environ[REPORT] + _ALIVE) if REPORT in os.environ else None

    ending = threading.Event()

    def end() -> None:
        # the thread stops while the interpreter shuts down; without the file START seconds are left
        ending.set()
        if alive is not None:
            with suppress(OSError):
                alive.unlink(missing_ok=True)

    def watch() -> None:
        while os.getppid() == launcher:
            if alive is not None and not ending.is_set():
                with suppress(OSError):
                    alive.touch()
            time.sleep(BEAT)
        os._exit(1)  # the other processes do the same, so no clean-up is possible

    threading.Thread(target=watch, daemon=True).start()
    atexit.register(end)


def report(text: str) -> bool:
    """Pass an error message to the launcher; False where this process has none."""
    if REPORT not in os.environ:
        return False
    Path(os.environ[REPORT]).write_text(text, encoding="utf-8")
    return True


def _environment(
    rank: int, processes: int, port: int, inherited: Mapping[str, str]
) -> dict[str, str]:
    """Environment of a process: how torch and Lightning find the others, and its share of cores."""
    threads = max(1, (os.cpu_count() or 1) // processes)
    return {
        "OMP_NUM_THREADS": str(threads),
        # gloo would listen on the interface of the host's name
        **({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}),
        **inherited,
        LAUNCHER: str(os.getpid()),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def _wait(
    children: Sequence[subprocess.Popen[bytes]], reports: Path, timeout: float
) -> _Failure | None:
    """Wait until all processes have ended, or one has failed and the others had time to end.

    Returns:
        The process whose failure or silence caused the errors of the others; None if none failed.
    """
    failed, since = None, 0.0
    silence = _Silence(reports, len(children))
    while any(child.poll() is None for child in children):
        if failed is None:
            failed, since = _first_failed(children), time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            break
        silent = silence.longest([child.poll() is None for child in children])
        if silent is not None and silent.silent > timeout:
            return silent
        time.sleep(INTERVAL)
    # one that a signal ended comes first: others may have failed before, because it was gone
    return _first_failed(children, by_signal=True) or failed or _first_failed(children)


class _Silence:
    """How long each process has given no sign of life.

    Only time in which this process itself was running counts: a whole job may be suspended.

    Args:
        reports: The folder of the processes' reports.
        count: Number of processes.
    """

    def __init__(self, reports: Path, count: int) -> None:
        self._files = [reports / f"{rank}{_ALIVE}" for rank in range(count)]
        self._beats: list[int | None] = [None] * count
        self._seconds = [0.0] * count
        self._last = time.monotonic()

    def longest(self, running: Sequence[bool]) -> _Failure | None:
        """The running process that has been silent for longest; call it often.

        Args:
            running: Whether each process is still running.
        """
        now = time.monotonic()
        passed, self._last = min(now - self._last, 10 * INTERVAL), now
        found = None
        for rank, file in enumerate(self._files):
            try:
                beat = file.stat().st_mtime_ns
            except OSError:
                beat = None
            lives = beat is not None
            self._seconds[rank] += passed
            if beat != self._beats[rank]:
                self._beats[rank], self._seconds[rank] = beat, 0.0
            seconds = self._seconds[rank] - (0.0 if lives else START)
            if running[rank] and seconds > (found.silent if found else 0.0):
                found = _Failure(rank, seconds)
        return found


def _first_failed(
    children: Sequence[subprocess.Popen[bytes]], *, by_signal: bool = False
) -> _Failure | None:
    codes = [child.poll() for child in children]
    return next(
        (
            _Failure(rank)
            for rank, code in enumerate(codes)
            if code and (not by_signal or code < 0 or code == TerminationError.exit_code)
        ),
        None,
    )


def _interrupt(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask all processes to end, and wait: they save their state and close their loggers."""
    for child in children:
        with suppress(ProcessLookupError):
            child.send_signal(signal.SIGTERM)
    until = time.monotonic() + 2 * PATIENCE
    for child in children:
        with suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, until - time.monotonic()))


def _kill(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        # the whole group: a process may have started others
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def how_to_go_on(folder: Path, happened: str) -> str:
    """The message for a run that was stopped.

    Args:
        folder: The run's folder.
        happened: ``Interrupted`` or ``Terminated``.
    """
    last = folder / "checkpoints" / "last.ckpt"
    if not last.exists():
        return (
            f"{happened} before the first state was saved: nothing to go on from. "
            "selection.check_every and trainer.save_every_n_steps set how often a state is saved."
        )
    return f"{happened}. Go on with:\n  python -m zsl_lab {quoted('ckpt', str(last))}"


def _error(
    failed: _Failure, child: subprocess.Popen[bytes], report: Path, folder: Path
) -> ZslLabError:
    code, name = child.returncode, f"Process {failed.rank} of the run"
    if failed.silent:
        return TrainingError(
            f"{name} (process id {child.pid}) gave no sign of life for {failed.silent:.0f} s; it "
            "was stopped, or the machine is overloaded. All processes were ended. "
            f"trainer.timeout=SECONDS waits longer. {how_to_go_on(folder, 'Ended')}"
        )
    if code in (-signal.SIGTERM, TerminationError.exit_code):
        return TerminationError(how_to_go_on(folder, "Terminated"))
    if report.is_file():
        text = report.read_text(encoding="utf-8")
        return ConfigError(text) if code == 2 else TrainingError(text)
    ended = f"ended with exit code {code}" if code >= 0 else f"was ended by {_signal_name(-code)}"
    return TrainingError(f"{name} {ended}, without an error message. debug=true shows more.")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
