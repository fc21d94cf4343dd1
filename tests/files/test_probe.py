"""Another process walks through HDF5 files: one that ends or never ends is a sentence."""

from __future__ import annotations

import subprocess
from pathlib import Path

import h5py
import pytest

from zsl_lab.errors import DataError
from zsl_lab.files import probe
from zsl_lab.files.hdf5 import open_hdf5


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as made:
        made["x"] = [1, 2, 3]
    return tmp_path / "a.h5"


def served_by(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Start another program in the place of the one that walks through files."""
    probe._end()
    start = subprocess.Popen
    monkeypatch.setattr(
        subprocess,
        "Popen",
        lambda command, **options: start([*command[:2], program], **options),
    )
    monkeypatch.setattr(probe, "TIMEOUT", 2.0)


@pytest.fixture(autouse=True)
def _own_worker(monkeypatch: pytest.MonkeyPatch) -> object:
    yield
    monkeypatch.undo()
    probe._end()


@pytest.mark.slow
def test_an_intact_file_is_read_and_the_process_is_kept(file: Path) -> None:
    for _ in range(3):
        with open_hdf5(file) as opened:
            assert opened["x"][2] == 3
    worker = probe._worker
    assert worker is not None
    probe.check_structure(file)
    assert probe._worker is worker


@pytest.mark.slow
def test_a_file_that_hdf5_reports_as_damaged_is_left_to_its_reader(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    probe.check_structure(tmp_path / "a.h5")
    probe.check_structure(tmp_path / "missing\n.h5")


@pytest.mark.slow
def test_a_file_with_which_hdf5_does_not_come_to_an_end_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served_by(monkeypatch, "import time; time.sleep(600)")
    with pytest.raises(
        DataError, match=r"a\.h5: found a damaged file.*not come to an end within 2"
    ):
        probe.check_structure(file)


def test_a_file_with_which_hdf5_crashes_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served_by(monkeypatch, "import os; input(); os.abort()")
    with pytest.raises(DataError, match=r"a\.h5: found a damaged file, with which.* crashes"):
        probe.check_structure(file)


def test_where_no_process_can_be_started_the_file_is_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe._end()

    def refuse(*args: object, **options: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with open_hdf5(file) as opened:
        assert list(opened) == ["x"]
