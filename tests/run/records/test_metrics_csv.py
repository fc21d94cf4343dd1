from __future__ import annotations

from pathlib import Path

import pytest

from zsl_lab.run.records import metrics_csv

ROWS: list[metrics_csv.Row] = [
    {"phase": "select", "step": 10, "loss/total": 1.5},
    {"phase": "select", "step": 120, "loss/total": 1.25},
    {"phase": "refit", "step": 10, "loss/total": 0.5, "check/seen": 50.0},
]


def written(folder: Path) -> bytes:
    """The bytes of the file of ``ROWS``."""
    logger = metrics_csv.MetricsCSV(str(folder))
    for row in ROWS:
        values = {f"{row['phase']}/{k}": float(v) for k, v in row.items() if "/" in k}
        logger.log_metrics(values, step=int(row["step"]))
    logger.save()
    return (folder / metrics_csv.FILE).read_bytes()


def test_a_file_torn_anywhere_keeps_its_complete_rows(tmp_path: Path) -> None:
    whole = written(tmp_path)
    assert metrics_csv.read_rows(tmp_path) == ROWS
    for length in range(len(whole)):
        (tmp_path / metrics_csv.FILE).write_bytes(whole[:length])
        complete = max(0, whole[:length].count(b"\n") - 1)
        assert metrics_csv.read_rows(tmp_path) == ROWS[:complete]


@pytest.mark.parametrize(
    "line",
    [b"ref", b"refit,", b"\0" * 40, b"refit,x,1,2", b"test,5,1,2", b"refit,5,1,2,3", b'"\xff'],
)
def test_a_torn_or_damaged_row_is_left_out_and_named_on_resuming(
    tmp_path: Path, line: bytes
) -> None:
    whole = written(tmp_path)
    for end in (b"", b"\n"):
        (tmp_path / metrics_csv.FILE).write_bytes(whole + line + end)
        with pytest.warns(UserWarning, match=r"metrics\.csv: line 5 is incomplete.* 3 rows are"):
            metrics_csv.rewind(tmp_path, "refit", 10)
        assert (tmp_path / metrics_csv.FILE).read_bytes() == whole


def test_rewinding_removes_what_follows_the_checkpoint(tmp_path: Path) -> None:
    written(tmp_path)
    metrics_csv.rewind(tmp_path, "select", 50)
    assert metrics_csv.read_rows(tmp_path) == ROWS[:1]
