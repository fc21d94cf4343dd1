"""Starts the processes of one run on this machine, and ends them together.

Lightning starts them by running the command line again, which in a sweep is the whole sweep; here
each process gets the overrides of its own job. This module imports neither torch nor Lightning: the
process that starts the others only waits.
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

#: seconds that processes get to end by themselves once one of them has failed or the run was
#: interrupted
PATIENCE = 10.0
#: seconds between two looks at the processes
INTERVAL = 0.1
#: what is started, before its overrides
COMMAND = (sys.executable, "-m", "zsl_lab")
#: tells a process where to write why it failed, for the one that started it to say
REPORT = "ZSL_LAB_REPORT"
#: tells a process the id of the one that started it
LAUNCHER = "ZSL_LAB_LAUNCHER"


def launch(overrides: Sequence[str], folder: Path, processes: int) -> None:
    """Run a job in several processes, which this one waits for; the first of them prints.

    Args:
        overrides: The job's own overrides, without those of Hydra.
        folder: The run's folder.
        processes: How many.

    Raises:
        ConfigError: A process failed, as exit code 2 says by the user's mistake; the text is its
            own.
        TrainingError: It failed otherwise.
        InterruptionError: Ctrl-C, or SIGTERM (a TerminationError); it says how to go on.
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

    # only the main thread may: a launcher of sweeps that uses threads leaves SIGTERM as it is
    may = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, on_sigterm) if may else None
    children: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="zsl_lab-") as reports:
        try:
            for rank in range(processes):
                # a session of its own: Ctrl-C reaches this process alone, which ends the others in
                # order
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
    """In a process that :func:`launch` started: end with the one that started it, whatever that one died of."""
    if LAUNCHER not in os.environ:
        return
    launcher = int(os.environ[LAUNCHER])

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(1)
        os._exit(1)  # the others of the run do the same, so nobody is left to talk to

    threading.Thread(target=watch, daemon=True).start()


def report(text: str) -> bool:
    """Tell the process that started this one why it failed; False where there is none, or none that listens."""
    if REPORT not in os.environ:
        return False
    Path(os.environ[REPORT]).write_text(text, encoding="utf-8")
    return True


def _environment(
    rank: int, processes: int, port: int, inherited: Mapping[str, str]
) -> dict[str, str]:
    """What torch and Lightning read to find the other processes; the cores are shared among them."""
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
    """The rank that failed first, None if all have ended well. What the others say is a consequence, as a rule."""
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
    """Ctrl-C for the first process, which may have loggers to close; the others would only wait for it."""
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
    """What to tell a user whose run was stopped: ``happened`` is ``Interrupted`` or ``Terminated``."""
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
        text = f"Process {rank} of the run {reason}, and said no more. debug=true shows what can be shown."
    return ConfigError(text) if code == 2 else TrainingError(text)
