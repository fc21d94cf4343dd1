"""Which class an image shows, and which classes are unseen."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.extraction import CLASSES, table
from tests.helpers.packages import skip_without
from zsl_lab.errors import ConfigError, DataError
from zsl_lab.extraction.own_images import choose_parts, find_class_pictures, with_parts

skip_without("torchvision", "images")


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.touch()


def without(folder: Path, name: str) -> None:
    shutil.rmtree(folder / "images" / name)


def test_files_that_are_no_pictures_are_ignored_with_a_warning(own: Path) -> None:
    (own / "images" / "readme.txt").write_text("hello")
    (own / "images" / "ant" / "notes.doc").write_text("hello")
    (own / "images" / "ant" / "._0.png").write_text("of a Mac")
    (own / "images" / ".cache").mkdir()
    (own / "images" / "empty").mkdir()
    with pytest.warns(
        UserWarning,
        match=r"images: 4 entries were left out: 2 hidden \(\.cache, ant/\._0\.png\); 1 \.doc "
        r"\(ant/notes\.doc\); 1 \.txt \(readme\.txt\)\.",
    ):
        found = find_class_pictures(own / "images", table(own), None)
    assert len(found.names) == 20


def test_linked_folders_and_files_count_once(own: Path) -> None:
    store, ant = own / "store", own / "images" / "ant"
    store.mkdir()
    shutil.move(ant / "0.png", store / "0.png")
    shutil.move(own / "images" / "bee", own / "bees")
    (own / "images" / "bee").symlink_to(own / "bees")
    for name, target in (
        ("more", store),
        ("again", store),
        ("loop", ant),
        ("gone.png", store / "9"),
    ):
        (ant / name).symlink_to(target)
    with pytest.warns(
        UserWarning,
        match=r"images: 3 entries were left out: 1 link to nothing \(ant/gone\.png\); 2 link to a "
        r"folder that is counted \(ant/loop, ant/more\)\.",
    ):
        found = find_class_pictures(own / "images", table(own), None)
    assert len(found.names) == 20
    assert "ant/again/0.png" in found.names
    assert {name for name in found.names if name.startswith("bee/")} == {
        f"bee/{number}.png" for number in range(4)
    }


def test_pictures_may_lie_deeper_and_names_in_another_normal_form(own: Path) -> None:
    (own / "images" / "ant" / "more").mkdir()
    shutil.move(own / "images" / "ant" / "0.png", own / "images" / "ant" / "more" / "0.png")
    shutil.move(own / "images" / "eel", own / "images" / "a\u0308al")
    found = find_class_pictures(own / "images", table(own, CLASSES.replace("eel", "äal")), None)
    assert found.names[3] == "ant/more/0.png"
    assert found.labels.tolist() == np.repeat(range(5), 4).tolist()


def test_undecided_classes_without_images_are_unseen_and_said(own: Path) -> None:
    for name in ("bee", "eel"):
        without(own, name)
    names = sorted({"bee", "eel", *(path.name for path in (own / "images").iterdir())})
    classes = table(own, "\n".join(["class,size", *(f"{n},{i}" for i, n in enumerate(names))]))
    with pytest.warns(UserWarning, match=r"found no image of 2 classes \('bee', 'eel'\)"):
        found = find_class_pictures(own / "images", classes, None)
    parts = choose_parts(classes, 1, 0, found.labels)
    without_images = {names.index("bee"), names.index("eel")}
    assert set(parts.unseen) == {*without_images, *parts.drawn}
    assert len(parts.drawn) == 1
    assert not without_images & set(parts.drawn)


@pytest.mark.parametrize("part", ["seen", "validation"])
def test_a_class_that_trains_needs_images(part: str, tmp_path: Path) -> None:
    classes = table(tmp_path, plain(4, split=["unseen", part, "seen", "seen"]))
    images = tmp_path / "images"
    for name in ("c0", "c2", "c3"):
        (images / name).mkdir(parents=True)
        (images / name / "0.png").touch()
    with pytest.raises(DataError, match=r"no image of the class 'c1', which column 'split' .* or "):
        find_class_pictures(images, classes, None)


def test_a_class_without_images_may_be_known_to_the_backbone(tmp_path: Path) -> None:
    columns = {"split": ["unseen", *["seen"] * 3], "pretrained": ["yes", *["no"] * 3]}
    classes = table(tmp_path, plain(4, **columns))
    with pytest.warns(UserWarning, match="only unseen class"):
        assert choose_parts(classes, None, 0, np.array([1, 2, 3])).unseen.tolist() == [0]
    with pytest.raises(DataError, match="found unseen in column 'split' and yes in column"):
        choose_parts(classes, None, 0, np.arange(4))


def test_folders_may_spell_names_in_other_case_and_separators(tmp_path: Path) -> None:
    for folder in ("001.Black_Ant", "red bee"):
        picture(tmp_path / "images" / folder / "a.png")
    classes = table(tmp_path, "class,size\nred bee,1\nblack ant,2\n")
    with pytest.warns(UserWarning, match=r"1 folder spelled otherwise .*'001.Black_Ant for black"):
        found = find_class_pictures(tmp_path / "images", classes, None)
    assert dict(zip(found.names, found.labels.tolist(), strict=True)) == {
        "001.Black_Ant/a.png": 1,
        "red bee/a.png": 0,
    }


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("train",), r"found the folder train, and no test; expected a folder for each class, or"),
        (("train", "valid"), r"the folders train and valid, and no test; .* --images .*/train: "),
        (("val", "test"), r"found the folders test and val, and no train; expected"),
    ],
)
def test_a_division_without_train_or_test_is_named(
    folders: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    for folder in folders:
        picture(tmp_path / "images" / folder / "ant" / "a.png")
    with pytest.raises(DataError, match=message):
        find_class_pictures(tmp_path / "images", table(tmp_path, "class,size\nant,1\n"), None)


def test_a_folder_without_a_class_is_named_with_the_near_one(own: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"found the folder 'dog' with images, .* Did you mean 'dogs'\? Add a line for each "
        r"class, or move",
    ):
        find_class_pictures(own / "images", table(own, CLASSES.replace("dog,", "dogs,")), None)


def test_pictures_without_folders_need_labels(own: Path) -> None:
    (own / "flat").mkdir()
    shutil.copy(own / "images" / "ant" / "0.png", own / "flat")
    with pytest.raises(
        DataError,
        match=r"found no folder with images; .* --labels FILE, a CSV file with the columns file "
        r"and class",
    ):
        find_class_pictures(own / "flat", table(own), None)


def test_a_name_that_is_no_text_is_said_before_anything_is_computed(own: Path) -> None:
    shutil.copy(own / "images" / "ant" / "0.png", own / "images" / "ant" / "b\udcffd.png")
    with pytest.raises(
        DataError,
        match=r"found a file called 'ant/b\\udcffd\.png'; expected .* Rename the file, or remove "
        r"it",
    ):
        find_class_pictures(own / "images", table(own), None)


def test_a_labelled_file_that_is_missing_is_named(own: Path) -> None:
    (own / "labels.csv").write_text("file,class\nant/0.png,ant\nant/9.png,ant\n")
    with pytest.raises(DataError, match=r"ant/9\.png: no such file"):
        find_class_pictures(own / "images", table(own), own / "labels.csv")


def plain(count: int, **columns: list[str]) -> str:
    """A table of so many classes with other columns."""
    lines = [",".join(["class", "a", *columns])]
    return "\n".join(
        [
            *lines,
            *(
                ",".join([f"c{i}", str(i), *(column[i] for column in columns.values())])
                for i in range(count)
            ),
            "",
        ]
    )


def test_a_fifth_of_the_classes_is_drawn_by_the_seed(tmp_path: Path) -> None:
    classes = table(tmp_path, plain(20))
    first, again, other = (choose_parts(classes, None, seed) for seed in (0, 0, 1))
    assert len(first.unseen) == 4
    assert first.unseen.tolist() == again.unseen.tolist() != other.unseen.tolist()
    assert first.validation is None
    assert (first.version, other.version) == ("drawn, seed=0", "drawn, seed=1")
    assert len(choose_parts(classes, 7, 0).unseen) == 7
    assert len(choose_parts(classes, 0.5, 0).unseen) == 10


def test_classes_that_the_backbone_was_trained_on_are_never_drawn(tmp_path: Path) -> None:
    classes = table(tmp_path, plain(10, pretrained=["yes"] * 7 + ["no", "", "no"]))
    assert all(choose_parts(classes, 3, seed).unseen.tolist() == [7, 8, 9] for seed in range(3))
    with pytest.raises(
        ConfigError,
        match=r"4 classes are to be drawn, but of 10 in .* only 3 are undecided and not "
        r"pretrained\. Give a",
    ):
        choose_parts(classes, 4, 0)


def test_what_the_table_leaves_open_is_drawn_beside_what_it_says(tmp_path: Path) -> None:
    parts = ["unseen", "seen", "validation", *[""] * 7]
    for seed in range(5):
        found = choose_parts(table(tmp_path, plain(10, split=parts)), 3, seed)
        assert len(found.unseen) == 3
        assert 0 in found.unseen
        assert not {1, 2} & set(found.unseen.tolist())
        assert found.validation is not None
        assert found.validation.tolist() == [2]
    assert found.version == "partly given in table.csv, seed=4"


def test_at_least_two_classes_are_drawn_where_two_are_left(tmp_path: Path) -> None:
    for count, expected in ((4, 2), (5, 2), (7, 2), (13, 3)):
        assert len(choose_parts(table(tmp_path, plain(count)), None, 0).unseen) == expected
    given = table(tmp_path, plain(6, split=["unseen", *[""] * 5]))
    assert len(choose_parts(given, None, 0).unseen) == 2
    assert len(choose_parts(given, 0.1, 0).unseen) == 2


@pytest.mark.parametrize(
    ("count", "columns", "unseen"),
    [
        (3, {}, None),
        (6, {"pretrained": ["no", *["yes"] * 5]}, None),
        (6, {}, 1),
        (5, {"split": ["unseen", *["seen"] * 4]}, None),
    ],
    ids=["too few classes", "pretrained", "asked for", "given"],
)
def test_a_single_unseen_class_is_said(
    count: int, columns: dict[str, list[str]], unseen: int | None, tmp_path: Path
) -> None:
    classes = table(tmp_path, plain(count, **columns))
    with pytest.warns(
        UserWarning,
        match=r"table\.csv: 'c\d' is the only unseen class: .* zsl_top1 is undefined\. "
        r"Write unseen for another",
    ):
        assert len(choose_parts(classes, unseen, 0).unseen) == 1


def test_one_is_counted_as_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found 1 class, 1 of them unseen"):
        choose_parts(table(tmp_path, plain(1)), None, 0)
    with pytest.raises(
        ConfigError,
        match=r"--unseen: 1 class is to be drawn, but of 3 in .* only 0 are undecided and not "
        r"pretrained\.",
    ):
        choose_parts(table(tmp_path, plain(3, pretrained=["yes"] * 3)), 1, 0)


@pytest.mark.parametrize(
    ("columns", "unseen", "expected"),
    [
        (
            {"split": ["unseen", "seen", "seen", ""], "pretrained": ["yes", "no", "no", "no"]},
            None,
            "class 'c0': found unseen in column 'split' and yes in column 'pretrained'; expected "
            "unseen classes that the backbone was not trained on. Write seen, or take a backbone "
            "that was not trained on the class and write no.",
        ),
        (
            {"split": ["seen", "seen", "seen", "validation"]},
            None,
            "column 'split': found no unseen class; expected at least 1.",
        ),
        (
            {"split": ["unseen", "unseen", "unseen", "seen"]},
            None,
            "found 4 classes, 3 of them unseen; expected at least 2 to be left",
        ),
        ({}, 3, "found 4 classes, 3 of them unseen; expected at least 2 to be left to train on."),
        (
            {"split": ["unseen", "seen", "seen", "seen"]},
            2,
            "--unseen 2: column 'split' of {table} gives the part of every class, so that none is "
            "left to draw.",
        ),
        (
            {"split": ["unseen", "unseen", "seen", ""]},
            1,
            "--unseen 1: column 'split' of {table} has 2 unseen classes already.",
        ),
        (
            {"split": ["validation", "validation", "seen", "unseen"]},
            None,
            "{table}: column 'split': found 2 validation classes among 3 that are not unseen; "
            "expected at least 2 others, to train on while"
            " these choose the step. Write seen for some of them, or make fewer unseen.",
        ),
        (
            {"split": ["validation", "seen", "", "unseen"]},
            2,
            "found 1 validation class among 2 that are not unseen; expected at least 2 others",
        ),
        (
            {},
            5,
            "--unseen: 5 classes are to be drawn, but of 4 in {table} only 4 are undecided. Give a "
            "smaller",
        ),
    ],
)
def test_a_split_that_cannot_be_is_refused(
    columns: dict[str, list[str]], unseen: int | None, expected: str, tmp_path: Path
) -> None:
    classes = table(tmp_path, plain(4, **columns))
    with pytest.raises((ConfigError, DataError)) as caught:
        choose_parts(classes, unseen, 0)
    assert expected.format(table=classes.path) in str(caught.value)


def divided(folder: Path) -> Path:
    """The pictures of ``own`` as train, val and test: cat in val, dog in test only."""
    images = folder / "images"
    places = {"train": ("ant", "bee", "eel"), "val": ("cat",), "test": ("ant", "dog")}
    for part, names in places.items():
        for name in names:
            (folder / "divided" / part).mkdir(parents=True, exist_ok=True)
            shutil.copytree(images / name, folder / "divided" / part / name)
    return folder / "divided"


def test_folders_of_train_val_and_test_say_what_each_class_is(own: Path) -> None:
    classes = table(own, "class,size\nant,1\nbee,2\ncat,30\ndog,50\neel,60\n")
    found = find_class_pictures(divided(own), classes, None)
    assert found.parts is not None
    parts = list(zip(found.names, found.labels.tolist(), found.parts, strict=True))
    assert parts[0] == ("test/ant/0.png", 0, "test")
    assert parts[-1] == ("val/cat/3.png", 2, "val")
    assert len(parts) == 24
    assert with_parts(classes, found).parts == ("seen", "seen", "validation", "unseen", "seen")
    said = with_parts(classes, found)
    chosen = choose_parts(said, None, 0, found.labels, found.folder)
    assert (chosen.unseen.tolist(), chosen.drawn.tolist()) == ([3], [])
    assert chosen.version == "given in divided, seed=0"
    with pytest.raises(ConfigError, match=r"--unseen 1: the folders train and test of .*divided g"):
        choose_parts(said, 1, 0, found.labels, found.folder)
    with pytest.raises(ConfigError, match=r"found the column 'split'.*which say the same"):
        with_parts(table(own), found)


def test_classes_that_are_called_train_and_test_are_classes(own: Path) -> None:
    for name, new in (("ant", "train"), ("bee", "test")):
        (own / "images" / name).rename(own / "images" / new)
    for name in ("cat", "dog", "eel"):
        shutil.rmtree(own / "images" / name)
    found = find_class_pictures(own / "images", table(own, "class,size\ntrain,1\ntest,2\n"), None)
    assert found.parts is None
    assert found.labels.tolist() == [0] * 4 + [1] * 4
