"""What is written of a benchmark for others."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zsl_lab.data.files.benchmark_file import BenchmarkFile
from zsl_lab.data.files.foreign import writers
from zsl_lab.data.files.foreign.fields import Array
from zsl_lab.data.files.foreign.tables import read_datasets
from zsl_lab.errors import OutputError

RNG = np.random.default_rng(0)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 0])
CONTENT = BenchmarkFile(
    name="small",
    features=RNG.random((9, 4)).astype(np.float16),
    labels=LABELS,
    class_names=None,
    semantics={"att": RNG.random((3, 2)).astype(np.float32)},
    trainval=np.array([0, 1, 3, 4, 6]),
    test_seen=np.array([7]),
    test_unseen=np.array([2, 5]),
    files=tuple(f"{number}.png" for number in range(9)),
)


def test_a_folder_of_datasets_is_written_in_blocks_of_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    arrow = writers._arrow

    def recorded(array: Array) -> Any:
        taken.append(len(array))
        return arrow(array)

    monkeypatch.setattr(writers, "_arrow", recorded)
    monkeypatch.setattr(writers, "_BLOCK", 8)
    told: list[int] = []
    writers.write_datasets(CONTENT, tmp_path / "d", advance=told.append)
    # two rows of 4 numbers at once; 3 are those of the classes
    assert set(taken) == {1, 2, 3}
    assert told == [16, 32, 40, 48, 64, 72]
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == [
        *("benchmark.json", "classes", "dataset_dict.json"),
        *("test_seen", "test_unseen", "trainval", "unused"),
    ]
    found = read_datasets(tmp_path / "d").values
    assert found["features"].dtype == np.float16
    np.testing.assert_array_equal(found["features"], CONTENT.features)
    np.testing.assert_array_equal(found["labels"], LABELS)
    assert tuple(found["files"]) == CONTENT.files


def test_a_folder_that_cannot_be_replaced_is_there_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datasets")
    folder = tmp_path / "d"
    writers.write_datasets(CONTENT, folder)
    before = sorted(path.name for path in folder.iterdir())
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OutputError, match="the disk is full"):
        writers.write_datasets(CONTENT, folder, overwrite=True)
    assert sorted(path.name for path in folder.iterdir()) == before
    assert list(tmp_path.iterdir()) == [folder]
