"""Unseen classes without samples that are added to a benchmark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from zsl_lab.data.benchmark import FeatureBenchmark
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.datasets.digits import DigitsDataset
from zsl_lab.data.recipe import Recipe, TextRecipe
from zsl_lab.errors import DataError
from zsl_lab.extraction.extra_classes import with_extra_classes
from zsl_lab.extraction.texts import embed_texts

KEYS = {"normalize": "none", "normalize_semantics": "none", "split": "proposed", "split_seed": 0}


@pytest.fixture(scope="module")
def digits() -> DigitsDataset:
    return DigitsDataset(name="digits", unseen=[2, 4, 5], semantics="segments", **KEYS)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def benchmark(digits: DigitsDataset) -> FeatureBenchmark:
    return digits.load(DataPaths(Path(), Path()))


def table(path: Path, columns: list[str], name: str, numbers: list[float]) -> Path:
    """A table of one class."""
    header, row = ",".join(["class", *columns]), ",".join([name, *map(str, numbers)])
    path.write_text(f"{header}\n{row}\n")
    return path


def test_they_are_unseen_and_untested_and_come_last(
    benchmark: FeatureBenchmark, tmp_path: Path
) -> None:
    columns = benchmark.recipe.attributes
    vector = np.linspace(0, 1, len(columns)).round(3).tolist()
    # columns are joined by name, not by place
    file = table(tmp_path / "more.csv", columns[::-1], "ten", vector[::-1])
    found = with_extra_classes(benchmark, file, None)
    assert isinstance(found, FeatureBenchmark)
    assert found.class_names == (*benchmark.class_names, "ten")
    assert found.semantics[-1].tolist() == pytest.approx(vector)
    assert found.unseen_classes.tolist() == [2, 4, 5, 10]
    assert found.untested_classes.tolist() == [10]
    assert np.array_equal(found.seen_classes, benchmark.seen_classes)
    assert found.provenance == benchmark.provenance


def test_texts_are_encoded_as_those_of_the_benchmark(
    benchmark: FeatureBenchmark, tmp_path: Path
) -> None:
    texts = ["a round stroke", "a straight stroke"]
    recipe = TextRecipe(encoder="tfidf", model=None, max_tokens=8, fitted_on=texts)
    file = tmp_path / "more.json"
    file.write_text('{"ten": "a straight stroke"}')
    expected = embed_texts(texts[1:], recipe)
    wide = np.zeros((10, expected.shape[1]), np.float32)
    of_texts = replace(benchmark, semantics=wide, recipe=Recipe(texts=recipe))
    found = with_extra_classes(of_texts, file, None)
    assert isinstance(found, FeatureBenchmark)
    assert np.array_equal(found.semantics[-1], expected[0])


def test_images_take_texts(digits: DigitsDataset, tmp_path: Path) -> None:
    images = digits.load_images(DataPaths(Path(), Path()))
    file = tmp_path / "more.json"
    file.write_text('{"ten": "a one and a zero"}')
    found = with_extra_classes(images, file, None)
    assert found.class_names[-1] == "ten"
    assert found.untested_classes.tolist() == [10]
    numbers = table(tmp_path / "more.csv", ["a"], "ten", [1])
    with pytest.raises(DataError, match=r"more\.csv: found no column of descriptions"):
        with_extra_classes(images, numbers, None)


def test_a_table_that_does_not_fit_is_named(benchmark: FeatureBenchmark, tmp_path: Path) -> None:
    columns = benchmark.recipe.attributes
    numbers = [0.0] * len(columns)
    present = table(tmp_path / "a.csv", columns, benchmark.class_names[3], numbers)
    with pytest.raises(DataError, match=r"a\.csv: found '3', which is a class of digits; expected"):
        with_extra_classes(benchmark, present, None)
    fewer = table(tmp_path / "b.csv", columns[1:], "ten", numbers[1:])
    with pytest.raises(DataError, match=rf"b\.csv: found other attributes.*missing {columns[0]}"):
        with_extra_classes(benchmark, fewer, None)
    with pytest.raises(DataError, match=r"^data\.extra_classes=.*nowhere\.csv"):
        with_extra_classes(benchmark, tmp_path / "nowhere.csv", None)
