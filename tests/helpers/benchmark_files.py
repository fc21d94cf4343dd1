"""Files in the published format, small enough to make for every test."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import scipy.io

from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.datasets.xian import XianDataset

Fields = dict[str, Any]
WriteMat = Callable[..., Path]
MakeDataset = Callable[..., XianDataset]

BASE = {"normalize": "none", "normalize_semantics": "none", "split": "proposed", "split_seed": 0}
"""The keys that every dataset has."""


def cells(names: list[str]) -> npt.NDArray[Any]:
    """A MATLAB cell array of strings, ``[n, 1]``."""
    array = np.empty((len(names), 1), dtype=object)
    array[:, 0] = names
    return array


def write_v73(path: Path, fields: Mapping[str, Any]) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in fields.items():
            if value.dtype == object:
                references = np.empty(value.shape, dtype=h5py.ref_dtype)
                for position, text in np.ndenumerate(value):
                    cell = file.create_dataset(
                        f"#refs#/{name}{position[0]}",
                        data=np.frombuffer(text.encode("utf-16-le"), dtype="<u2")[:, None],
                    )
                    cell.attrs["MATLAB_class"] = np.bytes_("char")
                    references[position] = cell.ref
                file.create_dataset(name, data=references.T, dtype=h5py.ref_dtype).attrs[
                    "MATLAB_class"
                ] = np.bytes_("cell")
            else:
                file.create_dataset(name, data=np.asarray(value).T)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


@pytest.fixture(params=["5", "7.3"])
def version(request: pytest.FixtureRequest) -> str:
    """Both versions of MATLAB files, one after the other."""
    return str(request.param)


@pytest.fixture
def write_mat() -> WriteMat:
    """Writes fields as either version; object arrays are cell arrays of strings."""

    def write(path: Path, fields: Mapping[str, Any], version: str = "5") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        if version == "5":
            scipy.io.savemat(path, dict(fields), do_compression=True)
        else:
            write_v73(path, fields)
        return path

    return write


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    """A data folder and a cache folder, both empty."""
    (tmp_path / "data").mkdir()
    return DataPaths(tmp_path / "data", tmp_path / "cache")


@pytest.fixture
def splits() -> Fields:
    """Fields of a split file: 5 classes of 4 samples, in class order; class 5 is unseen.

    Class 4 is the validation class, and ``train_loc`` and ``val_loc`` contain test_seen images as
    the published ones do.
    """
    loc = {
        "trainval_loc": [1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15],
        "test_seen_loc": [4, 8, 12, 16],
        "test_unseen_loc": [17, 18, 19, 20],
        "train_loc": list(range(1, 13)),
        "val_loc": [13, 14, 15, 16],
    }
    fields: Fields = {
        name: np.array(values, dtype=np.uint16)[:, None] for name, values in loc.items()
    }
    fields["att"] = np.arange(15, dtype=np.float64).reshape(3, 5) / 10
    fields["original_att"] = fields["att"] * 100
    fields["allclasses_names"] = cells(["ant", "bee", "cat", "dog", "eel"])
    return fields


@pytest.fixture
def recorded() -> Fields:
    """Fields of the feature file that belongs to :func:`splits`."""
    labels = np.repeat(np.arange(1, 6), 4)
    features = np.random.default_rng(0).random((6, 20)) + labels
    return {"features": features, "labels": labels.astype(np.float64)[:, None]}


@pytest.fixture
def make(paths: DataPaths, write_mat: WriteMat) -> MakeDataset:
    """Writes a dataset called ``TOY`` and returns its configuration."""

    def write(splits: Fields, recorded: Fields, version: str = "5", **keys: Any) -> XianDataset:
        write_mat(paths.data_dir / "TOY" / "att_splits.mat", splits, version)
        write_mat(paths.data_dir / "TOY" / "res101.mat", recorded, version)
        return XianDataset.model_validate(
            {**BASE, "name": "TOY", "features": "res101", "semantics": "att", **keys}
        )

    return write


@pytest.fixture(scope="session")
def genuine() -> Path:
    """The folder of the genuine split files."""
    shared = Path(os.environ.get("ZSL_LAB_SHARED", Path(__file__).parents[3] / "shared"))
    folder = shared / "data" / "xlsa17" / "data"
    if not folder.is_dir():
        pytest.skip(
            f"the genuine split files are not here: {folder} (ZSL_LAB_SHARED names another shared "
            "folder)"
        )
    return folder
