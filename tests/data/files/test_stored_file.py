"""Files whose features stay on disk, and features in files of their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.data.files.test_benchmark_file import content
from zsl_lab.data import cache
from zsl_lab.data.benchmark import FeatureBenchmark, StoredBenchmark
from zsl_lab.data.files import benchmark_file as hdf5
from zsl_lab.data.files import own_file
from zsl_lab.errors import DataError, OutputError


@pytest.fixture(params=[0, 1, 3])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file with its features, or with so many shards."""
    hdf5.write(content(), tmp_path / "b.h5", shards=request.param)
    return tmp_path / "b.h5"


@pytest.fixture
def sharded(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A file and its two shards."""
    hdf5.write(content(), tmp_path / "b.h5", shards=2)
    return tmp_path / "b.h5", sorted(tmp_path.glob("b-*.npy"))


def test_a_benchmark_on_disk_is_the_one_in_memory(path: Path) -> None:
    disk, memory = (own_file.load(path, None, None, storage) for storage in ("disk", "memory"))
    assert isinstance(disk, StoredBenchmark)
    assert isinstance(memory, FeatureBenchmark)
    np.testing.assert_array_equal(memory.features, content().features)
    np.testing.assert_array_equal(disk.source.read(0, 20), content().features)
    np.testing.assert_array_equal(disk.features, memory.features)
    np.testing.assert_array_equal(disk.semantics, memory.semantics)
    assert disk.provenance == memory.provenance


def test_the_type_of_numbers_does_not_change_which_benchmark_it_is(tmp_path: Path) -> None:
    features = content().features.astype(np.float16)
    found = []
    for kind, shards in ((np.float16, 0), (np.float32, 2), (">f4", 0)):
        hdf5.write(content(features=features.astype(kind)), tmp_path / "b.h5", shards=shards)
        found.append(own_file.load(tmp_path / "b.h5", None, None, "disk"))
    assert [b.source.dtype for b in found] == [np.float16, np.float32, np.dtype(">f4")]
    assert len({b.provenance.features_sha256 for b in found}) == 1


def test_everything_comes_back_from_a_file_with_shards(path: Path) -> None:
    found = hdf5.read(path)
    np.testing.assert_array_equal(found.features, content().features)
    assert found.features.dtype == content().features.dtype
    assert found.class_names == content().class_names


def test_features_are_written_a_block_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("data.files.benchmark_file", "data.storage.source", "data.storage.files"):
        monkeypatch.setattr(f"zsl_lab.{module}.PASS_BYTES", 3 * 6 * 4)
    hdf5.write(content(), tmp_path / "a.h5")
    stored = hdf5.read_for_training(tmp_path / "a.h5", "disk")
    assert isinstance(stored, hdf5.StoredBenchmarkFile)
    hdf5.write(stored, tmp_path / "b.h5", shards=3)
    np.testing.assert_array_equal(hdf5.read(tmp_path / "b.h5").features, content().features)


def test_a_shard_that_is_missing_truncated_or_another_is_named(
    sharded: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    path, (first, second) = sharded
    hdf5.write(content(features=content().features + 1), tmp_path / "other" / "b.h5", shards=2)
    (other, _) = sorted((tmp_path / "other").glob("*.npy"))
    intact = second.read_bytes()

    def damaged(file: Path, problem: str) -> None:
        for storage in ("disk", "memory"):
            with pytest.raises(DataError, match=rf"{file.name}: {problem}"):
                own_file.load(path, None, None, storage)

    second.unlink()
    damaged(second, "cannot be read .No such file")
    second.write_bytes(intact[:-1])
    damaged(second, "found the end of the file after")
    second.write_bytes(intact)
    shutil.copy(other, first)
    damaged(first, r"found other content than .*b\.h5 was written with: .*another benchmark")


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["../a.npy"], r"found '\.\./a\.npy'; expected names of files in the same folder"),
        (["a.npy", "narrow.npy"], "found 2 columns of float32 in narrow.npy; expected 6"),
        (["a.npy"], r"labels.*found shape \[20\]; expected one label for each of the 12 samples"),
    ],
)
def test_shards_that_do_not_fit_are_refused(
    sharded: tuple[Path, list[Path]], names: list[str], problem: str
) -> None:
    path, _ = sharded
    np.save(path.with_name("a.npy"), np.ones((12, 6), np.float32))
    np.save(path.with_name("narrow.npy"), np.ones((8, 2), np.float32))
    own = path.with_name("own.h5")
    with h5py.File(path) as old, h5py.File(own, "w") as new:
        new.attrs.update(old.attrs)
        for field in old:
            if not field.startswith("feature_files"):
                old.copy(field, new)
        new["feature_files"] = names
    with pytest.raises(DataError, match=problem):
        own_file.load(own, None, None, "disk")


def test_shards_of_ones_own_need_no_hash(sharded: tuple[Path, list[Path]]) -> None:
    path, shards = sharded
    own = path.with_name("own.h5")
    with h5py.File(path) as old, h5py.File(own, "w") as new:
        new.attrs.update(old.attrs)
        for field in old:
            if field != "feature_files_sha256":
                old.copy(field, new)
    assert own_file.load(own, None, None, "disk").num_samples == 20
    np.save(shards[0], np.full((10, 6), np.nan, np.float32))
    with pytest.raises(DataError, match=r"'features': found nan in row 0, column 0"):
        own_file.load(own, None, None, "disk")


def test_features_in_chunks_are_read_into_memory_alone(tmp_path: Path) -> None:
    known = content()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs.update(format="zsl_lab benchmark", format_version=2, name="a")
        file.create_dataset("features", data=known.features, compression="gzip")
        file["labels"], file["semantics/att"] = known.labels, known.semantics["att"]
        for part in ("trainval", "test_seen", "test_unseen"):
            file[f"split/{part}"] = getattr(known, part)
    assert own_file.load(tmp_path / "a.h5", None, None, "memory").num_samples == 20
    with pytest.raises(
        DataError, match=r"found a table in chunks; .*convert.*storage=memory reads"
    ):
        own_file.load(tmp_path / "a.h5", None, None, "disk")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
@pytest.mark.parametrize("shards", [0, 2])
def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: int
) -> None:
    hdf5.write(content(), tmp_path / "b.h5", shards=shards)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    changed = content(features=content().features + 1)
    with pytest.raises(OutputError, match=r"b\.h5: cannot be written \(No space left on device\)"):
        hdf5.write(changed, tmp_path / "b.h5", shards=shards)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_the_cache_is_read_from_disk(tmp_path: Path) -> None:
    built: list[int] = []

    def build() -> FeatureBenchmark:
        built.append(1)
        return content().benchmark("att")

    cached: Callable[..., Any] = cache.cached
    found = [cached("toy", {}, build, tmp_path, storage) for storage in ("disk", "disk", "memory")]
    assert [type(b) for b in found] == [StoredBenchmark, StoredBenchmark, FeatureBenchmark]
    assert len(built) == 1
    for benchmark in found:
        np.testing.assert_array_equal(benchmark.features, content().features)
