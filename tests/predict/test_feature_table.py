"""Feature vectors from tables of text."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from zsl_lab.errors import DataError
from zsl_lab.files.rows import is_mapped
from zsl_lab.predict.feature_table import read_feature_table

ROWS = np.array([[0.5, -1.0, 2e-3], [4.0, 5.0, 6.0]], dtype=np.float32)


@pytest.mark.parametrize(
    "text",
    [
        "0.5,-1,2e-3\n4,5,6\n",
        "a,b,c\n0.5,-1,2e-3\n4,5,6\n",
        "0,1,2\n0.5,-1,2e-3\n4,5,6\n",
        ",0,1,2\n0,0.5,-1,2e-3\n1,4,5,6\n",
        "index,f0,f1,f2\n1,0.5,-1,2e-3\n2,4,5,6\n",
        "0.5;-1;2e-3\n4;5;6",
        "0.5\t-1\t2e-3\r\n4\t5\t6\r\n\r\n",
        "0.5 -1 2e-3\n4  5 6\n",
        "0.5,-1,2e-3\n4,5,6\n,,\n\n",
        "0.5,-1,2e-3\r4,5,6\r",
        '\ufeff"x","y","z"\n0.5, -1, 2e-3\n4, 5, 6\n',
    ],
)
def test_every_usual_form_gives_the_same_rows(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text, encoding="utf-8")
    rows, names = read_feature_table(path, "features=x.csv", 3)
    assert np.array_equal(rows, ROWS)
    assert names is None


@pytest.mark.parametrize("header", ["", "file,a,b,c\n", "a,b,c\n"])
def test_a_first_column_of_text_holds_the_samples_names(tmp_path: Path, header: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"{header}one.jpg,0.5,-1,2e-3\ntwo.jpg,4,5,6\n")
    rows, names = read_feature_table(path, "features=x.csv", 3)
    assert np.array_equal(rows, ROWS)
    assert names == ("one.jpg", "two.jpg")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"1,2,x\n4,5,6\n", "line 1, column 3: found 'x'; expected a number"),
        (b"1,2,3\n4,,6\n", "line 2, column 2: found nothing; expected a number"),
        (b"1;2;3\n0,5;5;6\n", "line 2, column 1: found '0,5'; .* point as decimal mark"),
        (b"1,2\n4,5,6\n", "line 1: found 2 cells; expected 3"),
        (b"a,b,c\n", "found a first line of names and no row"),
        (b"\n\n", "found an empty file"),
        (b"1,2\0,3", "found a file that is no text in UTF-8"),
        (b"1,2,\xff", "found a file that is no text in UTF-8"),
    ],
)
def test_what_is_no_table_of_numbers_is_named(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"^features=x.csv: {sentence}"):
        read_feature_table(path, "features=x.csv", 3)


@pytest.mark.parametrize("at_a_time", [1, 3 * 7, 10**6])
def test_a_large_table_is_read_some_rows_at_a_time_into_a_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    monkeypatch.setattr("zsl_lab.predict.feature_table._LARGE", 100)
    monkeypatch.setattr("zsl_lab.predict.feature_table._AT_A_TIME", at_a_time)
    monkeypatch.setattr("zsl_lab.predict.feature_table._TAIL", 3)
    expected = np.random.default_rng(0).random((50, 3)).astype(np.float32)
    lines = [f"{i}.jpg," + ",".join(map(str, row)) for i, row in enumerate(expected.tolist())]
    path = tmp_path / "x.csv"
    path.write_text("\n".join(lines))
    rows, names = read_feature_table(path, "features=x.csv", 3, tmp_path)
    assert is_mapped(rows)
    assert np.array_equal(rows, expected)
    assert names == tuple(f"{i}.jpg" for i in range(50))


def test_a_first_column_that_is_neither_names_nor_an_index_is_a_feature(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("0,0.5,-1,2e-3\n2,4,5,6\n")
    rows, names = read_feature_table(path, "features=x.csv", 3)
    assert (rows.shape, rows[1, 0], names) == ((2, 4), 2, None)
    path.write_text("one,0.5,-1,2e-3\n1,1,2,3\ntwo,4,5,6\n")
    with pytest.raises(DataError, match="line 1, column 1: found 'one'; expected a number"):
        read_feature_table(path, "features=x.csv", 3)


@pytest.mark.slow
def test_reading_a_table_takes_memory_for_a_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zsl_lab.predict.feature_table._LARGE", 2**16)
    monkeypatch.setattr("zsl_lab.predict.feature_table._AT_A_TIME", 2**12)
    path = tmp_path / "x.csv"
    path.write_text(2000 * (",".join(100 * ["0.123456"]) + "\n"))
    tracemalloc.start()
    try:
        rows, _ = read_feature_table(path, "features=x.csv", 100, tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows.shape == (2000, 100)
    assert peak < path.stat().st_size / 2
