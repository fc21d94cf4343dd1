"""ImageNet as zero-shot papers use it: 1,000 seen classes, sets of the other 20,842 as unseen.

``<data_dir>/<folder>/`` holds the class lists (:mod:`zsl_lab.data.files.imagenet`) and features.
There is no common format of such features, so one of these is read:

- ``<features>/<wnid>.npy``, float ``[samples, D]``, for each class: the training images of seen
  classes, and all images of unseen ones. ``<features>_val/<wnid>.npy`` has further images of seen
  classes, which are only tested on (ILSVRC's validation images); without that folder no metric of
  seen classes is measured.
- ``<features>.h5`` in the layout of :mod:`zsl_lab.data.files.benchmark_file`, with WordNet ids as
  class names. For seen classes its ``trainval`` and ``test_seen`` are used; all samples of unseen
  classes are tested on.

Classes are named by their WordNet ids. Candidates are the seen classes, and those classes of the
chosen set that have a semantic vector, with or without samples.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from zsl_lab.data.benchmark import B, FeatureBenchmark, FloatArray, IntArray, Provenance
from zsl_lab.data.datasets.base import DataPaths, FeatureDatasetConfig
from zsl_lab.data.files import benchmark_file as hdf5
from zsl_lab.data.files.class_semantics import (
    SUFFIXES,
    KnownClasses,
    is_semantics_file,
    join,
    names_file,
    read_semantics_table,
)
from zsl_lab.data.files.imagenet import (
    ALL,
    FIELDS,
    SPLITS,
    WORDS,
    ImageNetClasses,
    read_class_arrays,
    read_classes,
    rows_of,
)
from zsl_lab.data.storage.arrays import float32
from zsl_lab.errors import DataError
from zsl_lab.files.hashing import sha256_arrays
from zsl_lab.keys import Irrelevant

BoolArray = npt.NDArray[np.bool_]

_W2V = "w2v"
_ORIGINS = {
    SPLITS: "xlsa17.zip of Xian et al., http://datasets.d2.mpi-inf.mpg.de/xian/xlsa17.zip, has it "
    "(data/ImageNet)",
    WORDS: "https://github.com/pujols/zero-shot-learning says where it is (ImageNet_w2v.zip)",
}


class ImageNetDataset(FeatureDatasetConfig):
    """Features of ImageNet with semantics by WordNet id.

    Attributes:
        folder: The folder's name below ``paths.data_dir``.
        features: Name of the features' folder, or of their file without ``.h5``.
        semantics: ``w2v``, or a file with a row per class
            (:func:`zsl_lab.data.files.class_semantics.read_semantics_table`) named by WordNet id; a
            relative path is relative to the working folder.
        class_sets: Further values of ``split``, and for each a text file with the WordNet ids of
            the unseen classes, one per line, absolute or relative to the dataset's folder.
    """

    folder: Annotated[str, Irrelevant()] = Field(min_length=1)
    features: str = Field(min_length=1)
    semantics: str
    # irrelevant: the content of these files is compared by the hash of the split
    class_sets: Annotated[dict[str, str], Irrelevant()] = Field(default={})

    @field_validator("semantics")
    @classmethod
    def _check_semantics(cls, semantics: str) -> str:
        if semantics != _W2V and not is_semantics_file(semantics):
            raise ValueError(
                f"found '{semantics}'; expected {_W2V}, or a file ending in {', '.join(SUFFIXES)}"
            )
        return semantics

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the sets of unseen classes."""
        return (*FIELDS, ALL, *self.class_sets)

    @property
    def applied_later(self) -> set[str]:
        """Without ``split``: only samples of the chosen set are loaded."""
        return super().applied_later - {"split"}

    def with_split(self, benchmark: B, paths: DataPaths) -> B:
        """The benchmark as it was loaded."""
        return benchmark

    def sources(self, paths: DataPaths) -> tuple[Path, ...]:
        """The class lists, the features' file or folders, and the semantics."""
        folder = self._folder(paths)
        found = [folder / SPLITS, folder / WORDS, *self._places(folder), self._file(folder)]
        if self.split in self.class_sets:
            found.append(folder / self.class_sets[self.split])
        if self.semantics != _W2V:
            table = self._table()
            names = names_file(table)
            found += [table] if names is None else [table, names]
        return tuple(found)

    def check_files(self, paths: DataPaths) -> None:
        """Check that class lists, features and semantics exist."""
        folder = self._folder(paths)
        for name, origin in _ORIGINS.items():
            if not (folder / name).is_file():
                raise DataError(
                    f"{folder / name}: no such file; expected the class lists of dataset "
                    f"'{self.name}'. {origin}. Put it there, or set paths.data_dir (environment "
                    f"variable ZSL_LAB_DATA; now {paths.data_dir}) to the folder that holds "
                    f"{self.folder}."
                )
        place, file = self._places(folder)[0], self._file(folder)
        if not place.is_dir() and not file.is_file():
            raise DataError(
                f"{place}: no such folder, and no file {file.name}; expected features of dataset "
                f"'{self.name}': an array [samples, dimensions] for each class, named by its "
                "WordNet id (n01440764.npy), or one HDF5 file. Put them there, or choose others "
                f"with dataset.features (now '{self.features}')."
            )
        if self.semantics != _W2V and not self._table().is_file():
            raise DataError(
                f"dataset.semantics={self.semantics}: no such file; expected a table of classes "
                f"with their WordNet ids. Correct the path, or set dataset.semantics={_W2V}."
            )

    def load(self, paths: DataPaths) -> FeatureBenchmark:
        """Read the class lists, and features of the seen classes and of the chosen set.

        Raises:
            DataError: If a file is missing, damaged or inconsistent.
        """
        self.check_files(paths)
        folder = self._folder(paths)
        classes = read_classes(folder / SPLITS, folder / WORDS, self.split)
        rows, seen = self._candidates(classes, folder)
        names = tuple(classes.wnids[row] for row in rows)
        features, labels, tested = self._samples(folder, names, seen)
        is_seen = seen[labels]
        parts = {
            "trainval": np.flatnonzero(is_seen & ~tested),
            "test_seen": np.flatnonzero(is_seen & tested),
            "test_unseen": np.flatnonzero(~is_seen),
        }
        self._warn_of_untested(names, seen, labels, folder)
        validation = np.flatnonzero(np.isin(rows, classes.validation))
        trained = np.unique(labels[parts["trainval"]])
        return FeatureBenchmark(
            name=self.name,
            features=features,
            labels=labels,
            semantics=self._semantics(classes, rows, names, folder),
            class_names=names,
            trainval=parts["trainval"],
            test_seen=parts["test_seen"],
            test_unseen=parts["test_unseen"],
            validation_classes=np.intersect1d(validation, trained),
            provenance=Provenance(
                origin=str(folder),
                splits_sha256=sha256_arrays(rows, *parts.values(), validation),
                features_sha256=sha256_arrays(features, labels),
                splits_version=f"{self.split} ({int((~seen).sum())} unseen classes)",
            ),
        )

    def _folder(self, paths: DataPaths) -> Path:
        return paths.data_dir.expanduser().absolute() / self.folder

    def _places(self, folder: Path) -> tuple[Path, Path]:
        return folder / self.features, folder / f"{self.features}_val"

    def _file(self, folder: Path) -> Path:
        return folder / f"{self.features}.h5"

    def _table(self) -> Path:
        return Path(self.semantics).expanduser().absolute()

    def _candidates(self, classes: ImageNetClasses, folder: Path) -> tuple[IntArray, BoolArray]:
        """Rows (in the lists) of the candidates, sorted, and whether each of them is seen."""
        unseen, words = classes.unseen, folder / WORDS
        if unseen is None:
            unseen = rows_of(folder / self.class_sets[self.split], classes, words)
        if self.semantics == _W2V:
            lacking = np.intersect1d(classes.seen, classes.without_vector)
            if len(lacking):
                raise DataError(
                    f"{words}: field 'no_w2v_loc': found the seen class "
                    f"{classes.wnids[lacking[0]]} ({len(lacking)} such classes); expected a word "
                    "vector of every seen class. Give other semantics (dataset.semantics=FILE)."
                )
            unseen = np.setdiff1d(unseen, classes.without_vector)
        if not len(unseen):
            raise DataError(
                f"{folder / SPLITS}: field '{self.split}': found no unseen class with a semantic "
                "vector; expected at least one. Choose another dataset.split."
            )
        rows = np.union1d(classes.seen, unseen)
        return rows, np.isin(rows, classes.seen)

    def _samples(
        self, folder: Path, names: tuple[str, ...], seen: BoolArray
    ) -> tuple[FloatArray, IntArray, BoolArray]:
        """Features, labels, and whether each sample may only be tested on."""
        place, held_out = self._places(folder)
        if not place.is_dir():
            return self._of_file(self._file(folder), names, seen)
        of_seen = [name if is_seen else "" for name, is_seen in zip(names, seen, strict=True)]
        features, labels, origin = read_class_arrays([(place, names), (held_out, of_seen)])
        lacking = np.setdiff1d(np.flatnonzero(seen), labels[origin == 0])
        if len(lacking):
            raise DataError(
                f"{place}: found no file {names[lacking[0]]}.npy ({len(lacking)} of "
                f"{int(seen.sum())} seen classes have none); expected features of every seen "
                "class. Extract them, or choose others with dataset.features."
            )
        return features, labels, origin == 1

    def _of_file(
        self, path: Path, names: tuple[str, ...], seen: BoolArray
    ) -> tuple[FloatArray, IntArray, BoolArray]:
        content = hdf5.read(path, lean=True)
        place = {name: position for position, name in enumerate(names)}
        own = content.class_names or ()
        position = np.array([place.get(name, -1) for name in own], dtype=np.int64)
        if not (position >= 0).any():
            raise DataError(
                f"{path}: found no class of {self.split} and no seen class among its "
                f"{len(own)} class names; expected WordNet ids, such as {names[0]}. Name the "
                "classes so."
            )
        labels = position[content.labels]
        tested = np.zeros(len(labels), dtype=bool)
        tested[content.test_seen] = True
        usable = np.zeros(len(labels), dtype=bool)
        usable[content.trainval] = True
        usable |= tested
        kept = np.flatnonzero((labels >= 0) & (usable | ~seen[labels]))
        return float32(content.features[kept]), labels[kept], tested[kept]

    def _semantics(
        self, classes: ImageNetClasses, rows: IntArray, names: tuple[str, ...], folder: Path
    ) -> FloatArray:
        if self.semantics == _W2V:
            return float32(classes.vectors[rows])
        table = read_semantics_table(self._table())
        if table.names is None:
            raise DataError(
                f"{table.path}: found rows without names; expected a WordNet id for each, as a "
                f"column class or in {table.path.stem}.names.txt."
            )
        return float32(join(table, KnownClasses(folder / WORDS, len(names), names, {})))

    def _warn_of_untested(
        self, names: tuple[str, ...], seen: BoolArray, labels: IntArray, folder: Path
    ) -> None:
        untested = np.setdiff1d(np.flatnonzero(~seen), labels)
        if len(untested):
            warnings.warn(
                f"{folder}: {len(untested)} of the {int((~seen).sum())} unseen classes of "
                f"dataset.split={self.split} have no features (the first: {names[untested[0]]}). "
                "They are candidates in generalised classification; no metric measures them.",
                stacklevel=3,
            )
