"""What every dataset of ``conf/dataset`` promises.

A dataset is found by its yaml alone. Embedded ones load as they are; the files of others are made
here, from the names and counts in their yaml, with few feature dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from hydra import compose, initialize_config_module
from hydra.utils import get_class
from omegaconf import OmegaConf

from tests.conftest import REPOSITORY
from tests.helpers.benchmark_files import cells
from tests.helpers.imagenet import make_class_lists, make_features
from zsl_lab.data import splits as splitting
from zsl_lab.data.batches.base import PhaseDataModule
from zsl_lab.data.benchmark import Benchmark, FeatureBenchmark, ImageBenchmark
from zsl_lab.data.datasets.base import DataPaths, DatasetConfig
from zsl_lab.data.datasets.image_folder import ImageFolderDataset
from zsl_lab.data.datasets.image_lists import ImageListDataset
from zsl_lab.data.datasets.imagenet import ImageNetDataset
from zsl_lab.data.datasets.images import ImageDataset
from zsl_lab.data.datasets.own import OwnDataset
from zsl_lab.data.datasets.synthetic import SyntheticDataset
from zsl_lab.data.datasets.xian import XianDataset
from zsl_lab.data.files.benchmark_file import BenchmarkFile, write
from zsl_lab.errors import ConfigError, DataError
from zsl_lab.keys import checked

NAMES = sorted(path.stem for path in (REPOSITORY / "conf" / "dataset").glob("*.yaml"))
CPU = torch.device("cpu")
BATCH = 8
STEPS = 3
Index = np.ndarray[Any, np.dtype[np.int64]]


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    folder = tmp_path_factory.mktemp("datasets")
    return DataPaths(folder / "data", folder / "cache")


@pytest.fixture(scope="module")
def dataset(name: str, paths: DataPaths) -> DatasetConfig:
    """The dataset with the keys of its yaml, and its files where it reads any."""
    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        keys: Any = OmegaConf.to_container(compose(f"dataset/{name}").dataset, resolve=True)
    kind: type[DatasetConfig] = get_class(keys.pop("_target_"))
    if issubclass(kind, OwnDataset):
        keys["path"] = str(make_hdf5(paths))
    if issubclass(kind, ImageDataset):
        pytest.importorskip("PIL", reason='needs Pillow: pip install "zsl-lab[images]"')
        # six classes of five small images
        few = {"class_counts": {"train": 3, "validation": 1, "test": 2}, "counts": None}
        keys |= {"image_size": 16, "resize": 18, **few}
        keys["only_classes"] = keys["only_classes"] and [f"red {i}" for i in range(6)]
    found = checked(kind, keys, "dataset")
    if isinstance(found, XianDataset):
        make_mat_files(found, paths)
    elif isinstance(found, ImageNetDataset):
        make_class_lists(paths.data_dir / found.folder)
        make_features(paths.data_dir / found.folder)
    elif isinstance(found, ImageFolderDataset):
        make_image_folder(found, paths)
    elif isinstance(found, ImageListDataset):
        make_archive(found, paths)
    return found


@pytest.fixture(scope="module")
def benchmarks(dataset: DatasetConfig, paths: DataPaths) -> list[Benchmark]:
    """The benchmark as features, as images, or both."""
    found: list[Benchmark] = []
    for load in (dataset.load, dataset.load_images):
        try:
            found.append(load(paths))
        except ConfigError:
            continue
    assert found, "neither features nor images"
    return found


def make_mat_files(dataset: XianDataset, paths: DataPaths) -> None:
    """Files with the published counts; ``train`` and ``val`` contain test images, as published."""
    assert dataset.counts is not None
    counts, rng = dataset.counts, np.random.default_rng(0)
    labels = np.concatenate(
        [
            np.arange(counts.trainval) % counts.seen,
            np.arange(counts.test_seen) % counts.seen,
            counts.seen + np.arange(counts.test_unseen) % counts.unseen,
        ]
    )
    ends = np.cumsum([counts.trainval, counts.test_seen, counts.test_unseen])
    parts = np.split(np.arange(ends[-1]) + 1, ends[:2])
    tuning = np.arange(ends[1])
    held_out = labels[tuning] >= counts.seen * 3 // 4
    folder = paths.data_dir / dataset.name
    folder.mkdir(parents=True)
    features = rng.random((4, len(labels)), dtype=np.float32)
    scipy.io.savemat(
        folder / f"{dataset.features}.mat", {"features": features, "labels": labels[:, None] + 1}
    )
    fields = dict(zip(("trainval_loc", "test_seen_loc", "test_unseen_loc"), parts, strict=True))
    fields |= {"train_loc": tuning[~held_out] + 1, "val_loc": tuning[held_out] + 1}
    columns: dict[str, Any] = {field: index[:, None] for field, index in fields.items()}
    columns["att"] = rng.random((counts.semantic_dim, counts.classes))
    columns["allclasses_names"] = cells([f"class {i}" for i in range(counts.classes)])
    scipy.io.savemat(folder / "att_splits.mat", columns)


def make_image_folder(dataset: ImageFolderDataset, paths: DataPaths) -> None:
    """Six classes of five images, of which the last two are unseen, in two orders."""
    from PIL import Image

    folder = paths.data_dir / (dataset.folder or dataset.name)
    (folder / dataset.images).mkdir(parents=True, exist_ok=True)
    labels = np.repeat(np.arange(6), 5)
    files = [f"{i:02}.png" for i in range(len(labels))]
    for file, label in zip(files, labels, strict=True):
        Image.new("RGB", (20, 30), (40 * int(label), 0, 0)).save(folder / dataset.images / file)
    lines = [f"{file},{label + 1}" for file, label in zip(files, labels, strict=True)]
    (folder / dataset.labels).write_text("\n".join(["file,class_id", *reversed(lines)]))
    texts = [
        {"class_id": i + 1, "name": f"red {i}", "description": f"{i} of 5 red"} for i in range(6)
    ]
    (folder / dataset.descriptions).write_text(json.dumps(texts))
    if dataset.split_file is None or dataset.image_order is None:
        return
    for place in (dataset.split_file, dataset.image_order):
        (paths.data_dir / place).parent.mkdir(parents=True, exist_ok=True)
    seen = np.arange(20).reshape(4, 5)
    parts = {
        "trainval_loc": seen[:, :4],
        "test_seen_loc": seen[:, 4:],
        "test_unseen_loc": np.arange(20, 30),
        "train_loc": seen[:3],
        "val_loc": seen[3:],
    }
    scipy.io.savemat(
        paths.data_dir / dataset.split_file,
        {field: index.reshape(-1, 1) + 1 for field, index in parts.items()},
    )
    scipy.io.savemat(
        paths.data_dir / dataset.image_order,
        {"image_files": cells(files), "labels": labels[:, None] + 1},
    )


def make_archive(dataset: ImageListDataset, paths: DataPaths) -> None:
    """The folder of a public archive and the class lists of the split in the yaml."""
    from tests.helpers import image_datasets as made

    folder = paths.data_dir / (dataset.folder or dataset.name)
    if dataset.hierarchy is not None:
        made.make_nabirds(folder)
    elif dataset.labels is not None:
        made.make_cub(folder)
    elif dataset.image_list is not None:
        made.make_cub2010(folder)
    else:
        made.make_awa2(folder)
    place = paths.data_dir / dataset.class_splits.get(dataset.split, "")
    if place.suffix == ".mat":
        made.class_ids(place, [1, 2, 3, 4], [5, 6])
    elif dataset.split == "proposed" and not place.suffix:
        made.write_lines(place / "testclasses.txt", ["Bird_E", "Bird_F"])


def make_hdf5(paths: DataPaths) -> Path:
    """A file with the numbers of a small synthetic benchmark."""
    source = SyntheticDataset(
        name="mine",
        classes=6,
        unseen=2,
        feature_dim=4,
        semantic_dim=3,
        samples_per_class=10,
        difficulty=0.5,
        seed=0,
        normalize="none",
        normalize_semantics="none",
        split="proposed",
        split_seed=0,
    ).load(paths)
    content = BenchmarkFile(
        name="mine",
        features=source.features,
        labels=source.labels,
        class_names=source.class_names,
        semantics={"att": source.semantics},
        trainval=source.trainval,
        test_seen=source.test_seen,
        test_unseen=source.test_unseen,
    )
    path = paths.data_dir / "mine.h5"
    write(content, path)
    return path


def rows_of(data: PhaseDataModule, seed: int) -> list[list[int]]:
    """The samples of each training batch."""
    stream = data.training_stream(lambda step: BATCH, [STEPS], seed, CPU)
    return [batch.rows.tolist() for batch in stream]


def phases(benchmark: Benchmark) -> list[splitting.Split]:
    return [splitting.validation_split(benchmark, seed=0), splitting.test_split(benchmark)]


def disjoint(*parts: Index) -> bool:
    together = np.concatenate(parts)
    return len(np.unique(together)) == len(together)


@pytest.mark.slow
def test_the_yaml_has_every_key_and_a_name_for_results(
    dataset: DatasetConfig, benchmarks: list[Benchmark]
) -> None:
    assert all(benchmark.name for benchmark in benchmarks)
    assert dataset.split in dataset.splits
    assert dataset.split == "proposed" or "proposed" not in dataset.splits


def test_every_sample_and_class_is_described(benchmarks: list[Benchmark]) -> None:
    for benchmark in benchmarks:
        assert len(set(benchmark.class_names)) == benchmark.num_classes
        if isinstance(benchmark, FeatureBenchmark):
            assert benchmark.features.shape[0] == benchmark.num_samples
            assert benchmark.semantics.shape[0] == benchmark.num_classes
            assert benchmark.features.dtype == benchmark.semantics.dtype == np.float32
        elif isinstance(benchmark, ImageBenchmark):
            assert benchmark.images.shape[0] == benchmark.num_samples
            assert len(benchmark.descriptions) == benchmark.num_classes


def test_loading_again_gives_the_same(
    dataset: DatasetConfig, benchmarks: list[Benchmark], paths: DataPaths
) -> None:
    for first in benchmarks:
        load: Callable[[DataPaths], Benchmark] = (
            dataset.load if isinstance(first, FeatureBenchmark) else dataset.load_images
        )
        second = load(paths)
        np.testing.assert_array_equal(second.labels, first.labels)
        np.testing.assert_array_equal(second.trainval, first.trainval)
        assert second.class_names == first.class_names
        for field in ("splits_sha256", "features_sha256", "splits_version"):
            assert getattr(second.provenance, field) == getattr(first.provenance, field)
            assert getattr(first.provenance, field)


def test_parts_of_the_split_are_disjoint_and_so_are_seen_and_unseen_classes(
    benchmarks: list[Benchmark],
) -> None:
    for b in benchmarks:
        assert disjoint(b.trainval, b.test_seen, b.test_unseen)
        assert disjoint(b.seen_classes, b.unseen_classes)
        assert set(b.labels[b.test_seen]) <= set(b.seen_classes)


def test_validation_uses_training_samples_only(benchmarks: list[Benchmark]) -> None:
    for b in benchmarks:
        split = splitting.validation_split(b, seed=0)
        assert disjoint(split.train, split.eval_seen, split.eval_unseen)
        used = np.concatenate([split.train, split.eval_seen, split.eval_unseen])
        assert set(used) <= set(b.trainval)
        assert set(split.unseen_classes) <= set(b.seen_classes)
        assert not set(b.labels[split.train]) & set(split.unseen_classes)


def test_each_phase_has_its_classes_in_order(
    dataset: DatasetConfig, benchmarks: list[Benchmark]
) -> None:
    for benchmark in benchmarks:
        for split in phases(benchmark):
            classes = dataset.data_module(benchmark, split).classes
            ids = np.sort(np.concatenate([split.seen_classes, split.unseen_classes]))
            np.testing.assert_array_equal(classes.ids, ids)
            np.testing.assert_array_equal(classes.ids[classes.seen_mask], split.seen_classes)
            assert classes.names == tuple(benchmark.class_names[i] for i in ids)
            assert np.isfinite(classes.semantics).all()
            described = classes.semantics.shape[1] > 0
            assert described != bool(classes.descriptions), "vectors or texts"


def test_training_batches_are_of_training_samples_and_repeat_with_the_seed(
    dataset: DatasetConfig, benchmarks: list[Benchmark]
) -> None:
    for benchmark in benchmarks:
        for split in phases(benchmark):
            data = dataset.data_module(benchmark, split)
            batches = list(data.training_stream(lambda step: BATCH, [STEPS], 0, CPU))
            assert len(batches) == STEPS
            for batch in batches:
                rows = batch.rows.numpy()
                assert len(rows) == BATCH == len(batch.inputs)
                assert set(rows) <= set(split.train)
                ids = data.classes.ids[batch.labels.numpy()]
                np.testing.assert_array_equal(ids, benchmark.labels[rows])
            assert rows_of(data, 0) == [batch.rows.tolist() for batch in batches]
            assert rows_of(data, 1) != rows_of(data, 0)


def test_evaluation_covers_its_samples_once_in_order(
    dataset: DatasetConfig, benchmarks: list[Benchmark]
) -> None:
    for benchmark in benchmarks:
        for split in phases(benchmark):
            data = dataset.data_module(benchmark, split)
            index = data.evaluation_index[:50]
            batches = list(data.evaluation_batches(index, CPU))
            np.testing.assert_array_equal(np.concatenate([b.rows for b in batches]), index)
            inputs = torch.cat([batch.inputs for batch in batches])
            torch.testing.assert_close(inputs, data.samples(index).inputs, rtol=0, atol=0)


def test_scaling_does_not_depend_on_evaluated_samples(
    dataset: DatasetConfig, benchmarks: list[Benchmark]
) -> None:
    for benchmark in benchmarks:
        if not isinstance(benchmark, FeatureBenchmark):
            continue
        split = splitting.validation_split(benchmark, seed=0)
        other = benchmark.features.copy()
        outside = np.setdiff1d(np.arange(benchmark.num_samples), split.train)
        other[outside] = other[outside] * 3 + 1
        changed = FeatureBenchmark(**{**vars_of(benchmark), "features": other})
        first, second = (
            dataset.data_module(b, split).samples(split.train[:20]).inputs
            for b in (benchmark, changed)
        )
        torch.testing.assert_close(first, second, rtol=0, atol=0)


def vars_of(benchmark: FeatureBenchmark) -> dict[str, Any]:
    fields = FeatureBenchmark.__dataclass_fields__
    return {name: getattr(benchmark, name) for name in fields}


@pytest.mark.slow
def test_a_random_split_has_as_many_unseen_classes_and_leaks_nothing(
    benchmarks: list[Benchmark],
) -> None:
    for b in benchmarks:
        draw: Callable[[int], Benchmark] = partial(splitting.redraw, b)
        first, again = draw(0), draw(0)
        others = [draw(seed).unseen_classes.tolist() for seed in range(1, 6)]
        np.testing.assert_array_equal(first.trainval, again.trainval)
        assert any(other != first.unseen_classes.tolist() for other in others)
        assert len(first.unseen_classes) == len(b.unseen_classes)
        assert disjoint(first.trainval, first.test_seen, first.test_unseen)
        assert not set(first.labels[first.trainval]) & set(first.unseen_classes)
        used = splitting.validation_split(first, seed=0)
        assert set(np.concatenate([used.train, used.eval_seen, used.eval_unseen])) <= set(
            first.trainval
        )


def test_a_dataset_without_its_files_names_them_and_what_to_set(
    dataset: DatasetConfig, benchmarks: list[Benchmark], tmp_path: Path
) -> None:
    elsewhere = DataPaths(tmp_path / "nowhere", tmp_path / "cache")
    sources = dataset.sources(elsewhere)
    if not sources or any(path.exists() for path in sources):
        pytest.skip("it reads no file below paths.data_dir")
    load = dataset.load if isinstance(benchmarks[0], FeatureBenchmark) else dataset.load_images
    with pytest.raises(DataError, match=r"no such .*paths\.data_dir"):
        load(elsewhere)
