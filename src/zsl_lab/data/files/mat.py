"""Reads MATLAB files: version 5 through SciPy, version 7.3 (which is HDF5) through h5py.

Only numbers and cell arrays of strings are read. Nothing in a file is ever executed: a file that is
neither format is refused by its first bytes, before any parser sees it, and neither parser builds
Python objects from a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from zsl_lab.data.files import matlab5
from zsl_lab.errors import DataError
from zsl_lab.files.hdf5 import (
    check_dataset,
    check_inside,
    check_not_written,
    file_size,
    member,
    open_hdf5,
)
from zsl_lab.files.memory import ALWAYS_ALLOWED, out_of_memory

Array = npt.NDArray[Any]

_EXPECTED = "a MATLAB file (version 5 or 7.3), as the benchmark's authors published it"
#: names of fields that are read, dimensions that an array may have
_MAX_FIELDS, _MAX_DIMENSIONS = 10_000, 32
#: characters of a string whose size need not be checked
_MAX_UNCHECKED = 2**16


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
    except DataError:
        raise
    except MemoryError as error:
        raise out_of_memory(str(path)) from error
    # damaged bytes surface as almost any exception: zlib.error, ValueError, TypeError,
    # struct.error, ...
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
        if hdf5:
            return _read_hdf5(path, [])[0]
        return {variable.name for variable in matlab5.variables(path)}
    except DataError:
        raise
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
    check_not_written(path)
    if h5py.is_hdf5(path):
        return True
    # bytes 124-127 of a version 5 header: the version, then the endian indicator
    if head[124:128] in (b"\x00\x01IM", b"\x01\x00MI"):
        return False
    found = f"bytes that start with {head[:16]!r}" if head else "an empty file"
    raise DataError(f"{path}: not a MATLAB file: found {found}; expected {_EXPECTED}.")


def _read_matlab5(path: Path, names: list[str]) -> tuple[set[str], dict[str, Array]]:
    fields: dict[str, Array] = {}
    found = matlab5.variables(path)
    for variable in found:
        if variable.name in fields:
            raise DataError(
                f"{path}: found field '{variable.name}' twice; expected each field once. Save the "
                "file again with one of the two."
            )
        if variable.name in names:
            try:
                fields[variable.name] = _plain(variable.name, matlab5.read(path, variable))
            except matlab5.UnsupportedError as error:
                raise _UnsupportedError(f"field '{variable.name}': found {error}") from error
    return {variable.name for variable in found}, fields


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
    with open_hdf5(path) as file:
        found = {name for name in islice(file, _MAX_FIELDS) if not name.startswith("#")}
        fields = {}
        for name in names:
            dataset = member(file, name, f"{path}: field '{name}'")
            if dataset is not None:
                fields[name] = _read_dataset(file, dataset, name, f"{path}: field '{name}'")
        return found, fields


def _read_dataset(file: Any, dataset: Any, name: str, where: str) -> Array:
    if not isinstance(dataset, h5py.Dataset):
        raise _UnsupportedError(f"field '{name}': found a struct")
    if dataset.attrs.get("MATLAB_empty", 0):
        return _empty(dataset, where)
    check_dataset(dataset, where)
    if dataset.dtype.kind in "biuf":
        # HDF5 lists the dimensions in reverse
        return np.asarray(dataset[()]).T
    if h5py.check_ref_dtype(dataset.dtype) is not h5py.Reference:
        raise _UnsupportedError(f"field '{name}': found type {dataset.dtype}")
    references = np.asarray(dataset[()])
    # a file can refer to one long string many times
    limit = max(file_size(dataset), ALWAYS_ALLOWED // 256)
    strings: list[str] = []
    for reference in references.flat:
        strings.append(_read_string(file[reference], name, where))
        limit -= len(strings[-1])
        if limit < 0:
            raise DataError(
                f"{where}: found strings that are longer together than the whole file; expected "
                "each string once. The file is damaged or made to exhaust the memory: give another."
            )
    return np.array(strings, dtype=np.str_).reshape(references.shape).T


def _empty(dataset: Any, where: str) -> Array:
    """An array without numbers, which is stored as its dimensions."""
    check_inside(dataset, where)
    if dataset.size is None or dataset.size > _MAX_DIMENSIONS:
        raise DataError(f"{where}: found an empty array without dimensions; expected numbers.")
    shape = tuple(int(length) for length in np.ravel(dataset[()]))
    if 0 not in shape or min(shape) < 0:
        raise DataError(
            f"{where}: found an array marked as empty, of dimensions {list(shape)}; expected a "
            "dimension of 0, or numbers. The file is damaged: save it again, or give another."
        )
    return np.empty(shape)


def _read_string(cell: Any, name: str, where: str) -> str:
    if not isinstance(cell, h5py.Dataset) or cell.attrs.get("MATLAB_class") != b"char":
        raise _UnsupportedError(
            f"field '{name}': found a cell array with other things than strings"
        )
    if cell.attrs.get("MATLAB_empty", 0):
        return ""
    (check_dataset if cell.size > _MAX_UNCHECKED else check_inside)(cell, where)
    return np.asarray(cell[()], dtype="<u2").tobytes().decode("utf-16-le")


def _damaged(path: Path, error: Exception) -> DataError:
    brief = (str(error).splitlines() or [""])[0] or type(error).__name__
    return DataError(f"{path}: found a damaged or truncated file ({brief}); expected {_EXPECTED}.")
