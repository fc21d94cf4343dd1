"""Digests of image files, which match kept features to images with other modification times."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zsl_lab.data.files.images import check_reachable

#: number of bytes of a digest
DIGEST_SIZE = 16

#: a digest of each image, uint8 ``[N, DIGEST_SIZE]``
Digests = npt.NDArray[np.uint8]


def read_content(file: Path) -> bytes | None:
    """The bytes of a file; None if it cannot be read.

    Raises:
        UnreachableError: If its file system, or its folder, cannot be reached any more.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        check_reachable(file, error)
        return None


def digest_of(content: bytes | None) -> bytes:
    """The digest of a file's bytes; zeros for a file that cannot be read."""
    if content is None:
        return bytes(DIGEST_SIZE)
    return hashlib.blake2b(content, digest_size=DIGEST_SIZE).digest()


def as_digests(rows: Sequence[bytes]) -> Digests:
    """Digests as an array, uint8 ``[N, DIGEST_SIZE]``."""
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), DIGEST_SIZE)


def digest_files(files: Sequence[Path]) -> Digests:
    """The digests of files, ``[N, DIGEST_SIZE]``.

    Raises:
        UnreachableError: If the files' file system cannot be reached any more.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return as_digests(list(pool.map(_digest_file, files)))


def _digest_file(file: Path) -> bytes:
    return digest_of(read_content(file))
