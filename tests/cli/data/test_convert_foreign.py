"""``convert`` of other programs' files: each form in and out, fields by name, splits, bad input."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from tests.cli.data.test_convert import convert
from tests.data.files.foreign.test_class_sources import awa, lines
from tests.data.files.test_benchmark_file import INDEX, LABELS, NAMES, content
from zsl_lab.data.files import benchmark_file as hdf5
from zsl_lab.data.files.benchmark_file import BenchmarkFile
from zsl_lab.data.files.tables import read_class_table
from zsl_lab.data.recipe import Recipe

pytestmark = pytest.mark.slow

datasets.disable_progress_bars()
KNOWN = content()
FIELDS: dict[str, Any] = {
    "features": KNOWN.features,
    "labels": LABELS,
    "class_names": np.array(NAMES),
    "att": KNOWN.semantics["att"],
    **INDEX,
}
NUMBERS = {name: array for name, array in FIELDS.items() if name != "class_names"}


def assert_equal(found: BenchmarkFile, expected: BenchmarkFile, *names: str) -> None:
    """Equal arrays of equal types, and equal texts."""
    arrays = ("features", "labels", *INDEX, "train", "val", "validation_classes")
    for name in names or arrays:
        a, b = getattr(found, name), getattr(expected, name)
        assert (a is None) == (b is None), name
        if b is not None:
            np.testing.assert_array_equal(a, b, err_msg=name)
            assert a.dtype == b.dtype, name
    assert found.semantics.keys() == expected.semantics.keys()
    for kind, table in expected.semantics.items():
        np.testing.assert_array_equal(found.semantics[kind], table)
        assert found.semantics[kind].dtype == table.dtype
    assert found.class_names == expected.class_names


# ------------------------------------------------------------------------------------------------
# out, and in again


@pytest.mark.parametrize("form", ["npz", "datasets", "mat"])
@pytest.mark.parametrize("named", [True, False])
def test_what_is_written_is_read_back(form: str, named: bool, tmp_path: Path) -> None:
    more: dict[str, Any] = {} if form == "mat" else {"recipe": Recipe(attributes=["a", "b", "c"])}
    more |= {} if form == "mat" else {"descriptions": ("a", "b", "c", "d", "é")}
    expected = content(
        features=np.random.default_rng(1).random((20, 6)),
        semantics={"att": KNOWN.semantics["att"], "sent": np.ones((5, 2), dtype=np.float32)},
        class_names=NAMES if named else None,
        trainval=INDEX["trainval"][::-1],
        test_seen=INDEX["test_seen"][:-1],
        train=np.arange(9),
        val=np.array([12, 13]),
        files=tuple(f"{i}.jpg" for i in range(20)),
        **more,
    )
    hdf5.write(expected, tmp_path / "a.h5")
    target = tmp_path / "toy" if form != "npz" else tmp_path / "toy.npz"
    assert convert(tmp_path / "a.h5", target, "--to", form) == 0
    assert convert(target, tmp_path / "b.h5") == 0
    found = hdf5.read(tmp_path / "b.h5")
    assert_equal(found, expected)
    for name in ("name", "files", "descriptions", "recipe"):
        assert getattr(found, name) == getattr(expected, name)


def test_a_folder_of_datasets_is_one_for_everybody(tmp_path: Path) -> None:
    hdf5.write(content(test_seen=INDEX["test_seen"][:-1]), tmp_path / "a.h5")
    assert convert(tmp_path / "a.h5", tmp_path / "d", "--to", "datasets") == 0
    found = datasets.load_from_disk(str(tmp_path / "d"))
    assert {name: part.num_rows for name, part in found.items()} == {
        "trainval": 12,
        "test_seen": 3,
        "test_unseen": 4,
        "unused": 1,
    }
    assert found["trainval"].features["label"].names == list(NAMES)
    classes = datasets.load_from_disk(str(tmp_path / "d" / "classes"))
    np.testing.assert_array_equal(classes["semantics/att"], KNOWN.semantics["att"])


# ------------------------------------------------------------------------------------------------
# in


def as_npz(folder: Path) -> Path:
    np.savez(folder / "a.npz", **FIELDS)
    return folder / "a.npz"


def as_npy(folder: Path) -> Path:
    for name, array in FIELDS.items():
        np.save(folder / f"{name}.npy", array)
    return folder / "features.npy"


def as_npy_folder(folder: Path) -> Path:
    return as_npy(folder).parent


def as_pt(folder: Path) -> Path:
    tensors = {name: torch.from_numpy(array) for name, array in NUMBERS.items()}
    torch.save({**tensors, "class_names": list(NAMES)}, folder / "a.pt")
    return folder / "a.pt"


def as_safetensors(folder: Path) -> Path:
    tensors = {name: torch.from_numpy(array) for name, array in NUMBERS.items()}
    save_file(tensors, folder / "a.safetensors", {"class_names": json.dumps(NAMES)})
    return folder / "a.safetensors"


@pytest.mark.parametrize("write", [as_npz, as_npy, as_npy_folder, as_pt, as_safetensors])
def test_arrays_are_equal(write: Callable[[Path], Path], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert convert(write(tmp_path / "in"), tmp_path / "b.h5") == 0
    assert_equal(hdf5.read(tmp_path / "b.h5"), KNOWN)


def parts() -> Any:
    part = np.full(20, "", dtype=object)
    for name, index in INDEX.items():
        part[index] = name
    return part


def class_table(folder: Path, *, named: str = "class") -> Path:
    table = pd.DataFrame(KNOWN.semantics["att"], columns=["size", "wings", "legs"])
    table.insert(0, named, NAMES)
    # rows in another order: they join by name
    table.iloc[::-1].to_csv(folder / "classes.csv", index=False)
    return folder / "classes.csv"


def as_frame() -> Any:
    frame = pd.DataFrame(KNOWN.features, columns=[f"x{i}" for i in range(6)])
    frame.insert(0, "label", np.array(NAMES)[LABELS])
    return frame.assign(split=parts())


def as_csv(folder: Path) -> Path:
    as_frame().to_csv(folder / "a.csv")
    return folder / "a.csv"


def as_parquet(folder: Path) -> Path:
    as_frame().to_parquet(folder / "a.parquet")
    return folder / "a.parquet"


def as_datasets(folder: Path) -> Path:
    types = {
        "emb": datasets.Sequence(datasets.Value("float32")),
        "label": datasets.ClassLabel(names=list(NAMES)),
    }
    rows = {
        name: datasets.Dataset.from_dict(
            {"emb": KNOWN.features[index].tolist(), "label": LABELS[index].tolist()},
            features=datasets.Features(types),
        )
        for name, index in INDEX.items()
    }
    datasets.DatasetDict(rows).save_to_disk(str(folder / "d"))
    return folder / "d"


@pytest.mark.parametrize("write", [as_csv, as_parquet, as_datasets])
def test_tables_are_equal(write: Callable[[Path], Path], tmp_path: Path) -> None:
    table = class_table(tmp_path)
    assert convert(write(tmp_path), tmp_path / "b.h5", "--semantics", table) == 0
    found = hdf5.read(tmp_path / "b.h5")
    order = np.concatenate(list(INDEX.values())) if write is as_datasets else np.arange(20)
    names = np.array(found.class_names)
    np.testing.assert_array_equal(found.features, KNOWN.features[order])
    np.testing.assert_array_equal(names[found.labels], np.array(NAMES)[LABELS[order]])
    for name, index in INDEX.items():
        np.testing.assert_array_equal(order[getattr(found, name)], index)
    place = [NAMES.index(name) for name in names]
    expected = KNOWN.semantics["att"][place].astype(np.float32)
    np.testing.assert_array_equal(found.semantics["att"], expected)
    assert found.recipe.attributes == ["size", "wings", "legs"]


def test_features_and_classes_of_awa2_are_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = awa(tmp_path / "awa2")
    rows = [f"{i} {i + 0.5}" for i in range(40)]
    names = ["ant", "bee", "cat", "dog"]
    lines(folder / "classes.txt", *(f"{i + 1}\t{name}" for i, name in enumerate(names)))
    lines(folder / "predicate-matrix-continuous.txt", "1 2 3", "2 1 0", "3 3 1", "1 0 1")
    lines(folder / "trainclasses.txt", *names[:3])
    lines(folder / "testclasses.txt", "dog")
    lines(folder / "Features" / "R" / "AwA2-features.txt", *rows)
    lines(folder / "Features" / "R" / "AwA2-labels.txt", *(str(i % 4 + 1) for i in range(40)))
    assert convert(folder, tmp_path / "b.h5") == 0
    assert f"split: given in {folder.name}, seed=0" in capsys.readouterr().out
    found = hdf5.read(tmp_path / "b.h5")
    assert found.class_names == tuple(names)
    assert (len(found.trainval), len(found.test_seen), len(found.test_unseen)) == (24, 6, 10)
    assert set(found.labels[found.test_unseen]) == {3}
    assert found.recipe.attributes == ["black", "white", "blue"]


def test_classes_alone_become_a_table_for_extract(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = awa(tmp_path / "awa2")
    assert convert(folder, tmp_path / "b.h5") == 2
    assert "found classes and no features" in capsys.readouterr().err
    assert convert(folder, tmp_path / "classes.csv") == 0
    found = read_class_table(tmp_path / "classes.csv")
    assert found.names == ("antelope", "grizzly+bear")
    assert found.attribute_names == ("black", "white", "blue")
    assert found.parts == ("seen", "unseen")
    np.testing.assert_array_equal(found.attributes, [[0.5, -1, 30.25], [12, 0, 7]])


# ------------------------------------------------------------------------------------------------
# fields


def save(tmp_path: Path, **fields: Any) -> Path:
    np.savez(tmp_path / "a.npz", **fields)
    return tmp_path / "a.npz"


def test_fields_are_mapped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {"features": "layer4", "labels": "ids", "class_names": "words", "att": "table"}
    source = save(tmp_path, **{names.get(name, name): array for name, array in FIELDS.items()})
    mapping = "features=layer4,labels=ids,class_names=words,semantics=table"
    assert convert(source, tmp_path / "b.h5", "--map", mapping) == 0
    assert_equal(hdf5.read(tmp_path / "b.h5"), KNOWN)
    assert "features from field 'layer4', labels from field 'ids'" in capsys.readouterr().out


@pytest.mark.parametrize(
    "names", [("X", "y"), ("image-embeds", "Targets"), ("embeddings", "label")]
)
def test_usual_names_need_no_map(names: tuple[str, str], tmp_path: Path) -> None:
    rest = {name: array for name, array in FIELDS.items() if name not in ("features", "labels")}
    source = save(tmp_path, **{names[0]: KNOWN.features, names[1]: LABELS}, **rest)
    assert convert(source, tmp_path / "b.h5") == 0
    assert_equal(hdf5.read(tmp_path / "b.h5"), KNOWN)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": LABELS + 1},
        {"labels": (LABELS + 1.0)[:, None]},
        {"labels": np.array(NAMES)[LABELS]},
        {f"{name}_loc": index[:, None] + 1 for name, index in INDEX.items()},
        {name: np.isin(np.arange(20), index) for name, index in INDEX.items()},
    ],
    ids=["from 1", "doubles", "texts", "MATLAB's indices", "masks"],
)
def test_ids_and_indices_of_any_kind(changes: dict[str, Any], tmp_path: Path) -> None:
    kept = {name: a for name, a in FIELDS.items() if f"{name}_loc" not in changes}
    assert convert(save(tmp_path, **{**kept, **changes}), tmp_path / "b.h5") == 0
    assert_equal(hdf5.read(tmp_path / "b.h5"), KNOWN)


TRAINS = np.isin(np.arange(20), INDEX["trainval"])


@pytest.mark.parametrize(
    "parts",
    [
        {"train_mask": TRAINS, "test_mask": ~TRAINS},
        {"train_mask": TRAINS.astype("u1"), "test_mask": (~TRAINS).astype("u1")},
        {"train_idx": np.flatnonzero(TRAINS), "test_idx": np.flatnonzero(~TRAINS)},
        {"train": np.flatnonzero(TRAINS) + 1, "test": np.flatnonzero(~TRAINS) + 1},
    ],
    ids=["masks", "masks of numbers", "indices", "indices from 1"],
)
def test_test_samples_are_divided_by_whether_their_class_trains(
    parts: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rest = {name: array for name, array in FIELDS.items() if name not in INDEX}
    assert convert(save(tmp_path, **rest, **parts), tmp_path / "b.h5") == 0
    found = hdf5.read(tmp_path / "b.h5")
    for name, index in INDEX.items():
        np.testing.assert_array_equal(getattr(found, name), index, err_msg=name)
    assert "split: given in a.npz" in capsys.readouterr().out


def test_fields_within_a_dictionary_need_no_map(tmp_path: Path) -> None:
    arrays = {name: torch.from_numpy(array) for name, array in NUMBERS.items()}
    index = {name: arrays.pop(name) for name in INDEX}
    torch.save({"data": arrays, "splits": index, "classes": list(NAMES)}, tmp_path / "a.pt")
    assert convert(tmp_path / "a.pt", tmp_path / "b.h5") == 0
    assert_equal(hdf5.read(tmp_path / "b.h5"), KNOWN)


def test_ids_that_only_a_table_names_are_said_to_be_its_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rest = {name: FIELDS[name] for name in ("features", "labels", *INDEX)}
    table = class_table(tmp_path)
    assert convert(save(tmp_path, **rest), tmp_path / "b.h5", "--semantics", table) == 0
    said = f"the ids of 'labels' are rows of {table}: the first one is '"
    assert said in capsys.readouterr().out.replace("\n", " ")


def test_the_names_of_classes_are_those_of_the_column_that_is_mapped(tmp_path: Path) -> None:
    types = datasets.Features(
        {
            "kind": datasets.ClassLabel(names=["animal"]),
            "species": datasets.ClassLabel(names=list(NAMES)),
            "features": datasets.Sequence(datasets.Value("float32")),
        }
    )
    columns = {"kind": [0] * 20, "species": LABELS.tolist(), "features": KNOWN.features.tolist()}
    table = class_table(tmp_path)
    for first in (0, 4):  # from row 4 on the first class has no sample
        rows = {name: column[first:] for name, column in columns.items()}
        datasets.Dataset.from_dict(rows, features=types).to_parquet(str(tmp_path / "a.parquet"))
        options = ("--semantics", table, "--overwrite")
        assert convert(tmp_path / "a.parquet", tmp_path / "b.h5", *options) == 0
        found = hdf5.read(tmp_path / "b.h5")
        assert found.class_names == tuple(NAMES)
        np.testing.assert_array_equal(found.labels, LABELS[first:])


def test_without_a_split_classes_are_drawn_by_the_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = save(tmp_path, **{n: a for n, a in FIELDS.items() if n not in INDEX})
    for seed, name in ((0, "a.h5"), (0, "b.h5"), (1, "c.h5")):
        assert convert(source, tmp_path / name, "--unseen", "2", "--seed", str(seed)) == 0
        assert f"split: drawn, seed={seed}" in capsys.readouterr().out
    a, b, c = (hdf5.read(tmp_path / name) for name in ("a.h5", "b.h5", "c.h5"))
    assert_equal(a, b)
    assert len(set(a.labels[a.test_unseen])) == 2
    assert (len(a.trainval), len(a.test_seen), len(a.test_unseen)) == (9, 3, 8)
    assert set(a.labels[a.test_unseen]) != set(c.labels[c.test_unseen])


def test_unseen_classes_are_listed_in_the_source_or_beside_it(tmp_path: Path) -> None:
    rest = {name: a for name, a in FIELDS.items() if name not in INDEX}
    lines(tmp_path / "unseen.txt", "bee", "dog")
    listed: dict[str, Any] = {**rest, "unseen_classes": np.array(["bee", "dog"])}
    for fields, options in ((listed, ()), (FIELDS, ("--split", tmp_path / "unseen.txt"))):
        source = save(tmp_path, **fields)
        assert convert(source, tmp_path / "b.h5", *options, "--overwrite") == 0
        found = hdf5.read(tmp_path / "b.h5")
        assert sorted(set(found.labels[found.test_unseen])) == [1, 3]


def test_a_part_for_each_sample_divides_test_and_validation_by_class(tmp_path: Path) -> None:
    part = np.where(LABELS < 2, "train", np.where(LABELS == 2, "validation", "test"))
    part[3] = "test"
    rest = {name: a for name, a in FIELDS.items() if name not in INDEX}
    assert convert(save(tmp_path, **rest, split=part), tmp_path / "b.h5") == 0
    found = hdf5.read(tmp_path / "b.h5")
    assert found.trainval.tolist() == [0, 1, 2, *range(4, 12)]
    assert found.test_seen.tolist() == [3]
    assert found.test_unseen.tolist() == list(range(12, 20))
    assert found.train is not None
    assert found.train.tolist() == [0, 1, 2, *range(4, 8)]
    assert found.val is not None
    assert found.val.tolist() == list(range(8, 12))
    validation = found.benchmark("att").validation_classes
    assert validation is not None
    assert validation.tolist() == [2]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables_keep_the_published_training_and_validation_samples(
    form: str, tmp_path: Path
) -> None:
    part = np.where(LABELS < 2, "train", np.where(LABELS == 2, "val", "test_unseen"))
    part[3] = "test_seen"
    frame = as_frame().assign(split=part)
    path = tmp_path / f"a.{form}"
    frame.to_csv(path) if form == "csv" else frame.to_parquet(path)
    table = class_table(tmp_path)
    assert convert(path, tmp_path / "b.h5", "--semantics", table) == 0
    found = hdf5.read(tmp_path / "b.h5")
    for name, wanted in {"train": "train", "val": "val", "test_seen": "test_seen"}.items():
        np.testing.assert_array_equal(getattr(found, name), np.flatnonzero(part == wanted))
    np.testing.assert_array_equal(found.trainval, np.flatnonzero(np.isin(part, ["train", "val"])))
    assert found.validation_classes is None
    assert convert(tmp_path / "b.h5", tmp_path / "c.npz") == 0
    assert convert(tmp_path / "c.npz", tmp_path / "c.h5") == 0
    assert_equal(hdf5.read(tmp_path / "c.h5"), found)


def test_validation_samples_of_training_classes_train_too(tmp_path: Path) -> None:
    part = np.where(LABELS < 3, "train", "test_unseen")
    part[[0, 4]] = "val"
    rest = {name: a for name, a in FIELDS.items() if name not in INDEX}
    assert convert(save(tmp_path, **rest, split=part), tmp_path / "b.h5") == 0
    found = hdf5.read(tmp_path / "b.h5")
    np.testing.assert_array_equal(found.trainval, np.flatnonzero(LABELS < 3))
    assert found.train is found.val is found.validation_classes is None


NAN = KNOWN.features.copy()
NAN[3, 2] = np.nan


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        (
            {"x": KNOWN.features},
            2,
            "found features, x, each of which may be the features; expected one. Say which: --map "
            "features=features",
        ),
        (
            {"features": None},
            1,
            "expected the features, a field called features, feature, feats, feat or similar. Say "
            "which: --map features=FIELD",
        ),
        ({"labels": None}, 1, "expected the labels"),
        (
            {"features": None, "labels": None, "a": KNOWN.features, "b": LABELS},
            1,
            "or similar, and the labels, a field called labels, label, y, targets or similar. Say "
            "which: --map features=FIELD,labels=FIELD",
        ),
        (
            {"class_names": None, "att": KNOWN.semantics["att"].T},
            1,
            "as there are 3 classes, the rows of field 'att' of shape [3, 5].",
        ),
        (
            {"trainval": np.ones(7, dtype=bool)},
            1,
            "'trainval': found 7 values; expected 20, one for each sample, or the numbers",
        ),
        ({"att": None}, 1, "found no class semantics"),
        ({"features": NAN}, 1, "found nan in row 3, column 2 (0-based); expected finite numbers"),
        ({"att": KNOWN.semantics["att"] * np.inf}, 1, "field 'att': found inf in row 0, column 0"),
        ({"labels": LABELS[:-1]}, 1, "found 20 rows, and 19 values of 'labels'; expected one"),
        ({"features": KNOWN.features.T}, 1, "found shape [6, 20], a transposed table"),
        (
            {"att": KNOWN.semantics["att"].T},
            1,
            "found shape [3, 5]; expected a row for each of the 5 class names. It is transposed.",
        ),
        ({"labels": LABELS + 2}, 1, "'labels': found numbers from 2 to 6; expected 0 to 4 or 1 to"),
        ({"labels": np.clip(LABELS, 1, 4)}, 2, "--ids-from 0 or --ids-from 1"),
        (
            {"labels": np.array(["ant", "beee", "dog", "eel"])[LABELS % 4]},
            1,
            "found 'beee' (first in row 4, 0-based), of which there are no class semantics; "
            "expected names of the 5 classes, such as 'ant'. Did you mean 'bee'?",
        ),
        (
            {"trainval": INDEX["trainval"] + 30},
            1,
            "'trainval': found numbers from 3 to 44; expected 0 to 19 or 1 to 20",
        ),
        ({"test_unseen": None}, 1, "expected those of test_unseen too"),
        (
            {**dict.fromkeys(INDEX), "split": np.array(["trian"] * 20)},
            1,
            "field 'split': found 'trian' (first in row 0, 0-based)",
        ),
    ],
)
def test_wrong_fields_are_sentences_and_nothing_is_written(
    changes: dict[str, Any],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fields = {name: a for name, a in {**FIELDS, **changes}.items() if a is not None}
    assert convert(save(tmp_path, **fields), tmp_path / "b.h5") == code
    said = " ".join(capsys.readouterr().err.split())
    assert f"{tmp_path}/a.npz" in said
    assert message in said
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--split all.txt", "a.npz: found every class that has samples among the unseen ones"),
        ("--semantics b.parquet", "b.parquet: found the ending '.parquet'; expected a table of"),
    ],
)
def test_wrong_files_of_classes_are_sentences(
    arguments: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    save(Path(), **FIELDS)
    lines(Path("all.txt"), *NAMES)
    Path("b.parquet").touch()
    assert convert("a.npz", "b.h5", *arguments.split()) == 1
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "a.npz b.h5 --map features=layer",
            "--map features=layer: a.npz has no such field; found features (float32 [20, 6]), lab",
        ),
        ("a.npz b.h5 --map x=features", "The role comes first: --map features=x"),
        ("a.npz a.npz --overwrite", "a.npz: found SOURCE as TARGET; expected another name."),
        ("parts b.h5", "parts: found a folder of .parquet files; expected one of them"),
        ("a.npz b.h5 --map feature=x", "there is no role 'feature'. Did you mean features?"),
        ("a.npz b.h5 --map features", "--map features: expected ROLE=FIELD"),
        ("a.npz b.h5 --split c.txt --unseen 1", "Give either."),
        ("a.npz b.h5 --unseen 9", "--unseen: 9 classes are to be drawn"),
        ("a.npz b.h5 --to npz", "--to npz: found TARGET b.h5; expected a name that ends in .npz"),
        ("a.npz b --to dataset", "--to dataset: there is no such form. Did you mean datasets?"),
        ("a.npz b.csv", "b.csv: found the name of a table"),
        ("a.npz b.pt", "b.pt: found the ending '.pt', a form that is not written; expected FILE"),
        ("a.npz b.mat", "b.mat: found the ending '.mat', a form that is not written; expected"),
        ("a.npz b.npy --to mat", "b.npy: found the ending '.npy', a form that is not written"),
        ("a.h5 b.h5 --map features=x", "--map: a.h5 has the fields of a benchmark, which need no"),
        ("a.pkl b.h5", "a.pkl: found a pickle, which can run any program and is never loaded"),
        ("a.tar b.h5", "a.tar: found the ending '.tar'; expected a folder, or a file that ends in"),
        ("images b.h5", "data extract --images images --classes CLASSES.csv"),
    ],
)
def test_wrong_commands_are_sentences(
    arguments: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    save(Path(), **FIELDS)
    hdf5.write(KNOWN, Path("a.h5"))
    for name in ("a.pkl", "a.tar", "c.txt"):
        Path(name).touch()
    lines(Path("parts/train-0.parquet"))
    lines(Path("images/train/ant/1.jpg"))
    assert convert(*arguments.split()) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_other_folders_are_not_replaced_by_datasets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = save(tmp_path, **FIELDS)
    lines(tmp_path / "mine" / "thesis.tex")
    assert convert(source, tmp_path / "mine", "--to", "datasets", "--overwrite") == 1
    assert "found other files in it" in capsys.readouterr().err
    assert convert(source, tmp_path / "d", "--to", "datasets") == 0
    assert convert(source, tmp_path / "d", "--to", "datasets") == 1
    assert "the folder exists. Add --overwrite" in capsys.readouterr().err
    assert convert(source, tmp_path / "d", "--to", "datasets", "--overwrite") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "d", "mine"]


def test_a_damaged_folder_that_was_written_here_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(save(tmp_path, **FIELDS), tmp_path / "d", "--to", "datasets") == 0
    place = tmp_path / "d" / "benchmark.json"
    place.write_text(place.read_text()[:-30])
    assert convert(tmp_path / "d", tmp_path / "b.h5") == 1
    assert "benchmark.json: found a damaged file" in capsys.readouterr().err


def test_numbers_beyond_single_precision_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = FIELDS["features"].astype(np.float64)
    features[1, 2] = 1e300
    np.savez(tmp_path / "a.npz", **{**FIELDS, "features": features})
    assert convert(tmp_path / "a.npz", tmp_path / "b.h5") == 1
    found = capsys.readouterr()
    assert not (tmp_path / "b.h5").exists()
    assert "wrote" not in found.out
    assert "found inf in row 1, column 2" in found.err
    assert "single precision" in found.err


@pytest.mark.parametrize(
    ("arguments", "package"),
    [
        ("a.safetensors b.h5", "safetensors"),
        ("a.parquet b.h5", "pyarrow"),
        ("a.h5 b --to datasets", "datasets"),
    ],
)
def test_a_package_that_is_not_installed_names_the_extra(
    arguments: str,
    package: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.safetensors", "a.parquet"):
        Path(name).touch()
    hdf5.write(KNOWN, Path("a.h5"))
    monkeypatch.setitem(sys.modules, package, None)
    assert convert(*arguments.split()) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"this format needs {package}, which is not installed. Install it: pip install" in said
    assert '"zsl-lab[formats]"' in said
