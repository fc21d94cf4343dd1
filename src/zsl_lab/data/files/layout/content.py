"""The content of a benchmark file, in memory or with features that are read in blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np

from zsl_lab.data.benchmark import (
    FeatureBenchmark,
    IntArray,
    Provenance,
    StoredBenchmark,
    VectorBenchmark,
)
from zsl_lab.data.checks.file_classes import check_file_classes
from zsl_lab.data.files.class_semantics import check_agreement
from zsl_lab.data.recipe import Recipe
from zsl_lab.data.splits import published_validation_classes, warn_of_one_part
from zsl_lab.data.storage.arrays import Array, FloatArray, float32
from zsl_lab.data.storage.source import (
    ArraySource,
    FeatureSource,
    blocks,
)
from zsl_lab.errors import DataError, DataWarning

#: fields of ``split`` that were published for tuning
PUBLISHED_PARTS = ("train", "val")


@dataclass(frozen=True, eq=False, kw_only=True)
class BenchmarkContent:
    """The content of a file except the features; numbers keep their published types.

    Attributes:
        name: The benchmark's name (``"FLO"``).
        labels: 0-based class ids, int64 ``[N]``.
        class_names: Names of the C classes, or None where the source has none.
        semantics: Class semantics by kind (``att``, ``original_att``, ``sent``), each ``[C, Q]``;
            at least one. A run uses the kind that ``dataset.semantics`` names.
        trainval: 0-based indices of the samples of seen classes to train on, int64.
        test_seen: 0-based indices of the test samples of seen classes, int64.
        test_unseen: 0-based indices of the test samples of unseen classes, int64.
        train: The published ``train_loc``, 0-based and unchanged (it may contain test samples);
            None where there is none.
        val: The published ``val_loc``, as ``train``.
        validation_classes: Ids of the seen classes held out for tuning, where this is not given by
            ``train`` and ``val``.
        files: File names of the N samples' images; None where they are not known.
        descriptions: Texts of the C classes; None where there are none.
        recipe: How features and semantics were computed.
        provenance: Where the data came from.
        notes: Warnings given when the data were read from other files.
        mat: Numeric type of each field (``""`` for texts) of each published .mat file that the data
            were read from, by the file's name without ``.mat``; used to write the same files again.
    """

    name: str
    labels: IntArray
    class_names: tuple[str, ...] | None
    semantics: Mapping[str, Array]
    trainval: IntArray
    test_seen: IntArray
    test_unseen: IntArray
    train: IntArray | None = None
    val: IntArray | None = None
    validation_classes: IntArray | None = None
    files: tuple[str, ...] | None = None
    descriptions: tuple[str, ...] | None = None
    recipe: Recipe = field(default_factory=Recipe)
    provenance: Provenance = field(default_factory=lambda: Provenance("memory"))
    notes: tuple[DataWarning, ...] = ()
    mat: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """C, the number of classes, seen and unseen."""
        return len(next(iter(self.semantics.values())))

    @property
    def default_kind(self) -> str | None:
        """The only kind of semantics, or ``att``; None where one has to be chosen."""
        kinds = list(self.semantics)
        return kinds[0] if len(kinds) == 1 else "att" if "att" in kinds else None

    @property
    def source(self) -> FeatureSource:
        """The features ``[N, D]``, read by ranges of rows."""
        raise NotImplementedError

    def benchmark(
        self, kind: str, name: str | None = None, provenance: Provenance | None = None
    ) -> VectorBenchmark:
        """The benchmark for training: float32 and one kind of semantics.

        Args:
            kind: The kind of semantics.
            name: The benchmark's name in results; None keeps the content's.
            provenance: The provenance; None keeps the content's.

        Raises:
            DataError: If the content is inconsistent.
        """
        raise NotImplementedError

    def _fields(self, kind: str, name: str | None, provenance: Provenance | None) -> dict[str, Any]:
        """The fields of :meth:`benchmark`, checked, except the features."""
        provenance = provenance or self.provenance
        if kind not in self.semantics:
            self._fail("semantics", ", ".join(self.semantics), kind)
        self._check_names()
        self._check_contradictions()
        if f"semantics/{kind}" in provenance.sources:
            provenance = replace(
                provenance,
                sources={
                    **provenance.sources,
                    "semantics": provenance.sources[f"semantics/{kind}"],
                },
            )
        names = self._names()
        return {
            "name": name or self.name,
            "labels": self.labels,
            "semantics": float32(self.semantics[kind]),
            "class_names": names,
            "trainval": self.trainval,
            "test_seen": self.test_seen,
            "test_unseen": self.test_unseen,
            "validation_classes": self._validation_classes(names, provenance),
            "provenance": provenance,
            "recipe": self.recipe.of(kind, self.semantics[kind].shape[-1]),
        }

    def feature_blocks(self) -> Iterator[FloatArray]:
        """The features in blocks of rows, as float32.

        Raises:
            DataError: If a number is not finite.
        """
        for start, block in blocks(self.source):
            if not np.isfinite(block).all():
                row, column = (int(at) for at in np.argwhere(~np.isfinite(block))[0])
                found = f"{block[row, column]} in row {start + row}, column {column} (0-based)"
                self._fail("features", found, "finite numbers, in single precision")
            yield block

    def _check_vectors(self, fields: Mapping[str, Any]) -> None:
        """Check features and fields by building a benchmark of them."""
        raise NotImplementedError

    def check(self) -> None:
        """Check that all fields are consistent.

        Raises:
            DataError: If they are not; the message names the source, the field, what was found and
                what was expected.
        """
        for kind, table in self.semantics.items():
            if table.ndim != 2 or len(table) != self.num_classes:
                self._fail(
                    f"semantics/{kind}",
                    f"shape {list(table.shape)}",
                    f"{self.num_classes} rows, one for each class, as the others",
                )
            bad = np.argwhere(~np.isfinite(table))
            if len(bad):
                row, column = bad[0]
                found = f"{table[row, column]} in row {row}, column {column} (0-based)"
                self._fail(f"semantics/{kind}", found, "finite numbers, in single precision")
        self._check_names()
        self._check_contradictions()
        self._check_vectors(
            {
                "name": self.name,
                "labels": self.labels,
                "semantics": next(iter(self.semantics.values())),
                "class_names": self._names(),
                "trainval": self.trainval,
                "test_seen": self.test_seen,
                "test_unseen": self.test_unseen,
                "validation_classes": self.validation_classes,
                "provenance": self.provenance,
            }
        )
        for part in PUBLISHED_PARTS:
            index = getattr(self, part)
            if (
                index is not None
                and len(index)
                and (index.min() < 0 or index.max() >= len(self.labels))
            ):
                worst = index.min() if index.min() < 0 else index.max()
                self._fail(
                    part,
                    f"sample index {worst + 1} (1-based)",
                    f"1 to {len(self.labels)}, the samples of the features",
                )

    def _check_contradictions(self) -> None:
        """Check numbers of texts, the order of tables of semantics, and folders of image files."""
        for texts, count, each in (
            ("files", len(self.labels), "sample"),
            ("descriptions", self.num_classes, "class"),
        ):
            value = getattr(self, texts)
            if value is not None and len(value) != count:
                self._fail(texts, f"{len(value)} texts", f"{count}, one for each {each}")
        source = self.provenance.sources.get("semantics/att", (self.name,))[0]
        check_agreement(self.semantics, self.class_names, source)
        if self.files is not None and self.class_names is not None:
            source, files_field = self.provenance.sources.get("files", (source, "files"))
            labels_field = self.provenance.sources.get("labels", ("", "labels"))[1]
            check_file_classes(
                self.files, self.labels, self.class_names, (source, files_field, labels_field)
            )

    def _validation_classes(
        self, names: tuple[str, ...], provenance: Provenance
    ) -> IntArray | None:
        if self.train is None or self.val is None:
            if self.validation_classes is None:
                fields = [
                    provenance.sources.get(p, (provenance.origin, p)) for p in PUBLISHED_PARTS
                ]
                warn_of_one_part(fields, [self.train is not None, self.val is not None])
            return self.validation_classes
        for index, end in ((self.trainval, len(self.labels)), (self.labels, self.num_classes)):
            if index.size and not (index.min() >= 0 and index.max() < end):
                # FeatureBenchmark raises the error
                return None
        train_field, val_field = (
            provenance.sources.get(part, (provenance.origin, part)) for part in PUBLISHED_PARTS
        )
        return published_validation_classes(
            self.labels, names, self.trainval, self.train, self.val, train_field, val_field
        )

    def _names(self) -> tuple[str, ...]:
        return self.class_names or default_names(self.num_classes)

    def _check_names(self) -> None:
        for name, count in Counter(self.class_names or ()).items():
            if count > 1 or not name.strip():
                self._fail(
                    "class_names", f"{count} x {name!r}", "a name for each class, no two the same"
                )

    def _fail(self, name: str, found: str, expected: str) -> NoReturn:
        file, field_name = self.provenance.sources.get(name, (self.provenance.origin, name))
        raise failure(file, field_name, found, expected)


@dataclass(frozen=True, eq=False, kw_only=True)
class BenchmarkFile(BenchmarkContent):
    """The content of a file, all of it in memory.

    Attributes:
        features: ``[N, D]``, numbers.
    """

    features: Array

    @property
    def source(self) -> FeatureSource:
        """The features."""
        return ArraySource(self.features)

    def benchmark(
        self, kind: str, name: str | None = None, provenance: Provenance | None = None
    ) -> FeatureBenchmark:
        """See :meth:`BenchmarkContent.benchmark`."""
        return FeatureBenchmark(
            features=float32(self.features), **self._fields(kind, name, provenance)
        )

    def _check_vectors(self, fields: Mapping[str, Any]) -> None:
        FeatureBenchmark(features=self.features, **fields)


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredBenchmarkFile(BenchmarkContent):
    """The content of a file whose features are read in blocks.

    Attributes:
        stored: The features ``[N, D]``.
    """

    stored: FeatureSource

    @property
    def source(self) -> FeatureSource:
        """The features."""
        return self.stored

    def benchmark(
        self, kind: str, name: str | None = None, provenance: Provenance | None = None
    ) -> StoredBenchmark:
        """See :meth:`BenchmarkContent.benchmark`; does not check that features are finite."""
        return StoredBenchmark(stored=self.stored, **self._fields(kind, name, provenance))

    def _check_vectors(self, fields: Mapping[str, Any]) -> None:
        StoredBenchmark(stored=self.stored, **fields)
        for _ in self.feature_blocks():
            pass


def default_names(num_classes: int) -> tuple[str, ...]:
    """Names for classes without names: ``class 1``, ``class 2``, ..."""
    return tuple(f"class {class_id + 1}" for class_id in range(num_classes))


def failure(file: str, name: str, found: str, expected: str) -> DataError:
    """The error about a field that cannot be used."""
    return DataError(f"{file}: field '{name}': found {found}; expected {expected}.")
