"""Hashes of files and arrays, which identify benchmarks in results and in the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zsl_lab.errors import DataError
from zsl_lab.files.rows import row_blocks

_BLOCK = 2**20


def sha256_file(path: Path, start: int = 0) -> str:
    """The SHA-256 of a file's bytes from ``start`` on, in hexadecimal.

    Raises:
        DataError: If the file cannot be read.
    """
    digest = hashlib.sha256()
    for block in blocks(path, start):
        digest.update(block)
    return digest.hexdigest()


def md5_file(path: Path) -> str:
    """The MD5 of a file's bytes, in hexadecimal, to recognise published files; not for security.

    Raises:
        DataError: If the file cannot be read.
    """
    digest = hashlib.md5(usedforsecurity=False)
    for block in blocks(path):
        digest.update(block)
    return digest.hexdigest()


def blocks(path: Path, start: int = 0) -> Iterator[bytes]:
    """A file's bytes from ``start`` on, a piece at a time.

    Raises:
        DataError: If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            while block := file.read(_BLOCK):
                yield block
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); expected a readable file."
        ) from error


def sha256_arrays(*arrays: npt.NDArray[Any]) -> str:
    """The SHA-256 of arrays' types, shapes and values; C-contiguous arrays are not copied."""
    digest = ArrayHash()
    for array in arrays:
        digest.begin(array.dtype, array.shape)
        for block in row_blocks(array) if array.ndim else [array]:
            digest.add(block)
    return digest.hexdigest()


class ArrayHash:
    """Computes :func:`sha256_arrays` of arrays that are given in blocks of rows."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def begin(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        """Begin the next array, whose rows follow by :meth:`add`."""
        self._digest.update(f"{dtype.str}{shape}".encode())

    def add(self, rows: npt.NDArray[Any]) -> None:
        """Add the next rows of the array begun last."""
        self._digest.update(np.ascontiguousarray(rows).data)

    def hexdigest(self) -> str:
        """The hash, in hexadecimal."""
        return self._digest.hexdigest()
