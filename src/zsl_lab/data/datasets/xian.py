"""The benchmarks of Xian et al. ("Zero-Shot Learning: the Good, the Bad and the Ugly") as their archives unpack.

``<data_dir>/<NAME>/<features>.mat`` holds ``features [D, N]`` and ``labels [N, 1]``,
``att_splits.mat`` holds ``att [Q, C]``, the split's sample numbers (``trainval_loc`` and others,
all 1-based) and, except for FLO, the class names in the order of ``att``. The files are read once
and kept in the cache.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator

from zsl_lab.data.benchmark import Benchmark, FeatureBenchmark, FloatArray, IntArray, Provenance
from zsl_lab.data.cache import cached
from zsl_lab.data.datasets.base import DataPaths, FeatureDatasetConfig
from zsl_lab.data.files.benchmark_file import float32
from zsl_lab.data.files.mat import integers, matrix, read_mat
from zsl_lab.data.public.sources import FEATURES, SENTENCES, SPLITS, origin, split_version
from zsl_lab.data.splits import published_validation_classes
from zsl_lab.errors import DataError
from zsl_lab.files.hashing import sha256_file

# part of the cache's key: raise it when the same files would be read into something else
_READER_VERSION = "1"

_PARTS = ("trainval", "test_seen", "test_unseen")


class PublishedCounts(BaseModel):
    """What the benchmark's paper states, to notice files that are something else.

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
        _, names, semantics = self._read_classes(self._sources(paths))
        return names, semantics

    def _load(self, paths: DataPaths, *, cache: bool) -> FeatureBenchmark:
        sources = self._sources(paths)
        for role in ("features", "splits", "semantics"):
            if not sources[role].is_file():
                raise self._missing(role, sources[role], paths.data_dir.absolute())
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
        """Say which file is missing, where it was looked for, where it comes from and which keys change that."""
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
        splits_file, features_file = sources["splits"], sources["features"]
        splits, names, semantics = self._read_classes(sources)
        num_classes = len(names)
        recorded = read_mat(features_file, ["features", "labels"])
        parts = split_parts(splits, splits_file)
        benchmark = FeatureBenchmark(
            name=self.name,
            features=float32(matrix(recorded["features"], features_file, "features").T),
            labels=integers(recorded["labels"], features_file, "labels") - 1,
            semantics=semantics,
            class_names=names,
            provenance=Provenance(
                origin=str(features_file.parent),
                splits_sha256=hashes["splits"],
                features_sha256=hashes["features"],
                splits_version=split_version(hashes["splits"]),
                sources={
                    "features": (str(features_file), "features"),
                    "labels": (str(features_file), "labels"),
                    "semantics": (
                        str(sources["semantics"]),
                        "original_att" if self.semantics == "original_att" else "att",
                    ),
                    "class names": (str(splits_file), "allclasses_names"),
                    **split_sources(splits_file),
                },
            ),
            trainval=parts["trainval"],
            test_seen=parts["test_seen"],
            test_unseen=parts["test_unseen"],
        )
        absent = np.setdiff1d(np.arange(num_classes), benchmark.labels)
        if len(absent):
            raise DataError(
                f"{splits_file}: field 'att': found semantics of {num_classes} classes; expected "
                f"{num_classes - len(absent)}, those that have samples in {features_file} (class "
                f"{absent[0] + 1}, '{names[absent[0]]}', has none)."
            )
        return replace(
            benchmark, validation_classes=validation_classes(benchmark, splits, splits_file)
        )

    def _read_classes(
        self, sources: dict[str, Path]
    ) -> tuple[dict[str, npt.NDArray[Any]], tuple[str, ...], FloatArray]:
        """Fields of the split file, names of the classes and their semantics ``[C, Q]``."""
        path = sources["splits"]
        splits = read_split(path, ["att"], ["allclasses_names"])
        names = _names(splits, matrix(splits["att"], path, "att").shape[1])
        return splits, names, self._read_semantics(sources["semantics"], path, splits["att"], names)

    def _read_semantics(
        self, path: Path, splits_file: Path, att: npt.NDArray[Any], names: tuple[str, ...]
    ) -> FloatArray:
        """Semantics ``[C, Q]`` in the order of ``att_splits.mat``."""
        if path.suffix == ".mat":
            field = "original_att" if self.semantics == "original_att" else "att"
            found = read_mat(path, [field], ["allclasses_names"])
            semantics = float32(matrix(found[field], path, field).T)
            own_names = (
                tuple(found["allclasses_names"].ravel(order="F").tolist())
                if "allclasses_names" in found
                else names
            )
        else:
            field = "semantics"
            semantics, own_names = float32(_read_table(path)), names
        if len(semantics) != att.shape[1]:
            raise DataError(
                f"{path}: field '{field}': found {len(semantics)} classes; expected "
                f"{att.shape[1]}, as in {splits_file}."
            )
        if own_names == names:
            return semantics
        if len(set(own_names)) != len(semantics) or set(own_names) != set(names):
            stranger = sorted(set(own_names) ^ set(names)) or ["a name twice"]
            raise DataError(
                f"{path}: field 'allclasses_names': found other class names than in {splits_file} "
                f"({stranger[0]}); expected the same names, in any order."
            )
        row = {name: i for i, name in enumerate(own_names)}
        return semantics[[row[name] for name in names]]

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


def read_split(
    path: Path, required: Sequence[str] = (), optional: Sequence[str] = ()
) -> dict[str, npt.NDArray[Any]]:
    """Fields of a split file: the sample numbers of its parts and, where they are known, of validation, beside what is asked for.

    Args:
        path: An ``att_splits.mat``; a ``sent_splits.mat`` beside it lends its validation classes
            where this one has lost them.
        required: Other fields that must be there.
        optional: Other fields that may be there.

    Raises:
        DataError: If the file is missing, damaged or lacks a field.
    """
    splits = read_mat(
        path, [*required, *(f"{part}_loc" for part in _PARTS)], [*optional, "train_loc", "val_loc"]
    )
    if "val_loc" in splits and "train_loc" in splits:
        return splits
    return _borrow_validation(splits, path.with_name(SENTENCES))


def split_parts(splits: dict[str, npt.NDArray[Any]], path: Path) -> dict[str, IntArray]:
    """``trainval``, ``test_seen`` and ``test_unseen``: 0-based sample indices from the fields that :func:`read_split` gave."""
    return {part: integers(splits[f"{part}_loc"], path, f"{part}_loc") - 1 for part in _PARTS}


def split_sources(path: Path) -> dict[str, tuple[str, str]]:
    """File and field of each part, for error messages."""
    return {part: (str(path), f"{part}_loc") for part in _PARTS}


def _names(splits: dict[str, npt.NDArray[Any]], num_classes: int) -> tuple[str, ...]:
    if "allclasses_names" in splits:
        return tuple(str(name) for name in splits["allclasses_names"].ravel(order="F"))
    return tuple(f"class {class_id + 1}" for class_id in range(num_classes))


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


def _borrow_validation(
    splits: dict[str, npt.NDArray[Any]], sentences: Path
) -> dict[str, npt.NDArray[Any]]:
    """CUB's ``att_splits.mat`` has lost its validation classes; its ``sent_splits.mat`` still has them."""
    if not sentences.is_file():
        return splits
    other = read_mat(sentences, [], ["trainval_loc", "train_loc", "val_loc"])
    if len(other) < 3 or not np.array_equal(
        np.sort(other["trainval_loc"], axis=None), np.sort(splits["trainval_loc"], axis=None)
    ):
        return splits
    return {**splits, **other}


def validation_classes(
    benchmark: Benchmark, splits: dict[str, npt.NDArray[Any]], path: Path
) -> IntArray | None:
    """The classes of ``val_loc``, looking at training samples only: the field contains the images of ``test_seen_loc``."""
    if "val_loc" not in splits or "train_loc" not in splits:
        return None
    train, val = (integers(splits[field], path, field) - 1 for field in ("train_loc", "val_loc"))
    fields = ((str(path), "train_loc"), (str(path), "val_loc"))
    return published_validation_classes(
        benchmark.labels, benchmark.class_names, benchmark.trainval, train, val, *fields
    )
