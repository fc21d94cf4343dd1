"""Images in, classes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import zsl_lab
from tests.helpers.predict import Load, ShortRun, altered, table
from zsl_lab.data.benchmark import ImageBenchmark
from zsl_lab.errors import DataError
from zsl_lab.predict.predictions import Predictions


def test_calibrated_probabilities_still_add_up_to_1(
    short_run: ShortRun, pictures: ImageBenchmark, tmp_path: Path
) -> None:
    x = pictures.images[pictures.test_seen[:10]]

    def calibrated(constant: float) -> Predictions:
        path = altered(
            short_run("n3"),
            tmp_path / "n3.ckpt",
            lambda c: c["zsl_lab"].update(calibration=constant),
        )
        return zsl_lab.load(path).predict(x)

    plain, found = calibrated(0.0), calibrated(2.0)
    raised = plain.scores * np.exp(2.0 * ~plain.seen)
    np.testing.assert_allclose(found.scores, raised / raised.sum(1, keepdims=True), rtol=1e-4)


def test_files_and_arrays_of_the_same_images_get_the_same_probabilities(
    load: Load, pictures: ImageBenchmark, tmp_path: Path
) -> None:
    index, files = pictures.test_unseen[:5], []
    for i in index:
        Image.fromarray(pictures.images[i, :, :, 0]).save(tmp_path / f"{i}.png")
        files.append(tmp_path / f"{i}.png")
    of_files = load("n3").predict(files)
    np.testing.assert_allclose(
        of_files.scores, load("n3").predict(pictures.images[index]).scores, rtol=1e-5
    )
    # in colour and larger: cut and scaled as files are
    large = pictures.images[index].repeat(4, 1).repeat(4, 2).repeat(3, 3)
    np.testing.assert_allclose(load("n3").predict(large).scores, of_files.scores, atol=0.05)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("folder", r"^images: found one path; expected a list of files, .*images=DIR\.$"),
        (
            np.zeros((2, 8, 8, 1)),
            r"^images: found float64 of shape \[2, 8, 8, 1\]; expected .* Convert them, or give "
            r"files\.$",
        ),
        (np.zeros((2, 8, 8), np.uint8), r"found uint8 of shape \[2, 8, 8\]"),
        (
            np.zeros((0, 8, 8, 1), np.uint8),
            r"^images: found none; expected .* Give at least one\.$",
        ),
        ([], "^images: found none"),
        (torch.zeros(2, 8, 8, 1), "found a Tensor; expected .* Give files, or a NumPy array"),
        (
            ["missing.png"],
            r"(?s)missing\.png: cannot be read.*1 of 1 images: repair them, or leave them out\. "
            r"Nothing was predicted\.$",
        ),
    ],
)
def test_what_is_no_image_is_refused(load: Load, given: object, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        load("n3").predict(given)


def test_a_method_that_reads_texts_takes_no_vectors(
    load: Load, pictures: ImageBenchmark, attributes: dict[str, Any], tmp_path: Path
) -> None:
    x = pictures.images[:2]
    with pytest.raises(
        DataError,
        match=r"^classes: found vectors; method=n3 reads a text of each class\. Give texts, or a",
    ):
        load("n3").predict(x, {"a": [0.0], "b": [1.0]})
    with pytest.raises(
        DataError,
        match=r"new\.csv: found no column 'description'; method=n3 reads a text of each class\. "
        r"Add the",
    ):
        load("n3").predict(x, table(tmp_path / "new.csv", attributes))


def test_pixels_that_were_scaled_to_1_are_reported(load: Load, pictures: ImageBenchmark) -> None:
    ones = (pictures.images[:2] > 100).astype(np.uint8)
    with pytest.warns(UserWarning, match="found only the values 0 and 1; in training"):
        load("n3").predict(ones)
