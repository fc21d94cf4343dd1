"""Rows that are collected in memory or in a file, and read by blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zsl_lab.errors import OutputError
from zsl_lab.files import rows
from zsl_lab.files.rows import RowBuffer, is_mapped, release, row_blocks

TABLE = np.arange(60, dtype=np.int16).reshape(20, 3)


@pytest.mark.parametrize(("large", "mapped"), [(10**6, False), (50, True), (1, True)])
def test_a_buffer_holds_all_rows(large: int, mapped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LARGE", large)
    buffer = RowBuffer()
    for start in range(0, 20, 7):
        buffer.append(TABLE[start : start + 7])
    found = buffer.array()
    np.testing.assert_array_equal(found, TABLE)
    assert found.dtype == np.int16
    assert is_mapped(found) == mapped


def test_blocks_are_all_rows_in_order() -> None:
    blocks = list(row_blocks(TABLE, size=20))
    assert [len(block) for block in blocks] == [3, 3, 3, 3, 3, 3, 2]
    np.testing.assert_array_equal(np.concatenate(blocks), TABLE)
    assert list(row_blocks(TABLE[:0])) == []
    assert [len(block) for block in row_blocks(np.zeros((4, 0)))] == [4]


def test_memory_of_a_mapped_file_is_given_back_and_read_again(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", TABLE)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    view = np.asarray(mapped[2:])
    assert is_mapped(view)
    release(view)
    np.testing.assert_array_equal(mapped, TABLE)
    assert not is_mapped(TABLE)


def test_a_full_disk_is_a_sentence_that_names_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def write(self, data: object) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(rows, "LARGE", 64)
    monkeypatch.setattr("zsl_lab.files.rows.tempfile.TemporaryFile", lambda dir: Full())
    buffer = RowBuffer(tmp_path)
    buffer.append(np.zeros((1, 4), np.float32))
    with pytest.raises(OutputError, match=r"a temporary file in .*: the disk is full .* free some"):
        buffer.append(np.zeros((4, 4), np.float32))
