"""Images in the folders of public archives: lists, texts, splits and errors."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import OmegaConf
from pydantic import ValidationError

from tests.helpers import image_datasets as made
from tests.helpers.benchmark_files import cells
from zsl_lab.data.benchmark import ImageBenchmark
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.datasets.images import ImageDataset
from zsl_lab.errors import DataError

CONF = Path(__file__).parents[3] / "conf"
COUNTS = {"train": 3, "validation": 1, "test": 2}
N = 6 * made.PER_CLASS


def configured(name: str, **keys: Any) -> ImageDataset:
    """The dataset of a yaml with small images, without published counts."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        known: Any = OmegaConf.to_container(compose(f"dataset/{name}").dataset)
    kind: type[ImageDataset] = get_class(known.pop("_target_"))
    small = {"image_size": 4, "resize": 5, "counts": None, "class_counts": COUNTS}
    return kind.model_validate({**known, **small, **keys})


@pytest.fixture
def cub(paths: DataPaths) -> Path:
    folder = paths.data_dir / "CUB_200_2011"
    made.make_cub(folder)
    return folder


@pytest.fixture
def nabirds(paths: DataPaths) -> Path:
    folder = paths.data_dir / "nabirds"
    made.make_nabirds(folder)
    return folder


def load_cub(paths: DataPaths, **keys: Any) -> ImageBenchmark:
    """CUB with its last two classes unseen."""
    given = {"split_file": None, "image_order": None, "unseen_classes": [5, 6]}
    return configured("cub_images", **{**given, **keys}).load_images(paths)


MAKERS: dict[str, tuple[str, Callable[[Path], list[str]]]] = {
    "cub_images": ("CUB_200_2011", made.make_cub),
    "cub2010_images": ("CUB_200", made.make_cub2010),
    "awa2_images": ("Animals_with_Attributes2", made.make_awa2),
    "nabirds": ("nabirds", made.make_nabirds),
}


@pytest.mark.parametrize("name", MAKERS)
def test_images_classes_and_texts_of_an_archive_belong_together(
    name: str, paths: DataPaths
) -> None:
    folder, make = MAKERS[name]
    names = make(paths.data_dir / folder)
    b = configured(name, split="n3").load_images(paths)
    assert b.class_names == tuple(names)
    assert len(b.labels) == N
    assert b.descriptions[0] == "is large. sings."
    assert b.descriptions[1].startswith("looks like ")
    for class_id in range(6):
        colours = {tuple(image[2, 2]) for image in b.images[b.labels == class_id]}
        assert len(colours) == 1, "one colour a class"
    assert len({tuple(b.images[b.labels == i][0, 2, 2]) for i in range(6)}) == 6
    assert (len(b.seen_classes), len(b.unseen_classes)) == (4, 2)
    assert b.validation_classes is not None
    assert len(b.validation_classes) == 1
    assert len(b.test_seen) == 0
    assert b.provenance.splits_version.startswith("n3 (3 + 1 + 2 classes")


@pytest.mark.parametrize("name", MAKERS)
def test_a_dataset_without_a_proposed_split_loads_with_the_one_that_is_chosen(
    name: str, paths: DataPaths
) -> None:
    folder, make = MAKERS[name]
    make(paths.data_dir / folder)
    made.class_ids(paths.data_dir / "ids.mat", [1, 2, 4, 6], [3, 5])
    keys = {"split_file": None, "image_order": None, "class_splits": {"mine": "ids.mat"}}
    dataset = configured(name, split="mine", **keys)
    b = dataset.load_images(paths)
    assert b.unseen_classes.tolist() == [2, 4]
    assert dataset.with_split(b, paths) is b
    assert configured(name, split="random", **keys).load_images(paths).unseen_classes.size == 2
    with pytest.raises(ValidationError, match="expected random or mine or n3"):
        configured(name, split="proposed", **keys)


def test_labels_by_sex_and_age_are_merged_into_species(nabirds: Path, paths: DataPaths) -> None:
    made.class_ids(paths.data_dir / "splits_sce" / "NAB_easy.mat", [1, 2, 3, 5], [4, 6])
    b = configured("nabirds").load_images(paths)
    assert b.class_names == tuple(made.SPECIES)
    assert [b.class_names[i] for i in b.unseen_classes] == ["Blue Jay", "Marsh Wren"]
    assert np.bincount(b.labels).tolist() == [made.PER_CLASS] * 6
    # the texts' order numbers the species
    made.describe(nabirds / "descriptions.json", [*made.SPECIES][::-1])
    again = configured("nabirds").load_images(paths)
    assert again.class_names == tuple(made.SPECIES)[::-1]
    assert [again.class_names[i] for i in again.unseen_classes] == ["Common Raven", "Mallard"]


def test_hard_splits_that_divide_a_family_are_warned_of(nabirds: Path, paths: DataPaths) -> None:
    place = paths.data_dir / "splits_sce" / "NAB_hard.mat"
    made.class_ids(place, [1, 2, 5, 6], [3, 4])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(configured("nabirds", split="hard").load_images(paths).test_unseen) == 10
    made.class_ids(place, [1, 2, 3, 5], [4, 6])
    with pytest.warns(UserWarning, match=r"in 2 families \('Crows', 'Wrens'\)"):
        configured("nabirds", split="hard").load_images(paths)


def test_the_proposed_split_follows_the_order_of_the_published_images(
    cub: Path, paths: DataPaths
) -> None:
    files = [line.split()[1] for line in (cub / "images.txt").read_text().splitlines()][::-1]
    place = paths.data_dir / "xlsa17" / "data" / "CUB"
    place.mkdir(parents=True)
    labels = np.repeat(np.arange(6, 0, -1), made.PER_CLASS)
    order = {"image_files": cells([f"/BS/x/images/{f}" for f in files]), "labels": labels[:, None]}
    scipy.io.savemat(place / "res101.mat", order)
    numbers = np.arange(1, N + 1)
    parts = {"test_unseen": labels <= 2, "test_seen": (labels > 2) & (numbers % 5 == 0)}
    parts["trainval"] = ~parts["test_unseen"] & ~parts["test_seen"]
    scipy.io.savemat(
        place / "att_splits.mat", {f"{k}_loc": numbers[v][:, None] for k, v in parts.items()}
    )
    b = configured("cub_images").load_images(paths)
    assert b.unseen_classes.tolist() == [0, 1]
    assert len(b.test_seen) == 4
    assert b.labels.tolist() == (labels - 1).tolist()


def test_a_list_of_unseen_classes_does_where_the_split_file_is_missing(paths: DataPaths) -> None:
    made.make_awa2(paths.data_dir / "Animals_with_Attributes2")
    with pytest.warns(UserWarning, match=r"the unseen classes of the proposed split are those of"):
        b = configured("awa2_images").load_images(paths)
    assert b.unseen_classes.tolist() == [4, 5]
    assert len(b.test_seen) == 0
    with pytest.warns(UserWarning, match="20% of each seen class is held out"):
        b = configured("awa2_images", test_seen_fraction=0.2).load_images(paths)
    assert np.bincount(b.labels[b.test_seen]).tolist() == [1, 1, 1, 1]
    (paths.data_dir / "Animals_with_Attributes2" / "testclasses.txt").unlink()
    message = r"att_splits.mat: no such file.*A list of the unseen classes in .*testclasses\.txt"
    with pytest.raises(DataError, match=message):
        configured("awa2_images").load_images(paths)


def test_texts_join_by_name_or_by_number(cub: Path, paths: DataPaths) -> None:
    texts = [
        {"class_id": i, "name": f"bird {'abcdef'[i - 1]}", "description": f"text {i}"}
        for i in range(1, 7)
    ]
    texts[2]["name"] = "the third bird"
    (cub / "descriptions.json").write_text(json.dumps(texts[::-1]))
    assert load_cub(paths).descriptions == tuple(f"text {i}" for i in range(1, 7))
    by_name = {f"bird {letter}": [f"has {letter}", "flies!"] for letter in "fedcba"}
    (cub / "descriptions.json").write_text(json.dumps({**by_name, "emu": "runs"}))
    with pytest.warns(UserWarning, match="found texts of 'emu', which .*classes.txt does not have"):
        b = load_cub(paths)
    assert b.descriptions == tuple(f"has {letter}. flies!" for letter in "abcdef")


def test_some_of_the_classes_can_be_used(cub: Path, paths: DataPaths) -> None:
    b = load_cub(paths, only_classes=[2, "001.Bird_A", 4, 6], unseen_classes=["006.Bird_F"])
    assert b.class_names == ("001.Bird_A", "002.Bird_B", "004.Bird_D", "006.Bird_F")
    assert np.bincount(b.labels).tolist() == [made.PER_CLASS] * 4
    assert b.unseen_classes.tolist() == [3]


def damage(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        ("images.txt", "1 001", "001", "line 1: found '001.Bird_A/Bird_A_0000.jpg'"),
        ("images.txt", "2 001", "1 001", "line 2: found id 1 a second time"),
        ("images.txt", "A_0001", "A_0000", "A_0000.jpg a second time"),
        ("images.txt", "001.Bird_A", "../x", "lies outside the folder of images"),
        ("images.txt", "A_0001", "A_0009", r"A_0009\.jpg: no such file; expected every image"),
        ("image_class_labels.txt", "30 6\n", "", "found no line for image 30; expected one"),
        ("image_class_labels.txt", "30 6", "30 9", "found class id 9; expected one of the 6 ids"),
        ("image_class_labels.txt", "1 1\n2 1\n", "1 2\n2 2\n", ""),
        ("classes.txt", "6 006.Bird_F\n", "", "found class id 6"),
        (
            "descriptions.json",
            "bird f",
            "bird x",
            r"no text for '006.Bird_F'.*Did you mean 'bird x'",
        ),
    ],
)
def test_lists_that_contradict_each_other_are_named(
    file: str, old: str, new: str, sentence: str, cub: Path, paths: DataPaths
) -> None:
    damage(cub / file, old, new)
    if sentence:
        with pytest.raises(DataError, match=sentence):
            load_cub(paths)
    else:
        with pytest.warns(UserWarning, match="2 of 30 samples with another label"):
            load_cub(paths)


def test_missing_files_and_differing_counts_are_named(cub: Path, paths: DataPaths) -> None:
    with pytest.warns(
        UserWarning, match=r"not the published cub_images: samples 30 \(published: 31\)"
    ):
        load_cub(paths, counts={"samples": 31, "classes": 6})
    with (cub / "classes.txt").open("a") as file:
        file.write("7 007.Bird_G\n")
    made.describe(cub / "descriptions.json", [f"Bird_{letter}" for letter in "ABCDEFG"])
    with pytest.warns(UserWarning, match="found no image of '007.Bird_G'; such a class is unseen"):
        assert load_cub(paths).unseen_classes.tolist() == [4, 5, 6]
    (cub / "images.txt").unlink()
    with pytest.raises(DataError, match=r"images\.txt: no such file.*dataset\.image_list"):
        load_cub(paths)


def test_a_missing_file_is_named_with_where_it_can_be_had(cub: Path, paths: DataPaths) -> None:
    with pytest.raises(
        DataError, match=r"data/CUB/att_splits\.mat: .* `python -m zsl_lab\.data download cub "
    ):
        configured("cub_images").load_images(paths)
    (cub / "descriptions.json").unlink()
    with pytest.raises(DataError, match=r"descriptions\.json: no such .* No archive has it: write"):
        load_cub(paths)
    (cub / "images").rename(cub / "pictures")
    with pytest.raises(DataError, match=r"The images are at https://www\.vision\.caltech\.edu/"):
        load_cub(paths)


def test_a_label_without_a_parent_and_a_folder_without_a_class_are_named(
    nabirds: Path, paths: DataPaths
) -> None:
    lines = (nabirds / "hierarchy.txt").read_text().splitlines()
    (nabirds / "hierarchy.txt").write_text("\n".join(lines[:-1]))
    with pytest.raises(DataError, match=r"hierarchy\.txt: found no parent of class .*\(Young\)"):
        configured("nabirds", split="n3").load_images(paths)
    folder = paths.data_dir / "Animals_with_Attributes2"
    made.make_awa2(folder)
    (folder / "JPEGImages" / "spotted+animal+f").rename(folder / "JPEGImages" / "spotted+animals")
    with pytest.raises(DataError, match=r"found 'spotted\+animals'; expected folders named like"):
        configured("awa2_images").load_images(paths)


def test_keys_that_need_each_other_are_checked() -> None:
    with pytest.raises(ValidationError, match="found labels without image_list"):
        configured("cub_images", image_list=None)
    with pytest.raises(ValidationError, match="found hierarchy without labels"):
        configured("nabirds", labels=None)
    with pytest.raises(ValidationError, match="found only_classes and split_file"):
        configured("cub_images", only_classes=[1, 2, 3])
