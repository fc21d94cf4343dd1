"""Feature vectors on disk: numbers in C order at a known offset in one or more files.

They are read with plain system calls. A memory map would count as memory of the process, and the
process would crash if a mapped file vanished or shrank.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zsl_lab.data.storage.arrays import Array, IntArray
from zsl_lab.data.storage.source import PASS_BYTES, FeatureSource, gather, rows_in
from zsl_lab.errors import DataError
from zsl_lab.files.npy import read_header
from zsl_lab.files.rows import release


@dataclass(frozen=True)
class Part:
    """An array ``[rows, columns]`` in a file, in C order.

    Attributes:
        path: The file.
        offset: The byte at which the array begins.
        dtype: Type of its numbers.
        rows: Number of rows.
        columns: Number of columns.
    """

    path: Path
    offset: int
    dtype: np.dtype[Any]
    rows: int
    columns: int


class FileSource:
    """Feature vectors in one or more files, concatenated row by row.

    The files stay open, so that a file that is deleted or replaced meanwhile is still read with its
    old content. Threads may share a source.

    Args:
        parts: The arrays, all of one type and number of columns.

    Raises:
        DataError: If a file cannot be opened.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = list(parts)
        self._starts = np.cumsum([0, *(part.rows for part in parts)])
        self._lock = threading.Lock()
        self._files = []
        for part in parts:
            try:
                self._files.append(part.path.open("rb", buffering=0))
            except OSError as error:
                raise _unreadable(part.path, error) from error

    @property
    def constant(self) -> bool:
        """True: the open files keep their content."""
        return True

    @property
    def shape(self) -> tuple[int, int]:
        """``(N, D)``."""
        return int(self._starts[-1]), self._parts[0].columns

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type in which the numbers are stored."""
        return self._parts[0].dtype

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""
        return tuple(part.path for part in self._parts)

    def __len__(self) -> int:
        """N."""
        return self.shape[0]

    def read(self, start: int, stop: int) -> Array:
        """Rows ``start`` to ``stop`` (exclusive).

        Raises:
            DataError: If a file can no longer be read, or has become shorter.
        """
        out = np.empty((stop - start, self.shape[1]), dtype=self.dtype)
        number = int(np.searchsorted(self._starts, start, side="right")) - 1
        done = 0
        while done < len(out):
            first = start + done - int(self._starts[number])
            rows = min(self._parts[number].rows - first, len(out) - done)
            self._read(number, first, out[done : done + rows])
            done, number = done + rows, number + 1
        return out

    def take(self, index: IntArray) -> Array:
        """Rows ``index``, in any order; they are read in the order of the files."""
        return gather(self, index)

    def _read(self, number: int, first: int, out: Array) -> None:
        part, file = self._parts[number], self._files[number]
        target = out.view(np.uint8).data.cast("B")
        place = part.offset + first * part.columns * part.dtype.itemsize
        try:
            # no other thread may seek between a seek and the reads after it
            with self._lock:
                file.seek(place)
                while len(target):
                    count = file.readinto(target)
                    if not count:
                        raise _shorter(part, file.tell())
                    target = target[count:]
        except OSError as error:
            raise _unreadable(part.path, error) from error


def npy_part(path: Path) -> Part:
    """The array in a ``.npy`` file, of two dimensions in C order.

    Raises:
        DataError: If the file is missing, truncated or holds something else.
    """
    try:
        with path.open("rb") as file:
            shape, columns_first, dtype = read_header(file)
            offset, size = file.tell(), file.seek(0, 2)
    except OSError as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # the header is a text that NumPy evaluates
        brief = (str(error).splitlines() or [""])[0]
        raise DataError(
            f"{path}: found no .npy file, or a damaged one ({brief:.100}); expected features. Get "
            "an intact copy, or write it again."
        ) from error
    if len(shape) != 2 or 0 in shape or columns_first or dtype.kind not in "iuf":
        order = ", columns first" if columns_first else ""
        raise DataError(
            f"{path}: found {dtype} of shape {list(shape)}{order}; expected numbers [samples, "
            "dimensions] in C order. Write it again with numpy.save(path, "
            "numpy.ascontiguousarray(features))."
        )
    rows, columns = shape
    part = Part(path, offset, dtype, rows, columns)
    if size < offset + part.rows * part.columns * dtype.itemsize:
        raise _shorter(part, size)
    return part


def write_npy(source: FeatureSource, start: int, stop: int, path: Path) -> None:
    """Write rows ``start`` to ``stop`` (exclusive) to a ``.npy`` file, a block at a time.

    Raises:
        OSError: If it cannot be written, or the disk is full.
    """
    dtype, step = source.dtype.newbyteorder("="), rows_in(source, PASS_BYTES)
    with path.open("wb") as file:
        shape = (stop - start, source.shape[1])
        np.lib.format.write_array_header_1_0(
            file,
            {"shape": shape, "fortran_order": False, "descr": np.lib.format.dtype_to_descr(dtype)},
        )
        for first in range(start, stop, step):
            rows = source.read(first, min(first + step, stop))
            file.write(np.ascontiguousarray(rows, dtype=dtype).data)
            release(rows)
        file.flush()
        os.fsync(file.fileno())


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path}: cannot be read ({error.strerror}); expected features, which are read throughout "
        "the run. Bring the file or its file system back and resume the run (resume=auto or "
        "ckpt=PATH), or copy the file to a disk of this machine."
    )


def _shorter(part: Part, end: int) -> DataError:
    size = part.offset + part.rows * part.columns * part.dtype.itemsize
    return DataError(
        f"{part.path}: found the end of the file after {end:,} bytes; expected {size:,}: "
        f"{part.rows:,} rows of {part.columns:,} numbers ({part.dtype}). The file is cut off: get "
        "an intact copy, or write it again."
    )
