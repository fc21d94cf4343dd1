"""The seal of a checkpoint: the SHA-256 of its bytes, in the comment that ends its zip archive.

PyTorch, Lightning and zip tools read a sealed file as any other. The seal detects damage; it is not
a signature, since anyone who writes a file can seal it.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from pathlib import Path

#: the last record of a zip archive, before the comment; its last field is the comment's length
_END = struct.Struct("<4s4H2LH")
_SIGNATURE = b"PK\x05\x06"
_MARK = b"zsl_lab sha256 "
_DIGEST = 64


def seal(archive: bytes) -> bytes:
    """The same zip archive with a seal as its comment.

    Args:
        archive: A zip archive without a comment, as :func:`torch.save` writes it.
    """
    assert _ends_without_comment(archive)
    length = struct.pack("<H", len(_MARK) + _DIGEST)
    # views, since each copy of a large archive takes as long as its hash
    parts: list[memoryview | bytes] = [memoryview(archive)[: -len(length)], length, _MARK]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return b"".join([*parts, digest.hexdigest().encode()])


def check(data: bytes) -> None:
    """Check the seal of a checkpoint; where it has none, the checksums in its archive.

    Versions before 0.2.0 wrote no seal.

    Raises:
        ValueError: Bytes of the file have changed or are missing, or it is no archive as PyTorch
            writes it; the message says what was found.
    """
    if not data:
        raise ValueError("the file is empty")
    if not _ends_without_comment(data):
        digest = data[-_DIGEST:]
        end = data[-_DIGEST - len(_MARK) - _END.size :][: _END.size + len(_MARK)]
        if end[:4] != _SIGNATURE or end[_END.size :] != _MARK:
            raise ValueError("its end is missing or damaged")
        if hashlib.sha256(data[:-_DIGEST]).hexdigest().encode() != digest:
            raise ValueError("its bytes do not match the SHA-256 that they were sealed with")
    _check_archive(data, checksums=_ends_without_comment(data))


def damaged_member(path: Path) -> str | None:
    """The first member of a zip archive whose checksum is wrong; PyTorch does not check them.

    Args:
        path: A file of :func:`torch.save`. Those of PyTorch before 1.6 are not zip archives, and
            are not checked.

    Returns:
        The member's name; None where no checksum is wrong.

    Raises:
        OSError, zipfile.BadZipFile: If the file cannot be read.
    """
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        return archive.testzip()


def _ends_without_comment(data: bytes) -> bool:
    end = data[-_END.size :]
    return len(end) == _END.size and end[:4] == _SIGNATURE and end[-2:] == b"\0\0"


def _check_archive(data: bytes, *, checksums: bool) -> None:
    """Refuse compressed members, sizes beyond the file's and, on request, wrong checksums."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise ValueError("it has compressed members, which PyTorch does not write")
            if sum(member.file_size for member in members) > len(data):
                raise ValueError("it declares more bytes than it has")
            damaged = archive.testzip() if checksums else None
    except ValueError:
        raise
    except Exception as error:  # a damaged archive raises many types
        raise ValueError(f"it is not a zip archive ({error})") from error
    if damaged is not None:
        raise ValueError(f"the checksum of its member {damaged!r:.60} is wrong")
