"""Lists of seen and unseen classes, in the forms that are published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from zsl_lab.data.files.class_lists import has_lists, list_files, read_class_lists
from zsl_lab.errors import DataError

NAMES = ("001.Black_footed_Albatross", "grizzly+bear", "pig", "rat", "seal")


def write(folder: Path, **lists: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, classes in lists.items():
        (folder / f"{name}.txt").write_text("\n".join([*classes, ""]))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(
        tmp_path / "CUB",
        testclasses=["grizzly bear", "seal"],
        trainvalclasses=["pig", "black footed albatross", "rat"],
        trainclasses1=["pig", "rat"],
        valclasses1=["001.Black_footed_Albatross"],
        trainclasses2=["001.Black_footed_Albatross", "pig"],
        valclasses2=["Rat"],
    )


def test_a_folder_has_unseen_classes_and_divisions_for_tuning(folder: Path) -> None:
    lists = read_class_lists(folder, NAMES)
    assert lists.unseen.tolist() == [1, 4]
    assert [classes.tolist() for classes in lists.validation] == [[0], [3]]
    assert has_lists(folder)
    assert not has_lists(folder.parent)
    assert {path.name for path in list_files(folder)} >= {"testclasses.txt", "valclasses3.txt"}


def test_a_list_of_unseen_classes_is_enough(folder: Path) -> None:
    path = folder / "testclasses.txt"
    assert read_class_lists(path, NAMES).unseen.tolist() == [1, 4]
    assert read_class_lists(path, NAMES).validation == ()
    assert list_files(path) == (path,)


@pytest.mark.parametrize(
    ("lists", "sentence"),
    [
        ({"testclasses": ["seals"]}, "testclasses.txt: found 'seals'.*Did you mean 'seal'"),
        ({"testclasses": ["pig", "pig"]}, "found 'pig' more than once"),
        ({"testclasses": []}, "found an empty file"),
        ({"testclasses": ["seal", "pig"]}, "found 'pig' in testclasses.txt and in trainvalclasses"),
        ({"trainvalclasses": ["pig", "rat"]}, "found '001.Black.*' neither in testclasses.txt nor"),
        ({"valclasses1": ["seal"]}, "valclasses1.txt: found 'seal', which testclasses.txt names"),
        ({"valclasses2": ["pig"]}, "found 'pig' in valclasses2.txt and in trainclasses2.txt"),
    ],
)
def test_lists_that_contradict_each_other_are_named(
    lists: dict[str, list[str]], sentence: str, folder: Path
) -> None:
    write(folder, **lists)
    with pytest.raises(DataError, match=sentence):
        read_class_lists(folder, NAMES)


def test_a_folder_without_lists_and_a_missing_file_are_named(folder: Path) -> None:
    (folder / "testclasses.txt").unlink()
    with pytest.raises(DataError, match=r"found trainclasses1\.txt, .*; expected testclasses\.txt"):
        read_class_lists(folder, NAMES)
    with pytest.raises(DataError, match=r"x\.txt: no such file or folder"):
        read_class_lists(folder / "x.txt", NAMES)


@pytest.mark.parametrize(
    ("seen", "unseen", "sentence"),
    [
        ([1, 3, 4], [2, 5], ""),
        ([1, 3, 4, 5], [2, 5], "found class 5 in both"),
        ([1, 3, 4], [2], "found 4 class ids up to 4; expected each id from 1 to 5"),
        ([1, 3, 4], [2, 5, 6], "found 6 class ids up to 6"),
        ([], [], "found 0 class ids up to 0"),
        ([1.5, 3], [2], "found 1.5; expected whole numbers"),
    ],
)
def test_lists_of_ids_count_from_one(
    seen: list[float], unseen: list[float], sentence: str, tmp_path: Path
) -> None:
    fields = {"train_cid": np.array([seen]), "test_cid": np.array([unseen])}
    scipy.io.savemat(tmp_path / "split.mat", fields)
    if sentence:
        with pytest.raises(DataError, match=sentence):
            read_class_lists(tmp_path / "split.mat", NAMES)
    else:
        assert read_class_lists(tmp_path / "split.mat", NAMES).unseen.tolist() == [1, 4]


def test_the_published_super_category_splits_are_read(shared: Path) -> None:
    counts = {}
    for name, classes in (("CUB_train_test_split_{}", 200), ("NAB_{}", 404)):
        for kind in ("easy", "hard"):
            file = shared / "data" / "splits_sce" / f"{name.format(kind)}.mat"
            lists = read_class_lists(file, [f"bird {'x' * i}" for i in range(classes)])
            counts[file.stem] = len(lists.unseen)
    assert list(counts.values()) == [50, 40, 81, 81]
