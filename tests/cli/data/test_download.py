"""Downloads from a local HTTP server that truncates, stalls, redirects and corrupts."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from filelock import FileLock

from tests.helpers.benchmark_files import Fields, cells
from zsl_lab.cli.data import download as tool
from zsl_lab.cli.data.main import main
from zsl_lab.data.public import transfer
from zsl_lab.data.public.sources import PUBLIC, Archive, Source
from zsl_lab.data.public.transfer import Patience, TransferError
from zsl_lab.errors import DataError, OutputError

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


# how a file arrives


def test_a_file_arrives_as_it_is(server: Server, part: Path) -> None:
    seen = fetch(server.serve(File()), part)
    assert part.read_bytes() == BODY
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert seen[-1] == len(BODY)
    assert server.asked[0]["Accept-Encoding"] == "identity"


def test_a_complete_part_needs_no_server(server: Server, part: Path) -> None:
    url = server.serve(File())
    fetch(url, part)
    server.routes.clear()
    fetch(url, part)
    assert len(server.asked) == 1


def test_a_file_of_unknown_length_arrives(server: Server, part: Path) -> None:
    def chunked(request: Request) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for start in range(0, len(BODY), 100_000):
            piece = BODY[start : start + 100_000]
            request.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        request.wfile.write(b"0\r\n\r\n")

    fetch(server.serve(chunked), part)
    assert part.read_bytes() == BODY


def test_a_file_of_unknown_length_that_breaks_off_is_noticed(server: Server, part: Path) -> None:
    def chunked(request: Request) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.write(f"{len(BODY):x}\r\n".encode() + BODY[:HALF])

    with pytest.raises(TransferError, match=r"the connection broke"):
        fetch(server.serve(chunked), part)


def test_bytes_that_come_one_by_one_are_put_together(server: Server, part: Path) -> None:
    def slow(request: Request) -> None:
        request.answer(200, b"", len(BODY))
        for byte in BODY[:6]:
            request.wfile.write(bytes([byte]))
            request.wfile.flush()
            time.sleep(0.01)
        request.wfile.write(BODY[6:])

    fetch(server.serve(slow), part)
    assert part.read_bytes() == BODY


def test_a_slow_start_is_waited_for(server: Server, part: Path) -> None:
    def late(request: Request) -> None:
        time.sleep(0.15)
        File()(request)

    fetch(server.serve(late), part, replace(PATIENCE, retries=0))
    assert part.read_bytes() == BODY


# going on


def test_a_download_goes_on_where_it_broke_off(server: Server, part: Path) -> None:
    begun(server, part)
    seen = fetch(server.at("/file.zip"), part)
    assert part.read_bytes() == BODY
    assert (server.asked[0]["Range"], server.asked[0]["If-Range"]) == ("bytes=150000-", '"one"')
    assert seen[0] == HALF


def test_a_truncated_answer_is_followed_by_a_request_for_the_rest(
    server: Server, part: Path
) -> None:
    file = File(cut=100_000)

    def growing(request: Request) -> None:
        file(request)
        assert file.cut is not None
        file.cut += 100_000

    fetch(server.serve(growing), part, replace(PATIENCE, retries=0))
    assert part.read_bytes() == BODY
    assert [asked.get("Range") for asked in server.asked] == [
        None,
        "bytes=100000-",
        "bytes=200000-",
        "bytes=300000-",
    ]


def test_a_stall_is_followed_by_a_request_for_the_rest(server: Server, part: Path) -> None:
    file = File(cut=HALF, stall=True)

    def once(request: Request) -> None:
        before, file.stall = replace(file), False
        file.cut = None
        before(request)

    fetch(server.serve(once), part, HURRY)
    assert part.read_bytes() == BODY
    assert len(server.asked) == 2


def test_a_server_that_goes_on_stalling_is_given_up_and_what_arrived_is_kept(
    server: Server, part: Path
) -> None:
    url = server.serve(File(cut=HALF, stall=True))
    with pytest.raises(
        TransferError, match=r"^it stalled: no byte within 0.3 s, 2 times in a row$"
    ):
        fetch(url, part, HURRY)
    assert part.read_bytes() == BODY[:HALF]


@pytest.mark.parametrize(
    "file",
    [
        File(etag="", modified="Wed, 31 Jan 2018 11:30:31 GMT"),
        File(etag='W/"weak"', modified="Wed, 31 Jan 2018 11:30:31 GMT"),
        File(etag=""),
    ],
)
def test_a_date_or_the_length_tell_a_version_too(server: Server, part: Path, file: File) -> None:
    begun(server, part, file)
    fetch(server.at("/file.zip"), part)
    assert part.read_bytes() == BODY
    assert len(server.asked) == 1
    assert server.asked[0]["Range"] == "bytes=150000-"
    assert server.asked[0].get("If-Range", "") == file.modified


def test_a_server_that_ignores_the_range_sends_all_again(server: Server, part: Path) -> None:
    file = begun(server, part)
    file.ranges = False
    seen = fetch(server.at("/file.zip"), part)
    assert part.read_bytes() == BODY
    assert seen[0] == 0


def test_a_server_that_ignores_the_range_and_breaks_off_anywhere_is_given_up(
    server: Server, part: Path
) -> None:
    cuts = iter([50_000, 30_000, 40_000, 30_000, 60_000, *[30_000, 40_000] * 3])

    def moody(request: Request) -> None:
        File(ranges=False, cut=next(cuts, None))(request)

    with pytest.raises(
        TransferError, match=r"it broke off at 40,000 of 300,004 bytes, 4 times in a row"
    ):
        fetch(server.serve(moody), part, replace(PATIENCE, retries=3))
    assert len(server.asked) == 9, (
        "each of 50,000 and 60,000 bytes is progress, and begins the count anew"
    )


@pytest.mark.parametrize("old", [File(), File(etag="", modified="Wed, 31 Jan 2018 11:30:31 GMT")])
def test_a_file_that_has_changed_is_fetched_anew(server: Server, part: Path, old: File) -> None:
    begun(server, part, old)
    other = b"PK\x03\x04" + BODY[::-1]
    server.routes["/file.zip"] = File(other, etag='"two"', modified="Thu, 19 Sep 2019 14:46:48 GMT")
    fetch(server.at("/file.zip"), part)
    assert part.read_bytes() == other


@pytest.mark.parametrize(
    "new",
    [
        File(BODY[:100] + BODY, etag=""),
        File(BODY[::-1], etag='"two"'),
        File(BODY[:1000], etag='"two"'),
    ],
)
def test_a_changed_file_is_noticed_by_its_length_or_etag_where_a_server_ignores_the_condition(
    server: Server, part: Path, new: File
) -> None:
    begun(server, part)
    new.body = b"PK\x03\x04" + new.body

    def careless(request: Request) -> None:
        del request.headers["If-Range"]
        new(request)

    server.routes["/file.zip"] = careless
    fetch(server.at("/file.zip"), part)
    assert part.read_bytes() == new.body


def test_a_range_from_another_place_is_not_appended(server: Server, part: Path) -> None:
    begun(server, part)

    def elsewhere(request: Request) -> None:
        if request.start:
            request.answer(
                206, BODY[5:], ETag='"one"', Content_Range=f"bytes 5-{len(BODY) - 1}/{len(BODY)}"
            )
        else:
            File()(request)

    server.routes["/file.zip"] = elsewhere
    fetch(server.at("/file.zip"), part)
    assert part.read_bytes() == BODY


def test_a_rest_that_is_too_long_is_refused(server: Server, part: Path) -> None:
    begun(server, part)

    def generous(request: Request) -> None:
        request.answer(
            206,
            BODY[HALF:] + b"more",
            ETag='"one"',
            Content_Range=f"bytes {request.start}-{len(BODY) - 1}/{len(BODY)}",
        )

    server.routes["/file.zip"] = generous
    with pytest.raises(TransferError, match=r"it sent 300,008 bytes and more; expected 300,004"):
        fetch(server.at("/file.zip"), part)
    assert not part.exists()


def test_a_part_that_nobody_vouches_for_is_not_gone_on_with(server: Server, part: Path) -> None:
    part.write_bytes(b"PK\x03\x04something else")
    fetch(server.serve(File()), part)
    assert part.read_bytes() == BODY
    note = part.with_name("file.zip.part.json")
    note.write_text(note.read_text().replace("file.zip", "other.zip"))
    part.write_bytes(BODY[::-1][:HALF])
    fetch(server.at("/file.zip"), part)
    assert part.read_bytes() == BODY


def test_a_page_shown_instead_of_the_rest_costs_no_byte(server: Server, part: Path) -> None:
    begun(server, part)
    server.routes["/file.zip"] = lambda request: request.answer(
        200, b"<html>Please log in</html>", Content_Type="text/html"
    )
    with pytest.raises(TransferError, match="it sent a web page instead of the file"):
        fetch(server.at("/file.zip"), part)
    server.routes["/file.zip"] = File()
    assert fetch(server.at("/file.zip"), part)[0] == HALF


# answers that are no file


@pytest.mark.parametrize(
    ("status", "requests"),
    [(404, 1), (403, 1), (410, 1), (500, 2), (503, 2), (429, 2)],
    ids=lambda value: str(value),
)
def test_a_status_is_named_and_one_that_may_pass_is_asked_again(
    server: Server, part: Path, status: int, requests: int
) -> None:
    url = server.serve(lambda request: request.answer(status, b"no"))
    with pytest.raises(TransferError, match=rf"^HTTP status {status} \([\w ]+\)"):
        fetch(url, part)
    assert len(server.asked) == requests
    assert not part.exists()


def test_a_busy_server_may_be_free_the_second_time(server: Server, part: Path) -> None:
    url = server.serve(
        lambda request: request.answer(503) if len(server.asked) == 1 else File()(request)
    )
    fetch(url, part)
    assert part.read_bytes() == BODY


@pytest.mark.parametrize(
    ("body", "headers", "sentence"),
    [
        (
            b"<!DOCTYPE html><html>Moved</html>",
            {"Content_Type": "text/html"},
            "it sent a web page instead of the file",
        ),
        (
            b"\n <HTML>Moved</HTML>",
            {"Content_Type": "application/zip"},
            "it sent a web page instead of the file",
        ),
        (
            b"Rar!\x1a\x07",
            {"Content_Type": "application/zip"},
            r"it sent b'Rar!\x1a\x07'... (application/zip) instead of the file",
        ),
        (
            b"\x1f\x8b\x08",
            {"Content_Encoding": "gzip"},
            "it sent the file in the encoding gzip, which nobody asked for",
        ),
        (b"", {}, "it sent nothing, 2 times in a row"),
    ],
)
def test_what_is_no_such_file_is_not_stored(
    server: Server, part: Path, body: bytes, headers: dict[str, str], sentence: str
) -> None:
    url = server.serve(lambda request: request.answer(200, body, None, **headers))
    with pytest.raises(TransferError) as error:
        fetch(url, part)
    assert str(error.value) == sentence
    assert not part.exists()


def test_redirections_are_followed(server: Server, part: Path) -> None:
    server.serve(File(), "/far/file.zip")
    server.serve(lambda request: request.answer(307, Location="/far/file.zip"), "/near.zip")
    fetch(server.serve(lambda request: request.answer(302, Location=server.at("/near.zip"))), part)
    assert part.read_bytes() == BODY


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("/file.zip", "it redirects in a circle"),
        (
            "file:///etc/passwd",
            "it redirects to 'file:///etc/passwd', which is neither http nor https",
        ),
        ("ftp://127.0.0.1/file.zip", "which is neither http nor https"),
        ("http://[::", "which is neither http nor https"),
        ("data:,PK", "which is neither http nor https"),
    ],
)
def test_redirections_that_lead_nowhere_are_refused(
    server: Server, part: Path, place: str, sentence: str
) -> None:
    url = server.serve(lambda request: request.answer(302, Location=place))
    with pytest.raises(TransferError, match=sentence):
        fetch(url, part)
    assert len(server.asked) == 1


def test_endless_redirections_are_refused(server: Server, part: Path) -> None:
    for i in range(20):
        server.serve(partial(Request.answer, status=302, Location=f"/{i + 1}"), f"/{i}")
    with pytest.raises(TransferError, match="more than 10 times"):
        fetch(server.at("/0"), part)
    assert len(server.asked) == 11


def test_a_redirection_away_from_https_is_refused() -> None:
    with pytest.raises(
        TransferError,
        match=r"from https to 'http://host/file.zip', where anybody on the way could change the "
        r"file",
    ):
        transfer._redirected(["https://host/file.zip"], "http://host/file.zip")


def test_a_server_that_hangs_up_is_named(server: Server, part: Path) -> None:
    def reset(request: Request) -> None:
        request.connection.shutdown(socket.SHUT_RDWR)

    with pytest.raises(TransferError, match=r"the connection broke \(.*\), 2 times in a row"):
        fetch(server.serve(reset), part)


def test_a_server_that_never_answers_is_named(server: Server, part: Path) -> None:
    def silent(request: Request) -> None:
        request.server.over.wait(5)

    url = server.serve(silent)
    with pytest.raises(TransferError, match=r"^no answer within 0.3 s, 2 times in a row$"):
        fetch(url, part, HURRY)


def test_what_a_server_says_does_nothing_to_the_terminal(server: Server, part: Path) -> None:
    def rude(request: Request) -> None:
        request.wfile.write(b"HTTP/1.1 404 \x1b[2J\x07gone\r\nContent-Length: 0\r\n\r\n")

    with pytest.raises(TransferError, match=r"^HTTP status 404 \(\?\[2J\?gone\)$"):
        fetch(server.serve(rude), part)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"what?\r\n\r\n", "the connection broke (what?), 2 times in a row"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\nPK\x03\x04",
            "it announces 99,999,999,999,999 bytes; expected at most",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n", "the connection broke"),
        (
            b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-3/4\r\n\r\nPK\x03\x04",
            "it has another version of the file",
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "it sent nothing"),
        (b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n", "HTTP status 301 (Moved)"),
    ],
)
def test_answers_that_break_the_rules_are_named(
    server: Server, part: Path, raw: bytes, sentence: str
) -> None:
    def rude(request: Request) -> None:
        request.wfile.write(raw)

    with pytest.raises(TransferError, match=re.escape(sentence)):
        fetch(server.serve(rude), part)
    assert not part.exists()


def test_a_closed_port_is_named(part: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(TransferError, match=r"^its host refuses the connection$"):
        fetch(f"http://127.0.0.1:{port}/file.zip", part)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x",
        "file:///etc/passwd",
        "x.zip",
        "http://",
        "https://:80/x",
        "http://[::1/x",
        "http://host:0/",
    ],
)
def test_addresses_of_other_kinds_are_refused(url: str, part: Path) -> None:
    with pytest.raises(
        TransferError, match="expected one that begins with https:// or http:// and names a host"
    ):
        fetch(url, part)


def test_a_space_in_an_address_is_escaped(server: Server, part: Path) -> None:
    server.serve(File(), "/a%20b%C3%A4.zip")
    fetch(server.at("/a bä.zip"), part)
    assert part.read_bytes() == BODY


# the disk


def test_a_disk_without_room_is_noticed_before_anything_is_written(
    server: Server, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(part.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2**24 + 300_003))
    with pytest.raises(
        OutputError,
        match=r"found 17 MB of free space; expected 17 MB. Free some, or choose a folder on "
        r"another disk",
    ):
        fetch(server.serve(File()), part)
    assert not part.exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2**24 + 300_004))
    fetch(server.at("/file.zip"), part)


def test_a_disk_that_fills_up_keeps_what_is_there(
    server: Server, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = transfer.append

    def full(file: object, block: bytes) -> None:
        if part.stat().st_size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(file, block[:1000])  # type: ignore[arg-type]

    url = server.serve(File(cut=HALF))
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "append", full)
        with pytest.raises(
            OutputError,
            match=r"Cannot write .*file.zip.part: the disk is full .*; the 0 MB that are here are "
            r"kept",
        ):
            fetch(url, part)
    assert part.read_bytes() == BODY[:1000]
    server.routes["/file.zip"] = File()
    assert fetch(url, part)[0] == 1000
    assert part.read_bytes() == BODY


# a benchmark from an archive


@pytest.fixture(scope="module")
def archive() -> bytes:
    """An archive as the authors pack it: toy files of the real format for AWA2 and CUB."""
    rng = np.random.default_rng(0)
    folder = {}
    labels = np.repeat(np.arange(1, 6), 4)
    loc = {
        "trainval_loc": [1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15],
        "test_seen_loc": [4, 8, 12, 16],
        "test_unseen_loc": [17, 18, 19, 20],
    }
    splits: Fields = {
        name: np.array(values, dtype=np.uint16)[:, None] for name, values in loc.items()
    }
    splits |= {
        "att": rng.random((3, 5)),
        "original_att": rng.random((3, 5)),
        "allclasses_names": cells(["ant", "bee", "cat", "dog", "eel"]),
    }
    files = {
        "res101.mat": {
            "features": rng.random((6, 20)),
            "labels": labels.astype(np.float64)[:, None],
        },
        "att_splits.mat": splits,
        "sent_splits.mat": {"att": rng.random((2, 5))},
    }
    for name, fields in files.items():
        buffer = io.BytesIO()
        scipy.io.savemat(buffer, fields)
        folder[name] = buffer.getvalue()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("xlsa17/README.txt", "toy")
        for dataset in ("AWA2", "CUB"):
            for name in ("res101.mat", "att_splits.mat"):
                packed.writestr(f"xlsa17/data/{dataset}/{name}", folder[name])
        packed.writestr("xlsa17/data/CUB/sent_splits.mat", folder["sent_splits.mat"])
        # so that an archive is more than a packet
        packed.writestr("xlsa17/data/padding.bin", random.Random(1).randbytes(100_000))
    return buffer.getvalue()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def public(*urls: str, dataset: str = "awa2") -> Source:
    """A published benchmark, as if it were at these addresses."""
    return replace(PUBLIC[dataset], archive=Archive("xlsa17.zip", urls, "http://page"))


def get(
    source: Source,
    data_dir: Path,
    *,
    keep_archive: bool = False,
    overwrite: bool = False,
    patience: Patience = PATIENCE,
) -> None:
    tool.download(
        source, data_dir, keep_archive=keep_archive, overwrite=overwrite, patience=patience
    )


def left(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    )


def test_the_command_downloads_checks_and_shows_a_benchmark(
    server: Server, archive: bytes, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.serve(File(archive), "/xlsa17.zip")
    assert main(["download", "awa2", "--data-dir", str(data_dir), "--url", url]) == 0
    assert left(data_dir) == ["AWA2/att_splits.mat", "AWA2/res101.mat"]
    out, err = capsys.readouterr()
    assert "AWA2 (dataset=awa2)" in out
    assert ["trainval", "12", "23,527", "differs"] in [line.split() for line in out.splitlines()]
    assert f"From {url}" in err
    assert "AWA2/att_splits.mat: 0.0 MB, md5 " in err
    assert (
        "another version than the genuine file that zsl_lab knows (md5 "
        "9835f498eb4729cc03bb2408e4262a5b)" in err
    )
    assert "res101.mat: 0.0 MB, md5 " in err
    assert "not known to zsl_lab" in err


def test_files_that_are_here_and_intact_are_left_alone(
    server: Server, archive: bytes, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = public(server.serve(File(archive)))
    get(source, data_dir)
    asked = len(server.asked)
    get(source, data_dir)
    assert len(server.asked) == asked
    assert (
        "res101.mat and att_splits.mat are here and intact; --overwrite replaces them"
        in capsys.readouterr().err
    )


def test_a_damaged_file_is_replaced_and_an_intact_one_is_not(
    server: Server, archive: bytes, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = public(server.serve(File(archive)))
    get(source, data_dir)
    features, splits = data_dir / "AWA2" / "res101.mat", data_dir / "AWA2" / "att_splits.mat"
    whole = features.read_bytes()
    features.write_bytes(whole[:300])
    fields = scipy.io.loadmat(splits)
    scipy.io.savemat(
        splits,
        {name: value for name, value in fields.items() if not name.startswith("_")}
        | {"att": fields["att"] * 2},
    )
    own = splits.read_bytes()
    get(source, data_dir)
    assert features.read_bytes() == whole
    assert splits.read_bytes() == own
    assert (
        "att_splits.mat: it is not the archive's, and is left alone; --overwrite replaces it"
        in capsys.readouterr().err
    )
    get(source, data_dir, overwrite=True)
    assert splits.read_bytes() != own


def test_a_file_that_may_be_there_is_taken_where_it_is(
    server: Server, archive: bytes, data_dir: Path
) -> None:
    get(public(server.serve(File(archive)), dataset="cub"), data_dir)
    assert left(data_dir) == ["CUB/att_splits.mat", "CUB/res101.mat", "CUB/sent_splits.mat"]


def test_a_kept_archive_serves_the_next_benchmark(
    server: Server, archive: bytes, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.serve(File(archive))
    get(public(url), data_dir, keep_archive=True)
    assert (data_dir / "xlsa17.zip").read_bytes() == archive
    asked = len(server.asked)
    get(public(url, dataset="cub"), data_dir)
    assert len(server.asked) == asked
    assert (data_dir / "CUB" / "res101.mat").is_file()
    assert f"{data_dir / 'xlsa17.zip'} is here: no download is needed." in capsys.readouterr().err


def test_a_damaged_archive_of_the_users_is_left_alone(
    server: Server, archive: bytes, data_dir: Path
) -> None:
    data_dir.mkdir()
    (data_dir / "xlsa17.zip").write_bytes(archive[:5000])
    get(public(server.serve(File(archive))), data_dir)
    assert (data_dir / "xlsa17.zip").read_bytes() == archive[:5000]
    assert (data_dir / "AWA2" / "res101.mat").is_file()


def test_every_mirror_that_fails_is_named_and_the_next_one_tried(
    server: Server, archive: bytes, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flipped = bytearray(archive)
    at = archive.index(b"xlsa17/data/AWA2/res101.mat") + 200
    flipped[at : at + 8] = bytes(8)
    without = File(archive.replace(b"AWA2", b"AWA3"))
    routes: dict[str, tuple[Route, str]] = {
        "/gone": (lambda request: request.answer(404), "HTTP status 404 (Not Found)."),
        "/busy": (
            lambda request: request.answer(503),
            "HTTP status 503 (Service Unavailable), 2 times in a row.",
        ),
        "/page": (
            lambda request: request.answer(200, b"<html>", Content_Type="text/html"),
            "it sent a web page instead of the file.",
        ),
        "/loop": (
            lambda request: request.answer(302, Location="/loop"),
            "it redirects in a circle",
        ),
        "/cut": (
            File(archive, cut=5000),
            f"it broke off at 5,000 of {len(archive):,} bytes, 2 times in a row.",
        ),
        "/stall": (
            File(archive, cut=6000, stall=True),
            "it stalled: no byte within 0.3 s, 2 times in a row.",
        ),
        "/flipped": (File(bytes(flipped)), "AWA2/res101.mat': found it damaged"),
        "/other": (without, "found no AWA2/res101.mat among its 7 files; expected one."),
        "/half": (File(archive[:5000]), "found no intact zip archive (File is not a zip file)."),
    }
    urls = [server.serve(route, path) for path, (route, _) in routes.items()] + [
        server.serve(File(archive), "/good")
    ]
    get(public(*urls), data_dir, patience=HURRY)
    err = capsys.readouterr().err
    for path, (_, sentence) in routes.items():
        (line,) = [line for line in err.splitlines() if line.startswith(f"{server.at(path)}: ")]
        assert sentence in line
    assert left(data_dir) == ["AWA2/att_splits.mat", "AWA2/res101.mat"]


def test_without_a_good_mirror_nothing_changes_and_the_ways_out_are_named(
    server: Server, archive: bytes, data_dir: Path
) -> None:
    first, second = (
        server.serve(File(archive, cut=5000), "/first"),
        server.serve(File(archive[:4000]), "/second"),
    )
    (data_dir / "AWA2").mkdir(parents=True)
    (data_dir / "AWA2" / "res101.mat").write_bytes(b"old")
    with pytest.raises(DataError) as error:
        get(public(first, second), data_dir)
    for text in (
        "xlsa17.zip: no source gave it; 2 tried",
        "what has arrived, 0.0 MB, is kept",
        "--url",
        "http://page",
        str(data_dir / "xlsa17.zip"),
    ):
        assert text in str(error.value)
    # the first broke off and can go on; the second was whole and useless
    parts = [name for name in left(data_dir) if name.endswith(".part")]
    assert [(data_dir / name).stat().st_size for name in parts] == [5000]
    assert (data_dir / "AWA2" / "res101.mat").read_bytes() == b"old"
    server.routes["/first"] = File(archive)
    get(public(first, second), data_dir)
    assert server.asked[-1]["Range"] == "bytes=5000-"
    assert left(data_dir) == ["AWA2/att_splits.mat", "AWA2/res101.mat"]


def test_a_full_disk_ends_a_download_instead_of_trying_other_mirrors(
    server: Server, archive: bytes, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(data_dir.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2**24))
    with pytest.raises(OutputError, match="of free space"):
        get(public(server.serve(File(archive), "/a"), server.serve(File(archive), "/b")), data_dir)
    assert len(server.asked) == 1


def test_a_disk_without_room_for_the_files_keeps_the_archive_for_the_next_try(
    server: Server, archive: bytes, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.serve(File(archive))
    usage = shutil.disk_usage(data_dir.parent)
    # the archive just fits
    monkeypatch.setattr(
        shutil,
        "disk_usage",
        lambda path: usage._replace(free=2**24 + (len(archive) if not left(data_dir) else 100)),
    )
    with pytest.raises(OutputError, match="of free space"):
        get(public(url), data_dir)
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "*")
    get(public(url), data_dir)
    assert len(server.asked) == 1
    assert left(data_dir) == ["AWA2/att_splits.mat", "AWA2/res101.mat"]


def test_a_download_that_gets_nothing_leaves_no_folder(
    server: Server, archive: bytes, data_dir: Path
) -> None:
    gone = public(server.serve(lambda request: request.answer(404)))
    with pytest.raises(DataError, match="no source gave it"):
        get(gone, data_dir / "deeper")
    assert not data_dir.exists()
    (data_dir / "mine").mkdir(parents=True)
    with pytest.raises(DataError, match="no source gave it"):
        get(gone, data_dir / "mine")
    assert (data_dir / "mine").is_dir(), "it was there before"
    get(public(server.serve(File(archive))), data_dir / "mine")


def test_two_downloads_at_once_do_not_meet(server: Server, archive: bytes, data_dir: Path) -> None:
    data_dir.mkdir()
    with (
        FileLock(str(data_dir / ".xlsa17.zip.lock")),
        pytest.raises(OutputError, match=r"another download of xlsa17.zip into this"),
    ):
        get(public(server.serve(File(archive))), data_dir)
    assert not server.asked


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    with pytest.raises(OutputError, match=r"Cannot write to .*/data: its folder is not writable"):
        get(public("http://127.0.0.1:9/"), tmp_path / "data")


def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    with pytest.raises(OutputError, match=r"Cannot write to .*/data: File exists"):
        get(public("http://127.0.0.1:9/"), tmp_path / "data")


def test_what_a_killed_download_left_is_removed(
    server: Server, archive: bytes, data_dir: Path
) -> None:
    (data_dir / "AWA2").mkdir(parents=True)
    (data_dir / "AWA2" / ".res101.mat.0123.tmp").write_bytes(b"half")
    get(public(server.serve(File(archive))), data_dir)
    assert left(data_dir) == ["AWA2/att_splits.mat", "AWA2/res101.mat"]


def test_ctrl_c_keeps_what_is_there_and_names_the_command(
    server: Server, archive: bytes, data_dir: Path
) -> None:
    url = server.serve(File(archive, cut=5000, stall=True))
    command = [
        sys.executable,
        "-m",
        "zsl_lab.data",
        "download",
        "awa2",
        "--data-dir",
        str(data_dir),
        "--url",
        url,
    ]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 20
        while (
            not (sizes := [path.stat().st_size for path in data_dir.glob("*.part")])
            or sizes[0] < 5000
        ):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Interrupted. 0.0 MB are kept in" in err
    assert (
        f"This goes on: python -m zsl_lab.data download awa2 --data-dir {data_dir} --url {url}"
        in err
    )
    assert "Traceback" not in err
    server.routes["/file.zip"] = File(archive)
    get(public(url), data_dir)
    assert server.asked[-1]["Range"] == "bytes=5000-"
    assert left(data_dir) == ["AWA2/att_splits.mat", "AWA2/res101.mat"]


def test_progress_is_a_line_now_and_then_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 1.0, 5.0, 7.0, 11.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    lines = tool._Lines()
    for have in (100_000_000, 140_000_000, 160_000_000, 200_000_000):
        lines(have, 880_000_000)
    assert capsys.readouterr().err.splitlines() == [
        "  140 of 880 MB, 10.0 MB/s, 74 s left",
        "  200 of 880 MB, 10.0 MB/s, 68 s left",
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["awa3"], "awa3: there is no such dataset. Did you mean awa2?"),
        (["digits"], "digits: there is nothing to download"),
        (
            ["awa2", "--url", "ftp://host/x.zip"],
            "--url: found the address 'ftp://host/x.zip'; expected one that begins with https://",
        ),
        (
            ["awa2", "--keep-archiv"],
            "--keep-archiv: there is no such option. Did you mean --keep-archive?",
        ),
        ([], "The following arguments are required: DATASET"),
    ],
)
def test_wrong_commands_are_answered_in_a_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["download", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_genuine_files_are_known_by_their_hash(genuine: Path) -> None:
    from zsl_lab.files.hashing import md5_file

    for source in PUBLIC.values():
        for file, md5 in source.genuine.items():
            assert md5_file(genuine / source.folder / file) == md5
            assert source.version(file, md5) == "the genuine file"
    apy = PUBLIC["apy"].version("att_splits.mat", md5_file(genuine / "APY" / "att_splits.mat"))
    assert apy == "a version of 2021 that circulates, not known to be the genuine file"


def test_the_note_beside_a_part_says_of_which_version_it_is(server: Server, part: Path) -> None:
    begun(server, part, File(modified="Wed, 31 Jan 2018 11:30:31 GMT"))
    note = json.loads(part.with_name("file.zip.part.json").read_text())
    assert note == {
        "url": server.at("/file.zip"),
        "etag": '"one"',
        "modified": "Wed, 31 Jan 2018 11:30:31 GMT",
        "size": len(BODY),
    }
