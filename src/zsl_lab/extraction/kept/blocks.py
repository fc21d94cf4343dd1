"""Kept features: blocks of features stored in a folder until all are computed.

Each file has the features of a block of images; it is complete or absent. An interrupted extraction
that is started again with the same images and recipe reads the existing blocks and computes the
others in the same batches, so that the features are bit-equal to those of a single run.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import FloatArray
from zsl_lab.extraction.kept.contents import DIGEST_SIZE, Digests
from zsl_lab.files.atomic import atomic_write

#: number of images of a block
BLOCK = 256


@dataclass(frozen=True)
class Problem:
    """An image that cannot be read.

    Attributes:
        file: The file.
        reason: The reason, as a sentence without the file's name.
    """

    file: Path
    reason: str


@dataclass(frozen=True, eq=False)
class Extracted:
    """Features of N images.

    Attributes:
        features: Features of the n readable images, in their order, float32 ``[n, D]``.
        readable: Whether each image is readable, bool ``[N]``.
        problems: The unreadable images, in their order.
    """

    features: FloatArray
    readable: npt.NDArray[np.bool_]
    problems: tuple[Problem, ...]


def count_blocks(images: int) -> int:
    """The number of blocks of a number of images."""
    return -(-images // BLOCK)


def block_of(files: Sequence[Path], number: int) -> Sequence[Path]:
    """The image files of the block with this number, from 0."""
    return files[number * BLOCK : (number + 1) * BLOCK]


def write_block(folder: Path, number: int, block: Extracted, digests: Digests) -> None:
    """Store a block.

    Args:
        folder: The folder of kept features.
        number: The block's number.
        block: The features of its N images.
        digests: Digests of the images' contents when they were read, ``[N, DIGEST_SIZE]``.

    Raises:
        OutputError: If the folder cannot be written.
    """
    atomic_write(block_file(folder, number), partial(_write, block, digests))


def block_file(folder: Path, number: int) -> Path:
    """The file of a block."""
    return folder / f"{number:06d}.npz"


def unused_file(folder: Path, number: int) -> Path:
    """The file of a block of earlier images, kept but not in use."""
    return folder / f"{number:06d}.unused.npz"


def _write(block: Extracted, digests: Digests, output: IO[bytes]) -> None:
    reasons = np.array([problem.reason for problem in block.problems], dtype=np.str_)
    np.savez(
        output,
        features=block.features,
        readable=block.readable,
        reasons=reasons,
        digests=digests,
    )


def read_digests(file: Path) -> Digests | None:
    """The digests of a block's images; None if it has none, is absent or damaged."""
    arrays = _load(file, "digests")
    if arrays is None:
        return None
    (digests,) = arrays
    if digests.dtype != np.uint8 or digests.ndim != 2 or digests.shape[1] != DIGEST_SIZE:
        return None
    return digests


def read_block(
    folder: Path, number: int, files: Sequence[Path], feature_dim: int
) -> Extracted | None:
    """Read a kept block.

    Args:
        folder: The folder of kept features.
        number: The block's number.
        files: The image files of the block.
        feature_dim: The dimension of the features.

    Returns:
        The block; None if it is absent or damaged, or does not match the arguments.
    """
    arrays = _load(block_file(folder, number), "features", "readable", "reasons")
    if arrays is None:
        return None
    features, readable, reasons = arrays
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


def count_images(file: Path) -> int:
    """The number of a block's images; 0 if it is absent or damaged."""
    arrays = _load(file, "readable")
    return 0 if arrays is None else arrays[0].size


def _load(file: Path, *names: str) -> list[npt.NDArray[Any]] | None:
    """Arrays of a block; None if one is absent or damaged."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
