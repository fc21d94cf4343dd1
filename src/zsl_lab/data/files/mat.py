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
from zsl_lab.errors import DataError, OutputError
from zsl_lab.files.hdf5 import (
    check_dataset,
    check_inside,
    check_not_written,
    file_size,
    member,
    open_hdf5,
)
from zsl_lab.files.memory import ALWAYS_ALLOWED, out_of_memory
from zsl_lab.files.rows import LARGE, RowBuffer, row_blocks

Array = npt.NDArray[Any]

#: maximum depth of nested cells
_DEPTH = 8
_EXPECTED = "a MATLAB file (version 5 or 7.3), as the benchmark's authors published it"
#: maximum number of fields whose names are read, and of dimensions of an array
_MAX_FIELDS, _MAX_DIMENSIONS = 10_000, 32
#: maximum number of characters of a string whose size is not checked
_MAX_UNCHECKED = 2**16


def read_mat(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Array]:
    """Read fields of a MATLAB file.

    Args:
        path: The file.
        required: Fields that must exist.
        optional: Fields that are read if they exist.

    Returns:
        The fields, in MATLAB's orientation: numbers as they are stored, cell arrays of strings as
        arrays of ``str``.

    Raises:
        DataError: If the file is missing, unreadable, truncated or not a MATLAB file, or if a field
            is missing or is neither numbers nor a cell array of strings. The message says what was
            found and expected; the caller should add what to do about it.
        OutputError: If a large matrix cannot be unpacked to a temporary file.
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
    except (DataError, OutputError):
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
    """The array itself.

    Raises:
        DataError: If it is not a matrix of numbers.
    """
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise DataError(
            f"{path}: field '{field}': found type {array.dtype}, shape {list(array.shape)}; "
            "expected a matrix of numbers."
        )
    return array


def integers(array: Array, path: Path, field: str) -> npt.NDArray[np.int64]:
    """A column or row of whole numbers, of any type, as int64 ``[n]``.

    Raises:
        DataError: If the array is something else.
    """
    flat = array.ravel(order="F")
    if array.dtype.kind not in "iuf" or flat.size not in (0, max(array.shape, default=1)):
        raise DataError(
            f"{path}: field '{field}': found type {array.dtype}, shape {list(array.shape)}; "
            "expected a list of whole numbers."
        )
    # only numbers that float64 represents exactly, so that the cast cannot wrap around
    broken = flat[~((np.abs(flat.astype(np.float64)) < 2**53) & (flat == np.floor(flat)))]
    if len(broken):
        raise DataError(f"{path}: field '{field}': found {broken[0]}; expected whole numbers.")
    return flat.astype(np.int64)


def texts(array: Array, path: Path, field: str) -> tuple[str, ...]:
    """A column or row of texts; whole numbers are converted to texts.

    Raises:
        DataError: If the array is something else.
    """
    flat = array.ravel(order="F")
    if array.dtype.kind == "U":
        return tuple(map(str, flat))
    if array.dtype.kind not in "iuf" or flat.size != max(array.shape, default=0):
        raise DataError(
            f"{path}: field '{field}': found type {array.dtype}, shape {list(array.shape)}; "
            "expected texts: a cell array of strings, or a list of whole numbers. Save it as "
            "cellstr(...) in MATLAB, or leave the field out."
        )
    return tuple(map(str, integers(array, path, field)))


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
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        # a matrix of characters: SciPy joins each row to a string, padded with spaces
        return np.array([str(row).rstrip() for row in value.ravel()], dtype=np.str_)[:, None]
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biufO":
        raise _UnsupportedError(f"field '{name}': found {_kind(value)}")
    if value.dtype.kind != "O":
        return value
    strings = [_cell_text(name, cell) for cell in value.flat]
    return np.array(strings, dtype=np.str_).reshape(value.shape)


def _cell_text(name: str, cell: Any) -> str:
    """The text of a cell: a string, a whole number, or a cell with one of them."""
    while isinstance(cell, np.ndarray) and cell.dtype.kind == "O" and cell.size == 1:
        cell = cell.item()
    if isinstance(cell, np.ndarray) and cell.size == 0:
        # an empty cell has no text type of its own
        return ""
    if isinstance(cell, np.ndarray) and cell.size == 1 and cell.dtype.kind in "Uiuf":
        value = cell.item()
        if isinstance(value, str):
            return value
        if value == value // 1:
            return str(int(value))
    raise _UnsupportedError(f"field '{name}': found a cell array with other things than strings")


def _kind(value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return f"a {type(value).__name__}"
    if type(value).__name__ == "MatlabOpaque":
        return "an object, such as a string array, which only MATLAB reads (cellstr converts it)"
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
    is_text = dataset.attrs.get("MATLAB_class") == b"char"
    is_matrix = dataset.ndim == 2 and dataset.dtype.kind in "biuf" and not is_text
    # a large matrix is unpacked to a temporary file, not to memory
    large = is_matrix and dataset.nbytes >= LARGE
    check_dataset(dataset, where, itemsize=0 if large else None)
    if "MATLAB_object_decode" in dataset.attrs:
        raise _UnsupportedError(
            f"field '{name}': found an object, such as a string array, which only MATLAB reads "
            "(cellstr converts it)"
        )
    if is_text:
        # a row of characters for each text, padded with spaces
        rows = np.atleast_2d(np.asarray(dataset[()], dtype="<u2").T)
        return np.array([_decoded(row, name).rstrip() for row in rows], dtype=np.str_)[:, None]
    # HDF5 lists the dimensions in reverse
    if large:
        buffer = RowBuffer()
        for block in row_blocks(dataset):
            buffer.append(block)
        return buffer.array().T
    if dataset.dtype.kind in "biuf":
        return np.asarray(dataset[()]).T
    if h5py.check_ref_dtype(dataset.dtype) is not h5py.Reference:
        raise _UnsupportedError(f"field '{name}': found type {dataset.dtype}")
    references = np.asarray(dataset[()])
    # a file can refer to one long string many times
    limit = max(file_size(dataset), ALWAYS_ALLOWED // 256)
    strings: list[str] = []
    for reference in references.flat:
        strings.append(_read_string(file, file[reference], name, where))
        limit -= len(strings[-1])
        if limit < 0:
            raise DataError(
                f"{where}: found strings that are longer together than the whole file; expected "
                "each string once. The file is damaged or made to exhaust the memory: give another."
            )
    return np.array(strings, dtype=np.str_).reshape(references.shape).T


def _empty(dataset: Any, where: str) -> Array:
    """An empty array, which is stored as its dimensions."""
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


def _read_string(file: Any, cell: Any, name: str, where: str) -> str:
    """The text of a cell: a string, a whole number, or a cell with one of them."""
    depth = 0
    while isinstance(cell, h5py.Dataset) and h5py.check_ref_dtype(cell.dtype) and cell.size == 1:
        # in a damaged file, a cell may refer to itself
        depth += 1
        if depth > _DEPTH:
            break
        check_inside(cell, where)
        cell = file[np.asarray(cell[()]).item()]
    if not isinstance(cell, h5py.Dataset):
        raise _UnsupportedError(f"field '{name}': found a cell array with structs")
    if cell.attrs.get("MATLAB_empty", 0):
        return ""
    (check_dataset if cell.size > _MAX_UNCHECKED else check_inside)(cell, where)
    if cell.attrs.get("MATLAB_class") == b"char":
        return _decoded(cell[()], name)
    if cell.dtype.kind in "iuf" and cell.size == 1 and "MATLAB_object_decode" not in cell.attrs:
        value = np.asarray(cell[()]).item()
        if value == value // 1:
            return str(int(value))
    raise _UnsupportedError(f"field '{name}': found a cell array with other things than strings")


def _decoded(characters: Any, name: str) -> str:
    try:
        return np.asarray(characters, dtype="<u2").tobytes().decode("utf-16-le")
    except UnicodeDecodeError:
        raise _UnsupportedError(f"field '{name}': found characters that are not UTF-16") from None


def _damaged(path: Path, error: Exception) -> DataError:
    brief = (str(error).splitlines() or [""])[0] or type(error).__name__
    return DataError(f"{path}: found a damaged or truncated file ({brief}); expected {_EXPECTED}.")
