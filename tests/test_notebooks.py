"""The notebooks of the documents run from top to bottom."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.helpers.notebooks import run_notebook

NOTEBOOKS = REPOSITORY / "docs" / "notebooks"
CLASSES = 8

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_the_digits_are_recognised_as_the_notebook_says(tmp_path: Path) -> None:
    printed = run_notebook(NOTEBOOKS / "digits.ipynb", tmp_path)
    assert "zsl_top1: 0.57" in printed[2]
    assert "harmonic mean 0.53" in printed[4]
    [row] = [line for line in printed[6].splitlines() if "validation-selected" in line]
    assert float(row.split()[4]) == pytest.approx(68.1, abs=2)
    assert printed[8].split() == ["two:", "0.62", "five:", "0.77"]


def test_photographs_become_a_benchmark_two_runs_and_predictions(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flowers = shared / "data" / "flowers"
    weights = shared / "weights" / "squeezenet1_1_imagenet.pth"
    if not (flowers / "images").is_dir() or not weights.is_file():
        pytest.skip("the photographs of flowers and SqueezeNet's weights are not in shared/")
    photographs = tmp_path / "photographs"
    _copy(flowers, photographs)
    monkeypatch.setenv("ZSL_LAB_PHOTOGRAPHS", str(photographs))
    monkeypatch.setenv("ZSL_LAB_WEIGHTS", str(weights))
    printed = run_notebook(NOTEBOOKS / "photographs.ipynb", tmp_path)
    assert f"{CLASSES} classes" in printed[1]
    assert "exem" in printed[4]
    assert "eszsl" in printed[4]
    assert (tmp_path / "predictions" / "predictions.csv").is_file()


def _copy(flowers: Path, to: Path) -> None:
    """Eight images of eight classes, the last two unseen, in a folder for each class."""
    described = json.loads((flowers / "descriptions.json").read_text())
    texts = {str(one["class_id"]): one["description"] for one in described}
    with (flowers / "labels.csv").open() as file:
        rows = list(csv.reader(file))[1:]
    chosen = [str(number) for number in range(1, CLASSES + 1)]
    for label in chosen:
        (to / "images" / label).mkdir(parents=True)
        for name, _ in [row for row in rows if row[1] == label][:8]:
            shutil.copy(flowers / "images" / name, to / "images" / label)
    with (to / "classes.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["class", "description", "split"])
        splits = ["seen"] * (CLASSES - 4) + ["validation"] * 2 + ["unseen"] * 2
        for label, split in zip(chosen, splits, strict=True):
            table.writerow([label, texts[label], split])
