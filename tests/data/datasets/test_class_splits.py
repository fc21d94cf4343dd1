"""The splits of a dataset beside its proposed one: which samples, what is said, what is missing."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tests.helpers.benchmark_files import BASE, Fields, MakeDataset
from tests.helpers.image_datasets import class_ids, write_lines
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.datasets.synthetic import SyntheticDataset
from zsl_lab.data.datasets.xian import XianDataset
from zsl_lab.data.files.class_lists import read_class_lists
from zsl_lab.data.files.mat import read_mat, texts
from zsl_lab.data.splits import validation_split
from zsl_lab.errors import ConfigError, DataError

PLACES = {"standard": "standard_split/TOY", "hard": "ids.mat"}


@pytest.fixture
def toy(make: MakeDataset, splits: Fields, recorded: Fields, paths: DataPaths) -> MakeDataset:
    """A benchmark of 5 classes with 4 samples each, and class lists in which bee is unseen."""
    folder = paths.data_dir / "standard_split" / "TOY"
    write_lines(folder / "testclasses.txt", ["bee"])
    write_lines(folder / "trainvalclasses.txt", ["ant", "cat", "dog", "eel"])
    write_lines(folder / "valclasses1.txt", ["cat"])
    write_lines(folder / "valclasses2.txt", ["eel", "dog"])
    class_ids(paths.data_dir / "ids.mat", [1, 2, 5], [3, 4])

    def configure(**keys: Any) -> XianDataset:
        return make(splits, recorded, **{"class_splits": PLACES, **keys})

    return configure


def test_the_standard_split_trains_on_all_images_of_its_seen_classes(
    toy: MakeDataset, paths: DataPaths
) -> None:
    dataset = toy(split="standard")
    dataset.check_files(paths)
    proposed = dataset.load(paths)
    assert proposed.unseen_classes.tolist() == [4], "loading gives the proposed split"
    b = dataset.with_split(proposed, paths)
    assert b.unseen_classes.tolist() == [1]
    assert (len(b.trainval), len(b.test_seen), len(b.test_unseen)) == (16, 0, 4)
    assert b.provenance.splits_version == "standard (4 seen + 1 unseen classes of TOY)"
    assert b.provenance.splits_sha256 != proposed.provenance.splits_sha256
    found = [validation_split(b, 0, draw).unseen_classes.tolist() for draw in range(2)]
    assert found == [[2], [3, 4]]
    assert set(paths.data_dir.glob("standard_split/TOY/*.txt")) <= set(dataset.sources(paths))


def test_a_part_of_each_seen_class_may_be_held_back(toy: MakeDataset, paths: DataPaths) -> None:
    dataset = toy(split="hard", test_seen_fraction=0.25)
    b = dataset.with_split(dataset.load(paths), paths)
    assert b.unseen_classes.tolist() == [2, 3]
    assert np.bincount(b.labels[b.test_seen], minlength=5).tolist() == [1, 1, 0, 0, 1]


def test_drawn_classes_have_the_numbers_of_the_paper(toy: MakeDataset, paths: DataPaths) -> None:
    counts = {"train": 2, "validation": 1, "test": 2}
    found = set()
    for seed in range(6):
        dataset = toy(split="n3", class_counts=counts, split_seed=seed)
        with pytest.warns(UserWarning, match="split=n3 draws .* they may be classes of ImageNet"):
            b = dataset.with_split(dataset.load(paths), paths)
        assert (len(b.seen_classes), len(b.unseen_classes)) == (3, 2)
        assert b.validation_classes is not None
        assert len(b.validation_classes) == 1
        assert f"drawn with split_seed={seed}" in b.provenance.splits_version
        found.add(tuple(b.unseen_classes))
    assert len(found) > 1
    dataset = toy(split="n3", class_counts={**counts, "train": 3})
    with pytest.raises(ConfigError, match=r"found 3 \+ 1 \+ 2 = 6 classes; expected 5 in total"):
        dataset.with_split(dataset.load(paths), paths)


def test_a_random_split_warns_of_pretraining_where_there_was_any(
    toy: MakeDataset, paths: DataPaths
) -> None:
    dataset = toy(split="random")
    with pytest.warns(UserWarning, match="split=random draws .* The proposed split .* avoids that"):
        dataset.with_split(dataset.load(paths), paths)
    sizes = {"classes": 6, "unseen": 2, "feature_dim": 3, "semantic_dim": 3, "seed": 0}
    synthetic = SyntheticDataset.model_validate(
        {**BASE, "name": "s", **sizes, "samples_per_class": 5, "difficulty": 0.5, "split": "random"}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        synthetic.with_split(synthetic.load(paths), paths)


def test_missing_lists_are_named_with_where_they_come_from(
    toy: MakeDataset, paths: DataPaths
) -> None:
    folder = paths.data_dir / "standard_split" / "TOY"
    (folder / "testclasses.txt").rename(folder / "test.txt")
    dataset = toy(split="standard")
    message = (
        r"standard_split/TOY: found test\.txt, .*; expected a folder with testclasses\.txt and "
        r"trainvalclasses\.txt .* Either put them there \(standard_split\.zip .*\), name another "
        r"place with dataset\.class_splits\.standard=PLACE, or set dataset\.split=proposed or "
        r"random or hard\."
    )
    for fails in (dataset.check_files, dataset.load):
        with pytest.raises(DataError, match=message):
            fails(paths)
    (paths.data_dir / "ids.mat").unlink()
    with pytest.raises(DataError, match=r"ids\.mat: no such file .* train_cid and test_cid"):
        toy(split="hard").load(paths)
    toy().load(paths)


def test_lists_are_also_looked_for_beside_the_folder_of_the_archive(
    toy: MakeDataset, paths: DataPaths, tmp_path: Path
) -> None:
    deeper = DataPaths(paths.data_dir / "xlsa17" / "data", paths.cache_dir)
    dataset = toy(split="standard")
    deeper.data_dir.mkdir(parents=True)
    (paths.data_dir / "TOY").rename(deeper.data_dir / "TOY")
    b = dataset.with_split(dataset.load(deeper), deeper)
    assert b.unseen_classes.tolist() == [1]
    elsewhere = tmp_path / "mine.txt"
    write_lines(elsewhere, ["dog", "cat"])
    dataset = dataset.model_copy(update={"class_splits": {"standard": str(elsewhere)}})
    assert dataset.with_split(b, deeper).unseen_classes.tolist() == [2, 3]


def test_lists_of_the_proposed_split_are_noticed(toy: MakeDataset, paths: DataPaths) -> None:
    folder = paths.data_dir / "standard_split" / "TOY"
    write_lines(folder / "testclasses.txt", ["eel"])
    write_lines(folder / "trainvalclasses.txt", ["ant", "bee", "cat", "dog"])
    (folder / "valclasses2.txt").unlink()
    dataset = toy(split="standard")
    with pytest.warns(UserWarning, match=r"are those of the proposed split of TOY.* xlsa17\.zip"):
        dataset.with_split(dataset.load(paths), paths)
    write_lines(folder / "testclasses.txt", ["owl"])
    with pytest.raises(DataError, match=r"found 'owl'.* set dataset\.split=proposed"):
        dataset.with_split(dataset.load(paths), paths)


def test_only_the_splits_of_a_dataset_can_be_chosen(toy: MakeDataset) -> None:
    assert toy().splits == ("proposed", "random", "standard", "hard")
    with pytest.raises(ValidationError, match=r"found split 'standart'.*; did you mean standard"):
        toy(split="standart")
    with pytest.raises(ValidationError, match="found 'random' in class_splits"):
        toy(class_splits={"random": "x"})
    with pytest.raises(ValidationError, match="less than 1"):
        toy(test_seen_fraction=1.0)


def test_ids_of_birds_are_the_numbers_before_their_names(genuine: Path) -> None:
    file = genuine / "CUB" / "att_splits.mat"
    names = texts(read_mat(file, ["allclasses_names"])["allclasses_names"], file, "names")
    assert names[0].startswith("002."), "in another order"
    folder = genuine.parents[1] / "splits_sce"
    unseen = {
        kind: sorted(
            names[i]
            for i in read_class_lists(folder / f"CUB_train_test_split_{kind}.mat", names).unseen
        )
        for kind in ("easy", "hard")
    }
    # the first and the last of the conventional 150/50 split
    assert unseen["easy"][:2] == ["001.Black_footed_Albatross", "004.Groove_billed_Ani"]
    assert unseen["easy"][-1] == "197.Marsh_Wren"
    assert unseen["hard"][0] == "161.Blue_winged_Warbler"
    assert unseen["hard"][-1] == "200.Common_Yellowthroat"
