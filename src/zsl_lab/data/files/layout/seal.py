"""The seal of a benchmark file: a user block with the SHA-256 of all that follows."""

from __future__ import annotations

import re
from pathlib import Path

from zsl_lab.errors import DataError
from zsl_lab.files.hashing import sha256_file
from zsl_lab.files.hdf5 import (
    check_not_written,
)

FORMAT = "zsl_lab benchmark"
FORMAT_VERSION = 2
#: bytes before the HDF5 content
USER_BLOCK = 512
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SEAL = re.compile(rb"zsl_lab benchmark, format (\d{1,9}), sha256 ([0-9a-f]{64})\n\0*")


class ChangedError(DataError):
    """The content of a sealed file has changed."""


def seal(path: Path, version: int) -> bytes:
    """The user block that seals a file with its present content."""
    line = f"{FORMAT}, format {version}, sha256 {sha256_file(path, USER_BLOCK)}\n"
    return line.encode().ljust(USER_BLOCK, b"\0")


def verify(path: Path, *, edited: bool) -> str:
    """Check a file against the SHA-256 in its user block.

    Args:
        path: The file.
        edited: Whether a file that was changed after it was sealed is accepted.

    Returns:
        The SHA-256 if it was verified; empty for a file without a seal, and with ``edited``.

    Raises:
        ChangedError: If the content was changed.
        DataError: If the file is missing, unreadable, of another format or version, or open for
            writing.
    """
    check_not_written(path)
    try:
        with path.open("rb") as file:
            head = file.read(USER_BLOCK)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected a benchmark in an HDF5 file.") from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); expected a benchmark in an HDF5 file."
        ) from error
    if head.startswith(_SIGNATURE) or head == bytes(USER_BLOCK):
        return ""
    sealed = _SEAL.fullmatch(head)
    if sealed is None:
        raise DataError(
            f"{path}: found a damaged file or another format (it begins with {head[:40]!r}); "
            "expected an HDF5 file whose first 512 bytes,"
            " where it has such a block and they are not zeros, state the SHA-256 of the rest."
        )
    version = int(sealed[1])
    if not edited and head != seal(path, version):
        raise ChangedError(
            f"{path}: found a damaged or edited file: its content is not the one of which its "
            f"first {USER_BLOCK} bytes state the SHA-256; expected the content that was sealed."
        )
    check_version(path, version)
    return "" if edited else sealed[2].decode()


def check_version(path: Path, version: int) -> None:
    """Raise a DataError if this version of the package does not read a format version."""
    if version != FORMAT_VERSION:
        older = "an older" if version < FORMAT_VERSION else "a newer"
        way_out = (
            ""
            if version < FORMAT_VERSION
            else " A newer zsl_lab reads it, and converts it to .mat files, which any version "
            "reads."
        )
        raise DataError(
            f"{path}: found format version {version}, {older} one; expected version "
            f"{FORMAT_VERSION}.{way_out}"
        )
