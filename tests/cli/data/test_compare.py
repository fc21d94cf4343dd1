from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from tests.helpers.benchmark_files import cells
from zsl_lab.cli.data.main import main
from zsl_lab.data.files import benchmark_file as hdf5
from zsl_lab.data.files.benchmark_file import BenchmarkFile

NAMES = tuple(f"class {i}" for i in range(5))


@pytest.fixture
def content() -> BenchmarkFile:
    """Sixty images of five classes, class 4 unseen."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 12)
    features = (rng.normal(size=(60, 8)) + 3 * rng.normal(size=(5, 8))[labels]).astype(np.float32)
    seen = np.arange(48)
    return BenchmarkFile(
        name="birds",
        features=features,
        labels=labels,
        class_names=NAMES,
        semantics={"att": rng.normal(size=(5, 3))},
        trainval=seen[seen % 4 > 0],
        test_seen=seen[seen % 4 == 0],
        test_unseen=np.arange(48, 60),
        files=tuple(f"{NAMES[label]}/{i}.jpg" for i, label in enumerate(labels)),
    )


def mat(path: Path, content: BenchmarkFile, order: Any = None) -> Path:
    """The features and labels in the layout of res101.mat, as another program orders them."""
    rows = np.arange(60) if order is None else order
    files = [f"/home/{(content.files or ())[row]}" for row in rows]
    fields = {
        "features": content.features[rows].T.astype(float),
        "labels": content.labels[rows, None].astype(float) + 1,
        "image_files": cells(files),
    }
    scipy.io.savemat(path, fields)
    return path


def test_the_same_features_in_another_order_and_format(
    content: BenchmarkFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hdf5.write(content, tmp_path / "a.h5")
    other = mat(tmp_path / "b.mat", content, np.random.default_rng(1).permutation(60))
    for pair in ((tmp_path / "a.h5", other), (other, tmp_path / "a.h5")):
        assert main(["compare", *map(str, pair)]) == 0
        out = capsys.readouterr().out
        assert "min 1.0000, median 1.0000, 100.0 % above 0.99" in out
        assert "36 images train, 12 test (trainval and test_seen of a.h5)" in out
        rows = [line.split()[-2:] for line in out.splitlines() if line.startswith("  ")][1:]
        assert len(rows) == 2
        assert all(a == b and float(a) > 50 for a, b in rows)
        assert "The same features: metrics on one file hold for the other." in out


def test_a_bare_array_takes_the_labels_of_the_other_file(
    content: BenchmarkFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "b.npy", np.random.default_rng(2).normal(size=(60, 4)))
    assert main(["compare", str(mat(tmp_path / "a.mat", content)), str(tmp_path / "b.npy")]) == 0
    out = capsys.readouterr().out
    assert "a fifth of each class held out, as neither file has test_seen" in out
    assert "Different features: the dimensions differ" in out
    two = str(tmp_path / "b.npy")
    assert main(["compare", two, two]) == 0
    assert "no labels in either file: no accuracies" in capsys.readouterr().out


def test_wrong_pairs_are_refused(
    content: BenchmarkFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hdf5.write(content, tmp_path / "a.h5")
    hdf5.write(replace(content, files=None), tmp_path / "nameless.h5")
    others = {
        "few.npy": (content.features[:50], "found 50 images; expected the 60 of"),
        "nan.npy": (np.full((60, 8), np.nan), "not finite in row 0"),
        "zero.npy": (np.zeros((60, 8)), "only zeros in row 0"),
        "flat.npy": (np.ones(60), r"of shape \[60\]; expected numbers"),
    }
    for name, (array, _) in others.items():
        np.save(tmp_path / name, array)
    renamed = tuple(f"{NAMES[0]}/other {i}.jpg" for i in range(60))
    of_one_class = replace(content, files=renamed, class_names=None)
    mat(tmp_path / "renamed.mat", of_one_class)
    mat(tmp_path / "mixed.mat", replace(content, labels=np.roll(content.labels, 1)))
    (tmp_path / "a.txt").touch()
    expected = {name: found for name, (_, found) in others.items()} | {
        "renamed.mat": r"found no image called .* \(60 of 60 are missing\)",
        "gone.npy": "no such file",
        "a.txt": "expected a file that ends in .mat, .h5 or .npy",
    }
    for name, found in expected.items():
        assert main(["compare", str(tmp_path / "a.h5"), str(tmp_path / name)]) in (1, 2)
        assert re.search(found, capsys.readouterr().err), name
    assert main(["compare", str(tmp_path / "nameless.h5"), str(tmp_path / "mixed.mat")]) == 1
    assert re.search(r"found 2 classes for the images of class 1", capsys.readouterr().err)
