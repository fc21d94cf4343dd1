"""Reads a user's HDF5 file as a benchmark for training; needs no torch."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from zsl_lab.data.benchmark import Provenance, VectorBenchmark
from zsl_lab.data.files import benchmark_file as hdf5
from zsl_lab.data.files.class_semantics import (
    KnownClasses,
    is_semantics_file,
    join,
    read_semantics_table,
)
from zsl_lab.data.storage.arrays import Array, FloatArray, float32
from zsl_lab.data.storage.choice import Storage
from zsl_lab.errors import ConfigError, DataError, nearest
from zsl_lab.files.hashing import ArrayHash, sha256_arrays

C = TypeVar("C", bound=hdf5.BenchmarkContent)

MAKE = (
    "Make one, `python -m zsl_lab.data extract` of images or `python -m zsl_lab.data convert` of "
    ".mat files, and name it with dataset.path=FILE.h5; or choose another dataset "
    "(`python -m zsl_lab.data list` shows them)."
)


def load(
    path: Path, semantics: str | None, name: str | None, storage: Storage = "memory"
) -> VectorBenchmark:
    """Read the file.

    Results identify the benchmark by its content, not by the file's path. ``splits_sha256`` covers
    the three parts of the split, the published ``train`` and ``val``, and the validation classes.
    ``features_sha256`` covers features, labels, class names, and every kind of class semantics in
    the file. A redrawn split has another ``splits_sha256`` and the same ``features_sha256``.

    Args:
        path: The file.
        semantics: The name of one of its kinds of class semantics; None takes the only kind, or
            ``att``. Or another file
            (:func:`zsl_lab.data.files.class_semantics.read_semantics_table`), whose rows are
            matched with the classes by name.
        name: The name in results; None takes the one in the file.
        storage: Whether features are loaded into memory or stay on disk.

    Raises:
        ConfigError: If the file has no such semantics.
        DataError: If the file is missing, damaged or inconsistent.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise DataError(
            f"dataset.path={path}: {found}; expected a benchmark in an HDF5 file. If you have it, "
            f"say where it is now: dataset.path=FILE. {MAKE}"
        )
    content: hdf5.BenchmarkContent = hdf5.read_for_training(path, storage)
    kind = semantics or content.default_kind
    if kind is not None and kind not in content.semantics and is_semantics_file(kind):
        content = _with_semantics(content, kind, path)
    if kind is None or kind not in content.semantics:
        kinds = ", ".join(content.semantics)
        found = f"dataset.semantics={semantics or 'null'}: found {kinds} in {path}"
        near = nearest(kind, content.semantics) if kind else []
        hint = (
            f"Did you mean {near[0]}?"
            if near
            else f"Set dataset.semantics={next(iter(content.semantics))}, or another of them."
        )
        raise ConfigError(f"{found}; expected one of these. {hint}")
    for note in content.notes:
        warnings.warn(note, stacklevel=2)
    try:
        return content.benchmark(kind, name or None, _provenance(path, content))
    except DataError as error:
        raise DataError(f"{error} {hdf5.REMEDY}") from error


def _with_semantics(content: C, kind: str, path: Path) -> C:
    """The content with the class semantics of another file added, under the name ``kind``."""
    file = semantics_file(kind)
    if not file.is_file():
        raise DataError(
            f"dataset.semantics={kind}: no such file; found {', '.join(content.semantics)} in "
            f"{path}; expected one of these, or a table of classes. Correct the path, or set "
            f"dataset.semantics={next(iter(content.semantics))}."
        )
    known = KnownClasses(path, content.num_classes, content.class_names, content.semantics)
    try:
        table = join(read_semantics_table(file), known)
    except DataError as error:
        raise DataError(
            f"{error} Correct the file, or name another with dataset.semantics "
            f"({', '.join(content.semantics)}, or a file)."
        ) from error
    return replace(
        content,
        semantics={**content.semantics, kind: table},
        # without the names of columns, which belong to the file's own tables
        recipe=content.recipe.model_copy(update={"attributes": [], "texts": None}),
        provenance=replace(
            content.provenance,
            sources={**content.provenance.sources, f"semantics/{kind}": (str(file), "semantics")},
        ),
    )


def semantics_file(semantics: str) -> Path:
    """The path that ``dataset.semantics`` names."""
    return Path(semantics).expanduser().absolute()


def _provenance(path: Path, content: hdf5.BenchmarkContent) -> Provenance:
    names = ("trainval", "test_seen", "test_unseen", "train", "val", "validation_classes")
    parts = {name: index for name in names if (index := getattr(content, name)) is not None}
    # as float32, as in runs: the same numbers in another type are the same benchmark
    tables = {kind: float32(table) for kind, table in content.semantics.items()}
    return replace(
        content.provenance,
        origin=str(path),
        splits_sha256=_sha256(list(parts), sha256_arrays(*parts.values())),
        # with the labels: the same features with other labels are other data
        features_sha256=_sha256(
            [content.class_names, list(tables)], _samples_sha256(content, list(tables.values()))
        ),
    )


def _samples_sha256(content: hdf5.BenchmarkContent, tables: list[FloatArray]) -> str:
    """The hash of features, labels and tables; also checks that features are finite."""
    digest = ArrayHash()
    digest.begin(np.dtype(np.float32), content.source.shape)
    for block in content.feature_blocks():
        digest.add(block)
    others: list[Array] = [content.labels, *tables]
    for array in others:
        digest.begin(array.dtype, array.shape)
        digest.add(array)
    return digest.hexdigest()


def _sha256(names: Any, arrays: str) -> str:
    return hashlib.sha256((json.dumps(names) + arrays).encode()).hexdigest()
