"""Atomic writes: a reader finds a file's old content or the new one, never a part of it."""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from zsl_lab.errors import OutputError

#: the bytes of a file, or a function that writes them to the binary file it is given
Content = bytes | Callable[[IO[bytes]], object]


def atomic_write(path: str | os.PathLike[str], content: Content) -> Path:
    """Write a temporary file and rename it once all of it is on the disk.

    Args:
        path: The file; its folder is made where it is missing.
        content: The bytes, or a function that writes them to the binary file it is given.

    Returns:
        ``path``.

    Raises:
        OutputError: If the folder cannot be written or the disk is full. Then, as after any other
            error of ``content``, an earlier file at ``path`` is unchanged and the temporary
            one is removed.
    """
    path = Path(path)
    atomic_write_all({path: content})
    return path


def atomic_write_all(contents: Mapping[Path, Content]) -> None:
    """Write several temporary files and rename them once all are on the disk.

    The renames are not undone: where one fails (its target is a folder, say), the files before it
    are replaced, and it and those after it are unchanged.

    Raises:
        OutputError: As :func:`atomic_write` does.
    """
    temporaries: dict[Path, Path] = {}
    path = Path()
    try:
        try:
            for path, content in contents.items():
                # a name of its own for every call: several runs may write into one folder
                temporaries[path] = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(temporaries[path], "xb") as file:
                    if isinstance(content, bytes):
                        file.write(content)
                    else:
                        content(file)
                    file.flush()
                    os.fsync(file.fileno())
            for path, temporary in temporaries.items():
                os.replace(temporary, path)
        except BaseException:
            for temporary in temporaries.values():
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {reason(error)}.") from error


def remove_leftovers(folder: Path, name: str = "*", idle: float = 0.0) -> None:
    """Remove temporary files and folders that killed processes left in a folder.

    With ``idle=0``, call it only while no other process writes these files.

    Args:
        folder: The folder, which need not exist.
        name: A glob pattern of the names of the files that were being written.
        idle: Only remove what has not been written to for this many seconds.
    """
    hexadecimal = "[0-9a-f]" * 32
    for path in folder.glob(f".{name}.{hexadecimal}.tmp"):
        with suppress(OSError):
            inside = path.rglob("*") if path.is_dir() else ()
            latest = max(entry.stat().st_mtime for entry in (path, *inside))
            if time.time() - latest < idle:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def reason(error: OSError) -> str:
    """Why a file cannot be written, and what to do: the end of a sentence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            "the disk is full (or its quota is used up); free some space, or choose another folder"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "its folder is not writable; choose another folder, or change the permissions"
    return error.strerror or str(error)
