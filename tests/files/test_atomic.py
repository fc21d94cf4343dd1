from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO

import pytest

from zsl_lab.errors import OutputError
from zsl_lab.files.atomic import atomic_write, atomic_write_all, remove_leftovers


def test_writes_bytes_and_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    assert atomic_write(path, b"new") == path
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file"]


def test_writes_what_a_function_writes(tmp_path: Path) -> None:
    atomic_write(tmp_path / "file", lambda file: file.write(b"from a function"))
    assert (tmp_path / "file").read_bytes() == b"from a function"


def test_replaces_what_was_there_and_has_the_usual_permissions(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old, and longer")
    usual = stat.S_IMODE(path.stat().st_mode)
    atomic_write(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == usual


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), ValueError("a bug"), KeyboardInterrupt()],
)
def test_a_failing_write_leaves_the_old_file_alone(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(file: IO[bytes]) -> None:
        file.write(b"half of the n")
        raise error

    with pytest.raises(OutputError if isinstance(error, OSError) else type(error)):
        atomic_write(path, write)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_the_data_are_on_the_disk_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fsync(_: int) -> None:
        assert path.read_bytes() == b"old"
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutputError, match="Input/output error"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_says_that_the_disk_is_full(tmp_path: Path) -> None:
    def write(file: IO[bytes]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match=r"Cannot write .*file: the disk is full"):
        atomic_write(tmp_path / "file", write)


def test_says_that_the_folder_is_not_writable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # chmod would not stop the superuser, whom tests often run as
    def replace(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OutputError, match=r"Cannot write .*file: its folder is not writable"):
        atomic_write(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == []


def test_says_that_a_file_is_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"Cannot write .*inner"):
        atomic_write(tmp_path / "file" / "inner", b"new")


def test_of_files_that_belong_together_all_are_written_or_none(tmp_path: Path) -> None:
    atomic_write_all(
        {tmp_path / "a": b"old", tmp_path / "deeper" / "b": lambda file: file.write(b"old too")}
    )

    def fail(file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match=r"Cannot write .*b: the disk is full"):
        atomic_write_all(
            {tmp_path / "a": b"new", tmp_path / "deeper" / "b": fail, tmp_path / "c": b"new"}
        )
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "deeper"]
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "deeper" / "b").read_bytes()) == (
        b"old",
        b"old too",
    )


def test_a_file_that_cannot_take_its_place_leaves_those_before_it_in_theirs(tmp_path: Path) -> None:
    for name in ("a", "c"):
        (tmp_path / name).write_bytes(b"old")
    (tmp_path / "b").mkdir()
    with pytest.raises(OutputError, match=r"Cannot write .*b: Is a directory"):
        atomic_write_all({tmp_path / name: b"new" for name in "abc"})
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "c").read_bytes()) == (b"new", b"old")


def test_what_killed_writes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    others = ["last.ckpt", ".last.ckpt.tmp", "a.tmp", f".x.{'g' * 32}.tmp", f"x.{'a' * 32}.tmp"]
    for name in (*others, f".last.ckpt.{'0f' * 16}.tmp", f".metrics.csv.{'a' * 32}.tmp"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, "last.ckpt")
    assert f".metrics.csv.{'a' * 32}.tmp" in {path.name for path in tmp_path.iterdir()}
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(others)
    remove_leftovers(tmp_path / "absent")
