"""The seal of a checkpoint: the SHA-256 of its bytes, in the comment that ends its zip archive.

PyTorch, Lightning and zip tools read a sealed file as any other. The seal finds damage; it is no
signature, since whoever writes a file can seal it.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from pathlib import Path

#: the record that ends a zip archive, in front of the comment, whose length is its last field
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
    """Check the seal of a file; of one without a seal, the checksums in its archive.

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
    """The first member of a zip archive whose checksum is wrong, which PyTorch does not look at.

    Args:
        path: A file of :func:`torch.save`; one of PyTorch before 1.6 is no archive, and has none.

    Returns:
        The member's name; None where all are whole.

    Raises:
        OSError, zipfile.BadZipFile: The file cannot be read.
    """
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        return archive.testzip()


def _ends_without_comment(data: bytes) -> bool:
    end = data[-_END.size :]
    return len(end) == _END.size and end[:4] == _SIGNATURE and end[-2:] == b"\0\0"


def _check_archive(data: bytes, *, checksums: bool) -> None:
    """Refuse members that would take more memory than the file has bytes."""
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
        raise ValueError(f"it is no zip archive ({error})") from error
    if damaged is not None:
        raise ValueError(f"the checksum of its member {damaged!r:.60} is wrong")
