"""Downloads a file over HTTP, resuming an earlier, incomplete download.

The bytes received so far are in a ``.part`` file (the part); a small JSON file beside it identifies
the version of the remote file. A later call continues the part if the server still has this
version.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, ReadTimeoutError

from zsl_lab import __version__
from zsl_lab.errors import DataError, OutputError
from zsl_lab.files.atomic import atomic_write, reason

#: called with the number of bytes received and the file's size, None where it is not known
Progress = Callable[[int, "int | None"], object]

_BLOCK = 2**18
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 10
_OTHER_VERSION = "it has another version of the file than the part that is here"
# status codes of temporary errors: the request is repeated
_PASSING = (408, 429, 500, 502, 503, 504)
# characters of an address that are not escaped
_ADDRESS = "%/:=&?~#+!$,;'@()*[]"
# larger than any archive of benchmarks: a limit in case a server announces or sends nonsense
_MAX_SIZE = 2**36
#: bytes that must stay free on the disk
_RESERVE = 2**24


class TransferError(DataError):
    """A server did not give the file; the message says why. Another server may have it."""


class _InterruptedError(Exception):
    """The connection ended early; another one may get further."""


@dataclass(frozen=True)
class Patience:
    """Timeout and retries.

    Attributes:
        timeout: Seconds without a byte after which a connection is closed.
        retries: Number of retries in a row without progress before the download fails.
        pause: Seconds before the first retry; doubled for each further one.
    """

    timeout: float = 30.0
    retries: int = 4
    pause: float = 1.0


PATIENCE = Patience()


@dataclass(frozen=True)
class _Version:
    """Identifies a version of the remote file.

    Attributes:
        url: Its address.
        etag: Header ``ETag``; empty where the server sends none.
        modified: Header ``Last-Modified``; empty where the server sends none.
        size: Size in bytes; None where the server does not give it.
    """

    url: str
    etag: str = ""
    modified: str = ""
    size: int | None = None

    @property
    def condition(self) -> str:
        """Value for ``If-Range``, which takes a strong ETag or a date; empty without either."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


def check_url(url: str) -> None:
    """Check that an address is one to download from.

    Raises:
        TransferError: If it is neither http nor https, or names no host.
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
    """Download a file, resuming an earlier download.

    Args:
        url: Its address.
        part: The file that receives the bytes; complete when the function returns. The version of
            the remote file is stored beside it, as ``.json``.
        beginning: The bytes that the file must begin with; anything else, such as a login page, is
            not stored.
        progress: Called as bytes arrive.
        patience: Timeout and retries.

    Raises:
        TransferError: If the server does not give the file; the part is kept if it can be resumed.
        OutputError: If the disk is full, or the folder cannot be written; the part is kept.
    """
    check_url(url)
    # a server that ignores ranges starts over each time: only more bytes than ever before count
    # as progress
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
    """Remove a part and the version stored beside it.

    Raises:
        OutputError: If the folder cannot be written.
    """
    for path in (_note(part), part):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"Cannot remove {path}: {reason(error)}.") from error


def size_of(part: Path) -> int:
    """The size of a part in bytes; 0 where there is none."""
    try:
        return part.stat().st_size
    except OSError:
        return 0


def check_space(folder: Path, size: int) -> None:
    """Check that a disk has enough free space.

    Args:
        folder: A folder on the disk.
        size: Number of bytes to be written.

    Raises:
        OutputError: If it has not; the message says how much there is.
    """
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        # some network file systems do not report it
        return
    if free < size + _RESERVE:
        raise OutputError(
            f"{folder}: found {free / 1e6:,.0f} MB of free space; expected "
            f"{(size + _RESERVE) / 1e6:,.0f} MB. Free some, or choose a folder"
            " on another disk."
        )


def _attempt(url: str, part: Path, beginning: bytes, progress: Progress, timeout: float) -> None:
    """Request the missing bytes over one connection, and append them to the part."""
    known, have = _recall(part, url), size_of(part)
    if have and (known is None or (known.size is not None and have > known.size)):
        discard(part)
        have = 0
    if known is not None and have and have == known.size:
        return
    headers = {"User-Agent": f"zsl_lab/{__version__}", "Accept-Encoding": "identity"}
    if known is not None and have:
        headers["Range"] = f"bytes={have}-"
        if known.condition:
            headers["If-Range"] = known.condition
    with _Session() as session, _open(session, url, headers, timeout) as response:
        _check_status(response, part, have)
        found = _version(url, response)
        block = b""
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            if known is None or not _continues(response, have, known, found):
                discard(part)
                raise _InterruptedError(_OTHER_VERSION)
            size = known.size
        else:
            # the server sends the whole file: no range was requested, or it ignores ranges, or it
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


def _check_status(response: requests.Response, part: Path, have: int) -> None:
    """Raise an error if the answer is one."""
    code = response.status_code
    if HTTPStatus.OK <= code < HTTPStatus.MULTIPLE_CHOICES:
        return
    if code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
        discard(part)
        raise _InterruptedError(_OTHER_VERSION)
    sentence = f"HTTP status {code} ({_plain(response.reason) or 'no reason given'})"
    raise _InterruptedError(sentence) if code in _PASSING else TransferError(sentence)


def _receive(
    response: requests.Response,
    part: Path,
    block: bytes,
    have: int,
    size: int | None,
    progress: Progress,
    timeout: float,
) -> None:
    progress(have, size)
    try:
        # unbuffered, so that an interrupted process loses no bytes
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
    """Write a whole block to an unbuffered file, where a single call may write less."""
    rest = memoryview(block)
    while rest:
        rest = rest[file.write(rest) or 0 :]


class _Session(requests.Session):
    """A session that ignores ``~/.netrc`` and leaves redirections to :func:`_open`."""

    def __init__(self) -> None:
        super().__init__()
        self.headers.clear()
        # without this, requests would send credentials from ~/.netrc
        self.auth = lambda request: request
        self.mount("https://", _SystemTrust())

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None, so that requests follows no redirection."""
        return None


class _SystemTrust(HTTPAdapter):
    """Trusts the certificates of the operating system (or ``SSL_CERT_FILE``) and of certifi."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=ssl.create_default_context(), **options)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=ssl.create_default_context(), **options)


def _open(
    session: requests.Session, url: str, headers: dict[str, str], timeout: float
) -> requests.Response:
    """Send a request and follow redirections; the body is not read yet."""
    visited = [url]
    while True:
        try:
            response = session.get(
                quote(visited[-1], safe=_ADDRESS), headers=headers, timeout=timeout, stream=True
            )
        # ValueError: the address has invalid characters
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise _unreachable(error, timeout) from error
        place = response.headers.get("Location")
        if response.status_code not in _REDIRECTS or place is None:
            # _receive checks the length, to report the numbers of bytes
            response.raw.enforce_content_length = False
            return response
        with response:
            visited.append(_redirected(visited, place))


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
    """The error to raise if no answer came."""
    causes = list(_chain(error))
    for cause in reversed(causes):
        if isinstance(cause, (TimeoutError, requests.Timeout)):
            return _InterruptedError(f"no answer within {timeout:g} s")
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TransferError(f"its certificate is not valid ({cause.verify_message})")
        if isinstance(cause, socket.gaierror):
            return TransferError(f"its host is not found ({cause.strerror})")
        if isinstance(cause, ConnectionRefusedError):
            return TransferError("its host refuses the connection")
        if isinstance(cause, (ConnectionError, HTTPException)):
            return _InterruptedError(
                f"the connection broke ({_plain(cause) or type(cause).__name__})"
            )
    return TransferError(f"it cannot be reached ({_plain(causes[-1])})")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _read(response: requests.Response, timeout: float) -> bytes:
    """The next bytes, as soon as any have arrived; empty at the end."""
    try:
        # not iter_content: it waits for whole blocks, and decodes
        block: bytes = response.raw.read1(_BLOCK, decode_content=False)
    except (ReadTimeoutError, TimeoutError) as error:
        raise _InterruptedError(f"it stalled: no byte within {timeout:g} s") from error
    except (HTTPError, HTTPException, ValueError, OSError) as error:
        raise _InterruptedError(
            f"the connection broke ({_plain(error) or type(error).__name__})"
        ) from error
    return block


def _first(response: requests.Response, length: int, timeout: float) -> bytes:
    """The first bytes, at least ``length`` of them unless the body is shorter."""
    first = b""
    while len(first) < length and (block := _read(response, timeout)):
        first += block
    return first


def _check_beginning(block: bytes, beginning: bytes, response: requests.Response) -> None:
    if block.startswith(beginning):
        return
    kind = response.headers.get("Content-Type", "unknown type").partition(";")[0].strip().lower()
    if not block:
        raise _InterruptedError("it sent nothing")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise TransferError(
            f"it sent the file in the encoding {_plain(response.headers['Content-Encoding'])}, "
            "which was not requested"
        )
    page = kind == "text/html" or re.match(rb"\s*<(!doctype|html)", block, re.IGNORECASE)
    raise TransferError(
        f"it sent {'a web page' if page else f'{block[:16]!r}... ({_plain(kind)})'} instead of the "
        "file"
    )


def _plain(text: object) -> str:
    """A text from a server, in one line of at most 200 characters without control characters."""
    return "".join(
        letter if letter.isprintable() else "?" for letter in " ".join(str(text).split())
    )[:200]


def _version(url: str, response: requests.Response) -> _Version:
    headers = response.headers
    size = headers.get("Content-Length", "")
    return _Version(
        url,
        headers.get("ETag", ""),
        headers.get("Last-Modified", ""),
        int(size) if size.isdecimal() else None,
    )


def _continues(response: requests.Response, have: int, known: _Version, found: _Version) -> bool:
    """Whether the answer continues the part."""
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
    """The version that the part belongs to; None if it is not known or has another address."""
    with suppress(OSError, ValueError, TypeError):
        known = _Version(**json.loads(_note(part).read_bytes()))
        return known if known.url == url else None
    return None
