"""Downloads from a local HTTP server: resuming, errors, and full disks."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.helpers.http_server import (
    BODY,
    HALF,
    HURRY,
    PATIENCE,
    File,
    Request,
    Server,
    begun,
    fetch,
)
from zsl_lab.data.public import transfer
from zsl_lab.data.public.transfer import TransferError
from zsl_lab.errors import OutputError

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


@pytest.mark.slow
def test_a_download_goes_on_where_it_broke_off(server: Server, part: Path) -> None:
    begun(server, part)
    seen = fetch(server.at("/file.zip"), part)
    assert part.read_bytes() == BODY
    assert (server.asked[0]["Range"], server.asked[0]["If-Range"]) == ("bytes=150000-", '"one"')
    assert seen[0] == HALF


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_stall_is_followed_by_a_request_for_the_rest(server: Server, part: Path) -> None:
    file = File(cut=HALF, stall=True)

    def once(request: Request) -> None:
        before, file.stall = replace(file), False
        file.cut = None
        before(request)

    fetch(server.serve(once), part, HURRY)
    assert part.read_bytes() == BODY
    assert len(server.asked) == 2


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_server_that_ignores_the_range_sends_all_again(server: Server, part: Path) -> None:
    file = begun(server, part)
    file.ranges = False
    seen = fetch(server.at("/file.zip"), part)
    assert part.read_bytes() == BODY
    assert seen[0] == 0


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("old", [File(), File(etag="", modified="Wed, 31 Jan 2018 11:30:31 GMT")])
def test_a_file_that_has_changed_is_fetched_anew(server: Server, part: Path, old: File) -> None:
    begun(server, part, old)
    other = b"PK\x03\x04" + BODY[::-1]
    server.routes["/file.zip"] = File(other, etag='"two"', modified="Thu, 19 Sep 2019 14:46:48 GMT")
    fetch(server.at("/file.zip"), part)
    assert part.read_bytes() == other


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
            "it sent the file in the encoding gzip, which was not requested",
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


@pytest.mark.slow
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


def test_the_note_beside_a_part_says_of_which_version_it_is(server: Server, part: Path) -> None:
    begun(server, part, File(modified="Wed, 31 Jan 2018 11:30:31 GMT"))
    note = json.loads(part.with_name("file.zip.part.json").read_text())
    assert note == {
        "url": server.at("/file.zip"),
        "etag": '"one"',
        "modified": "Wed, 31 Jan 2018 11:30:31 GMT",
        "size": len(BODY),
    }
