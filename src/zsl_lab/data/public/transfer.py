"""Downloading one file over HTTP so that no byte is fetched twice, whatever ends the connection.

What has arrived lies in a ``.part`` file; a small JSON file beside it says of which version of the
remote file it is. A later call goes on where it ends, provided that the server still has that
version.
"""

from __future__ import annotations

import errno
import http.client
import json
import re
import shutil
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from zsl_lab import __version__
from zsl_lab.errors import DataError, OutputError
from zsl_lab.files.atomic import atomic_write, reason

#: called with the bytes that are here and the bytes that there are, where the server says it
Progress = Callable[[int, "int | None"], object]

_BLOCK = 2**18
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 10
# what may go away by itself
_PASSING = (408, 429, 500, 502, 503, 504)
# what an address may hold as it is; anything else is escaped
_ADDRESS = "%/:=&?~#+!$,;'@()*[]"
# more than any archive of benchmarks has; a disk without room for it says nothing about the next
# server
_MAX_SIZE = 2**36
#: bytes that must stay free on the disk
_RESERVE = 2**24


class TransferError(DataError):
    """A server did not give the file; the text says why, and the next server may."""


class _InterruptedError(Exception):
    """The connection ended early; another one may get further."""


@dataclass(frozen=True)
class Patience:
    """How long to bear with a server.

    Attributes:
        timeout: Seconds without a byte after which a connection is given up.
        retries: How many connections in a row may end without any progress, after the first.
        pause: Seconds before the first of them; doubled for each further one.
    """

    timeout: float = 30.0
    retries: int = 4
    pause: float = 1.0


PATIENCE = Patience()


@dataclass(frozen=True)
class _Version:
    """What tells a version of the remote file from another one; empty or None where the server does not say it."""

    url: str
    etag: str = ""
    modified: str = ""
    size: int | None = None

    @property
    def condition(self) -> str:
        """What ``If-Range`` may hold: a strong ETag, or a date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


def check_url(url: str) -> None:
    """Raise where an address cannot be downloaded from.

    Raises:
        TransferError: It is neither http nor https, or names no host.
    """
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise TransferError(
            f"found the address {url!r}; expected one that begins with https:// or http:// and "
            "names a host"
        )


def fetch(
    url: str, part: Path, beginning: bytes, progress: Progress, patience: Patience = PATIENCE
) -> None:
    """Download a file, going on where an earlier call has ended.

    Args:
        url: Its address.
        part: Where its bytes are collected; complete when the function returns. Its ``.json``
            belongs to it.
        beginning: The bytes that such a file begins with: a page that a server shows instead is not
            stored.
        progress: Called as bytes arrive.
        patience: How long to bear with the server.

    Raises:
        TransferError: The server does not give the file; what has arrived is kept where it may
            still be of use.
        OutputError: The disk is full, or the folder cannot be written; what has arrived is kept.
    """
    check_url(url)
    # a server that ignores ranges begins anew each time: only what is more than ever before is
    # progress
    idle, furthest = 0, size_of(part)
    while True:
        try:
            _attempt(url, part, beginning, progress, patience.timeout)
            return
        except _InterruptedError as error:
            idle = 0 if size_of(part) > furthest else idle + 1
            furthest = max(furthest, size_of(part))
            if idle > patience.retries:
                tries = f", {idle} times in a row" if idle > 1 else ""
                raise TransferError(f"{error}{tries}") from error
            if idle:
                time.sleep(patience.pause * 2 ** (idle - 1))


def discard(part: Path) -> None:
    """Remove a part and what belongs to it.

    Raises:
        OutputError: The folder cannot be written.
    """
    for path in (_note(part), part):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"Cannot remove {path}: {reason(error)}.") from error


def size_of(part: Path) -> int:
    """Bytes that are there; 0 where there is no file."""
    try:
        return part.stat().st_size
    except OSError:
        return 0


def check_space(folder: Path, size: int) -> None:
    """Raise where a disk has no room.

    Raises:
        OutputError: The text says how much is missing.
    """
    try:
        free = shutil.disk_usage(folder).free
    # some network file systems do not say
    except OSError:
        return
    if free < size + _RESERVE:
        raise OutputError(
            f"{folder}: found {free / 1e6:,.0f} MB of free space; expected "
            f"{(size + _RESERVE) / 1e6:,.0f} MB. Free some, or choose a folder"
            " on another disk."
        )


def _attempt(url: str, part: Path, beginning: bytes, progress: Progress, timeout: float) -> None:
    """One connection: ask for what is missing and append it."""
    known, have = _recall(part, url), size_of(part)
    if have and (known is None or (known.size is not None and have > known.size)):
        discard(part)
        have = 0
    if known is not None and have and have == known.size:
        return
    headers = {"User-Agent": f"zsl_lab/{__version__}"}
    if known is not None and have:
        headers["Range"] = f"bytes={have}-"
        if known.condition:
            headers["If-Range"] = known.condition
    try:
        response = _open(url, headers, timeout)
    except HTTPError as error:
        with error:
            if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                discard(part)
                raise _InterruptedError(
                    "it has another version of the file than the part that is here"
                ) from error
            sentence = f"HTTP status {error.code} ({_plain(error.reason) or 'without a word'})"
            if error.code in _PASSING:
                raise _InterruptedError(sentence) from error
            raise TransferError(sentence) from error
    with response:
        found = _version(url, response)
        block = b""
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            if known is None or not _continues(response, have, known, found):
                discard(part)
                raise _InterruptedError(
                    "it has another version of the file than the part that is here"
                )
            size = known.size
        else:
            # the whole file: nothing was asked for, or the server does not go on in the middle, or
            # has another version
            block = _first(response, len(beginning), timeout)
            _check_beginning(block, beginning, response)
            if have:
                discard(part)
            have, size = 0, found.size
        if size is not None and size > _MAX_SIZE:
            raise TransferError(f"it announces {size:,} bytes; expected at most {_MAX_SIZE:,}")
        check_space(part.parent, (size or 0) - have)
        if block:
            atomic_write(_note(part), json.dumps(asdict(found)).encode())
        _receive(response, part, block, have, size, progress, timeout)


def _receive(
    response: Any,
    part: Path,
    block: bytes,
    have: int,
    size: int | None,
    progress: Progress,
    timeout: float,
) -> None:
    progress(have, size)
    try:
        # unbuffered: what has arrived is in the file, whatever happens next
        with part.open("ab", buffering=0) as file:
            while True:
                if block:
                    append(file, block)
                    have += len(block)
                    progress(have, size)
                if have > (_MAX_SIZE if size is None else size):
                    discard(part)
                    raise TransferError(
                        f"it sent {have:,} bytes and more; expected "
                        f"{f'at most {_MAX_SIZE:,}' if size is None else f'{size:,}'}"
                    )
                block = _read(response, timeout)
                if not block:
                    break
    except OSError as error:
        kept = f"; the {have / 1e6:,.0f} MB that are here are kept" if have else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise OutputError(f"Cannot write {part}: {reason(error)}{kept if full else ''}.") from error
    if size is not None and have != size:
        raise _InterruptedError(f"it broke off at {have:,} of {size:,} bytes")


def append(file: IO[bytes], block: bytes) -> None:
    """Write all of a block, even where the system takes it in pieces."""
    rest = memoryview(block)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def _open(url: str, headers: dict[str, str], timeout: float) -> Any:
    """Send a request, through redirections; every other status than 200 and 206 is an :class:`HTTPError`."""
    opener = OpenerDirector()
    # no handler of files, FTP or redirections: where these may lead is decided here
    for handler in (
        ProxyHandler(),
        UnknownHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    opener.addheaders = []
    visited = [url]
    while True:
        try:
            return opener.open(
                Request(quote(visited[-1], safe=_ADDRESS), headers=headers), timeout=timeout
            )
        except HTTPError as error:
            place = error.headers.get("Location") if error.code in _REDIRECTS else None
            if place is None:
                raise
            with error:
                visited.append(_redirected(visited, place))
        # a ValueError is about characters that no address may have
        except (URLError, http.client.HTTPException, OSError, ValueError) as error:
            raise _unreachable(error, timeout) from error


def _redirected(visited: list[str], place: str) -> str:
    try:
        target = urljoin(visited[-1], place)
        check_url(target)
    except (TransferError, ValueError) as error:
        raise TransferError(
            f"it redirects to {place[:200]!r}, which is neither http nor https"
        ) from error
    if len(visited) > _MAX_REDIRECTS or target in visited:
        raise TransferError(f"it redirects in a circle, or more than {_MAX_REDIRECTS} times")
    if visited[-1].startswith("https:") and not target.startswith("https:"):
        raise TransferError(
            f"it redirects from https to {target!r}, where anybody on the way could change the file"
        )
    return target


def _unreachable(error: Exception, timeout: float) -> Exception:
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return _InterruptedError(f"no answer within {timeout:g} s")
    if isinstance(cause, ssl.SSLCertVerificationError):
        return TransferError(f"its certificate is not valid ({cause.verify_message})")
    if isinstance(cause, socket.gaierror):
        return TransferError(f"its host is not found ({cause.strerror})")
    if isinstance(cause, ConnectionRefusedError):
        return TransferError("its host refuses the connection")
    if isinstance(cause, (ConnectionError, http.client.HTTPException)) and not isinstance(
        cause, http.client.InvalidURL
    ):
        return _InterruptedError(f"the connection broke ({_plain(cause) or type(cause).__name__})")
    return TransferError(f"it cannot be reached ({_plain(cause)})")


def _read(response: Any, timeout: float) -> bytes:
    """Some of what has arrived; empty at the end."""
    try:
        block = response.read1(_BLOCK)
    except TimeoutError as error:
        raise _InterruptedError(f"it stalled: no byte within {timeout:g} s") from error
    except (http.client.HTTPException, ValueError, OSError) as error:
        raise _InterruptedError(
            f"the connection broke ({_plain(error) or type(error).__name__})"
        ) from error
    assert isinstance(block, bytes)
    return block


def _first(response: Any, length: int, timeout: float) -> bytes:
    """The first bytes, ``length`` of them or more where there are as many."""
    first = b""
    while len(first) < length and (block := _read(response, timeout)):
        first += block
    return first


def _check_beginning(block: bytes, beginning: bytes, response: Any) -> None:
    if block.startswith(beginning):
        return
    kind = response.headers.get_content_type()
    if not block:
        raise _InterruptedError("it sent nothing")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise TransferError(
            f"it sent the file in the encoding {_plain(response.headers['Content-Encoding'])}, "
            "which nobody asked for"
        )
    page = kind == "text/html" or re.match(rb"\s*<(!doctype|html)", block, re.IGNORECASE)
    raise TransferError(
        f"it sent {'a web page' if page else f'{block[:16]!r}... ({_plain(kind)})'} instead of the "
        "file"
    )


def _plain(text: object) -> str:
    """What a server said, without characters that would do something to a terminal."""
    return "".join(
        letter if letter.isprintable() else "?" for letter in " ".join(str(text).split())
    )[:200]


def _version(url: str, response: Any) -> _Version:
    headers = response.headers
    size = headers.get("Content-Length", "")
    return _Version(
        url,
        headers.get("ETag", ""),
        headers.get("Last-Modified", ""),
        int(size) if size.isdecimal() else None,
    )


def _continues(response: Any, have: int, known: _Version, found: _Version) -> bool:
    """Whether what the server sends belongs behind the part that is here."""
    span = re.fullmatch(
        r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip()
    )
    if span is None or int(span[1]) != have:
        return False
    total = None if span[3] == "*" else int(span[3])
    same_size = known.size is None or total is None or total == known.size
    return same_size and all(
        not theirs or theirs == ours
        for theirs, ours in ((found.etag, known.etag), (found.modified, known.modified))
    )


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _recall(part: Path, url: str) -> _Version | None:
    """Which version the part is of; None where nobody knows, or it is of another address."""
    with suppress(OSError, ValueError, TypeError):
        known = _Version(**json.loads(_note(part).read_bytes()))
        return known if known.url == url else None
    return None
