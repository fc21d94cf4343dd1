"""Arrays larger than memory: collected in a temporary file, read by blocks of rows."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from zsl_lab.errors import OutputError
from zsl_lab.files.atomic import reason

Array = npt.NDArray[Any]

#: size, in bytes, from which on an array is mapped from a file
LARGE = 2**28
#: called with the bytes of a file that were read or written so far
Advance = Callable[[int], object]
#: bytes of a block of rows
_BLOCK = 2**24


def no_progress(done: int) -> None:
    """An :data:`Advance` that ignores the progress."""


class RowBuffer:
    """Collects rows, in memory or, once they take ``large`` bytes, in a temporary file.

    Args:
        folder: Folder of the temporary file, made where it is missing; None for the system's
            temporary folder.
        large: Size, in bytes, from which on the rows are in the file; None for :data:`LARGE`.
    """

    def __init__(self, folder: Path | None = None, large: int | None = None) -> None:
        self._folder, self._large = folder, LARGE if large is None else large
        self._blocks: list[Array] = []
        self._file: IO[bytes] | None = None
        self._bytes = self._rows = 0

    def append(self, rows: Array) -> None:
        """Add rows ``[n, D]``, or ``[n]``, all of one type and width.

        Raises:
            OutputError: The temporary file cannot be written.
        """
        rows = np.ascontiguousarray(rows)
        self._rows += len(rows)
        self._bytes += rows.nbytes
        if self._file is None and self._bytes < self._large:
            self._blocks.append(rows)
            return
        with self._writing():
            if self._file is None:
                if self._folder is not None:
                    self._folder.mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
                for block in self._blocks:
                    self._file.write(block.data)
                self._blocks = [rows[:0]]
            self._file.write(rows.data)

    def array(self) -> Array:
        """All rows, mapped from the temporary file where there is one.

        Raises:
            OutputError: As :meth:`append` does.
        """
        first = self._blocks[0]
        if self._file is None:
            return np.concatenate(self._blocks)
        with self._writing():
            self._file.flush()
        return np.memmap(self._file, first.dtype, "r", shape=(self._rows, *first.shape[1:]))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            folder = self._folder or tempfile.gettempdir()
            raise OutputError(
                f"Cannot write a temporary file in {folder}: {reason(error)}."
            ) from error


def row_blocks(array: Array, size: int = _BLOCK) -> Iterator[Array]:
    """Blocks of rows of about ``size`` bytes; of a mapped file, only one block is in memory."""
    step = max(1, size // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        yield array[start : start + step]
        release(array)


def release(array: Array) -> None:
    """Give the memory of a mapped file back to the system; other arrays are left alone."""
    base: Any = array
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(base, "madvise"):
        with suppress(OSError, ValueError):
            base.madvise(mmap.MADV_DONTNEED)


def is_mapped(array: Array) -> bool:
    """Whether the numbers lie in a mapped file."""
    base: Any = array
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    return isinstance(base, mmap.mmap)
