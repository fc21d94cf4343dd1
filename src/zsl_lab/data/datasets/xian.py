"""The benchmarks of Xian et al. ("Zero-Shot Learning: the Good, the Bad and the Ugly").

``<data_dir>/<NAME>/`` holds the files of their archives, whose format
:mod:`zsl_lab.data.files.benchmark_mat` describes. What is read of them is kept in the cache.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator

from zsl_lab.data.benchmark import FeatureBenchmark, FloatArray, Provenance
from zsl_lab.data.cache import cached
from zsl_lab.data.datasets.base import DataPaths, FeatureDatasetConfig
from zsl_lab.data.files import benchmark_mat
from zsl_lab.data.files.benchmark_file import default_names, float32
from zsl_lab.data.files.mat import matrix, read_mat
from zsl_lab.data.public.sources import FEATURES, SENTENCES, SPLITS, origin, split_version
from zsl_lab.errors import DataError
from zsl_lab.files.hashing import sha256_file

# part of the cache's key: raise it when the same files would be read into something else
_READER_VERSION = "1"

Array = npt.NDArray[Any]


class PublishedCounts(BaseModel):
    """The published counts, to recognise files of another version.

    Attributes:
        samples: N.
        classes: C.
        seen: Number of seen classes.
        unseen: Number of unseen classes.
        semantic_dim: Q of the file's own ``att``.
        trainval: Number of training samples.
        test_seen: Number of test samples of the seen classes.
        test_unseen: Number of test samples of the unseen classes.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    samples: int = Field(ge=1)
    classes: int = Field(ge=1)
    seen: int = Field(ge=1)
    unseen: int = Field(ge=1)
    semantic_dim: int = Field(ge=1)
    trainval: int = Field(ge=1)
    test_seen: int = Field(ge=1)
    test_unseen: int = Field(ge=1)


class XianDataset(FeatureDatasetConfig):
    """A benchmark in the files of Xian et al.

    Attributes:
        features: The feature file's name without ``.mat``.
        semantics: ``att`` or ``original_att`` (fields of ``att_splits.mat``), ``sent`` (``att`` of
            ``sent_splits.mat``), or a file: ``.mat`` with a field ``att [Q, C]``, ``.csv`` without
            a header or ``.npy``, both ``[C, Q]``; a relative path starts at the working folder.
        counts: The published counts; files with others are used, with a warning. None checks
            nothing.
    """

    features: str = Field(min_length=1)
    semantics: str
    counts: PublishedCounts | None = None

    @field_validator("semantics")
    @classmethod
    def _check_semantics(cls, semantics: str) -> str:
        if semantics not in ("att", "original_att", "sent") and Path(semantics).suffix not in (
            ".mat",
            ".csv",
            ".npy",
        ):
            raise ValueError(
                f"found '{semantics}'; expected att, original_att, sent, or a file ending in .mat, "
                ".csv or .npy"
            )
        return semantics

    def sources(self, paths: DataPaths) -> tuple[Path, ...]:
        """The feature file, the splits and the semantics."""
        return tuple(self._sources(paths).values())

    def _sources(self, paths: DataPaths) -> dict[str, Path]:
        folder = paths.data_dir.absolute() / self.name
        return {
            "features": folder / f"{self.features}.mat",
            "splits": folder / SPLITS,
            "semantics": self._semantics_file(folder),
            "sentences": folder / SENTENCES,
        }

    def check_files(self, paths: DataPaths) -> None:
        """Check that features, splits and semantics are there."""
        sources = self._sources(paths)
        for role in ("features", "splits", "semantics"):
            if not sources[role].is_file():
                raise self._missing(role, sources[role], paths.data_dir.absolute())

    def load(self, paths: DataPaths) -> FeatureBenchmark:
        """Read the files, or their copy in the cache.

        Raises:
            DataError: If a file is missing, damaged or inconsistent.
            OutputError: If the cache cannot be written.
        """
        return self._load(paths, cache=True)

    def read(self, paths: DataPaths) -> FeatureBenchmark:
        """Read the files and leave the cache alone.

        Raises:
            DataError: If a file is missing, damaged or inconsistent.
        """
        return self._load(paths, cache=False)

    def read_classes(self, paths: DataPaths) -> tuple[tuple[str, ...], FloatArray]:
        """Names of the classes and their semantics ``[C, Q]``; the features need not be here.

        Raises:
            DataError: If a file is missing, damaged or inconsistent.
        """
        splits, semantics = self._read_classes(self._sources(paths))
        names = splits.class_names or default_names(splits.num_classes)
        return names, float32(semantics)

    def _load(self, paths: DataPaths, *, cache: bool) -> FeatureBenchmark:
        self.check_files(paths)
        sources = self._sources(paths)
        try:
            hashes = {
                role: sha256_file(path) if path.is_file() else "" for role, path in sources.items()
            }
            key = {**hashes, "name": self.name, "reader": _READER_VERSION}
            # a file's path is not part of the key: its content is
            key["choice"] = (
                self.semantics
                if self.semantics in ("att", "original_att", "sent")
                else sources["semantics"].suffix
            )
            benchmark = (
                cached(self.name, key, lambda: self._build(sources, hashes), paths.cache_dir)
                if cache
                else self._build(sources, hashes)
            )
        except DataError as error:
            raise DataError(
                f"{error} Get an intact copy of the file from "
                f"{origin(self.name, paths.data_dir.absolute())}, or use other files: set"
                " paths.data_dir (environment variable ZSL_LAB_DATA), dataset.features or "
                "dataset.semantics."
            ) from error
        self._check_counts(benchmark)
        return benchmark

    def _semantics_file(self, folder: Path) -> Path:
        if self.semantics in ("att", "original_att"):
            return folder / SPLITS
        if self.semantics == "sent":
            return folder / SENTENCES
        return Path(self.semantics).expanduser().absolute()

    def _missing(self, role: str, path: Path, data_dir: Path) -> DataError:
        """Name the missing file, where it can be had and the keys that choose another one."""
        keys = {
            "features": "or choose another feature file with dataset.features (now "
            f"'{self.features}')",
            "splits": f"or choose another folder with dataset.name (now '{self.name}')",
            "semantics": "or choose other semantics with dataset.semantics (now "
            f"'{self.semantics}')",
        }[role]
        text = [f"{path}: no such file; expected the {role} of dataset '{self.name}'."]
        folder = data_dir / self.name
        if not folder.is_dir():
            text.append(f"The folder {folder} does not exist.")
            for candidate in (data_dir / "xlsa17" / "data", data_dir / "data", data_dir.parent):
                if (candidate / self.name / SPLITS).is_file():
                    text.append(
                        f"Hint: there is one in {candidate}: set paths.data_dir={candidate}."
                    )
                    break
        elif role == "features":
            others = sorted(
                file.stem for file in folder.glob("*.mat") if not file.stem.endswith("_splits")
            )
            if others:
                text.append(
                    "Hint: the folder has other feature files: set "
                    f"dataset.features={' or '.join(others)}."
                )
        text.append(
            f"{FEATURES} and {SPLITS} are in {origin(self.name, data_dir)}. Either put the file "
            f"there, or set paths.data_dir (environment variable ZSL_LAB_DATA; now {data_dir}) to "
            f"the folder that holds {self.name}, {keys}."
        )
        return DataError(" ".join(text))

    def _build(self, sources: dict[str, Path], hashes: dict[str, str]) -> FeatureBenchmark:
        features_file = sources["features"]
        splits, semantics = self._read_classes(sources)
        content = benchmark_mat.assemble(
            self.name,
            features_file,
            read_mat(features_file, ["features", "labels"]),
            splits,
            {self.semantics: semantics},
        )
        field = "original_att" if self.semantics == "original_att" else "att"
        benchmark = content.benchmark(
            self.semantics,
            provenance=Provenance(
                origin=str(features_file.parent),
                splits_sha256=hashes["splits"],
                features_sha256=hashes["features"],
                splits_version=split_version(hashes["splits"]),
                sources={
                    **content.provenance.sources,
                    "semantics": (str(sources["semantics"]), field),
                },
            ),
        )
        absent = np.setdiff1d(np.arange(benchmark.num_classes), benchmark.labels)
        if len(absent):
            raise DataError(
                f"{splits.path}: field 'att': found semantics of {benchmark.num_classes} classes; "
                f"expected {benchmark.num_classes - len(absent)}, those that have samples in "
                f"{features_file} (class {absent[0] + 1}, "
                f"'{benchmark.class_names[absent[0]]}', has none)."
            )
        return benchmark

    def _read_classes(self, sources: dict[str, Path]) -> tuple[benchmark_mat.Splits, Array]:
        """The split file and the class semantics ``[C, Q]`` in its order."""
        path = sources["semantics"]
        wanted = ["original_att"] if self.semantics == "original_att" else []
        splits = benchmark_mat.read_splits(
            sources["splits"], ["att", *wanted], ["allclasses_names"]
        )
        if self.semantics in ("att", "original_att"):
            return splits, splits.semantics(self.semantics)
        if path.suffix == ".mat":
            return splits, benchmark_mat.read_semantics(path, "att", splits)
        table = _read_table(path)
        benchmark_mat.check_class_count(len(table), path, "semantics", splits)
        return splits, table

    def _check_counts(self, benchmark: FeatureBenchmark) -> None:
        if self.counts is None:
            return
        found = {
            "samples": benchmark.num_samples,
            "classes": benchmark.num_classes,
            "seen": len(benchmark.seen_classes),
            "unseen": len(benchmark.unseen_classes),
            "trainval": len(benchmark.trainval),
            "test_seen": len(benchmark.test_seen),
            "test_unseen": len(benchmark.test_unseen),
        }
        if self.semantics in ("att", "original_att"):
            found["semantic_dim"] = benchmark.semantics.shape[1]
        published = self.counts.model_dump()
        others = [
            f"{name} {count} (published: {published[name]})"
            for name, count in found.items()
            if count != published[name]
        ]
        if others:
            warnings.warn(
                f"{benchmark.provenance.origin}: these files are not the published {self.name}: "
                f"{', '.join(others)}. Results cannot be compared with published ones.",
                stacklevel=4,
            )


def _read_table(path: Path) -> npt.NDArray[Any]:
    try:
        # allow_pickle=False: a pickle inside is refused, not executed
        table = (
            np.loadtxt(path, delimiter=",", ndmin=2)
            if path.suffix == ".csv"
            else np.load(path, allow_pickle=False)
        )
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path}: cannot be read as a table ({error}); expected numbers, one row per class."
        ) from error
    if not isinstance(table, np.ndarray):
        raise DataError(
            f"{path}: found several arrays; expected one table of numbers, one row per class."
        )
    return matrix(table, path, "semantics")
