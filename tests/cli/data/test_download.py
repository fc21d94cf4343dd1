"""``download``: archives from a local HTTP server, their mirrors, and what is left of failures."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from filelock import FileLock

from tests.helpers.benchmark_files import Fields, cells
from tests.helpers.http_server import HURRY, PATIENCE, File, Route, Server
from zsl_lab.cli.data import download as tool
from zsl_lab.cli.data.main import main
from zsl_lab.data.public.sources import PUBLIC, Archive, Source
from zsl_lab.data.public.transfer import Patience
from zsl_lab.errors import DataError, OutputError

pytestmark = pytest.mark.slow

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
        "att_splits.mat: it differs from the archive's and is kept; --overwrite replaces it"
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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_keeps_what_is_there_and_names_the_command(
    server: Server, archive: bytes, data_dir: Path, number: int, code: int
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
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert process.returncode == code
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
