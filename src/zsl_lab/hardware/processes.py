"""Starts the processes of one run on this machine, and stops them together.

Lightning starts them by running the command line again, which in a sweep is the whole sweep; here
each process gets the overrides of its own job. This module imports neither torch nor Lightning,
because the process that starts the others only waits.
"""

from __future__ import annotations

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
from pathlib import Path
from types import FrameType

from hydra.core.hydra_config import HydraConfig

from zsl_lab.errors import ConfigError, InterruptionError, TerminationError, TrainingError, quoted

#: seconds for the other processes to end by themselves after one failed, or after an interrupt
PATIENCE = 10.0
#: seconds between two polls of the processes
INTERVAL = 0.1
#: the command of a process, without overrides
COMMAND = (sys.executable, "-m", "zsl_lab")
#: environment variable: the file that a process writes its error message to, for its launcher
REPORT = "ZSL_LAB_REPORT"
#: environment variable: the process id of the launcher
LAUNCHER = "ZSL_LAB_LAUNCHER"


def launch(overrides: Sequence[str], folder: Path, processes: int) -> None:
    """Run a job in several processes and wait for them; only the first prints.

    Args:
        overrides: The job's own overrides, without those of Hydra.
        folder: The run's folder.
        processes: Number of processes.

    Raises:
        ConfigError: A process failed with exit code 2, a mistake of the user; with its message.
        TrainingError: A process failed otherwise; with its message.
        InterruptionError: Ctrl-C, or SIGTERM (a TerminationError); it says how to resume.
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
            failed = _wait(children)
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
            raise _error(failed, children[failed].returncode, Path(reports) / str(failed))


def _search_path() -> list[str]:
    """The user's folders of yamls (``--config-dir``), as an override."""
    if not HydraConfig.initialized():
        return []
    sources = HydraConfig.get().runtime.config_sources
    folders = [f"'file://{source.path}'" for source in sources if source.schema == "file"]
    return [f"hydra.searchpath=[{','.join(folders)}]"] if folders else []


def follow_launcher() -> None:
    """In a process that :func:`launch` started, exit when the launcher exits, however it does."""
    if LAUNCHER not in os.environ:
        return
    launcher = int(os.environ[LAUNCHER])

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(1)
        os._exit(1)  # the other processes do the same, so no clean-up is possible

    threading.Thread(target=watch, daemon=True).start()


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


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """The rank that failed first, None if none did; errors of the others usually follow from it."""
    failed, since = None, 0.0
    while any(child.poll() is None for child in children):
        if failed is None:
            failed, since = _first_failed(children), time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            break
        time.sleep(INTERVAL)
    return _first_failed(children) if failed is None else failed


def _first_failed(children: Sequence[subprocess.Popen[bytes]]) -> int | None:
    return next((rank for rank, child in enumerate(children) if child.poll()), None)


def _interrupt(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Interrupt the first process, which may have loggers to close; the others have not."""
    if not children:
        return
    with suppress(ProcessLookupError):
        children[0].send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        children[0].wait(PATIENCE)


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
            f"{happened} before the first check: nothing was saved. selection.check_every and "
            "trainer.save_every_n_steps set how often a state is."
        )
    return f"{happened}. Go on with:\n  python -m zsl_lab {quoted('ckpt', str(last))}"


def _error(rank: int, code: int, report: Path) -> ConfigError | TrainingError:
    if report.is_file():
        text = report.read_text(encoding="utf-8")
    else:
        reason = (
            f"ended with exit code {code}"
            if code >= 0
            else f"was ended by {signal.Signals(-code).name}"
        )
        text = (
            f"Process {rank} of the run {reason}, without an error message. debug=true shows more."
        )
    return ConfigError(text) if code == 2 else TrainingError(text)
