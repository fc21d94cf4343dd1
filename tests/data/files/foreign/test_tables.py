"""Tables of samples: CSV, parquet and folders of datasets give the same fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from zsl_lab.data.files.foreign.fields import feature_columns
from zsl_lab.data.files.foreign.tables import (
    numbered_groups,
    read_csv,
    read_datasets,
    read_parquet,
)
from zsl_lab.errors import DataError

datasets.disable_progress_bars()
FEATURES = np.random.default_rng(0).random((6, 12), dtype=np.float32)
LABELS = ["ant", "bee", "ant", "cat", "cat", "bee"]


def frame() -> Any:
    # columns in another order than their numbers
    table = pd.DataFrame(FEATURES, columns=[f"f_{i}" for i in range(12)])[
        [f"f_{i}" for i in (11, *range(11))]
    ]
    table.insert(0, "label", LABELS)
    table["number"] = np.arange(6) + 100
    return table


def test_columns_with_numbers_are_one_field_in_the_order_of_the_numbers() -> None:
    names = ["b10", "label", "b2", "b1", "c1", "f_0", "f_1"]
    assert numbered_groups(names) == {"b*": ["b1", "b2", "b10"], "f*": ["f_0", "f_1"]}


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_table_of_columns(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{form}"
    (frame().to_csv if form == "csv" else frame().to_parquet)(path, index=False)
    found = (read_csv if form == "csv" else read_parquet)(path)
    assert found.is_table
    assert sorted(found.values) == ["f*", "label", "number"]
    np.testing.assert_array_equal(found.values["f*"], FEATURES)
    assert found.values["f*"].dtype == np.float32
    assert found.values["label"].tolist() == LABELS
    assert found.values["number"].dtype == np.int64


def test_a_parquet_column_of_lists_keeps_its_type(tmp_path: Path) -> None:
    table = pd.DataFrame({"emb": list(FEATURES.astype(np.float64)), "y": [0, 1, 0, 2, 2, 1]})
    table.to_parquet(tmp_path / "t.parquet")
    found = read_parquet(tmp_path / "t.parquet").values["emb"]
    np.testing.assert_array_equal(found, FEATURES.astype(np.float64))
    assert found.dtype == np.float64


def dataset(rows: slice, **changes: Any) -> Any:
    columns = {
        "emb": FEATURES[rows].tolist(),
        "label": [["ant", "bee", "cat"].index(label) for label in LABELS[rows]],
        **changes,
    }
    types = {
        "emb": datasets.Sequence(datasets.Value("float32")),
        "label": datasets.ClassLabel(names=["ant", "bee", "cat"]),
    }
    types |= {name: datasets.Sequence(datasets.Value("string")) for name in changes}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(types))


def test_the_index_of_a_frame_is_no_feature(tmp_path: Path) -> None:
    frame = pd.DataFrame({"label": ["ant", "bee"], "length": [1.0, 2.0], "width": [3.0, 4.0]})
    frame.to_parquet(tmp_path / "t.parquet", index=True)
    found = read_parquet(tmp_path / "t.parquet")
    assert "__index_level_0__" in found.values
    assert feature_columns(found, {"labels": "label"}) == ["length", "width"]


def test_texts_may_be_views(tmp_path: Path) -> None:
    table = pa.table({"label": pa.array(["ant", "bee"], pa.string_view())})
    parquet.write_table(table, tmp_path / "t.parquet")
    assert read_parquet(tmp_path / "t.parquet").values["label"].tolist() == ["ant", "bee"]


def test_splits_of_datasets_are_joined_and_name_the_part(tmp_path: Path) -> None:
    parts = {"train": dataset(slice(0, 4)), "test": dataset(slice(4, 6))}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "d"))
    fields = read_datasets(tmp_path / "d")
    found = fields.values
    np.testing.assert_array_equal(found["emb"], FEATURES)
    assert found["label"].tolist() == [0, 1, 0, 2, 2, 1]
    assert fields.names_of == {"label": ["ant", "bee", "cat"]}
    assert found["split"].tolist() == ["train"] * 4 + ["test"] * 2


def test_splits_that_number_their_classes_otherwise_are_refused(tmp_path: Path) -> None:
    other = datasets.ClassLabel(names=["bee", "ant", "cat"])
    test = dataset(slice(4, 6)).cast_column("label", other)
    parts = {"train": dataset(slice(0, 4)), "test": test}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "d"))
    with pytest.raises(DataError, match=r"'test'.*'label': found other names of classes than"):
        read_datasets(tmp_path / "d")


def test_a_single_dataset_and_a_column_that_is_not_read(tmp_path: Path) -> None:
    texts = [["a", "b"]] * 6
    dataset(slice(0, 6), captions=texts).save_to_disk(str(tmp_path / "d"))
    found = read_datasets(tmp_path / "d")
    assert sorted(found.values) == ["emb", "label"]
    assert list(found.left_out) == ["captions"]


def test_a_parquet_file_of_datasets_has_the_names_of_classes(tmp_path: Path) -> None:
    dataset(slice(0, 6)).to_parquet(str(tmp_path / "t.parquet"))
    names_of = read_parquet(tmp_path / "t.parquet").names_of
    assert names_of == {"label": ["ant", "bee", "cat"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"line 1: found 0 columns"),
        ("label,f0,f0\n", r"line 1: found the column 'f0' twice"),
        ("0.5,1,ant\n1.5,2,bee\n", r"line 1: found the number 0.5; expected names of columns"),
        ("label,f0,f1\n", r"found no row below the first line"),
        ("label,f0,f1\nant,1,2\nbee,1\n", r"line 3: found 2 cells; expected 3.*cut off"),
        ("label,f0,f1\nant,1,2\nbee,1,x\n", r"line 3, column 'f1': found 'x'; expected a number"),
        ("label,f0,f1\nant,,2\n", r"line 2, column 'f0': found nothing"),
        ('label,f0,f1\n"ant,1,2\n', r"cannot be read as a row of a table"),
    ],
)
def test_a_wrong_csv_is_a_sentence_with_line_and_column(
    text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_csv(tmp_path / "t.csv")


def test_a_csv_of_another_encoding_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("label,f0,f1\nbée,1,2\n".encode("latin1"))
    with pytest.raises(DataError, match="not UTF-8"):
        read_csv(tmp_path / "t.csv")


def test_missing_values_and_ragged_lists_are_named_with_their_row(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    for column, message in (
        ([1.0, None, 2.0], r"column 'f': found no value in row 1"),
        ([[1.0, 2.0], [1.0, 2.0], [1.0]], r"column 'f': found 1 numbers in row 2"),
        ([[1.0, 2.0], [None, 1.0], [1.0, 1.0]], r"column 'f': found a missing number within rows"),
    ):
        pd.DataFrame({"f": column, "label": ["a", "b", "c"]}).to_parquet(path)
        with pytest.raises(DataError, match=message):
            read_parquet(path)


def test_truncated_files_are_sentences(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    frame().to_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="damaged or truncated file"):
        read_parquet(path)
    dataset(slice(0, 6)).save_to_disk(str(tmp_path / "d"))
    arrow = next((tmp_path / "d").glob("*.arrow"))
    arrow.write_bytes(arrow.read_bytes()[:200])
    with pytest.raises(DataError, match="damaged or truncated file"):
        read_datasets(tmp_path / "d")
