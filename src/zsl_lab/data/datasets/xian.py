"""The benchmarks of Xian et al. ("Zero-Shot Learning: the Good, the Bad and the Ugly").

``<data_dir>/<NAME>/`` holds the files of their archives, whose format
:mod:`zsl_lab.data.files.benchmark_mat` describes. The benchmarks read from them are cached.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator

from zsl_lab.data.benchmark import (
    FeatureBenchmark,
    FloatArray,
    Provenance,
    VectorBenchmark,
)
from zsl_lab.data.cache import cached
from zsl_lab.data.checks.class_names import normalized
from zsl_lab.data.datasets.base import (
    DataPaths,
    FeatureDatasetConfig,
    FileDatasetConfig,
    warn_of_counts,
)
from zsl_lab.data.datasets.class_splits import ClassSplitConfig
from zsl_lab.data.datasets.stand_in import SUFFIX, SyntheticFeatures
from zsl_lab.data.files import benchmark_mat
from zsl_lab.data.files.benchmark_file import default_names
from zsl_lab.data.files.class_semantics import SUFFIXES, is_semantics_file, names_file
from zsl_lab.data.files.mat import read_mat
from zsl_lab.data.public.sources import FEATURES, PUBLIC, SENTENCES, SPLITS, origin, split_version
from zsl_lab.data.storage.arrays import float32
from zsl_lab.errors import DataError
from zsl_lab.files.hashing import sha256_file

# part of the cache's key: increase it when the result of reading the same files changes
_READER_VERSION = "3"

Array = npt.NDArray[Any]

#: dimensions of features, for stand-ins: by default that of res101, and others by the file's name
_FEATURE_DIM, _FEATURE_DIMS = 2048, {"vgg19": 4096, "inception_v2": 1024}
#: dimension of the sentence embeddings of sent_splits.mat
_SENTENCE_DIM = 1024

_OF_THE_BENCHMARK = ("att", "original_att", "sent")


class PublishedCounts(BaseModel):
    """The published counts, to recognise files of another version.

    Attributes:
        samples: Number of samples, N.
        classes: Number of classes, C.
        seen: Number of seen classes.
        unseen: Number of unseen classes.
        semantic_dim: Dimension of ``att`` in ``att_splits.mat``, Q.
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


class XianDataset(FileDatasetConfig, ClassSplitConfig):
    """A benchmark in the files of Xian et al.

    Attributes:
        features: The feature file's name without ``.mat``.
        semantics: ``att`` or ``original_att`` (fields of ``att_splits.mat``), ``sent`` (``att`` of
            ``sent_splits.mat``), or a file
            (:func:`zsl_lab.data.files.class_semantics.read_semantics_table`), whose rows are
            matched with the classes by name if they have names; a relative path is relative to the
            working folder.
        counts: The published counts; if those of the files differ, a warning is given. None for no
            check.
    """

    features: str = Field(min_length=1)
    semantics: str
    counts: PublishedCounts | None = None

    @field_validator("semantics")
    @classmethod
    def _check_semantics(cls, semantics: str) -> str:
        if semantics not in _OF_THE_BENCHMARK and not is_semantics_file(semantics):
            raise ValueError(
                f"found '{semantics}'; expected att, original_att, sent, or a file ending in "
                f"{', '.join(SUFFIXES)}"
            )
        return semantics

    def sources(self, paths: DataPaths) -> tuple[Path, ...]:
        """The feature file, the splits and the semantics, and the class lists of ``split``."""
        return (*self._sources(paths).values(), *self.split_files(paths))

    def _sources(self, paths: DataPaths) -> dict[str, Path]:
        folder = paths.data_dir.absolute() / self.name
        sources = {
            "features": folder / f"{self.features}.mat",
            "splits": folder / SPLITS,
            "semantics": self._semantics_file(folder),
            "sentences": folder / SENTENCES,
        }
        if self.semantics not in ("att", "original_att"):
            names = names_file(sources["semantics"])
            return sources if names is None else {**sources, "names": names}
        return sources

    def check_files(self, paths: DataPaths) -> None:
        """Check that features, splits, semantics and the class lists of ``split`` exist."""
        sources = self._sources(paths)
        for role in ("features", "splits", "semantics"):
            if not sources[role].is_file():
                raise self._missing(role, sources[role], paths.data_dir.absolute())
        self.check_split(paths)

    def stand_in(self, paths: DataPaths) -> FeatureDatasetConfig | None:
        """This dataset with another feature file of its folder, else synthetic features, if any."""
        for features in _feature_files(paths.data_dir.absolute() / self.name):
            other = self.model_copy(update={"features": features})
            with suppress(DataError):
                other.check_files(paths)
                return other
        if self.counts is None:
            return None
        own, proposed = self.counts, self.split in ("proposed", "random")
        return SyntheticFeatures(
            name=f"{self.name}{SUFFIX}",
            classes=own.classes,
            unseen=own.unseen,
            feature_dim=_FEATURE_DIMS.get(self.features, _FEATURE_DIM),
            semantic_dim=_SENTENCE_DIM if self.semantics == "sent" else own.semantic_dim,
            # with other splits all samples of seen classes are trained on
            trainval=own.trainval + (0 if proposed else own.test_seen),
            test_seen=own.test_seen if proposed else 0,
            test_unseen=own.test_unseen,
            seed=0,
            normalize=self.normalize,
            normalize_semantics=self.normalize_semantics,
            split=self.split,
            split_seed=self.split_seed,
        )

    def load(self, paths: DataPaths) -> VectorBenchmark:
        """Read the files, or their copy in the cache.

        Raises:
            DataError: If a file is missing, damaged or inconsistent.
            OutputError: If the cache cannot be written.
        """
        return self._load(paths, cache=True)

    def read(self, paths: DataPaths) -> VectorBenchmark:
        """Read the files without using the cache.

        Raises:
            DataError: If a file is missing, damaged or inconsistent.
        """
        return self._load(paths, cache=False)

    def read_classes(self, paths: DataPaths) -> tuple[tuple[str, ...], FloatArray]:
        """Names of the classes and their semantics ``[C, Q]``; the feature file need not exist.

        Raises:
            DataError: If a file is missing, damaged or inconsistent.
        """
        splits, semantics = self._read_classes(self._sources(paths))
        names = splits.class_names or default_names(splits.num_classes)
        return names, float32(semantics)

    def _load(self, paths: DataPaths, *, cache: bool) -> VectorBenchmark:
        self.check_files(paths)
        sources = self._sources(paths)
        try:
            hashes = {
                role: sha256_file(path) if path.is_file() else "" for role, path in sources.items()
            }
            key = {**hashes, "name": self.name, "reader": _READER_VERSION}
            key["choice"] = (
                self.semantics
                if self.semantics in _OF_THE_BENCHMARK
                # the path, not only its hash: warnings kept in the cache name the file
                else str(sources["semantics"])
            )
            benchmark = (
                cached(
                    self.name,
                    key,
                    lambda: self._build(sources, hashes),
                    paths.cache_dir,
                    self.storage,
                )
                if cache
                else self._build(sources, hashes)
            )
        except DataError as error:
            raise DataError(f"{error} {self._remedy(str(error), sources, paths)}") from error
        self._check_counts(benchmark)
        return benchmark

    def _remedy(self, problem: str, sources: Mapping[str, Path], paths: DataPaths) -> str:
        """A sentence on what to do about a file that cannot be used."""
        keys = "paths.data_dir (environment variable ZSL_LAB_DATA), dataset.features or "
        others = f"or use other files: set {keys}dataset.semantics."
        own = [sources[role] for role in ("semantics", "names") if role in sources]
        is_own = self.semantics not in _OF_THE_BENCHMARK
        if is_own and any(problem.startswith(f"{path}:") for path in own):
            return (
                "Correct the file, or name another with dataset.semantics (att takes the "
                "benchmark's own)."
            )
        own_features = self.features != Path(FEATURES).stem and problem.startswith(
            f"{sources['features']}:"
        )
        if own_features or all(source.folder != self.name for source in PUBLIC.values()):
            return f"Correct the file, {others}"
        return (
            "Correct the file if it is one of yours, or get an intact copy of the file from "
            f"{origin(self.name, paths.data_dir.absolute())}, {others}"
        )

    def _semantics_file(self, folder: Path) -> Path:
        if self.semantics in ("att", "original_att"):
            return folder / SPLITS
        if self.semantics == "sent":
            return folder / SENTENCES
        return Path(self.semantics).expanduser().absolute()

    def _missing(self, role: str, path: Path, data_dir: Path) -> DataError:
        """An error that names the missing file, its origin and the keys that choose another one."""
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
            similar = _similar_folder(data_dir, self.name)
            if similar is not None:
                text.append(
                    f"Hint: there is {data_dir / similar}, spelled otherwise: rename it to "
                    f"{self.name}, or set dataset.name={similar}."
                )
            for candidate in (data_dir / "xlsa17" / "data", data_dir / "data", data_dir.parent):
                if (candidate / self.name / SPLITS).is_file():
                    text.append(
                        f"Hint: there is one in {candidate}: set paths.data_dir={candidate}."
                    )
                    break
        elif role == "features":
            others = _feature_files(folder)
            if others:
                text.append(
                    "Hint: the folder has other feature files: set "
                    f"dataset.features={' or '.join(others)}."
                )
        if role == "semantics" and self.semantics not in ("att", "original_att"):
            text.append(self._where_semantics())
            return DataError(" ".join(text))
        if role == "features" and path.name != FEATURES:
            text.append(
                f"No archive known here has {path.name}: make it of the images (`python -m "
                "zsl_lab.data extract`), or take the archive's features with dataset.features="
                f"{FEATURES.removesuffix('.mat')}."
            )
        text.append(
            f"{FEATURES} and {SPLITS} are in {origin(self.name, data_dir)}. Either put the file "
            f"there, or set paths.data_dir (environment variable ZSL_LAB_DATA; now {data_dir}) to "
            f"the folder that holds {self.name}, {keys}."
        )
        return DataError(" ".join(text))

    def _where_semantics(self) -> str:
        """A sentence on where to get a missing file of class semantics."""
        others = "choose others with dataset.semantics (att, original_att, or a file)."
        if self.semantics != "sent":
            return (
                f"Correct the path dataset.semantics={self.semantics} (a relative one starts at "
                f"the working folder), or {others}"
            )
        source = next((s for s in PUBLIC.values() if s.folder == self.name), None)
        if source is not None and SENTENCES in source.extra:
            return f"It is {source.extra[SENTENCES]}. Put it there, or {others}"
        att = "" if source is None else source.semantics.get("att", "")
        own = f" (its att holds {att})" if "sentence" in att else ""
        return (
            f"No published archive has a {SENTENCES} for {self.name}{own}: set "
            f"dataset.semantics=att, put a {SENTENCES} of your own there, or name a file with "
            "dataset.semantics."
        )

    def _build(self, sources: dict[str, Path], hashes: dict[str, str]) -> FeatureBenchmark:
        features_file = sources["features"]
        splits, semantics = self._read_classes(sources)
        content = benchmark_mat.assemble(
            self.name,
            features_file,
            read_mat(features_file, ["features", "labels"], ["image_files"]),
            splits,
            {self.semantics: semantics},
        )
        field = "original_att" if self.semantics == "original_att" else "att"
        return content.benchmark(
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

    def _read_classes(self, sources: dict[str, Path]) -> tuple[benchmark_mat.Splits, Array]:
        """The content of the split file, and the class semantics ``[C, Q]`` in its class order."""
        path = sources["semantics"]
        wanted = ["original_att"] if self.semantics == "original_att" else []
        splits = benchmark_mat.read_splits(
            sources["splits"], ["att", *wanted], ["allclasses_names", "original_att"]
        )
        splits.check()
        if self.semantics in ("att", "original_att"):
            return splits, splits.semantics(self.semantics)
        return splits, benchmark_mat.read_semantics(path, splits, sources["sentences"])

    def _check_counts(self, benchmark: VectorBenchmark) -> None:
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
        warn_of_counts(benchmark, found, self.counts.model_dump(), self.name)


def _feature_files(folder: Path) -> list[str]:
    """The names of the feature files in a benchmark's folder, without ``.mat``."""
    return sorted(file.stem for file in folder.glob("*.mat") if not file.stem.endswith("_splits"))


def _similar_folder(data_dir: Path, name: str) -> str | None:
    """A folder of benchmark files whose name differs in case and separators only."""
    try:
        folders = sorted(path.name for path in data_dir.iterdir() if (path / SPLITS).is_file())
    except OSError:
        return None
    return next((folder for folder in folders if normalized(folder) == normalized(name)), None)
