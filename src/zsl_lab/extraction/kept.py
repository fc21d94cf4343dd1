"""Features that are computed already, kept in a folder until all are.

A file holds a block of images and is complete or absent. An extraction with the same images and
recipe reads the blocks that exist and computes the rest in the same batches, so the features are
equal bit by bit.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import FloatArray
from zsl_lab.data.recipe import ImageRecipe
from zsl_lab.errors import DataError, OutputError
from zsl_lab.files.atomic import atomic_write

#: raise it when the same recipe gives other features, so that old ones are not used
_FORMAT_VERSION = 1
_KEY_FILE = "key.json"


@dataclass(frozen=True)
class Problem:
    """An image that cannot be read.

    Attributes:
        file: The file.
        reason: A sentence without the file's name.
    """

    file: Path
    reason: str


@dataclass(frozen=True, eq=False)
class Extracted:
    """Features of N images.

    Attributes:
        features: Of the readable images, in their order, float32 ``[n, D]``.
        readable: Which images are readable, bool ``[N]``.
        problems: The others, in their order.
    """

    features: FloatArray
    readable: npt.NDArray[np.bool_]
    problems: tuple[Problem, ...]


def prepare_kept(folder: Path, files: Sequence[Path], recipe: ImageRecipe) -> str:
    """Prepare a folder for keeping features; those of other images or another recipe are removed.

    Args:
        folder: The folder; created if it is missing.
        files: The images; their paths, sizes and modification times are compared.
        recipe: The recipe.

    Returns:
        What the folder held: ``"nothing"``, ``"the same"``, or, removed now, ``"other pictures"``
        or ``"another recipe"``.

    Raises:
        DataError: An image is missing.
        OutputError: The folder cannot be written, or holds something else.
    """
    key = {
        "format_version": _FORMAT_VERSION,
        "recipe": recipe.identity,
        "files": _stamp(files),
    }
    path = folder / _KEY_FILE
    state = "nothing"
    if path.is_file():
        try:
            before = json.loads(path.read_bytes())
        except (OSError, ValueError):
            before = None
        if before == key:
            return "the same"
        same_recipe = isinstance(before, dict) and before.get("recipe") == key["recipe"]
        state = "other pictures" if same_recipe else "another recipe"
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(
            f"{folder}: this is where features are kept until all are computed, and something else "
            "is there. Move it away, or choose another name for the output."
        )
    atomic_write(path, json.dumps(key, indent=1).encode())
    return state


def _stamp(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        try:
            state = file.stat()
        except OSError as error:
            raise DataError(
                f"{file}: cannot be read ({error.strerror}); expected an image."
            ) from error
        digest.update(
            f"{file}\0{state.st_size}\0{state.st_mtime_ns}\0".encode(errors="surrogateescape")
        )
    return digest.hexdigest()


def write_block(folder: Path, number: int, block: Extracted) -> None:
    """Keep a block.

    Raises:
        OutputError: The folder cannot be written.
    """
    atomic_write(_block_file(folder, number), partial(_write, block))


def _block_file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.npz"


def _write(block: Extracted, output: IO[bytes]) -> None:
    reasons = np.array([problem.reason for problem in block.problems], dtype=np.str_)
    np.savez(output, features=block.features, readable=block.readable, reasons=reasons)


def read_block(
    folder: Path, number: int, files: Sequence[Path], feature_dim: int
) -> Extracted | None:
    """The kept block of these files; None if it is absent or damaged."""
    try:
        with np.load(_block_file(folder, number), allow_pickle=False) as arrays:
            features, readable, reasons = arrays["features"], arrays["readable"], arrays["reasons"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if (
        readable.shape != (len(files),)
        or features.shape != (int(readable.sum()), feature_dim)
        or len(reasons) != int((~readable).sum())
    ):
        return None
    unreadable = [file for file, good in zip(files, readable, strict=True) if not good]
    problems = tuple(
        Problem(file, str(reason)) for file, reason in zip(unreadable, reasons, strict=True)
    )
    return Extracted(features, readable, problems)
