"""Reads small files of unknown origin: only regular files, and only up to a size limit."""

from __future__ import annotations

import stat
from pathlib import Path

from zsl_lab.errors import DataError
from zsl_lab.files.memory import size_text


def read_bounded(path: Path, limit: int) -> bytes:
    """The content of a file of at most ``limit`` bytes.

    A pipe or a device, which may have no end, is not opened.

    Raises:
        DataError: If it is not a regular file, or is larger than ``limit``.
        OSError: If it cannot be read.
    """
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        found = "a folder" if stat.S_ISDIR(state.st_mode) else "a pipe or a device"
        raise DataError(
            f"{path}: found {found}; expected a file. Remove it, or put the file there."
        )
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise DataError(
            f"{path}: found {size_text(max(state.st_size, len(content)))}; expected at most "
            f"{size_text(limit)}. It is damaged or of another program: restore it, or remove its "
            "folder."
        )
    return content
