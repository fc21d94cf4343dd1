"""Peak memory."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from zsl_lab.hardware.memory import begin_peak, peak

SIZE = 200 * 2**20


def hold(size: int) -> int:
    return int(np.ones(size, np.uint8)[::4096].sum())


@pytest.mark.slow
def test_the_peak_counts_what_was_freed_since() -> None:
    begin_peak("cpu")
    before = peak("cpu")
    hold(SIZE)
    after = peak("cpu")
    assert before is not None
    assert after is not None
    assert after > before or after > SIZE


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets an earlier peak")
def test_the_peak_of_an_earlier_run_in_the_same_process_is_forgotten() -> None:
    hold(SIZE)
    begin_peak("cpu")
    first = peak("cpu")
    hold(SIZE)
    second = peak("cpu")
    assert first is not None
    assert second is not None
    assert second - first > SIZE / 2


def test_without_proc_the_peak_of_the_whole_process_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setattr("zsl_lab.hardware.memory._PROC", tmp_path)
    begin_peak("cpu")
    found = peak("cpu")
    assert found is None if sys.platform == "win32" else found is not None
