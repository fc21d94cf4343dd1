"""The HDF5 file of a user as a benchmark for training, read without torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy.typing as npt

from zsl_lab.data.benchmark import FeatureBenchmark, Provenance
from zsl_lab.data.files import benchmark_file as hdf5
from zsl_lab.errors import ConfigError, DataError, nearest
from zsl_lab.files.hashing import sha256_arrays

MAKE = (
    "Make one, `python -m zsl_lab.data extract` of images or `python -m zsl_lab.data convert` of "
    ".mat files, and name it with dataset.path=FILE.h5; or choose another dataset "
    "(`python -m zsl_lab.data list` shows them)."
)


def load(path: Path, semantics: str | None, name: str | None) -> FeatureBenchmark:
    """Read the file.

    Results identify it by its content, not by its path: ``splits_sha256`` covers the three parts
    of the split, the published ``train`` and ``val``, and the validation classes;
    ``features_sha256`` features, labels, class names, and every kind of class semantics in the
    file, as that of a ``.mat`` file does. A split that is redrawn has another ``splits_sha256`` and
    keeps the other.

    Args:
        path: The file.
        semantics: Which of its class semantics; None takes the only one, or ``att``.
        name: The name in results; None takes the file's.

    Raises:
        ConfigError: It has no such semantics.
        DataError: The file is missing, damaged or inconsistent.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise DataError(
            f"dataset.path={path}: {found}; expected a benchmark in an HDF5 file. If you have it, "
            f"say where it is now: dataset.path=FILE. {MAKE}"
        )
    content = hdf5.read(path, lean=True)
    kind = semantics or content.default_kind
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
    try:
        return content.benchmark(kind, name or None, _provenance(path, content))
    except DataError as error:
        raise DataError(f"{error} {hdf5.REMEDY}") from error


def _provenance(path: Path, content: hdf5.BenchmarkFile) -> Provenance:
    names = ("trainval", "test_seen", "test_unseen", "train", "val", "validation_classes")
    parts = {name: index for name in names if (index := getattr(content, name)) is not None}
    # as runs take them: the same numbers in another type are the same benchmark
    tables = {kind: hdf5.float32(table) for kind, table in content.semantics.items()}
    return Provenance(
        origin=str(path),
        splits_sha256=_sha256(list(parts), *parts.values()),
        # labels too: the same features of samples of other classes are other data
        features_sha256=_sha256(
            [content.class_names, list(tables)], content.features, content.labels, *tables.values()
        ),
        splits_version=content.provenance.splits_version,
        sources=content.provenance.sources,
    )


def _sha256(names: Any, *arrays: npt.NDArray[Any]) -> str:
    return hashlib.sha256((json.dumps(names) + sha256_arrays(*arrays)).encode()).hexdigest()
