"""Reads NumPy's ``.npy`` files; the size in the header is checked before memory is allocated."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from zsl_lab.errors import DataError
from zsl_lab.files.memory import check_size, out_of_memory

_START = b"\x93NUMPY"


def load_npy(path: Path, mmap_mode: Literal["r"] | None = None) -> npt.NDArray[Any]:
    """Read an array; a pickle inside is refused, not executed.

    Args:
        path: The file.
        mmap_mode: ``r`` maps the file into memory; None reads it.

    Raises:
        DataError: If the header declares more numbers than the file has or than fit into memory.
        OSError: If the file cannot be read.
        ValueError: If it is not a ``.npy`` file, or is damaged.
    """
    with path.open("rb") as file:
        _check_header(file, path.stat().st_size, str(path), mapped=mmap_mode is not None)
    return _loaded(path, str(path), mmap_mode)


def read_npy(content: bytes, where: str) -> npt.NDArray[Any]:
    """Read an array from the bytes of a ``.npy`` file, such as a member of an archive.

    Args:
        content: The bytes.
        where: File and member, for messages.

    Raises:
        DataError, ValueError: As :func:`load_npy`.
    """
    _check_header(io.BytesIO(content), len(content), where, mapped=False)
    return _loaded(io.BytesIO(content), where)


def _loaded(
    file: Path | IO[bytes], where: str, mmap_mode: Literal["r"] | None = None
) -> npt.NDArray[Any]:
    try:
        found = np.load(file, mmap_mode=mmap_mode, allow_pickle=False)
    except MemoryError as error:
        raise out_of_memory(where) from error
    except (OSError, ValueError):
        raise
    except Exception as error:  # damaged bytes surface as almost any exception
        raise ValueError(str(error) or type(error).__name__) from error
    if not isinstance(found, np.ndarray):
        raise ValueError("several arrays")
    return found


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """The shape, whether the order is Fortran's, and the dtype; the file is left at the numbers.

    Raises:
        Exception: Of almost any type if the header is damaged, since NumPy evaluates its text.
    """
    version = np.lib.format.read_magic(file)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    found: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(file)
    return found


def _check_header(file: IO[bytes], size: int, where: str, *, mapped: bool) -> None:
    if file.read(len(_START)) != _START:
        return  # np.load raises the error
    file.seek(0)
    try:
        shape, _, dtype = read_header(file)
    except Exception as error:  # the header is a text that NumPy evaluates
        raise ValueError(str(error) or type(error).__name__) from error
    stored = size - file.tell()
    if dtype.hasobject:
        return  # np.load refuses it
    if any(length < 0 for length in shape):
        raise ValueError(f"shape {list(shape)}")
    declared = math.prod(shape) * dtype.itemsize
    if declared > stored:
        raise DataError(
            f"{where}: found a header that declares {declared:,} bytes, shape {list(shape)} of "
            f"{dtype}, before {stored:,} bytes of numbers; expected as many as it declares. The "
            "file is damaged or was not written to its end: write it again with numpy.save, or "
            "give another."
        )
    if not mapped:
        check_size(declared, stored, where)
