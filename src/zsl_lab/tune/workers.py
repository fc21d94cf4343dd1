"""The processes that share a study: which are alive, and a lock for beginning trials."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.trial import FrozenTrial

#: in a study's folder: a file for each process, which it touches while it runs
FOLDER = "workers"
#: in a study's folder: held by the process that begins a trial
_LOCK = ".trials.lock"
#: seconds between two touches, and after which a process without one counts as lost
_BEAT, LOST = 15.0, 180.0
#: user attribute of trials: host and process
PROCESS = "process"


def own_name() -> list[Any]:
    """Host and number of this process."""
    return [socket.gethostname(), os.getpid()]


@contextmanager
def beating(study: Path) -> Iterator[None]:
    """Touch the file of this process regularly within the context; remove it afterwards.

    Args:
        study: The study's folder.
    """
    path = _file(study, own_name())
    path.parent.mkdir(exist_ok=True)
    path.touch()
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_BEAT):
            with suppress(OSError):
                path.touch()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        path.unlink(missing_ok=True)


@contextmanager
def turn(study: Path) -> Iterator[None]:
    """Hold the lock of the trials: no other process of the study begins or gives up a trial.

    Args:
        study: The study's folder.
    """
    with FileLock(str(study / _LOCK)):
        yield


def is_lost(trial: FrozenTrial, study: Path) -> bool:
    """Whether the process that runs a trial no longer exists.

    For a process on this machine, the system is asked; for others the age of their file decides, by
    the clock of the file system.

    Args:
        trial: A running trial.
        study: The study's folder.
    """
    host, number = trial.user_attrs[PROCESS]
    if host == socket.gethostname() and not _runs(int(number)):
        return True
    try:
        touched = _file(study, [host, number]).stat().st_mtime
        own = _file(study, own_name())
        own.touch()
        return own.stat().st_mtime - touched > LOST
    except OSError:  # of an older version, which had no such file
        return False


def _file(study: Path, process: list[Any]) -> Path:
    host, number = process
    return study / FOLDER / f"{host}_{number}"


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
