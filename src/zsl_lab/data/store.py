"""A benchmark as one HDF5 file of our own, and the cache made of such files.

Layout, format version 1:

===============  =======  ===================================================================================
dataset          type     holds
===============  =======  ===================================================================================
``features``     float32  ``[N, D]``
``labels``       int64    ``[N]``, 0-based class ids
``semantics``    float32  ``[C, Q]``
``trainval``     int64    0-based sample indices; likewise ``test_seen`` and ``test_unseen``
``meta``         uint8    UTF-8 JSON: ``name``, ``class_names``, ``validation_classes`` (0-based ids, or null) and
                          the four texts of ``provenance``
===============  =======  ===================================================================================

Datasets are contiguous and in C order, so that they are read into place without a second copy. The first 512 bytes are
an HDF5 user block: one line of text with the format version and the SHA-256 of all that follows, padded with zeros. It is
verified before HDF5 sees the file, because a single wrong byte in its structures can make the HDF5 library loop forever.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import uuid
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import FeatureBenchmark, Provenance
from zsl_lab.data.hashing import sha256_file
from zsl_lab.errors import DataError, OutputError

if TYPE_CHECKING:
    from typing_extensions import Buffer

FORMAT_VERSION = 1

_USER_BLOCK = 512

_ARRAYS = ("features", "labels", "semantics", "trainval", "test_seen", "test_unseen")
_TYPES = {
    "features": "<f4",
    "semantics": "<f4",
    "labels": "<i8",
    "trainval": "<i8",
    "test_seen": "<i8",
    "test_unseen": "<i8",
    "meta": "|u1",
}


def save(benchmark: FeatureBenchmark, path: Path) -> None:
    """Write a benchmark, completely or not at all.

    Args:
        benchmark: What to write.
        path: The file, which is replaced if it exists; its folder is made if it doesn't.

    Raises:
        OutputError: If the folder cannot be written or the disk is full; nothing half-written remains.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _Output(temporary, "w+") as output:
            _write(benchmark, output)
            output.seek(0)
            output.write(_header(temporary))
            if output.failure is not None:
                raise output.failure
            os.fsync(output.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}). Make the folder {path.parent} writable with free space for"
            f" {benchmark.features.nbytes / 2**20:.0f} MiB, or choose another folder with paths.cache_dir."
        ) from error
    finally:
        _discard(temporary)


def load(path: Path) -> FeatureBenchmark:
    """Read a benchmark that :func:`save` wrote; peak memory is the arrays' own size and a few MiB.

    Raises:
        DataError: If the file is missing, of another format version, damaged or inconsistent.
    """
    expected = _header(path)
    with path.open("rb") as raw:
        found = raw.read(_USER_BLOCK)
    if found != expected:
        raise DataError(
            f"{path}: found a damaged file or another format (first line {found[:40]!r}); expected a benchmark stored by"
            f" zsl_lab, format {FORMAT_VERSION}, with the SHA-256 that its first line states."
        )
    # a finished file is never written again, and locks fail on some network file systems
    with h5py.File(path, "r", locking=False) as file:
        arrays = {name: _read(file[name]) for name in _ARRAYS}
        meta = json.loads(_read(file["meta"]).tobytes())
    validation = meta["validation_classes"]
    return FeatureBenchmark(
        name=meta["name"],
        class_names=tuple(meta["class_names"]),
        validation_classes=None if validation is None else np.array(validation, dtype=np.int64),
        provenance=Provenance(**meta["provenance"]),
        **arrays,
    )


def cached(name: str, key: Mapping[str, str], build: Callable[[], FeatureBenchmark], cache_dir: Path) -> FeatureBenchmark:
    """The benchmark from the cache where it is there and intact; otherwise build it and store it.

    Args:
        name: Start of the cache file's name, for people who look into the folder.
        key: All that the benchmark depends on: hashes of its sources, choices made in reading them.
        build: Makes the benchmark from its sources.
        cache_dir: The cache's folder.

    Raises:
        OutputError: If the cache cannot be written.
    """
    content = json.dumps({"format_version": str(FORMAT_VERSION), **key}, sort_keys=True)
    path = cache_dir / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:32]}.h5"
    if path.exists():
        try:
            return load(path)
        except DataError as error:
            warnings.warn(f"The cache is rebuilt from its sources: {error}", stacklevel=2)
    benchmark = build()
    save(benchmark, path)
    return benchmark


class _Output(io.FileIO):
    """A file that keeps a failed write to itself: HDF5, told of a full disk, crashes the process when it exits.

    Attributes:
        failure: The first error; nothing is written after it.
    """

    failure: OSError | None = None

    def write(self, data: Buffer, /) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while len(rest) and self.failure is None:
                # a single system call may write less than it was given
                rest = rest[super().write(rest) or 0 :]
        except OSError as error:
            self.failure = error
        return size

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size or 0


def _write(benchmark: FeatureBenchmark, output: _Output) -> None:
    provenance = benchmark.provenance
    meta = {
        "name": benchmark.name,
        "class_names": benchmark.class_names,
        "validation_classes": None if benchmark.validation_classes is None else benchmark.validation_classes.tolist(),
        "provenance": {
            "origin": provenance.origin,
            "splits_sha256": provenance.splits_sha256,
            "features_sha256": provenance.features_sha256,
            "splits_version": provenance.splits_version,
        },
    }
    arrays: dict[str, npt.NDArray[Any]] = {name: getattr(benchmark, name) for name in _ARRAYS}
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    with h5py.File(output, "w", userblock_size=_USER_BLOCK) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=np.ascontiguousarray(array, dtype=_TYPES[name]))


def _header(path: Path) -> bytes:
    """What the user block of an undamaged file with this content says."""
    line = f"zsl_lab benchmark, format {FORMAT_VERSION}, sha256 {sha256_file(path, _USER_BLOCK)}\n"
    return line.encode().ljust(_USER_BLOCK, b"\0")


def _read(dataset: Any) -> npt.NDArray[Any]:
    array = np.empty(dataset.shape, dtype=dataset.dtype)
    dataset.read_direct(array)
    return array


def _discard(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    # the folder itself may be what cannot be used; the caller's error says so
    except OSError:
        return
