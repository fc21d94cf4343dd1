"""Reads MATLAB files: version 5 through SciPy, version 7.3 (which is HDF5) through h5py.

Only numbers and cell arrays of strings are read. Nothing in a file is ever executed: a file that is
neither format is refused by its first bytes, before any parser sees it, and neither parser builds
Python objects from a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import scipy.io

from zsl_lab.errors import DataError

Array = npt.NDArray[Any]

_EXPECTED = "a MATLAB file (version 5 or 7.3), as the benchmark's authors published it"


def read_mat(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Array]:
    """Read fields of a MATLAB file.

    Args:
        path: The file.
        required: Fields that must be there.
        optional: Fields that may be there.

    Returns:
        Every required field and the optional ones that exist, in MATLAB's orientation: numbers as
        they are stored, cell arrays of strings as arrays of ``str``.

    Raises:
        DataError: If the file is missing, unreadable, truncated or not a MATLAB file, or if a field
            is missing or is neither numbers nor a cell array of strings. The text says what was
            found and expected; the caller, who knows which configuration keys chose the file, adds
            what can be done.
    """
    hdf5 = _is_hdf5(path)
    try:
        found, fields = (
            _read_hdf5(path, [*required, *optional])
            if hdf5
            else _read_matlab5(path, [*required, *optional])
        )
    except _UnsupportedError as error:
        raise DataError(f"{path}: {error}; expected numbers or a cell array of strings.") from None
    # damaged bytes surface as almost any exception: zlib.error, ValueError, TypeError,
    # struct.error, MemoryError, ...
    except Exception as error:
        raise _damaged(path, error) from error
    for field in required:
        if field not in fields:
            raise DataError(
                f"{path}: field '{field}' is missing; found "
                f"{', '.join(sorted(found)) or 'no field at all'}."
            )
    return fields


def field_names(path: Path) -> set[str]:
    """The names of a MATLAB file's fields.

    Raises:
        DataError: If the file is missing, unreadable, truncated or not a MATLAB file.
    """
    hdf5 = _is_hdf5(path)
    try:
        return _read_hdf5(path, [])[0] if hdf5 else {name for name, _, _ in scipy.io.whosmat(path)}
    except Exception as error:
        raise _damaged(path, error) from error


def matrix(array: Array, path: Path, field: str) -> Array:
    """The array, if it is a matrix of numbers; DataError otherwise."""
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise DataError(
            f"{path}: field '{field}': found type {array.dtype}, shape {list(array.shape)}; "
            "expected a matrix of numbers."
        )
    return array


def integers(array: Array, path: Path, field: str) -> npt.NDArray[np.int64]:
    """A column or row of whole numbers, of any type, as int64 ``[n]``; DataError otherwise."""
    flat = array.ravel(order="F")
    if array.dtype.kind not in "iuf" or flat.size not in (0, max(array.shape)):
        raise DataError(
            f"{path}: field '{field}': found type {array.dtype}, shape {list(array.shape)}; "
            "expected a list of whole numbers."
        )
    # exact in float64, so that a cast cannot wrap around
    broken = flat[~((np.abs(flat.astype(np.float64)) < 2**53) & (flat == np.floor(flat)))]
    if len(broken):
        raise DataError(f"{path}: field '{field}': found {broken[0]}; expected whole numbers.")
    return flat.astype(np.int64)


class _UnsupportedError(Exception):
    """A field holds something other than numbers or strings."""


def _is_hdf5(path: Path) -> bool:
    """Tell version 7.3 (True) from version 5 (False) by the first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(128)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected {_EXPECTED}.") from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); expected {_EXPECTED}."
        ) from error
    if h5py.is_hdf5(path):
        return True
    # bytes 124-127 of a version 5 header: the version, then the endian indicator
    if head[124:128] in (b"\x00\x01IM", b"\x01\x00MI"):
        return False
    found = f"bytes that start with {head[:16]!r}" if head else "an empty file"
    raise DataError(f"{path}: not a MATLAB file: found {found}; expected {_EXPECTED}.")


def _read_matlab5(path: Path, names: list[str]) -> tuple[set[str], dict[str, Array]]:
    loaded = scipy.io.loadmat(path, variable_names=names)
    fields = {name: _plain(name, loaded[name]) for name in names if name in loaded}
    found = (
        set(fields)
        if len(fields) == len(names)
        else {name for name, _, _ in scipy.io.whosmat(path)}
    )
    return found, fields


def _plain(name: str, value: Any) -> Array:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biufO":
        raise _UnsupportedError(f"field '{name}': found {_kind(value)}")
    if value.dtype.kind != "O":
        return value
    strings = [str(cell.item()) if cell.size == 1 else "" for cell in value.flat if _is_text(cell)]
    if len(strings) != value.size:
        raise _UnsupportedError(
            f"field '{name}': found a cell array with other things than strings"
        )
    return np.array(strings, dtype=np.str_).reshape(value.shape)


def _is_text(cell: Any) -> bool:
    # an empty cell has no text type of its own
    return isinstance(cell, np.ndarray) and (
        cell.size == 0 or (cell.size == 1 and cell.dtype.kind == "U")
    )


def _kind(value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return f"a {type(value).__name__}"
    return {"V": "a struct", "c": "complex numbers", "U": "a string"}.get(
        value.dtype.kind, f"type {value.dtype}"
    )


def _read_hdf5(path: Path, names: list[str]) -> tuple[set[str], dict[str, Array]]:
    # data folders may be read-only or on a network file system, where locks fail
    with h5py.File(path, "r", locking=False) as file:
        found = {name for name in file if not name.startswith("#")}
        return found, {name: _read_dataset(file, name) for name in names if name in file}


def _read_dataset(file: Any, name: str) -> Array:
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise _UnsupportedError(f"field '{name}': found a struct")
    if dataset.attrs.get("MATLAB_empty", 0):
        # an empty array is stored as its dimensions
        return np.empty(tuple(int(length) for length in dataset[()]))
    if dataset.dtype.kind in "biuf":
        # HDF5 lists the dimensions in reverse
        return np.asarray(dataset[()]).T
    if h5py.check_ref_dtype(dataset.dtype) is not h5py.Reference:
        raise _UnsupportedError(f"field '{name}': found type {dataset.dtype}")
    references = np.asarray(dataset[()])
    strings = [_read_string(file[reference], name) for reference in references.flat]
    return np.array(strings, dtype=np.str_).reshape(references.shape).T


def _read_string(cell: Any, name: str) -> str:
    if cell.attrs.get("MATLAB_class") != b"char":
        raise _UnsupportedError(
            f"field '{name}': found a cell array with other things than strings"
        )
    if cell.attrs.get("MATLAB_empty", 0):
        return ""
    return np.asarray(cell[()], dtype="<u2").tobytes().decode("utf-16-le")


def _damaged(path: Path, error: Exception) -> DataError:
    brief = (str(error).splitlines() or [""])[0] or type(error).__name__
    return DataError(f"{path}: found a damaged or truncated file ({brief}); expected {_EXPECTED}.")
