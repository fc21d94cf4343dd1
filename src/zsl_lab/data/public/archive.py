"""Extracts files from an untrusted zip archive.

The name of a member is only used to find it: the caller chooses the path that it is written to. The
size that its header declares is not trusted, but enforced as a limit while inflating.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from zsl_lab.errors import DataError
from zsl_lab.files.atomic import atomic_write_all
from zsl_lab.files.hashing import blocks

_BLOCK = 2**20
_ENCRYPTED = 0x1
# exceptions that damaged bytes cause in zipfile, zlib and the decoding of names
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    RuntimeError,
)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Limits:
    """Limits of a member's size.

    Attributes:
        size: Maximum size after inflation, in bytes.
        ratio: Largest ratio of inflated to stored bytes, for members larger than ``small``. (The
            numbers of a benchmark are compressed to a tenth at best.)
        small: Size, in inflated bytes, up to which the ratio is not checked.
    """

    size: int = 16 * 2**30
    ratio: float = 100.0
    small: int = 16 * 2**20


LIMITS = Limits()


def find(
    path: Path, wanted: Iterable[str], optional: Iterable[str] = (), limits: Limits = LIMITS
) -> dict[str, zipfile.ZipInfo]:
    """Find members by the last parts of their names, and refuse unsafe archives.

    Args:
        path: The archive.
        wanted: Ends of names, such as ``CUB/res101.mat``, each of which exactly one member must
            have.
        optional: Ends of names that at most one member may have.
        limits: Limits of a member's size.

    Returns:
        The member found for each end of a name.

    Raises:
        DataError: If the file is not an intact zip archive; if any name in it is absolute, leads
            out of the folder, or has a backslash or drive letter; if it has a link or a device; or
            if a requested member is missing, ambiguous, encrypted, compressed in an unusual way,
            or larger than the limits.
    """
    with _open(path) as archive:
        members = archive.infolist()
    for member in members:
        _check_name(path, member)
        _check_kind(path, member)
    files = [member for member in members if not member.is_dir()]
    wanted = list(wanted)
    found: dict[str, zipfile.ZipInfo] = {}
    for end in [*wanted, *optional]:
        matches = [member for member in files if f"/{member.filename}".endswith(f"/{end}")]
        if len(matches) > 1:
            names = " and ".join(f"'{member.filename}'" for member in matches[:2])
            raise DataError(
                f"{path}: found {end} {len(matches)} times ({names}); expected it once."
            )
        if matches:
            _check_size(path, matches[0], limits)
            found[end] = matches[0]
        elif end in wanted:
            raise DataError(f"{path}: found no {end} among its {len(files)} files; expected one.")
    return found


def extract(
    path: Path,
    members: Mapping[Path, zipfile.ZipInfo],
    beginnings: tuple[bytes, ...] = (b"",),
    limits: Limits = LIMITS,
) -> None:
    """Write members to files; an error in reading one leaves all files as they were.

    Args:
        path: The archive.
        members: Members that :func:`find` found, by the file to write.
        beginnings: Byte strings with one of which a member must start.
        limits: Limits of a member's size.

    Raises:
        DataError: If a member is damaged, does not have the size that the archive declares, exceeds
            the limits, or has another beginning.
        OutputError: If a folder cannot be written, or the disk is full.
    """
    with _open(path) as archive:
        atomic_write_all(
            {
                target: partial(_inflate, path, archive, member, beginnings, limits)
                for target, member in members.items()
            }
        )


def crc32(path: Path) -> int:
    """The CRC-32 of a file's bytes, the checksum that zip archives store of their members.

    Raises:
        DataError: If the file cannot be read.
    """
    value = 0
    for block in blocks(path):
        value = zlib.crc32(block, value)
    return value


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); expected a zip archive."
        ) from error
    except _DAMAGE as error:
        raise DataError(f"{path}: found no intact zip archive ({_brief(error)}).") from error


def _inflate(
    path: Path,
    archive: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    beginnings: tuple[bytes, ...],
    limits: Limits,
    file: IO[bytes],
) -> None:
    """Copy a member block by block; reading the last block also verifies its checksum."""
    here = f"{path}: member '{member.filename}'"
    size = 0
    with _reading(here):
        source = archive.open(member)
    with source:
        while True:
            with _reading(here):
                block = source.read(_BLOCK)
            if size == 0 and not block.startswith(beginnings):
                raise DataError(
                    f"{here}: found bytes that start with {block[:16]!r}; expected "
                    f"{' or '.join(map(repr, beginnings))}."
                )
            if not block:
                break
            size += len(block)
            _check_inflated(here, size, member, limits)
            file.write(block)
    if size != member.file_size:
        raise DataError(
            f"{here}: found {size:,} bytes; expected {member.file_size:,}, as the archive says."
        )


@contextmanager
def _reading(here: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{here}: cannot be read ({error.strerror or error}).") from error
    except _DAMAGE as error:
        raise DataError(f"{here}: found it damaged ({_brief(error)}).") from error


def _check_name(path: Path, member: zipfile.ZipInfo) -> None:
    # the original name, which zipfile cuts at a zero byte
    name = member.orig_filename
    parts = name.split("/")
    wrong = (
        "an absolute path"
        if name.startswith("/")
        else "a backslash"
        if "\\" in name
        else "a drive letter"
        if ":" in parts[0]
        else "a way out of the folder"
        if ".." in parts
        else "a zero byte"
        if "\0" in name
        else ""
    )
    if wrong:
        raise DataError(
            f"{path}: found a member named {name!r}, with {wrong} in it; expected paths below one "
            "folder."
        )


def _check_kind(path: Path, member: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a link" if kind == stat.S_IFLNK else "a device or the like"
        raise DataError(
            f"{path}: found '{member.filename}' to be {what}; expected files and folders only."
        )


def _check_size(path: Path, member: zipfile.ZipInfo, limits: Limits) -> None:
    here = f"{path}: member '{member.filename}'"
    if member.flag_bits & _ENCRYPTED:
        raise DataError(
            f"{here}: found it encrypted; expected a file that can be read without a password."
        )
    if member.compress_type not in _METHODS:
        raise DataError(
            f"{here}: found compression method {member.compress_type}; expected stored or deflated "
            "files."
        )
    _check_inflated(here, member.file_size, member, limits)


def _check_inflated(here: str, size: int, member: zipfile.ZipInfo, limits: Limits) -> None:
    if size > limits.size:
        raise DataError(
            f"{here}: found more than {limits.size:,} bytes; expected less, for a benchmark."
        )
    if size > limits.small and size > limits.ratio * max(member.compress_size, 1):
        raise DataError(
            f"{here}: found {size:,} bytes out of {member.compress_size:,}; expected at most "
            f"{limits.ratio:g} times as many, for a benchmark."
        )
    if size > member.file_size:
        raise DataError(
            f"{here}: found more than the {member.file_size:,} bytes that the archive says."
        )


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__
