"""Rows of a table that are read by ranges, from memory or from files."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from zsl_lab.data.storage import source as reading
from zsl_lab.data.storage.choice import announcement, reads_from_disk
from zsl_lab.data.storage.files import FileSource, Part, npy_part, write_npy
from zsl_lab.data.storage.source import (
    ArraySource,
    FeatureSource,
    blocks,
    gather,
    indexed_blocks,
)
from zsl_lab.errors import DataError

TABLE = np.random.default_rng(0).standard_normal((100, 7)).astype(np.float16)


def in_files(folder: Path, *rows: int) -> FileSource:
    """The table in files that begin at the given rows."""
    parts = []
    for number, (start, stop) in enumerate(zip((0, *rows), (*rows, 100), strict=True)):
        np.save(folder / f"{number}.npy", TABLE[start:stop])
        parts.append(npy_part(folder / f"{number}.npy"))
    return FileSource(parts)


@pytest.fixture(params=["memory", "one file", "four files"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureSource:
    if request.param == "memory":
        return ArraySource(TABLE)
    return in_files(tmp_path, *((1, 40, 77) if request.param == "four files" else ()))


def test_any_range_of_rows_is_read(source: FeatureSource) -> None:
    assert (len(source), source.shape) == (100, (100, 7))
    assert source.dtype == np.dtype(np.float16)
    for start, stop in ((0, 100), (0, 1), (39, 41), (99, 100), (0, 0), (5, 90)):
        np.testing.assert_array_equal(source.read(start, stop), TABLE[start:stop])


def test_blocks_are_all_rows_in_single_precision(source: FeatureSource) -> None:
    starts, found = zip(*blocks(source, 33), strict=True)
    assert starts == (0, 33, 66, 99)
    np.testing.assert_array_equal(np.concatenate(found), TABLE.astype(np.float32))


@pytest.mark.parametrize("gap", [0, 14, 10**6])
@pytest.mark.parametrize("most", [1, 30, 10**6])
def test_rows_in_any_order_and_more_than_once_are_gathered(
    source: FeatureSource, monkeypatch: pytest.MonkeyPatch, gap: int, most: int
) -> None:
    monkeypatch.setattr(reading, "_GAP_BYTES", gap)
    monkeypatch.setattr(reading, "PASS_BYTES", most)
    index = np.array([99, 3, 3, 4, 50, 0, 51, 98, 20])
    np.testing.assert_array_equal(gather(source, index), TABLE[index])
    np.testing.assert_array_equal(source.take(index), TABLE[index])
    np.testing.assert_array_equal(
        np.concatenate(list(indexed_blocks(source, index, 4))), TABLE[index].astype(np.float32)
    )
    assert gather(source, index[:0]).shape == (0, 7)


def test_threads_may_read_at_once(tmp_path: Path) -> None:
    files, wrong = in_files(tmp_path, 30), []

    def read(seed: int) -> None:
        for row in np.random.default_rng(seed).integers(0, 90, 200):
            if not np.array_equal(files.read(row, row + 10), TABLE[row : row + 10]):
                wrong.append(row)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_file_that_is_deleted_while_it_is_read_is_read_on(tmp_path: Path) -> None:
    files = in_files(tmp_path)
    (tmp_path / "0.npy").unlink()
    np.testing.assert_array_equal(files.read(0, 100), TABLE)


def test_a_file_that_shrinks_while_it_is_read_is_named(tmp_path: Path) -> None:
    files = in_files(tmp_path, 50)
    with (tmp_path / "1.npy").open("r+b") as file:
        file.truncate(400)
    np.testing.assert_array_equal(files.read(0, 60), TABLE[:60])
    with pytest.raises(DataError, match=r"1\.npy: found the end of the file after 400 bytes; exp"):
        files.read(40, 100)


def test_a_file_system_that_vanishes_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = in_files(tmp_path)

    class Stale:
        def seek(self, place: int) -> None:
            raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(files, "_files", [Stale()])
    with pytest.raises(DataError, match=r"0\.npy: cannot be read \(Stale file handle\).*resume"):
        files.read(0, 1)


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros(4), r"shape \[4\]; expected numbers \[samples"),
        (np.zeros((0, 4)), r"shape \[0, 4\]"),
        (np.asfortranarray(np.ones((3, 4))), "columns first"),
        (np.array([["a"]]), "<U1 of shape"),
    ],
)
def test_arrays_that_are_no_features_are_refused(
    tmp_path: Path, array: npt.NDArray[Any], problem: str
) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=problem):
        npy_part(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "no .npy file, or a damaged one"), (b"\x93NUMPY\x01\x00\xff\xff{", "damaged")],
)
def test_damaged_headers_are_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=problem):
        npy_part(tmp_path / "a.npy")


def test_a_truncated_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", TABLE)
    with (tmp_path / "a.npy").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(
        DataError, match=r"after 1,000 bytes; expected 1,528: 100 rows of 7 numbers"
    ):
        npy_part(tmp_path / "a.npy")


def test_a_written_file_is_the_one_numpy_writes(tmp_path: Path) -> None:
    write_npy(ArraySource(TABLE), 10, 90, tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), TABLE[10:90])


def test_numbers_of_the_other_byte_order_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(TABLE.astype(">f2").tobytes())
    files = FileSource([Part(tmp_path / "a", 0, np.dtype(">f2"), 100, 7)])
    np.testing.assert_array_equal(files.read(3, 9), TABLE[3:9])


def test_auto_reads_from_disk_what_fills_too_much_of_the_free_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zsl_lab.data.storage.choice.free_memory", lambda: 3 * 2**30)
    assert not reads_from_disk("auto", 2**18, 2**10)
    assert reads_from_disk("auto", 2**18 + 1, 2**10)
    assert reads_from_disk("disk", 1, 1)
    assert not reads_from_disk("memory", 2**30, 2**10)
    assert announcement("auto", 2**20, 2**10) == (
        "features are read from disk in blocks: 1,048,576 x 1,024 (dataset.storage=auto: in memory "
        "a run takes 12.0 GiB, 3.0 GiB are free)"
    )
    monkeypatch.setattr("zsl_lab.data.storage.choice.free_memory", lambda: 0)
    assert not reads_from_disk("auto", 1000, 1000)  # small ones are always loaded
