"""The cache: benchmarks as HDF5 files (:mod:`zsl_lab.data.files.benchmark_file`).

A file holds one kind of class semantics: that of ``dataset.semantics``.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from zsl_lab.data.benchmark import FeatureBenchmark, VectorBenchmark
from zsl_lab.data.files import benchmark_file as hdf5
from zsl_lab.data.storage.choice import Storage, reads_from_disk
from zsl_lab.errors import CacheWarning, DataError, DataWarning

_KIND = "chosen"


def save(benchmark: FeatureBenchmark, path: Path, notes: tuple[DataWarning, ...] = ()) -> None:
    """Write a benchmark, completely or not at all.

    Args:
        benchmark: The benchmark to write.
        path: The file, replaced if it exists; its folder is made if it is missing.
        notes: Warnings given when the sources were read; :func:`load` gives them again.

    Raises:
        OutputError: If the folder cannot be written or the disk is full; nothing half-written
            remains.
    """
    content = hdf5.BenchmarkFile(
        name=benchmark.name,
        features=benchmark.features,
        labels=benchmark.labels,
        class_names=benchmark.class_names,
        semantics={_KIND: benchmark.semantics},
        trainval=benchmark.trainval,
        test_seen=benchmark.test_seen,
        test_unseen=benchmark.test_unseen,
        validation_classes=benchmark.validation_classes,
        recipe=benchmark.recipe,
        provenance=benchmark.provenance,
        notes=notes,
    )
    hdf5.write(content, path, elsewhere="choose another folder with paths.cache_dir")


def load(path: Path, storage: Storage = "memory") -> VectorBenchmark:
    """Read a benchmark that :func:`save` wrote; peak memory is the arrays' own size and a few MiB.

    The warnings given when its sources were read are given again.

    Args:
        path: The file.
        storage: Where features are read from in training: ``memory``, ``disk`` or ``auto``.

    Raises:
        DataError: If the file is missing, of another format version, damaged or inconsistent.
    """
    # features on disk were checked to be finite when the file was written
    content = hdf5.read_for_training(path, storage, remedy="")
    benchmark = content.benchmark(_KIND, provenance=replace(content.provenance, sources={}))
    for note in content.notes:
        warnings.warn(note, stacklevel=3)
    return benchmark


def cached(
    name: str,
    key: Mapping[str, str],
    build: Callable[[], FeatureBenchmark],
    cache_dir: Path,
    storage: Storage = "memory",
) -> VectorBenchmark:
    """Read the benchmark from the cache if it is there and intact; otherwise build and save it.

    Args:
        name: Start of the cache file's name, for people who look into the folder.
        key: All that the benchmark depends on: hashes of its sources and the keys of the dataset.
        build: Makes the benchmark from its sources.
        cache_dir: The cache's folder.
        storage: As in :func:`load`.

    Raises:
        OutputError: If the cache cannot be written.
    """
    content = json.dumps({"format_version": str(hdf5.FORMAT_VERSION), **key}, sort_keys=True)
    path = cache_dir / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:32]}.h5"
    if path.exists():
        try:
            return load(path, storage)
        except DataError as error:
            said = f"The cache is rebuilt from its sources: {error}"
            warnings.warn(said, CacheWarning, stacklevel=2)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        benchmark = build()
    for warning in raised:
        warnings.warn(warning.message, stacklevel=2)
    notes = tuple(
        w.message if isinstance(w.message, DataWarning) else DataWarning(str(w.message))
        for w in raised
        if w.category in (UserWarning, DataWarning)
    )
    save(benchmark, path, notes)
    if not reads_from_disk(storage, *benchmark.features.shape):
        return benchmark
    del benchmark
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # given above
        return load(path, storage)
