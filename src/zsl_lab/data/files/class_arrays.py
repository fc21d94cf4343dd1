"""Features of each class in a file of its own: ``FOLDER/<class>.npy``, ``[samples, D]``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import FloatArray, IntArray
from zsl_lab.errors import DataError


def read_class_arrays(
    places: Sequence[tuple[Path, Sequence[str]]],
) -> tuple[FloatArray, IntArray, IntArray]:
    """Read the files of classes; a class without a file has no samples.

    Files are mapped, and copied into one table, so that no feature is in memory twice.

    Args:
        places: Folders, and the classes that are read from each; a class is known by its position.

    Returns:
        Features float32 ``[N, D]``, the position of each sample's class ``[N]``, and that of its
        folder ``[N]``.

    Raises:
        DataError: A file is damaged, or its features have other dimensions than those before.
    """
    found: list[tuple[int, int, Path, npt.NDArray[Any]]] = []
    for folder_id, (folder, classes) in enumerate(places):
        for class_id, name in enumerate(classes):
            path = folder / f"{name}.npy"
            if path.is_file():
                found.append((folder_id, class_id, path, _mapped(path)))
    if not found:
        return np.zeros((0, 0), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64)
    dim = found[0][3].shape[1]
    for _, _, path, rows in found:
        if rows.shape[1] != dim:
            raise DataError(
                f"{path}: found {rows.shape[1]} dimensions; expected {dim}, as in {found[0][2]}. "
                "Extract all classes with one network."
            )
    counts = [len(rows) for *_, rows in found]
    features = np.empty((sum(counts), dim), dtype=np.float32)
    end = 0
    for (_, _, path, rows), count in zip(found, counts, strict=True):
        start, end = end, end + count
        try:
            features[start:end] = rows
        except (OSError, ValueError) as error:
            raise _damaged(path, str(error)) from error
    folders, labels = (
        np.repeat(np.array([entry[i] for entry in found], dtype=np.int64), counts) for i in (0, 1)
    )
    return features, labels, folders


def _mapped(path: Path) -> npt.NDArray[Any]:
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.dtype.kind not in "fiu":
        shape = f"{rows.dtype} of shape {list(rows.shape)}" if hasattr(rows, "dtype") else "a zip"
        raise _damaged(path, shape)
    return rows


def _damaged(path: Path, found: str) -> DataError:
    return DataError(
        f"{path}: found {found}; expected an array of numbers [samples, dimensions]. Copy or "
        "extract the file again."
    )
