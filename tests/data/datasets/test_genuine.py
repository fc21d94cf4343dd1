"""The genuine split files of the six published benchmarks, as their configurations read them."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import OmegaConf

from tests.helpers.benchmark_files import WriteMat
from zsl_lab.data import splits
from zsl_lab.data.benchmark import VectorBenchmark
from zsl_lab.data.datasets.base import DataPaths, DatasetConfig
from zsl_lab.data.datasets.xian import XianDataset
from zsl_lab.data.files.mat import read_mat
from zsl_lab.data.public.sources import IMAGES
from zsl_lab.errors import DataError

pytestmark = pytest.mark.slow

CONF = Path(__file__).parents[3] / "conf"
PUBLISHED = ["awa1", "awa2", "cub", "sun", "apy", "flo"]
VALIDATION_CLASSES = {"awa1": 13, "awa2": 13, "cub": 50, "sun": 65, "apy": 5, "flo": 20}


def configured(dataset: str, **overrides: object) -> DatasetConfig:
    """The dataset as ``dataset=<name>`` configures it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        keys: Any = OmegaConf.to_container(compose(f"dataset/{dataset}").dataset)
    kind: type[DatasetConfig] = get_class(keys.pop("_target_"))
    return kind.model_validate({**keys, **overrides})


@pytest.fixture(params=PUBLISHED)
def published(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def stand_in_labels(folder: Path, seen: int, unseen: int, validation: int) -> npt.NDArray[np.int64]:
    """Labels that fit the split file, whose own features and labels are not here."""
    file = folder / (
        "sent_splits.mat" if (folder / "sent_splits.mat").is_file() else "att_splits.mat"
    )
    loc = {
        name: array.ravel().astype(np.int64) - 1
        for name, array in read_mat(file, ["test_unseen_loc", "val_loc", "trainval_loc"]).items()
    }
    total = sum(
        len(array.ravel())
        for array in read_mat(file, ["trainval_loc", "test_seen_loc", "test_unseen_loc"]).values()
    )
    labels = np.arange(total) % (seen - validation)
    labels[loc["val_loc"]] = seen - validation + np.arange(len(loc["val_loc"])) % validation
    labels[loc["test_unseen_loc"]] = seen + np.arange(len(loc["test_unseen_loc"])) % unseen
    return labels


@pytest.fixture
def benchmark(
    genuine: Path, published: str, paths: DataPaths, write_mat: WriteMat
) -> VectorBenchmark:
    """A published benchmark: the genuine split file, with stand-ins for features and labels."""
    config = configured(published)
    assert isinstance(config, XianDataset)
    assert config.counts is not None
    folder = paths.data_dir / config.name
    shutil.copytree(genuine / config.name, folder, ignore=shutil.ignore_patterns("efficientnet*"))
    labels = stand_in_labels(
        folder, config.counts.seen, config.counts.unseen, VALIDATION_CLASSES[published]
    )
    features = np.random.default_rng(0).random((2, len(labels)))
    write_mat(folder / "res101.mat", {"features": features, "labels": labels[:, None] + 1.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning would say that the published counts are not met
        return config.load(paths)


def test_genuine_files_parse_with_the_published_counts(
    benchmark: VectorBenchmark, published: str
) -> None:
    assert (
        len(benchmark.trainval) + len(benchmark.test_seen) + len(benchmark.test_unseen)
        == benchmark.num_samples
    )
    assert benchmark.provenance.splits_version.startswith(
        f"proposed split ({published.upper()}, file of 20"
    )
    assert benchmark.validation_classes is not None
    assert len(benchmark.validation_classes) == VALIDATION_CLASSES[published]
    expected = {
        "flo": "class 1",
        "cub": "002.Laysan_Albatross",
        "apy": "aeroplane",
        "sun": "abbey",
    }.get(published, "antelope")
    assert benchmark.class_names[0] == expected


def test_no_phase_but_the_last_sees_a_test_sample(benchmark: VectorBenchmark) -> None:
    test = np.concatenate([benchmark.test_seen, benchmark.test_unseen])
    for own in (
        benchmark.validation_classes,
        None,
    ):  # the authors' validation classes, and classes drawn by the seed
        b = benchmark.with_split(
            benchmark.trainval,
            benchmark.test_seen,
            benchmark.test_unseen,
            own,
            benchmark.provenance,
        )
        for seed in range(3):
            v = splits.validation_split(b, seed)
            used = np.concatenate([v.train, v.eval_seen, v.eval_unseen])
            assert not np.isin(used, test).any()
            np.testing.assert_array_equal(np.sort(used), np.sort(b.trainval))
            assert not np.isin(b.labels[v.train], v.unseen_classes).any()
    assert not np.isin(splits.test_split(benchmark).train, test).any()


def test_a_redrawn_split_keeps_the_numbers_of_classes(benchmark: VectorBenchmark) -> None:
    b = splits.redraw(benchmark, 0)
    assert len(b.seen_classes) == len(benchmark.seen_classes)
    assert len(b.unseen_classes) == len(benchmark.unseen_classes)
    test = np.concatenate([b.test_seen, b.test_unseen])
    v = splits.validation_split(b, 0)
    assert not np.isin(np.concatenate([v.train, v.eval_seen, v.eval_unseen]), test).any()


def test_missing_features_are_named(genuine: Path, published: str, tmp_path: Path) -> None:
    config = configured(published)
    with pytest.raises(DataError) as error:
        config.load(DataPaths(genuine, tmp_path))
    archive = "cvpr18xian.zip" if published == "flo" else "xlsa17.zip"
    for part in (
        str(genuine / config.name / "res101.mat"),
        "no such file",
        archive,
        "paths.data_dir",
        "ZSL_LAB_DATA",
        "dataset.features",
    ):
        assert part in str(error.value)
    assert ("dataset.features=efficientnet_lite2" in str(error.value)) == (published == "flo")


def test_the_real_flowers_load_from_files_and_from_the_cache(genuine: Path, tmp_path: Path) -> None:
    config = configured("flo", features="efficientnet_lite2")
    first = config.load(DataPaths(genuine, tmp_path))
    second = config.load(DataPaths(genuine, tmp_path))
    for b in (first, second):
        assert b.features.shape == (8189, 1280)
        assert b.semantics.shape == (102, 1024)
        assert b.validation_classes is not None
        assert len(b.validation_classes) == 20
    np.testing.assert_array_equal(first.features, second.features)
    share = np.bincount(first.labels[first.test_seen], minlength=102) / np.bincount(
        first.labels, minlength=102
    )
    assert np.abs(share[first.seen_classes] - 0.2).max() < 0.02


def test_birds_have_sentences(genuine: Path, paths: DataPaths, write_mat: WriteMat) -> None:
    shutil.copytree(genuine / "CUB", paths.data_dir / "CUB")
    labels = stand_in_labels(paths.data_dir / "CUB", 150, 50, 50)
    write_mat(
        paths.data_dir / "CUB" / "res101.mat",
        {"features": np.ones((2, len(labels))), "labels": labels[:, None] + 1},
    )
    assert configured("cub", semantics="sent").load(paths).semantics.shape == (200, 1024)


@pytest.mark.parametrize("dataset", ["digits", "synthetic"])
def test_embedded_datasets_need_no_file(dataset: str, tmp_path: Path) -> None:
    b = configured(dataset).load(DataPaths(tmp_path / "nowhere", tmp_path / "nowhere"))
    assert b.name == dataset
    assert not list(tmp_path.iterdir())
    assert splits.validation_split(b, 0).name == "validation"


def test_the_shared_base_is_no_choice() -> None:
    assert sorted(path.stem for path in (CONF / "dataset").glob("*.yaml")) == sorted(
        [*PUBLISHED, *IMAGES, "digits", "imagenet", "own", "synthetic"]
    )
