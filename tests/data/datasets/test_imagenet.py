from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.imagenet import (
    DIM,
    LISTS,
    TRAIN,
    VALIDATION,
    make_class_lists,
    make_features,
    wnid,
)
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.datasets.imagenet import ImageNetDataset
from zsl_lab.data.files.benchmark_file import BenchmarkFile, write
from zsl_lab.errors import DataError

SEEN = [*TRAIN, *VALIDATION]


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    make_class_lists(tmp_path / "ImageNet")
    make_features(tmp_path / "ImageNet")
    return DataPaths(tmp_path, tmp_path / "cache")


def dataset(**changed: Any) -> ImageNetDataset:
    keys: dict[str, Any] = {
        "name": "imagenet",
        "folder": "ImageNet",
        "features": "res101",
        "semantics": "w2v",
        "normalize": "none",
        "normalize_semantics": "l2",
        "split": "hops2",
        "split_seed": 0,
    }
    return ImageNetDataset(**{**keys, **changed})


def names(rows: list[int]) -> set[str]:
    return {wnid(row) for row in rows}


@pytest.mark.parametrize(
    ("split", "unseen"),
    [
        # 10 and 20 have no word vector
        ("hops2", [6, 8]),
        ("hops3", [6, 8, 12, 13, 14]),
        ("all", [6, 8, 12, 13, 14, 15, 16, 17, 18, 19]),
        *((split, [6, 12]) for split in LISTS if split[:2] in ("mp", "lp")),
    ],
)
def test_a_set_gives_its_classes_with_a_word_vector_as_the_unseen_ones(
    split: str, unseen: list[int], paths: DataPaths
) -> None:
    found = dataset(split=split).load(paths)
    of = np.array(found.class_names)
    assert set(of[found.seen_classes]) == names(SEEN)
    assert set(of[found.unseen_classes]) == names(unseen)
    assert found.validation_classes is not None
    assert set(of[found.validation_classes]) == names(VALIDATION)
    assert f"{len(unseen)} unseen" in found.provenance.splits_version
    assert np.isfinite(found.semantics).all()


def test_each_sample_has_the_features_of_its_class_and_the_validation_images_test(
    paths: DataPaths,
) -> None:
    found = dataset().load(paths)
    row = {wnid(row): row for row in range(1, 21)}
    expected = [row[found.class_names[label]] for label in found.labels]
    np.testing.assert_allclose(found.features.mean(1), expected, atol=0.1)
    assert len(found.test_seen) == 3 * len(SEEN)
    assert len(found.trainval) == sum(5 + row % 3 for row in SEEN)
    assert len(found.test_unseen) == sum(5 + row % 3 for row in (6, 8))


def test_without_validation_images_nothing_tests_seen_classes(paths: DataPaths) -> None:
    for file in (paths.data_dir / "ImageNet" / "res101_val").iterdir():
        file.unlink()
    (paths.data_dir / "ImageNet" / "res101_val").rmdir()
    assert len(dataset().load(paths).test_seen) == 0


def test_a_file_in_the_hdf5_layout_gives_the_same(paths: DataPaths) -> None:
    folder = paths.data_dir / "ImageNet"
    whole = dataset(split="hops3").load(paths)
    content = BenchmarkFile(
        name="features",
        features=whole.features,
        labels=whole.labels,
        class_names=whole.class_names,
        semantics={"none": np.arange(len(whole.class_names), dtype=np.float32)[:, None] + 1},
        trainval=whole.trainval,
        test_seen=whole.test_seen,
        test_unseen=whole.test_unseen,
    )
    write(content, folder / "vgg19.h5")
    found, expected = dataset(features="vgg19").load(paths), dataset().load(paths)
    assert found.class_names == expected.class_names
    np.testing.assert_array_equal(found.semantics, expected.semantics)
    for part in ("trainval", "test_seen", "test_unseen"):
        of_file, of_folder = getattr(found, part), getattr(expected, part)
        np.testing.assert_array_equal(found.labels[of_file], expected.labels[of_folder])
        np.testing.assert_array_equal(found.features[of_file], expected.features[of_folder])


def test_other_semantics_are_joined_by_wordnet_id_and_need_no_word_vector(
    paths: DataPaths, tmp_path: Path
) -> None:
    table = tmp_path / "texts.csv"
    rows = [f"{wnid(row)},{row},{row * row}" for row in reversed(range(1, 21))]
    table.write_text("\n".join(["class,a,b", *rows]))
    found = dataset(semantics=str(table)).load(paths)
    row = {wnid(row): row for row in range(1, 21)}
    assert found.semantics[:, 0].tolist() == [row[name] for name in found.class_names]
    assert wnid(10) in found.class_names


def test_an_own_set_is_a_list_of_wordnet_ids(paths: DataPaths) -> None:
    (paths.data_dir / "ImageNet" / "own.txt").write_text(f"{wnid(18)}\n{wnid(6)}\n")
    found = dataset(split="mine", class_sets={"mine": "own.txt"}).load(paths)
    assert set(np.array(found.class_names)[found.unseen_classes]) == names([6, 18])


def test_an_unseen_class_without_features_stays_a_candidate(paths: DataPaths) -> None:
    (paths.data_dir / "ImageNet" / "res101" / f"{wnid(8)}.npy").unlink()
    with pytest.warns(UserWarning, match="1 of the 2 unseen classes"):
        found = dataset().load(paths)
    assert [found.class_names[i] for i in found.untested_classes] == [wnid(8)]


def damage(kind: str, folder: Path) -> dict[str, Any]:
    file = folder / "res101" / f"{wnid(1)}.npy"
    if kind == "truncated":
        file.write_bytes(file.read_bytes()[:-8])
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "dimensions":
        np.save(file, np.zeros((3, DIM + 1)))
    elif kind == "vector":
        np.save(file, np.zeros(DIM))
    elif kind == "missing":
        file.unlink()
    elif kind == "seen in a set":
        (folder / "own.txt").write_text(wnid(1))
        return {"split": "mine", "class_sets": {"mine": "own.txt"}}
    elif kind == "features":
        return {"features": "nothing"}
    elif kind == "lists":
        (folder / "ImageNet_splits.mat").unlink()
    return {}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("truncated", rf"{wnid(1)}.npy: found"),
        ("empty", rf"{wnid(1)}.npy: found"),
        ("dimensions", "dimensions; expected"),
        ("vector", r"shape \[4\]; expected an array of numbers"),
        ("missing", rf"no file {wnid(1)}.npy \(1 of 8 seen classes"),
        ("seen in a set", "line 1: found n.*a seen class"),
        ("features", "dataset.features"),
        ("lists", "ImageNet_splits.mat: no such file.*xlsa17.zip"),
    ],
)
def test_what_is_missing_or_damaged_is_named(kind: str, said: str, paths: DataPaths) -> None:
    changed = damage(kind, paths.data_dir / "ImageNet")
    with pytest.raises(DataError, match=said):
        dataset(**changed).load(paths)


def test_an_unknown_set_names_the_others() -> None:
    with pytest.raises(ValueError, match=r"expected hops2 or hops3 .*did you mean hops2"):
        dataset(split="hop2")


def test_a_place_outside_the_table_is_named(paths: DataPaths, monkeypatch: Any) -> None:
    monkeypatch.setitem(LISTS, "hops2", [6, 99])
    make_class_lists(paths.data_dir / "ImageNet")
    with pytest.raises(DataError, match="field 'hops2': found 99; expected 1-based rows"):
        dataset().load(paths)
