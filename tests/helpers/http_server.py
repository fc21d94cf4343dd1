"""A local HTTP server that truncates, stalls, redirects and corrupts, for tests of downloads."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from zsl_lab.data.public import transfer
from zsl_lab.data.public.transfer import Patience, TransferError

BODY = b"PK\x03\x04" + random.Random(0).randbytes(300_000)
HALF = 150_000
PATIENCE = Patience(timeout=10.0, retries=1, pause=0.0)
#: for servers that stall; no others, because a busy machine stalls too
HURRY = replace(PATIENCE, timeout=0.3)

Route = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """One request, with what a test needs to answer it in its own way."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(dict(self.headers))
        self.close_connection = True
        try:
            self.server.routes[self.path](self)
        # the client has had enough
        except (BrokenPipeError, ConnectionResetError):
            return

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""

    def answer(
        self, status: int, body: bytes = b"", length: int | None = None, **headers: str
    ) -> None:
        """Headers as ``Content_Range="..."``; ``length`` may announce more than the body holds."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    @property
    def start(self) -> int:
        """Where the client wants to go on; 0 where it wants all."""
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.routes: dict[str, Route] = {}
        self.asked: list[dict[str, str]] = []
        self.over = threading.Event()

    def at(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def serve(self, route: Route, path: str = "/file.zip") -> str:
        """The address of an answer."""
        self.routes[path] = route
        return self.at(path)

    def handle_error(self, request: object, client_address: object) -> None:
        """The client's errors are the tests' matter."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.over.set()
        running.shutdown()
        thread.join()


@dataclass
class File:
    """A file as an honest server has it, which may change and may break off at ``cut``."""

    body: bytes = BODY
    etag: str = '"one"'
    modified: str = ""
    cut: int | None = None
    stall: bool = False
    ranges: bool = True
    headers: dict[str, str] = field(default_factory=dict)

    def __call__(self, request: Request) -> None:
        start = request.start
        condition = request.headers.get("If-Range")
        partial = self.ranges and start > 0 and condition in (None, self.etag, self.modified)
        headers = {
            **self.headers,
            **({"ETag": self.etag} if self.etag else {}),
            **({"Last_Modified": self.modified} if self.modified else {}),
        }
        if partial and start >= len(self.body):
            request.answer(416, Content_Range=f"bytes */{len(self.body)}")
            return
        sent = self.body[start:] if partial else self.body
        if partial:
            headers["Content_Range"] = f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
        end = len(sent) if self.cut is None else max(0, self.cut - (start if partial else 0))
        request.answer(206 if partial else 200, sent[:end], len(sent), **headers)
        if self.stall and end < len(sent):
            request.server.over.wait(5)


def fetch(url: str, part: Path, patience: Patience = PATIENCE) -> list[int]:
    """Download to a part; the bytes that were there each time something arrived."""
    seen: list[int] = []
    transfer.fetch(url, part, b"PK\x03\x04", lambda have, size: seen.append(have), patience)
    return seen


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "file.zip.part"


def begun(server: Server, part: Path, file: File | None = None) -> File:
    """A part of 150,000 bytes, left by a server that broke off."""
    file = file or File()
    url = server.serve(replace(file, cut=HALF))
    with pytest.raises(
        TransferError, match=r"it broke off at 150,000 of 300,004 bytes, 2 times in a row"
    ):
        fetch(url, part)
    assert part.stat().st_size == HALF
    server.routes["/file.zip"] = file
    server.asked.clear()
    return file
