"""Untrusted zip archives."""

from __future__ import annotations

import errno
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from zsl_lab.data.public import archive
from zsl_lab.data.public.archive import Limits
from zsl_lab.errors import DataError, OutputError

WANTED = ["TOY/res101.mat", "TOY/att_splits.mat"]
FEATURES = b"MATLAB 5.0 MAT-file features " + bytes(range(256)) * 500
SPLITS = b"MATLAB 5.0 MAT-file splits"
GOOD = {
    "xlsa17/README.txt": b"hello",
    "xlsa17/data/TOY/res101.mat": FEATURES,
    "xlsa17/data/TOY/att_splits.mat": SPLITS,
}
FEATURES_NAME = "xlsa17/data/TOY/res101.mat"


def pack(
    path: Path,
    members: dict[str, bytes],
    edit: Callable[[zipfile.ZipInfo], None] = lambda info: None,
) -> Path:
    """A zip file; ``edit`` may change what the archive says of a member."""
    with zipfile.ZipFile(path, "w") as out:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            edit(info)
            out.writestr(info, content)
    return path


def unpack(path: Path, target: Path, limits: Limits = archive.LIMITS) -> None:
    found = archive.find(path, WANTED, limits=limits)
    archive.extract(
        path,
        {target / Path(end).name: member for end, member in found.items()},
        (b"MATLAB 5.0",),
        limits,
    )


def left(folder: Path) -> list[str]:
    """Every file below a folder, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_only_what_is_wanted_is_taken_out(tmp_path: Path) -> None:
    unpack(pack(tmp_path / "a.zip", GOOD), tmp_path / "out")
    assert left(tmp_path / "out") == ["att_splits.mat", "res101.mat"]
    assert (tmp_path / "out" / "res101.mat").read_bytes() == FEATURES


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("/etc/TOY/evil.mat", "an absolute path"),
        ("xlsa17/../../evil.mat", "a way out of the folder"),
        ("..", "a way out of the folder"),
        ("xlsa17\\..\\evil.mat", "a backslash"),
        ("C:/evil.mat", "a drive letter"),
        ("xlsa17/evil.mat\0.txt", "a zero byte"),
    ],
)
def test_names_that_lead_elsewhere_are_refused_though_nobody_wants_them(
    tmp_path: Path, name: str, what: str
) -> None:
    path = pack(tmp_path / "a.zip", {**GOOD, name.replace("\0", "@"): b""})
    path.write_bytes(path.read_bytes().replace(b"evil.mat@", b"evil.mat\0"))
    with pytest.raises(
        DataError,
        match=f"found a member named .*, with {what} in it; expected paths below one folder",
    ):
        unpack(path, tmp_path / "out")
    assert left(tmp_path) == ["a.zip"]


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (stat.S_IFLNK, "a link"),
        *((kind, "a device") for kind in (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)),
    ],
)
@pytest.mark.parametrize("member", [FEATURES_NAME, "xlsa17/README.txt"])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int, what: str, member: str) -> None:
    def edit(info: zipfile.ZipInfo) -> None:
        if info.filename == member:
            info.external_attr = (kind | 0o644) << 16

    path = pack(tmp_path / "a.zip", {**GOOD, member: b"/etc/passwd"}, edit)
    with pytest.raises(DataError, match=f"found '{member}' to be {what}"):
        unpack(path, tmp_path / "out")
    assert left(tmp_path) == ["a.zip"]


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", GOOD)
    content = bytearray(path.read_bytes())
    # the flags of a member stand 38 bytes before its name, in the directory at the end
    content[content.rindex(FEATURES_NAME.encode()) - 38] |= 1
    path.write_bytes(content)
    with pytest.raises(
        DataError,
        match=r"res101.mat': found it encrypted; expected a file that can be read without a "
        r"password",
    ):
        unpack(path, tmp_path / "out")


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr(FEATURES_NAME, b"MATLAB 5.0 one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            out.writestr(FEATURES_NAME, b"MATLAB 5.0 two")
    with pytest.raises(
        DataError,
        match=r"found TOY/res101.mat 2 times \('xlsa17.*' and 'xlsa17.*'\); expected it once",
    ):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    other = pack(tmp_path / "b.zip", {**GOOD, "copy/TOY/res101.mat": FEATURES})
    with pytest.raises(DataError, match=r"'copy/TOY/res101.mat'"):
        unpack(other, tmp_path / "out")


def test_names_that_only_end_alike_are_others(tmp_path: Path) -> None:
    unpack(
        pack(
            tmp_path / "a.zip",
            {**GOOD, "xlsa17/data/MYTOY/res101.mat": b"", "__MACOSX/TOY/._res101.mat": b""},
        ),
        tmp_path / "out",
    )
    assert (tmp_path / "out" / "res101.mat").read_bytes() == FEATURES


def test_a_missing_member_is_named(tmp_path: Path) -> None:
    path = pack(
        tmp_path / "a.zip",
        {name: content for name, content in GOOD.items() if "res101" not in name},
    )
    with pytest.raises(DataError, match=r"found no TOY/res101.mat among its 2 files; expected one"):
        unpack(path, tmp_path / "out")


def test_a_member_that_may_be_missing_is_no_error(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", GOOD)
    assert set(archive.find(path, WANTED, ["TOY/sent_splits.mat"])) == set(WANTED)
    pack(path, {**GOOD, "x/TOY/sent_splits.mat": b""})
    assert "TOY/sent_splits.mat" in archive.find(path, WANTED, ["TOY/sent_splits.mat"])


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path: Path, method: int) -> None:
    path = pack(tmp_path / "a.zip", GOOD, lambda info: setattr(info, "compress_type", method))
    with pytest.raises(
        DataError, match=f"found compression method {method}; expected stored or deflated files"
    ):
        unpack(path, tmp_path / "out")


def test_a_member_that_grows_too_much_is_refused_by_what_the_archive_says(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {**GOOD, FEATURES_NAME: b"MATLAB 5.0" + bytes(3_000_000)})
    with pytest.raises(
        DataError, match=r"found 3,000,010 bytes out of [\d,]+; expected at most 100 times as many"
    ):
        unpack(path, tmp_path / "out", Limits(small=1_000_000))
    with pytest.raises(DataError, match=r"found more than 2,000,000 bytes"):
        unpack(path, tmp_path / "out", Limits(size=2_000_000))
    assert left(tmp_path) == ["a.zip"]


def understated(path: Path, said: int, crc: int | None = None) -> None:
    """Let the archive say that the features are smaller than they are."""
    content = path.read_bytes()
    for signature, crc_at, size_at, name_at in (
        (b"PK\x03\x04", 14, 22, 30),
        (b"PK\x01\x02", 16, 24, 46),
    ):
        start = 0
        while (start := content.find(signature, start)) >= 0:
            if (
                content[start + name_at : start + name_at + len(FEATURES_NAME)]
                == FEATURES_NAME.encode()
            ):
                content = (
                    content[: start + size_at]
                    + struct.pack("<I", said)
                    + content[start + size_at + 4 :]
                )
                if crc is not None:
                    content = (
                        content[: start + crc_at]
                        + struct.pack("<I", crc)
                        + content[start + crc_at + 4 :]
                    )
            start += 4
    path.write_bytes(content)


@pytest.mark.parametrize("said", [1000, len(FEATURES) + 1000])
def test_what_an_archive_says_of_sizes_is_not_believed(tmp_path: Path, said: int) -> None:
    path = pack(tmp_path / "a.zip", GOOD)
    understated(path, said)
    with pytest.raises(DataError, match=r"member 'xlsa17/data/TOY/res101.mat': found "):
        unpack(path, tmp_path / "out")
    assert left(tmp_path) == ["a.zip"]


def test_no_more_bytes_are_written_than_an_archive_says_even_where_it_lies_consistently(
    tmp_path: Path,
) -> None:
    """A bomb that declares little, with the checksum of the little: only that is taken."""
    path = pack(tmp_path / "a.zip", {**GOOD, FEATURES_NAME: b"MATLAB 5.0" + bytes(10_000_000)})
    begin = b"MATLAB 5.0" + bytes(990)
    understated(path, 1000, zlib.crc32(begin))
    unpack(path, tmp_path / "out")
    assert (tmp_path / "out" / "res101.mat").read_bytes() == begin


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = pack(
        tmp_path / "a.zip", GOOD, lambda info: setattr(info, "compress_type", zipfile.ZIP_STORED)
    )
    content = bytearray(path.read_bytes())
    content[content.index(FEATURES) + 1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"res101.mat': found it damaged \(Bad CRC-32"):
        unpack(path, tmp_path / "out")
    assert left(tmp_path) == ["a.zip"]


def test_a_damaged_stream_is_noticed(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", GOOD)
    content = bytearray(path.read_bytes())
    at = content.index(FEATURES_NAME.encode()) + len(FEATURES_NAME)
    content[at : at + 40] = bytes(range(200, 240))
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"res101.mat': found it damaged"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>moved</html>", b"PK\x03\x04 and then nothing", b"PK\x05\x06" + bytes(18)],
)
def test_what_is_no_zip_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a.zip: found no "):
        unpack(path, tmp_path / "out")


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", GOOD)
    whole = path.read_bytes()
    for size in range(10, len(whole), 37):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"a.zip"):
            unpack(path, tmp_path / "out")
    assert left(tmp_path) == ["a.zip"]


def test_a_member_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = pack(
        tmp_path / "a.zip", {**GOOD, FEATURES_NAME: b"version https://git-lfs.github.com/spec/v1"}
    )
    with pytest.raises(
        DataError, match=r"found bytes that start with b'version https://'; expected b'MATLAB 5.0'"
    ):
        unpack(path, tmp_path / "out")


def test_an_error_in_the_second_file_leaves_the_first_as_it_was(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {**GOOD, "xlsa17/data/TOY/att_splits.mat": b"something else"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "res101.mat").write_bytes(b"old")
    with pytest.raises(DataError, match=r"att_splits.mat"):
        unpack(path, tmp_path / "out")
    assert (tmp_path / "out" / "res101.mat").read_bytes() == b"old"
    assert left(tmp_path) == ["a.zip", "out/res101.mat"]


def test_a_folder_in_the_place_of_the_second_file_is_named(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", GOOD)
    (tmp_path / "out" / "att_splits.mat").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"Cannot write .*att_splits.mat: Is a directory"):
        unpack(path, tmp_path / "out")
    assert left(tmp_path) == ["a.zip", "out/res101.mat"]


def test_a_full_disk_is_named_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(tmp_path / "a.zip", GOOD)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"Cannot write .*res101.mat: the disk is full"):
        unpack(path, tmp_path / "out")
    assert left(tmp_path) == ["a.zip"]


def test_checksums_are_those_of_the_archive(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", GOOD)
    unpack(path, tmp_path / "out")
    assert (
        archive.crc32(tmp_path / "out" / "res101.mat")
        == archive.find(path, WANTED)["TOY/res101.mat"].CRC
    )
    with pytest.raises(DataError, match="cannot be read"):
        archive.crc32(tmp_path / "nothing")


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"nothing.zip: cannot be read \(No such file or directory\)"
    ):
        archive.find(tmp_path / "nothing.zip", WANTED)
