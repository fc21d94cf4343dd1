"""Checks HDF5 files of unknown origin in another process before this one opens them.

HDF5 is a library in C that trusts the structures of a file: a single wrong byte can make it loop
for ever, or end the process. So a helper process walks through the file first: it may crash, and
is killed if it loops.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from zsl_lab.errors import DataError

#: time limit for a file, in seconds; most take a few milliseconds
TIMEOUT = 15.0
#: limits: members and attributes of a group, depth of nested groups, bytes read of one of them
_MOST, _DEPTH, _SMALL = 1000, 16, 2**20
_ANSWER = b"done\n"

_lock = threading.Lock()
_worker: subprocess.Popen[bytes] | None = None
_owner = 0


def check_structure(path: Path) -> None:
    """Refuse a file that makes the HDF5 library loop or crash.

    Errors that HDF5 reports are ignored here: reading the file raises them again.

    Raises:
        DataError: If HDF5 crashes, or has not finished within :data:`TIMEOUT`.
    """
    with _lock:
        worker = _running()
        if worker is None:
            return
        assert worker.stdin is not None
        assert worker.stdout is not None
        timer = threading.Timer(TIMEOUT, worker.kill)
        timer.start()
        try:
            worker.stdin.write(json.dumps(os.fspath(path.absolute())).encode() + b"\n")
            worker.stdin.flush()
            answer = worker.stdout.readline()
        except OSError:  # the helper process was ended from outside
            answer = b""
        finally:
            alive = timer.is_alive()
            timer.cancel()
        if answer != _ANSWER:
            _end()
            what = "crashes" if alive else f"has not come to an end within {TIMEOUT:g} s"
            raise DataError(
                f"{path}: found a damaged file, with which the HDF5 library {what}; expected an "
                "HDF5 file that can be read. Copy or make the file again, or give another."
            )


def _running() -> subprocess.Popen[bytes] | None:
    """The helper process, started where needed; None where none can be started."""
    global _worker, _owner
    # a forked process must not use the pipes of its parent
    if _worker is None or _owner != os.getpid() or _worker.poll() is not None:
        command = [sys.executable, "-c", "from zsl_lab.files import probe; probe.serve()"]
        try:
            _worker = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except (OSError, ValueError):  # no interpreter of its own, or no process may be started
            return None
        _owner = os.getpid()
    return _worker


@atexit.register
def _end() -> None:
    global _worker
    if _worker is not None and _owner == os.getpid():
        _worker.kill()
        _worker.communicate()
    _worker = None


# --------------------------------------------------------------------------- the other process


def serve() -> None:
    """Walk through each file named on standard input (a JSON string per line), until it ends."""
    for line in sys.stdin.buffer:
        with suppress(Exception):  # reading the file raises the same error
            _walk(json.loads(line))
        sys.stdout.buffer.write(_ANSWER)
        sys.stdout.buffer.flush()


def _walk(path: str) -> None:
    import h5py

    with h5py.File(path, "r", locking=False) as file:
        _visit(file, set(), 0)


def _visit(node: Any, visited: set[int], depth: int) -> None:
    """Touch what reading the file touches: attributes, members, shapes, texts and small numbers."""
    import h5py

    address = h5py.h5o.get_info(node.id).addr
    if address in visited or depth > _DEPTH:
        return
    visited.add(address)
    with suppress(Exception):
        for name in islice(node.attrs, _MOST):
            with suppress(Exception):
                if node.attrs.get_id(name).get_storage_size() <= _SMALL:
                    node.attrs[name]
    if isinstance(node, h5py.Group):
        for name in islice(node, _MOST):
            with suppress(Exception):
                if isinstance(node.get(name, getlink=True), h5py.HardLink):
                    _visit(node[name], visited, depth + 1)
    elif isinstance(node, h5py.Dataset) and not (node.external or node.is_virtual):
        if node.chunks is not None:
            node.id.get_num_chunks()
        if node.size and node.size * max(node.dtype.itemsize, 16) <= _SMALL:
            node[()]
