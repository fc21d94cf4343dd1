"""SHA-256 of files and arrays: what identifies a benchmark in a result, and what a cache is keyed by."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zsl_lab.errors import DataError

_BLOCK = 2**20


def sha256_file(path: Path, start: int = 0) -> str:
    """The SHA-256 of a file's bytes from ``start`` on, in hexadecimal.

    Raises:
        DataError: If the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            file.seek(start)
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected a readable file.") from error
    return digest.hexdigest()


def sha256_arrays(*arrays: npt.NDArray[Any]) -> str:
    """The SHA-256 of arrays' types, shapes and values, in hexadecimal; a C-contiguous array is not copied."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
