"""Feature vectors from files of three kinds."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.helpers.predict import Load, saved
from zsl_lab.data.benchmark import FeatureBenchmark
from zsl_lab.data.recipe import ImageRecipe, Recipe
from zsl_lab.errors import DataError
from zsl_lab.files.rows import is_mapped
from zsl_lab.predict import features
from zsl_lab.predict.features import FeaturePredictor
from zsl_lab.predict.predictions import Prediction


@pytest.mark.parametrize("name", ["x.mat", "x.h5", "x.hdf5", "double.npy", "columns.npy"])
def test_features_are_read_from_files_of_every_kind(
    of_features: Callable[..., Prediction], vectors: FeatureBenchmark, tmp_path: Path, name: str
) -> None:
    x = vectors.features[vectors.test_unseen[:40]]
    x = (
        np.asfortranarray(x)
        if name.startswith("columns")
        else x.astype(np.float64)
        if name.startswith("double")
        else x
    )
    prediction = of_features(saved(tmp_path / name, x))
    assert prediction.table.read_bytes() == of_features(out="npy").table.read_bytes()


def test_large_files_are_not_read_whole(
    of_features: Callable[..., Prediction],
    vectors: FeatureBenchmark,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    x = vectors.features[vectors.test_unseen[:40]]
    expected = of_features().predictions.scores
    seen: list[int] = []
    monkeypatch.setattr("zsl_lab.predict.features.EVALUATION_BATCH", 16)
    check = features._check_finite

    def spy(block: Any, *rest: Any) -> None:
        seen.append(len(block))
        check(block, *rest)

    monkeypatch.setattr(features, "_check_finite", spy)
    read = FeaturePredictor.check_samples

    def mapped(self: FeaturePredictor, samples: Any, origin: str) -> Any:
        assert isinstance(samples, np.memmap | h5py.Dataset)
        return read(self, samples, origin)

    monkeypatch.setattr(FeaturePredictor, "check_samples", mapped)
    for name in ("a.npy", "a.h5"):
        found = of_features(saved(tmp_path / name, x), out=f"of {name}").predictions.scores
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert seen == [16, 16, 8] * 2


def test_many_scores_lie_in_a_temporary_file_and_give_the_same_files(
    of_features: Callable[..., Prediction], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = of_features(out="memory")
    monkeypatch.setattr("zsl_lab.predict.features.EVALUATION_BATCH", 16)
    monkeypatch.setattr("zsl_lab.files.rows.LARGE", 500)
    found = of_features(out="file")
    assert is_mapped(found.predictions.scores)
    assert not is_mapped(expected.predictions.scores)
    assert found.table.read_bytes() == expected.table.read_bytes()
    assert found.summary.read_bytes() == expected.summary.read_bytes()
    assert sorted(path.name for path in found.folder.iterdir()) == [
        "predictions.csv",
        "predictions.json",
    ]


def test_progress_counts_every_sample(
    load: Load, vectors: FeatureBenchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zsl_lab.predict.features.EVALUATION_BATCH", 16)
    predictor = load("sgal")
    done: list[int] = []
    predictor.score_samples(vectors.features[:40], predictor.candidates(), "x", report=done.append)
    assert done == [16, 32, 40]


@pytest.mark.parametrize(
    ("name", "features", "sentence"),
    [
        (
            "x.npy",
            np.zeros((4, 63)),
            r"^features=.*x\.npy: found 63 dimensions \(shape \[4, 63\]\); expected "
            r"\[samples, 64\]",
        ),
        ("x.npy", np.zeros((0, 64)), r"x\.npy: found shape \[0, 64\], which holds no sample"),
        (
            "x.npy",
            np.array([[None]]),
            r"x\.npy: found Python objects, which were not unpickled; .*Save it with np\.save",
        ),
        ("x.npy", np.array([["a"]]), r"x\.npy: found type <U1; expected numbers"),
        ("x.npy", np.full((3, 64), np.nan), r"x\.npy: found nan in row 0, column 0"),
        ("x.npy", b"", r"x\.npy: found a damaged file .*Save it with np\.save"),
        (
            "x.npy",
            b"1.0 2.0",
            r"x\.npy: found a file of another kind \(it starts with b'1\.0 2\.'\); expected an "
            r"array .*Save it with",
        ),
        (
            "x.npz",
            b"",
            r"x\.npz: found an archive of arrays; expected a single one\. Save that as \.npy, "
            r"np\.save\('FILE\.npy', np\.load",
        ),
        ("x.npy", pickle.dumps([1]), r"x\.npy: found Python objects, which were not unpickled"),
        ("x.npy", b"\x93NUMPY\x01\x00", r"x\.npy: found a damaged file"),
        ("x.npy", None, r"^features=.*x\.npy: cannot be read \(No such file or directory\)"),
        (
            "x.mat",
            np.zeros((64, 4)),
            r"x\.mat: field 'features': found shape \[4, 64\]; expected \[64, samples\], .* "
            r"transpose it \(",
        ),
        (
            "x.mat",
            np.zeros((4, 63)),
            r"x\.mat: field 'features': found shape \[63, 4\]; expected \[64, samples\].* Give "
            r"such a file, or",
        ),
        (
            "x.mat",
            b"text",
            r"^features=.*x\.mat: not a MATLAB file.*Repair the file, or give "
            r"another: features=FILE\.$",
        ),
        ("x.mat", None, r"^features=.*x\.mat: no such file"),
        ("x.h5", np.zeros((64, 4)), r"x\.h5: found 4 dimensions .* transpose it"),
        (
            "x.h5",
            b"text",
            r"x\.h5: cannot be read .* expected an HDF5 file with the dataset features\. "
            r"Repair it, or give another\.$",
        ),
        ("x.h5", None, r"x\.h5: there is no such file"),
        (
            "x.parquet",
            b"1,2",
            r"x\.parquet: found a file that ends in \.parquet; expected \.npy, \.h5, \.mat or "
            r"\.csv\. Rename it, or save it as one",
        ),
        ("x.csv", b"1,2\n", r"x\.csv: found 2 dimensions \(shape \[1, 2\]\); expected"),
        ("x.csv", None, r"^features=.*x\.csv: cannot be read \(No such file"),
        ("x.csv", b"", r"x\.csv: found an empty file; expected a row a sample"),
        ("x", b"1,2", "found a file without an ending"),
    ],
)
def test_files_of_features_that_do_not_fit_are_refused(
    of_features: Callable[..., Prediction], tmp_path: Path, name: str, features: Any, sentence: str
) -> None:
    path = tmp_path / name
    if isinstance(features, bytes):
        path.write_bytes(features)
    elif features is not None:
        saved(path, features)
    with pytest.raises(DataError, match=sentence) as caught:
        of_features(path)
    assert "allow_pickle" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_header_that_numpy_distrusts_is_a_damaged_file(
    of_features: Callable[..., Prediction], tmp_path: Path
) -> None:
    (tmp_path / "x.npy").write_bytes(
        b"\x93NUMPY\x02\x00" + (99_999).to_bytes(4, "little") + b" " * 99_999
    )
    with pytest.raises(
        DataError,
        match=r"x\.npy: found a damaged file; expected an array of numbers\. Save it with np\.save",
    ):
        of_features(tmp_path / "x.npy")


def test_a_folder_is_no_file_of_features(
    of_features: Callable[..., Prediction], tmp_path: Path
) -> None:
    for name in ("folder", "folder.npy", "folder.h5"):
        (tmp_path / name).mkdir()
        with pytest.raises(
            DataError,
            match=rf"{name}: this is a folder; expected a file\. Give one: features=FILE \(.*\), "
            r"or images=DIR, a folder",
        ):
            of_features(tmp_path / name)


def test_a_file_of_other_datasets_is_refused(
    of_features: Callable[..., Prediction], tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["labels"], file["x"] = np.zeros(3), np.zeros((3, 64))
    with pytest.raises(
        DataError,
        match=r"x\.h5: found labels, x; expected a dataset called features, and no link\. Rename "
        r"it, or give another file\.$",
    ):
        of_features(tmp_path / "x.h5")
    saved(tmp_path / "other.h5", np.zeros((3, 64)))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["features"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "features")
    with pytest.raises(
        DataError, match=r"x\.h5: found features; expected a dataset called features, and no link"
    ):
        of_features(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        layout = h5py.VirtualLayout((3, 64), float)
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "features", (3, 64))
        file.create_virtual_dataset("features", layout)
    with pytest.raises(
        DataError, match=r"x\.h5: found a dataset whose numbers lie in another file"
    ):
        of_features(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        chunk = file.create_dataset("features", data=np.zeros((3, 64)), compression="gzip").id
        file.flush()
        offset = chunk.get_chunk_info(0).byte_offset
    content = bytearray((tmp_path / "x.h5").read_bytes())
    content[offset : offset + 8] = b"damaged!"
    (tmp_path / "x.h5").write_bytes(content)
    with pytest.raises(
        DataError,
        match=r"x\.h5: its rows cannot be read .*: the file is damaged\. Give another, or \.npy\.$",
    ):
        of_features(tmp_path / "x.h5")
    np.savez(tmp_path / "x.npz", features=np.zeros((3, 64)))
    (tmp_path / "x.npz").rename(tmp_path / "x.npy")
    with pytest.raises(
        DataError, match=r"x\.npy: found an archive of arrays; expected a single one"
    ):
        of_features(tmp_path / "x.npy")


def test_a_table_of_text_gives_what_the_array_gives(
    of_features: Callable[..., Prediction], vectors: FeatureBenchmark, tmp_path: Path
) -> None:
    x = vectors.features[vectors.test_unseen[:40]].astype(np.float64)
    lines = [",".join([f"s{i}", *map(repr, row.tolist())]) for i, row in enumerate(x)]
    path = tmp_path / "x.csv"
    path.write_text("\n".join(lines))
    prediction, plain = of_features(path), of_features(out="npy")
    assert prediction.files == tuple(f"s{i}" for i in range(40))
    assert prediction.noun == "sample"
    assert np.array_equal(prediction.predictions.scores, plain.predictions.scores)


def test_a_file_of_another_recipe_is_reported(
    of_features: Callable[..., Prediction],
    vectors: FeatureBenchmark,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    recipe = ImageRecipe(
        backbone="resnet50", weights="a.pth", weights_sha256="12" * 32, resize=256, image_size=224
    )
    path = saved(tmp_path / "x.h5", vectors.features[vectors.test_unseen[:40]])
    with h5py.File(path, "a") as file:
        file["recipe"] = Recipe(images=recipe).model_dump_json()
    known = recipe.model_copy(update={"backbone": "resnet101"})
    compare = FeaturePredictor.compare_recipe

    def with_recipe(self: FeaturePredictor, given: ImageRecipe, origin: str) -> None:
        self._recipe = Recipe(images=known)
        compare(self, given, origin)

    monkeypatch.setattr(FeaturePredictor, "compare_recipe", with_recipe)
    with pytest.warns(
        UserWarning,
        match=r"x\.h5: these features were made by another recipe than those of training: backbone "
        r"resnet50 \(training: resnet101\)\.",
    ):
        of_features(path)
