"""Chooses the reader of a file by its suffix, and that of a folder by its content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from zsl_lab.data.files.class_semantics import read_names
from zsl_lab.data.files.foreign.arrays import read_npy_files, read_npz, read_pt, read_safetensors
from zsl_lab.data.files.foreign.fields import Array, Fields, text_array
from zsl_lab.data.files.foreign.tables import (
    is_datasets_folder,
    read_csv,
    read_datasets,
    read_parquet,
)
from zsl_lab.errors import DataError
from zsl_lab.files.rows import Advance, RowBuffer, no_progress

Reader = Callable[[Path, Advance], Fields]

READERS: dict[str, Reader] = {
    ".npz": read_npz,
    ".npy": read_npy_files,
    ".pt": read_pt,
    ".pth": read_pt,
    ".safetensors": read_safetensors,
    ".csv": read_csv,
    ".parquet": read_parquet,
}
#: files of Python objects
PICKLES = (".pkl", ".pickle", ".joblib", ".dill")
#: lines of text that are converted at once
_LINES = 256


def find_reader(path: Path) -> Reader | None:
    """The function that reads a file or folder; None if its format is not known."""
    if not path.is_dir():
        return READERS.get(path.suffix.lower())
    if is_datasets_folder(path):
        return read_datasets
    if _awa_features(path) is not None:
        return read_awa_features
    return read_npy_files if next(path.glob("*.npy"), None) else None


def read_awa_features(path: Path, advance: Advance = no_progress) -> Fields:
    """Read the features that are published with Animals with Attributes 2.

    Args:
        path: The folder with ``AwA2-features.txt`` (a line of numbers for each image),
            ``AwA2-labels.txt`` (class ids from 1 on) and, optionally, ``AwA2-filenames.txt``; or
            the folder with ``Features/*/AwA2-features.txt``, as the archive unpacks.
        advance: Called after each block of lines with the number of bytes read so far.

    Raises:
        DataError: If a file is missing or damaged, or lines have different numbers of features.
    """
    file = _awa_features(path)
    assert file is not None
    labels = file.with_name("AwA2-labels.txt")
    if not labels.is_file():
        raise DataError(f"{labels}: no such file; expected the class id of each line of {file}.")
    ids = read_names(labels)
    if not all(text.isdecimal() for text in ids):
        raise DataError(f"{labels}: found a line that is not a number; expected class ids.")
    values = {
        "features": _text_rows(file, advance),
        "labels": np.array([int(text) for text in ids]),
    }
    names = file.with_name("AwA2-filenames.txt")
    if names.is_file():
        values["files"] = text_array(read_names(names))
    return Fields(file.parent, values)


def _awa_features(path: Path) -> Path | None:
    for pattern in ("AwA2-features.txt", "Features/*/AwA2-features.txt"):
        for file in sorted(path.glob(pattern)):
            return file
    return None


def _text_rows(path: Path, advance: Advance) -> Array:
    buffer, block, width, done = RowBuffer(), list[Array](), 0, 0
    with path.open(encoding="ascii", errors="replace") as file:
        for number, line in enumerate(file, 1):
            try:
                row = np.array(line.split(), dtype=np.float32)
            except ValueError:
                row = np.zeros(0, dtype=np.float32)
            width = width or len(row)
            done += len(line)
            if len(row) != width or not width:
                raise DataError(
                    f"{path}: line {number}: found {len(row)} numbers; expected {width or 'some'}, "
                    "as in the first line. The file may have been cut off: get it again."
                )
            block.append(row)
            if len(block) == _LINES:
                buffer.append(np.stack(block))
                block = []
                advance(done)
    if block:
        buffer.append(np.stack(block))
    return buffer.array()
