"""Class semantics of AwA2, CUB, SUN and aPY in the form in which they are published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from tests.helpers.benchmark_files import cells
from zsl_lab.data.files.foreign.class_sources import (
    is_class_source,
    read_class_source,
    read_classes,
)
from zsl_lab.data.files.foreign.sources import find_reader
from zsl_lab.errors import DataError
from zsl_lab.files.rows import no_progress

ROWS = np.array([[0.5, -1, 30.25], [12, 0, 7]], dtype=np.float32)


def lines(path: Path, *texts: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(texts) + "\n")
    return path


def awa(folder: Path) -> Path:
    lines(folder / "predicate-matrix-continuous.txt", "  0.50  -1.00  30.25", " 12.00 0.00 7.00")
    lines(folder / "classes.txt", "      1\tantelope", "      2\tgrizzly+bear")
    lines(folder / "predicates.txt", "      1\tblack", "      2\twhite", "      3\tblue")
    lines(folder / "trainclasses.txt", "antelope")
    lines(folder / "testclasses.txt", "grizzly+bear")
    return folder


def test_awa2(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="1 values are -1, which marks missing values"):
        found = read_class_source(awa(tmp_path))
    assert found.names == ("antelope", "grizzly+bear")
    assert found.attribute_names == ("black", "white", "blue")
    assert found.parts == ("seen", "unseen")
    np.testing.assert_array_equal(found.attributes, ROWS)


def test_features_of_awa2(tmp_path: Path) -> None:
    folder = awa(tmp_path) / "Features" / "ResNet101"
    lines(folder / "AwA2-features.txt", "0 1.5 0", "2 0 0.25")
    lines(folder / "AwA2-labels.txt", "1", "2")
    lines(folder / "AwA2-filenames.txt", "antelope_10001.jpg", "grizzly+bear_10001.jpg")
    reader = find_reader(tmp_path)
    assert reader is not None
    found = reader(tmp_path, no_progress).values
    np.testing.assert_array_equal(found["features"], [[0, 1.5, 0], [2, 0, 0.25]])
    assert found["labels"].tolist() == [1, 2]
    assert found["files"].tolist() == ["antelope_10001.jpg", "grizzly+bear_10001.jpg"]
    lines(folder / "AwA2-features.txt", "0 1.5 0", "2 0")
    with pytest.raises(DataError, match=r"line 2: found 2 numbers; expected 3.*cut off"):
        reader(tmp_path, no_progress)


@pytest.mark.parametrize("below", ["", "CUB_200_2011"])
def test_cub(below: str, tmp_path: Path) -> None:
    """attributes.txt lies beside the folder in the archive."""
    folder = tmp_path / "archive" / below
    rows = ("0.5 -1 30.25", "12 0 7")
    lines(folder / "attributes" / "class_attribute_labels_continuous.txt", *rows)
    lines(folder / "classes.txt", "1 001.Black_footed_Albatross", "2 002.Laysan_Albatross")
    lines(
        tmp_path / "archive" / "attributes.txt", "1 bill::curved", "2 bill::hooked", "3 size::small"
    )
    for place in (folder, tmp_path / "archive"):
        found = read_class_source(place)
        assert found.names == ("001.Black_footed_Albatross", "002.Laysan_Albatross")
        assert found.attribute_names == ("bill::curved", "bill::hooked", "size::small")
        np.testing.assert_array_equal(found.attributes, ROWS)
    assert found.parts is None


def test_sun_is_averaged_over_the_images_of_a_class(tmp_path: Path) -> None:
    images = ["a/abbey/sun_1.jpg", "b/bar/indoor/sun_2.jpg", "a/abbey/sun_3.jpg"]
    rows = np.array([[0, 1 / 3], [1, 1], [1, 2 / 3]])
    scipy.io.savemat(tmp_path / "attributeLabels_continuous.mat", {"labels_cv": rows})
    scipy.io.savemat(tmp_path / "images.mat", {"images": cells(images)})
    scipy.io.savemat(tmp_path / "attributes.mat", {"attributes": cells(["sailing", "driving"])})
    found = read_class_source(tmp_path)
    assert found.names == ("abbey", "bar/indoor")
    assert found.attribute_names == ("sailing", "driving")
    assert found.attributes is not None
    np.testing.assert_allclose(
        found.attributes, np.array([[0.5, 0.5], [1, 1]], dtype=np.float32), rtol=1e-6
    )
    scipy.io.savemat(tmp_path / "images.mat", {"images": cells(images[:2])})
    with pytest.raises(DataError, match="found 3 rows; expected 2, one for each image"):
        read_class_source(tmp_path)


def test_apy_is_averaged_over_the_objects_of_a_class(tmp_path: Path) -> None:
    folder = tmp_path / "attribute_data"
    lines(folder / "attribute_names.txt", "2D Boxy", "Furn. Leg")
    lines(folder / "apascal_train.txt", "a.jpg cat 1 2 3 4 0 1", "a.jpg dog 1 2 3 4 1 1")
    lines(folder / "ayahoo_test.txt", "b.jpg cat 1 2 3 4 1 1", "c.jpg goat 5 6 7 8 0 0")
    found = read_class_source(tmp_path)
    assert found.names == ("cat", "dog", "goat")
    assert found.attribute_names == ("2D Boxy", "Furn. Leg")
    assert found.attributes is not None
    np.testing.assert_allclose(
        found.attributes, np.array([[0.5, 1], [1, 1], [0, 0]], dtype=np.float32)
    )
    lines(folder / "ayahoo_test.txt", "b.jpg cat 1 2 3 4 1 1", "c.jpg goat 5 6 7")
    with pytest.raises(
        DataError, match=r"ayahoo_test\.txt: line 2: found 5 words; expected an image"
    ):
        read_class_source(tmp_path)


def test_texts_of_classes_in_files_or_folders(tmp_path: Path) -> None:
    lines(tmp_path / "wiki" / "1.Ant.txt", "a small", " insect")
    lines(tmp_path / "wiki" / "2.Bee.txt", "it flies")
    lines(tmp_path / "reed" / "Ant" / "1.txt", "black.")
    lines(tmp_path / "reed" / "Ant" / "2.txt", "small.")
    for place, names, text in (
        ("wiki", ("1.Ant", "2.Bee"), "a small insect"),
        ("reed", ("Ant",), "black. small."),
    ):
        found = read_class_source(tmp_path / place)
        assert found.attributes is None
        assert found.names == names
        assert found.descriptions is not None
        assert found.descriptions[0] == text


def test_other_folders_are_no_source_of_classes(tmp_path: Path) -> None:
    assert not is_class_source(tmp_path)
    lines(tmp_path / "classes.txt", "ant")
    assert not is_class_source(tmp_path)
    lines(tmp_path / "image.jpg")
    assert not is_class_source(tmp_path)


def test_a_folder_without_class_semantics_says_what_they_are(tmp_path: Path) -> None:
    lines(tmp_path / "predicate-matrix-binary.txt", "0 1")
    lines(tmp_path / "image.jpg")
    with pytest.raises(DataError, match=r"expected predicate-matrix-continuous.txt \(AwA2\), attr"):
        read_classes(tmp_path)


@pytest.mark.filterwarnings("ignore:.*which marks missing values")
def test_the_main_file_stands_for_its_folder(tmp_path: Path) -> None:
    _, table = read_classes(awa(tmp_path) / "predicate-matrix-continuous.txt")
    assert table is not None
    assert table.parts == ("seen", "unseen")
    assert table.attribute_names == ("black", "white", "blue")


def test_a_table_of_classes_gives_semantics_and_what_else_it_says(tmp_path: Path) -> None:
    path = lines(tmp_path / "c.csv", "class,a,b,split", "ant,1,2,seen", "bee,3,4,unseen")
    rows, table = read_classes(path)
    assert rows is not None
    assert table is not None
    np.testing.assert_array_equal(rows.rows, [[1, 2], [3, 4]])
    assert (rows.names, table.parts) == (("ant", "bee"), ("seen", "unseen"))
    np.save(tmp_path / "c.npy", ROWS)
    rows, table = read_classes(tmp_path / "c.npy")
    assert rows is not None
    assert table is None


@pytest.mark.parametrize(
    ("file", "texts", "message"),
    [
        ("predicate-matrix-continuous.txt", ("1 2 3",), "found 1 rows and 2 class names"),
        (
            "predicate-matrix-continuous.txt",
            ("1 2 3", "1 2"),
            "line 2: found 2 numbers; expected 3",
        ),
        ("predicate-matrix-continuous.txt", ("1 2 3", "1 x 3"), "line 2: found '1 x 3'"),
        ("predicates.txt", ("1 black",), "found 3 attributes and 1 names of attributes"),
        ("classes.txt", ("ant", "ant"), "found a name twice"),
        ("testclasses.txt", ("grizly bear",), "found 'grizly bear'.*Did you mean 'grizzly"),
        ("testclasses.txt", ("antelope",), "found 'antelope' in trainclasses.txt and testclasses"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*which marks missing values")
def test_damaged_files_are_sentences(
    file: str, texts: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    lines(awa(tmp_path) / file, *texts)
    with pytest.raises(DataError, match=message):
        read_class_source(tmp_path)
