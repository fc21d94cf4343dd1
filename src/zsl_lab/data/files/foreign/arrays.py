"""Reads files of named arrays: ``.npz``, ``.npy`` files in a folder, ``.pt``, ``.safetensors``.

Python objects are never unpickled: NumPy arrays of them are refused, and PyTorch reads only tensors
and plain containers.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from zsl_lab.data.files.class_semantics import read_names
from zsl_lab.data.files.foreign.fields import ALIASES, Array, Fields, meaning, text_array
from zsl_lab.errors import ConfigError, DataError
from zsl_lab.files.memory import check_size, out_of_memory
from zsl_lab.files.npy import load_npy, read_npy
from zsl_lab.files.rows import LARGE, Advance, no_progress
from zsl_lab.files.seal import damaged_member

#: maximum depth of nested containers
_DEPTH = 8
_PICKLED = (
    "Python objects, which only a pickle stores, and a pickle can run any program; expected "
    "numbers or texts. Save them as a numeric array, or texts with dtype=str"
)


def read_npz(path: Path, advance: Advance = no_progress) -> Fields:
    """Read all arrays of a file of ``numpy.savez`` or ``numpy.savez_compressed``.

    Args:
        path: The file.
        advance: Called after each array with the number of bytes of the file read so far.

    Raises:
        DataError: If the file is missing, damaged or truncated, or holds Python objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            values, done = {}, 0
            for info in members:
                values[_stem(info)] = _member(archive, info, path)
                done += info.compress_size
                advance(done)
            return Fields(path, values)
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise _damaged(path, error, "an .npz file of numpy.savez") from error


def _stem(info: zipfile.ZipInfo) -> str:
    return info.filename.removesuffix(".npy")


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Array:
    where = f"{path}: field '{_stem(info)}'"
    check_size(info.file_size, info.compress_size, where, needed=min(info.file_size, LARGE))
    try:
        if info.file_size < LARGE:
            return _plain(read_npy(archive.read(info), where), where)
        # too large to be in memory twice: unpacked to a temporary file, which the system keeps
        # until it is no longer mapped
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            unpacked = Path(folder) / "array.npy"
            with archive.open(info) as source, unpacked.open("wb") as target:
                shutil.copyfileobj(source, target, 2**24)
            return _plain(load_npy(unpacked, "r"), where)
    except ValueError as error:
        raise _not_numbers(where, error) from error
    except MemoryError as error:
        raise out_of_memory(where) from error
    except Exception as error:
        if isinstance(error, DataError | OSError | zipfile.BadZipFile | EOFError):
            raise
        raise _damaged(path, error, "an .npz file of numpy.savez") from error  # zlib.error


def read_npy_files(path: Path, advance: Advance = no_progress) -> Fields:
    """Read the ``.npy`` files of a folder, and the ``.txt`` files whose names are known roles.

    Args:
        path: The folder; or the ``.npy`` file with the features, whose folder is read.
        advance: Not called: large files are mapped, not read.

    Raises:
        DataError: If a file is damaged or truncated, or holds Python objects.
    """
    folder = path if path.is_dir() else path.parent
    files = sorted(file for file in folder.glob("*.npy") if file != path)
    values = {} if path.is_dir() else {"features": _npy(path)}
    for file in files:
        if path.is_dir() or meaning(file.stem) not in ALIASES["features"]:
            values[file.stem] = _npy(file)
    known = {alias for aliases in ALIASES.values() for alias in aliases}
    for file in sorted(folder.glob("*.txt")):
        if meaning(file.stem) in known and file.stem not in values:
            values[file.stem] = _of_lines(file)
    return Fields(path, values)


def _npy(path: Path) -> Array:
    try:
        return _plain(load_npy(path, "r" if path.stat().st_size >= LARGE else None), str(path))
    except OSError as error:
        raise _damaged(path, error, "an .npy file of numpy.save") from error
    except ValueError as error:
        raise _not_numbers(str(path), error) from error


def _of_lines(path: Path) -> Array:
    lines = read_names(path)
    if lines and all(line.isdecimal() and len(line) < 10 for line in lines):
        return np.array([int(line) for line in lines])
    return text_array(lines)


def read_pt(path: Path, advance: Advance = no_progress) -> Fields:
    """Read tensors, numbers and texts in plain containers, as ``torch.save`` stores them.

    Fields of nested dictionaries are named ``outer/inner``; items of a list by their positions.

    Args:
        path: The file.
        advance: Not called: large files are mapped, not read.

    Raises:
        DataError: If the file is missing, damaged or truncated, or holds other Python objects.
    """
    import pickle

    import torch

    try:
        member = damaged_member(path)
        if member is not None:
            raise ValueError(f"the checksum of its member {member!r:.60} is wrong")
        is_zip = zipfile.is_zipfile(path)
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip or None)
    except pickle.UnpicklingError as error:
        brief = str(error).splitlines()[0]
        if "weights_only" in str(error).lower() or "unsupported" in str(error).lower():
            raise DataError(
                f"{path}: found {_PICKLED}: torch.save({{'features': tensor, 'labels': tensor, "
                "...})."
            ) from error
        raise _damaged(path, brief, "a file of torch.save") from error
    # damaged bytes surface as almost any exception
    except Exception as error:
        raise _damaged(path, error, "a file of torch.save") from error
    values: dict[str, Array] = {}
    left_out: dict[str, str] = {}
    for name, value in _flat(found, str(path)):
        array = _of_torch(value)
        if array is None:
            left_out[name] = type(value).__name__
        else:
            values[name] = array
    return Fields(path, values, left_out)


def _flat(value: Any, where: str, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Names and values of the items of nested containers."""
    if depth > _DEPTH:
        raise DataError(
            f"{where}: field '{prefix}': found containers within containers, more than {_DEPTH} "
            "deep; expected a dictionary of tensors. Save it so."
        )
    names = _names_by_id(value) if meaning(prefix) in ALIASES["class_names"] else None
    if names is not None:
        yield prefix, names
        return
    if isinstance(value, Mapping):
        items = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list | tuple) and not _is_plain_list(value):
        items = [(str(i), inner) for i, inner in enumerate(value)]
    else:
        yield prefix or "0", value
        return
    for name, inner in items:
        yield from _flat(inner, where, f"{prefix}/{name}" if prefix else name, depth + 1)


def _names_by_id(value: Any) -> list[str] | None:
    """Names in the order of their ids, from ``{name: id}`` or ``{id: name}``; else None."""
    if not isinstance(value, Mapping):
        return None
    ids = {name: i for name, i in value.items() if isinstance(name, str) and type(i) is int}
    if not ids:
        pairs = ((str(i), name) for i, name in value.items() if isinstance(name, str))
        ids = {name: int(i) for i, name in pairs if i.isdecimal() and len(i) < 10}
    if len(ids) < len(value) or sorted(ids.values()) != list(range(len(ids))):
        return None
    return sorted(ids, key=lambda name: ids[name])


def _is_plain_list(value: list[Any] | tuple[Any, ...]) -> bool:
    return bool(value) and (
        all(isinstance(item, str) for item in value)
        or all(isinstance(item, int | float) and not isinstance(item, bool) for item in value)
    )


def _of_torch(value: Any) -> Array | None:
    """A tensor, number, text or list of them as an array; None for anything else."""
    import torch

    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_complex() or value.is_quantized:
            return None
        tensor = value.detach()
        known = (torch.float16, torch.float32, torch.float64)
        if tensor.is_floating_point() and tensor.dtype not in known:
            tensor = tensor.float()  # NumPy has no bfloat16 or float8; float32 holds their numbers
        return np.asarray(tensor.numpy())
    if isinstance(value, str):
        return np.array(value)
    if isinstance(value, list | tuple | int | float):
        return np.array(value)
    return None


def read_safetensors(path: Path, advance: Advance = no_progress) -> Fields:
    """Read all tensors, and lists of texts (JSON) in the file's metadata.

    Args:
        path: The file.
        advance: Not called.

    Raises:
        ConfigError: If the package safetensors is not installed.
        DataError: If the file is missing, damaged or truncated.
    """
    if find_spec("safetensors") is None:
        raise missing_package(path, "safetensors")
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            values = {name: _of_torch(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    # damaged bytes surface as almost any exception
    except Exception as error:
        raise _damaged(path, error, "a .safetensors file") from error
    texts = {name: _texts_of(text) for name, text in metadata.items() if name not in values}
    return Fields(path, {n: a for n, a in {**values, **texts}.items() if a is not None})


def _texts_of(text: str) -> Array:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    names = _names_by_id(value)
    if names is None and isinstance(value, list) and all(isinstance(item, str) for item in value):
        names = value
    return np.array(text) if names is None else text_array(names)


def missing_package(path: Path, package: str) -> ConfigError:
    """The error to raise where a package that reads or writes a format is not installed."""
    return ConfigError(
        f"{path}: this format needs {package}, which is not installed. Install it: pip install "
        '"zsl-lab[formats]"; or save the data as .npz.'
    )


def _plain(array: Array, where: str) -> Array:
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind not in "biufU":
        raise DataError(f"{where}: found type {array.dtype}; expected numbers or texts.")
    return array


def _not_numbers(where: str, error: Exception) -> DataError:
    if "pickle" in str(error) or "Object arrays" in str(error):
        return DataError(f"{where}: found {_PICKLED}: numpy.array(names, dtype=str).")
    return _damaged(where, error, "numbers or texts that NumPy saved")


def _damaged(where: Path | str, error: Exception | str, expected: str) -> DataError:
    if isinstance(error, OSError) and error.strerror:
        return DataError(f"{where}: cannot be read ({error.strerror}); expected {expected}.")
    brief = (str(error).splitlines() or [""])[0] or type(error).__name__
    return DataError(
        f"{where}: found a damaged or truncated file ({brief}); expected {expected}. Write it "
        "again, or give another."
    )
