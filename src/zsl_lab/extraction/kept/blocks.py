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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import FloatArray
from zsl_lab.data.recipe import ImageRecipe
from zsl_lab.errors import DataError, OutputError
from zsl_lab.files.atomic import atomic_write

#: raise it when the same recipe gives other features, so that old ones are not used
_FORMAT_VERSION = 1
_KEY_FILE = "key.json"
#: how many images a block has
BLOCK = 256


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


@dataclass(frozen=True)
class Key:
    """What kept features are of; features with an equal key can be used.

    Attributes:
        recipe: The identity of their recipe.
        files: A hash of the images' paths, sizes and modification times.
        part: The part of the images, as ``3/8``; None for all of them.
        format_version: Of the blocks.
    """

    recipe: Mapping[str, Any]
    files: str
    part: str | None = None
    format_version: int = _FORMAT_VERSION

    @classmethod
    def of(cls, files: Sequence[Path], recipe: ImageRecipe, part: str | None = None) -> Key:
        """The key of these images.

        Raises:
            DataError: An image is missing.
        """
        return cls(recipe.identity, _stamp(files), part)


def read_key(folder: Path) -> Key | None:
    """The key of a folder; None where it has none that can be read."""
    try:
        plain = json.loads((folder / _KEY_FILE).read_bytes())
        return Key(
            dict(plain["recipe"]), plain["files"], plain.get("part"), plain["format_version"]
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def prepare_kept(
    folder: Path, files: Sequence[Path], recipe: ImageRecipe, part: str | None = None
) -> str:
    """Prepare a folder for keeping features; those of other images or another recipe are removed.

    Args:
        folder: The folder; created if it is missing.
        files: All images; their paths, sizes and modification times are compared.
        recipe: The recipe.
        part: The part of the images whose features are kept; None for all of them.

    Returns:
        What the folder held: ``"nothing"``, ``"the same"``, or, removed now, ``"other pictures"``
        or ``"another recipe"``.

    Raises:
        DataError: An image is missing.
        OutputError: The folder cannot be written, or holds something else.
    """
    key = Key.of(files, recipe, part)
    path = folder / _KEY_FILE
    state = "nothing"
    if path.is_file():
        before = read_key(folder)
        if before == key:
            return "the same"
        if before is not None and before.part != part:
            raise OutputError(
                f"{folder}: found features of part {before.part or '1/1'} of the images; expected "
                f"those of part {part or '1/1'}. Give the folder its own name again, or remove it."
            )
        same_recipe = before is not None and before.recipe == key.recipe
        state = "other pictures" if same_recipe else "another recipe"
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(
            f"{folder}: this is where features are kept until all are computed, and something else "
            "is there. Move it away, or choose another name for the output."
        )
    plain = {name: value for name, value in asdict(key).items() if value is not None}
    atomic_write(path, json.dumps(plain, indent=1).encode())
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


def count_blocks(images: int) -> int:
    """How many blocks so many images make."""
    return -(-images // BLOCK)


def block_of(files: Sequence[Path], number: int) -> Sequence[Path]:
    """The images of a block."""
    return files[number * BLOCK : (number + 1) * BLOCK]


def write_block(folder: Path, number: int, block: Extracted) -> None:
    """Keep a block.

    Raises:
        OutputError: The folder cannot be written.
    """
    atomic_write(block_file(folder, number), partial(_write, block))


def block_file(folder: Path, number: int) -> Path:
    """The file of a block."""
    return folder / f"{number:06d}.npz"


def _write(block: Extracted, output: IO[bytes]) -> None:
    reasons = np.array([problem.reason for problem in block.problems], dtype=np.str_)
    np.savez(output, features=block.features, readable=block.readable, reasons=reasons)


def read_block(
    folder: Path, number: int, files: Sequence[Path], feature_dim: int
) -> Extracted | None:
    """The kept block of these files; None if it is absent or damaged."""
    try:
        with np.load(block_file(folder, number), allow_pickle=False) as arrays:
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
