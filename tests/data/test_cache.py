"""The cache's HDF5 files: complete or absent, verified, read without a second copy."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.helpers.benchmark_files import BASE
from zsl_lab.data import cache as store
from zsl_lab.data.benchmark import FeatureBenchmark
from zsl_lab.data.checks.findings import with_reader_findings
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.datasets.synthetic import SyntheticDataset
from zsl_lab.data.files import benchmark_file as hdf5
from zsl_lab.data.files.layout import seal
from zsl_lab.data.recipe import Recipe
from zsl_lab.errors import CacheWarning, DataError, DataWarning, OutputError

AWA2_BYTES = 37_322 * 2048 * 4
SIZES = {
    "classes": 6,
    "unseen": 2,
    "feature_dim": 8,
    "semantic_dim": 3,
    "samples_per_class": 10,
    "difficulty": 0.5,
    "seed": 0,
}


@pytest.fixture
def benchmark(paths: DataPaths) -> FeatureBenchmark:
    return SyntheticDataset.model_validate({**BASE, "name": "toy", **SIZES}).load(paths)


def run(script: str, *arguments: Path) -> str:
    """Run a script in a fresh process, whose memory and limits are its own."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("validation_classes", [None, [1, 2]])
def test_what_is_stored_comes_back(
    benchmark: FeatureBenchmark, tmp_path: Path, validation_classes: list[int] | None
) -> None:
    ids = None if validation_classes is None else benchmark.seen_classes[validation_classes]
    b = replace(
        benchmark, validation_classes=ids, recipe=Recipe(attributes=["legs", "wings", "tails"])
    )
    store.save(b, tmp_path / "new" / "b.h5")
    c = store.load(tmp_path / "new" / "b.h5")
    assert (c.name, c.class_names, replace(c.provenance, file_sha256=""), c.recipe) == (
        b.name,
        b.class_names,
        b.provenance,
        b.recipe,
    )
    assert c.features.dtype == c.semantics.dtype == np.float32
    for name in (
        "features",
        "labels",
        "semantics",
        "trainval",
        "test_seen",
        "test_unseen",
        "validation_classes",
    ):
        np.testing.assert_array_equal(getattr(c, name), getattr(b, name))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["b.h5"]


def test_every_damaged_byte_is_noticed(benchmark: FeatureBenchmark, tmp_path: Path) -> None:
    path = tmp_path / "b.h5"
    store.save(benchmark, path)
    intact = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(len(intact), size=200):
        damaged = bytearray(intact)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"b\.h5: found a damaged "):
            store.load(path)
    for length in rng.integers(len(intact), size=20):
        path.write_bytes(intact[:length])
        with pytest.raises(DataError, match=r"b\.h5: found a damaged "):
            store.load(path)


def test_another_format_version_is_not_read(
    benchmark: FeatureBenchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(benchmark, tmp_path / "b.h5")
    for module in (hdf5, seal):
        monkeypatch.setattr(module, "FORMAT_VERSION", 3)
    with pytest.raises(DataError, match=r"format version 2, an older one; expected version 3"):
        store.load(tmp_path / "b.h5")
    store.cached("toy", {}, lambda: benchmark, tmp_path / "cache")
    monkeypatch.undo()
    store.cached("toy", {}, lambda: benchmark, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_damaged_file_is_built_again(benchmark: FeatureBenchmark, tmp_path: Path) -> None:
    store.cached("toy", {}, lambda: benchmark, tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.warns(
        UserWarning,
        match=r"The cache is rebuilt from its sources: .*found a damaged or edited file: .*"
        r"expected the content that was sealed\.$",
    ):
        again = store.cached("toy", {}, lambda: benchmark, tmp_path / "cache")
    assert again is benchmark
    assert store.load(file).name == "toy"


def test_what_was_warned_of_when_it_was_built_is_warned_of_again(
    benchmark: FeatureBenchmark, tmp_path: Path
) -> None:
    def build() -> FeatureBenchmark:
        warnings.warn("file.mat: left out x.", stacklevel=1)
        warnings.warn(DataWarning("Tables differ.", "tables contradict"), stacklevel=1)
        warnings.warn("Another cache is rebuilt.", CacheWarning, stacklevel=1)
        return benchmark

    found = []
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CacheWarning)
            read = partial(store.cached, "toy", {}, build, tmp_path)
            found.append(with_reader_findings(read)[1])
    assert len(found[0]) == 2
    assert found[0] == found[1]


def test_the_key_chooses_the_file(benchmark: FeatureBenchmark, tmp_path: Path) -> None:
    builds = []

    def build() -> FeatureBenchmark:
        builds.append(1)
        return benchmark

    for key in ({"a": "1"}, {"a": "1"}, {"a": "2"}, {"a": "1"}):
        store.cached("toy", key, build, tmp_path / "cache")
    assert len(builds) == 2
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_data_are_contiguous(benchmark: FeatureBenchmark, tmp_path: Path) -> None:
    store.save(benchmark, tmp_path / "b.h5")
    found: dict[str, Any] = {}
    with h5py.File(tmp_path / "b.h5") as file:
        file.visititems(
            lambda name, node: (
                found.update({name: node.chunks}) if isinstance(node, h5py.Dataset) else None
            )
        )
    assert {"features", "labels", "semantics/chosen", "split/trainval"} <= set(found)
    assert set(found.values()) == {None}


def test_a_file_in_place_of_the_folder_is_an_output_error(
    benchmark: FeatureBenchmark, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(OutputError, match=r"cache/b\.h5: cannot be written .*paths\.cache_dir"):
        store.save(benchmark, tmp_path / "cache" / "b.h5")


def test_a_failed_write_keeps_the_old_file(
    benchmark: FeatureBenchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cache" / "b.h5"
    store.save(benchmark, path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        store.save(benchmark, path)
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == before


FULL_DISK = """
import resource, sys
from pathlib import Path
from zsl_lab.data import cache as store
from zsl_lab.errors import OutputError
benchmark = store.load(Path(sys.argv[1]))
for limit in (0, 100, 1000, 4096, 7000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        store.save(benchmark, Path(sys.argv[2]))
    except OutputError as error:
        print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a file size limit stands in for a full disk")
def test_a_disk_that_fills_up_leaves_nothing_half_written(
    benchmark: FeatureBenchmark, tmp_path: Path
) -> None:
    store.save(benchmark, tmp_path / "b.h5")
    text = run(FULL_DISK, tmp_path / "b.h5", tmp_path / "full" / "b.h5")
    assert text.count("full/b.h5: cannot be written (File too large)") == 5
    assert text.count("paths.cache_dir") == 5
    assert list((tmp_path / "full").iterdir()) == []


WRITE_AWA2 = """
import sys
import numpy as np
from pathlib import Path
from zsl_lab.data import cache as store
from zsl_lab.data.benchmark import FeatureBenchmark
n = 37_322
labels = np.arange(n) % 50
features = np.ones((n, 2048), dtype=np.float32)
index = np.arange(n)
seen = labels < 40
parts = index[seen & (index % 7 > 0)], index[seen & (index % 7 == 0)], index[~seen]
names = tuple(map(str, range(50)))
semantics = np.ones((50, 85), dtype=np.float32)
trainval, test_seen, test_unseen = parts
split = dict(trainval=trainval, test_seen=test_seen, test_unseen=test_unseen)
fields = dict(labels=labels, class_names=names, semantics=semantics, **split)
benchmark = FeatureBenchmark(name="awa2", features=features, **fields)
store.save(benchmark, Path(sys.argv[1]))
"""

# the peak of this process alone: getrusage also counts the process that started it
READ_AWA2 = """
import sys
from pathlib import Path
from zsl_lab.data import cache as store
benchmark = store.load(Path(sys.argv[1]))
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(benchmark.features.nbytes, 1024 * int(status["VmHWM"].split()[0]))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="peak memory is read from /proc"
)
def test_loading_an_awa2_sized_benchmark_peaks_below_one_and_a_half_arrays(tmp_path: Path) -> None:
    run(WRITE_AWA2, tmp_path / "b.h5")
    size, peak = map(int, run(READ_AWA2, tmp_path / "b.h5").split())
    (tmp_path / "b.h5").unlink()
    assert size == AWA2_BYTES
    assert peak <= 1.5 * AWA2_BYTES, f"peak {peak / AWA2_BYTES:.2f} x the array"
    print(f"peak {peak / AWA2_BYTES:.3f} x the array")
