"""Labels that contradict the class folders of image files."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from zsl_lab.data.checks.file_classes import check_file_classes, classes_of_files
from zsl_lab.errors import DataError, DataWarning

NAMES = ["002.Laysan_Albatross", "001.Black_footed_Albatross", "grizzly+bear", "bar_outdoor"]
FOLDERS = [
    "images/002.Laysan_Albatross",
    "x/Black footed albatross",
    "grizzly+bear",
    "b/bar/outdoor",
]
LABELS = np.repeat(np.arange(4), 10)
FILES = [f"/a/{FOLDERS[label]}/{i}.jpg" for i, label in enumerate(LABELS)]
SOURCES = ("a.mat", "image_files", "labels")


def check(labels: np.ndarray, files: list[str] = FILES) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_file_classes(files, labels, NAMES, SOURCES)


def test_folders_name_classes_by_any_spelling() -> None:
    np.testing.assert_array_equal(classes_of_files(FILES, NAMES), LABELS)
    check(LABELS)


def test_files_without_class_folders_say_nothing() -> None:
    check(LABELS[::-1], [f"jpg/image_{i:05d}.jpg" for i in range(40)])
    assert (classes_of_files(["a/3/x.jpg"], ["1", "2", "3"]) == -1).all()


def test_few_contradictions_are_counted_and_named() -> None:
    labels = LABELS.copy()
    labels[[4, 30]] = 2
    with pytest.raises(DataWarning, match=r"2 of 40 samples.*row 5: 002.Laysan_Albatross/4.jpg, "):
        check(labels)


def test_labels_of_another_order_of_classes_are_an_error() -> None:
    with pytest.raises(DataError, match=r"sorted by name\): label 1 is of '001.Black"):
        check(np.array([1, 0, 3, 2])[LABELS] if sorted(NAMES)[2] == NAMES[3] else LABELS)


def test_samples_in_another_order_are_an_error() -> None:
    with pytest.raises(DataError, match="the rows are in another order"):
        check(np.random.default_rng(0).permutation(LABELS))
