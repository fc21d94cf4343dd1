"""The benchmark: samples, labels, class semantics or descriptions, and the parts of the split.

Readers build a :class:`FeatureBenchmark` (feature vectors, and a vector for each class), a
:class:`StoredBenchmark` (the same with features on disk) or an :class:`ImageBenchmark` (images, and
a text for each class). Every array is validated on construction, so code that receives a benchmark
need not check it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from zsl_lab.data.recipe import Recipe
from zsl_lab.data.storage.arrays import FloatArray as FloatArray
from zsl_lab.data.storage.arrays import IntArray as IntArray
from zsl_lab.data.storage.arrays import float32
from zsl_lab.data.storage.source import ArraySource, FeatureSource
from zsl_lab.errors import DataError
from zsl_lab.files.rows import release

ImageArray = npt.NDArray[np.uint8]
B = TypeVar("B", bound="Benchmark")

#: the parts of a split, as the benchmark files of Xian et al. name them
PARTS = ("trainval", "test_seen", "test_unseen")


@dataclass(frozen=True)
class Provenance:
    """Where a benchmark came from, for error messages and for ``result.json``.

    Attributes:
        origin: Name of the source in error messages (a file's path, or the generator's name).
        splits_sha256: SHA-256 of the split file, or of the generated index arrays.
        features_sha256: SHA-256 of the feature file, or of the generated feature array.
        splits_version: Name of the split version that the hash identifies; ``"unknown"`` for other
            hashes.
        sources: For each attribute of the benchmark, the file and the field in it that it was read
            from, for error messages; an attribute without an entry is named as it is, in
            ``origin``.
        file_sha256: SHA-256 of the HDF5 file of this project's layout that the benchmark was read
            from, if the file states it and it was verified; else empty.
    """

    origin: str
    splits_sha256: str = ""
    features_sha256: str = ""
    splits_version: str = "unknown"
    sources: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    file_sha256: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Benchmark:
    """Validated, labelled samples of seen and unseen classes.

    Subclasses add the samples themselves, and the semantics or descriptions of the classes.

    Attributes:
        name: The benchmark's name (``"FLO"``).
        labels: Class id of each sample, 0-based, int64 ``[N]``.
        class_names: ``C`` names; row ``c`` names class id ``c``.
        trainval: 0-based sample indices of the seen classes that may be trained on, int64.
        test_seen: 0-based sample indices of the seen classes that are only tested on, int64; empty
            in conventional zero-shot learning.
        test_unseen: 0-based sample indices of the unseen classes, int64. An unseen class without
            samples is a candidate in predictions, but its recall is not measured.
        validation_classes: Ids of the seen classes that the benchmark's authors hold out for
            tuning, or None where the files name none. Validation samples are always drawn from
            ``trainval``: the published ``train_loc`` and ``val_loc`` contain the images of
            ``test_seen_loc``.
        more_validation_classes: Further such sets of classes, where the authors publish several.
        provenance: Where the data came from.

    Raises:
        DataError: If attributes are inconsistent; the message names the source, the field, what
            was found and what was expected.
    """

    name: str
    labels: IntArray
    class_names: tuple[str, ...]
    trainval: IntArray
    test_seen: IntArray
    test_unseen: IntArray
    validation_classes: IntArray | None = None
    more_validation_classes: tuple[IntArray, ...] = ()
    provenance: Provenance = field(default_factory=lambda: Provenance("memory"))

    def __post_init__(self) -> None:
        _validate_split(self)

    @property
    def num_samples(self) -> int:
        """N, the number of samples."""
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """C, the number of classes, seen and unseen."""
        return len(self.class_names)

    @cached_property
    def seen_classes(self) -> IntArray:
        """Sorted ids of the classes with samples in ``trainval``."""
        return np.unique(self.labels[self.trainval])

    @cached_property
    def unseen_classes(self) -> IntArray:
        """Sorted ids of all classes without samples in ``trainval``."""
        return np.setdiff1d(np.arange(self.num_classes), self.seen_classes)

    @cached_property
    def untested_classes(self) -> IntArray:
        """Sorted ids of the unseen classes without a sample in ``test_unseen``."""
        return np.setdiff1d(self.unseen_classes, self.labels[self.test_unseen])

    def with_split(
        self: B,
        trainval: IntArray,
        test_seen: IntArray,
        test_unseen: IntArray,
        validation_classes: IntArray | None,
        provenance: Provenance,
        more_validation_classes: tuple[IntArray, ...] = (),
    ) -> B:
        """A copy with the same samples and classes and another split."""
        return replace(
            self,
            trainval=trainval,
            test_seen=test_seen,
            test_unseen=test_unseen,
            validation_classes=validation_classes,
            more_validation_classes=more_validation_classes,
            provenance=provenance,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class VectorBenchmark(Benchmark):
    """A benchmark of feature vectors, in memory or on disk, with a semantic vector for each class.

    Attributes:
        semantics: Class semantics, float32 ``[C, Q]``; row ``c`` describes class id ``c``.
        recipe: How features and semantics were computed from images and texts, where known.
    """

    semantics: FloatArray
    recipe: Recipe = field(default_factory=Recipe)

    if TYPE_CHECKING:  # at run time, dataclass would take the property as the field's default

        @property
        def features(self) -> FloatArray:
            """All visual features in memory, float32 ``[N, D]``."""

    @property
    def source(self) -> FeatureSource:
        """Visual features ``[N, D]``, read by ranges of rows."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        shape, classes = tuple(self.source.shape), len(self.semantics)
        if len(shape) != 2 or 0 in shape:
            raise _failure(
                self,
                "features",
                f"an array of shape {list(shape)}",
                "[samples, dimensions], neither of them 0",
            )
        samples = shape[0]
        if self.labels.shape != (samples,):
            raise _failure(
                self,
                "labels",
                f"shape {list(self.labels.shape)}",
                f"one label for each of the {samples} samples",
            )
        if self.semantics.ndim != 2 or 0 in self.semantics.shape:
            raise _failure(
                self,
                "semantics",
                f"an array of shape {list(self.semantics.shape)}",
                "[classes, dimensions], neither of them 0",
            )
        if len(self.class_names) != classes:
            raise _failure(
                self,
                "class names",
                f"{len(self.class_names)} names",
                f"{classes}, one for each row of the semantics",
            )
        _validate_labels(self, "semantics")
        self._check_finite("semantics", self.semantics)
        super().__post_init__()

    def _check_finite(self, name: str, array: FloatArray) -> None:
        bad = _first_not_finite(array)
        if bad is not None:
            row, column = bad
            found = f"{array[bad]} in row {row}, column {column} (0-based)"
            raise _failure(self, name, found, "finite numbers, in single precision")


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureBenchmark(VectorBenchmark):
    """A benchmark of feature vectors in memory.

    Attributes:
        features: Visual features, float32 ``[N, D]``.
    """

    features: FloatArray

    @cached_property
    def source(self) -> FeatureSource:
        """The features."""
        return ArraySource(self.features)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_finite("features", self.features)


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredBenchmark(VectorBenchmark):
    """A benchmark whose feature vectors are read from disk in blocks.

    Code that opens the files checks that the features are finite, while it computes their hash.

    Attributes:
        stored: Visual features ``[N, D]``, numbers of any type.
    """

    stored: FeatureSource

    @property
    def features(self) -> FloatArray:
        """All features, read into memory; only for code that cannot read them in blocks."""
        return float32(self.stored.read(0, len(self.stored)))

    @property
    def source(self) -> FeatureSource:
        """The features."""
        return self.stored


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageBenchmark(Benchmark):
    """A benchmark of images, with a text for each class.

    Attributes:
        images: uint8 ``[N, height, width, channels]``, 1 or 3 channels; may be a memory map
            of a file, so read rows, not the whole array.
        descriptions: ``C`` texts, none of them empty; text ``c`` describes class id ``c``.
    """

    images: ImageArray
    descriptions: tuple[str, ...]

    def __post_init__(self) -> None:
        shape = list(self.images.shape)
        if (
            self.images.dtype != np.uint8
            or self.images.ndim != 4
            or 0 in shape
            or shape[-1] not in (1, 3)
        ):
            raise _failure(
                self,
                "images",
                f"{self.images.dtype} of shape {shape}",
                "uint8 [samples, height, width, 1 or 3]",
            )
        if self.labels.shape != (shape[0],):
            raise _failure(
                self,
                "labels",
                f"shape {list(self.labels.shape)}",
                f"one label for each of the {shape[0]} images",
            )
        if len(self.descriptions) != self.num_classes:
            raise _failure(
                self,
                "descriptions",
                f"{len(self.descriptions)} texts",
                f"{self.num_classes}, one for each class",
            )
        for class_id, text in enumerate(self.descriptions):
            if not text.strip():
                raise _failure(
                    self,
                    "descriptions",
                    f"an empty text for class {_class(self, class_id)}",
                    "a description of every class",
                )
        _validate_labels(self, "class names")
        super().__post_init__()


def _failure(
    b: Benchmark, name: str, found: str, expected: str, other: str | None = None
) -> DataError:
    sources = b.provenance.sources
    file, first = sources.get(name, (b.provenance.origin, name))
    fields = (
        f"field '{first}'"
        if other is None
        else f"fields '{first}' and '{sources.get(other, (file, other))[1]}'"
    )
    return DataError(f"{file}: {fields}: found {found}; expected {expected}.")


def _validate_labels(b: Benchmark, classes: str) -> None:
    low, high = int(b.labels.min()), int(b.labels.max())
    if low < 0 or high >= b.num_classes:
        raise _failure(
            b,
            "labels",
            f"class ids from {low + 1} to {high + 1} (1-based)",
            f"1 to {b.num_classes}, the classes of the {classes}",
        )


def _validate_split(b: Benchmark) -> None:
    parts = {"trainval": b.trainval, "test_seen": b.test_seen, "test_unseen": b.test_unseen}
    for name, index in parts.items():
        if index.ndim != 1 or (name == "trainval" and len(index) == 0):
            raise _failure(
                b,
                name,
                "no sample" if index.size == 0 else f"shape {list(index.shape)}",
                f"a list of {'at least one sample index' if name == 'trainval' else 'indices'}",
            )
        if not len(index):
            continue
        if index.min() < 0 or index.max() >= b.num_samples:
            worst = int(index.min()) if index.min() < 0 else int(index.max())
            raise _failure(
                b,
                name,
                f"sample index {worst + 1} (1-based)",
                f"1 to {b.num_samples}, the samples of the feature file",
            )
        if len(np.unique(index)) != len(index):
            raise _failure(b, name, "the same sample more than once", "every sample at most once")
    names = list(parts)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            common = np.intersect1d(parts[first], parts[second])
            if len(common):
                raise _failure(
                    b,
                    first,
                    f"{len(common)} samples in both (the first, 1-based: {int(common[0]) + 1})",
                    "no sample in two parts: one that is trained on cannot be tested on",
                    other=second,
                )
    both = np.intersect1d(b.seen_classes, b.labels[b.test_unseen])
    if len(both):
        raise _failure(
            b,
            "test_unseen",
            f"class {_class(b, both[0])}, which also has training samples",
            "only classes without any sample in trainval",
        )
    strangers = np.setdiff1d(b.labels[b.test_seen], b.seen_classes)
    if len(strangers):
        raise _failure(
            b,
            "test_seen",
            f"class {_class(b, strangers[0])}, which has no training sample",
            "only classes that train",
        )
    if len(b.seen_classes) < 2:
        raise _failure(
            b, "trainval", f"{len(b.seen_classes)} seen class", "at least 2 seen classes"
        )
    if not len(b.unseen_classes):
        raise _failure(
            b,
            "trainval",
            f"samples of all {b.num_classes} classes, so that none is unseen",
            "at least one class without training samples. A class that is to be recognised needs "
            "semantics and no sample: add it to the classes, or take the samples of a class out of "
            "trainval",
        )
    validation = () if b.validation_classes is None else (b.validation_classes,)
    for classes in (*validation, *b.more_validation_classes):
        outside = np.setdiff1d(classes, b.seen_classes)
        if len(outside):
            raise _failure(
                b,
                "validation classes",
                f"class {_class(b, outside[0])}, which is not a seen class",
                "seen classes only",
            )


def _first_not_finite(array: FloatArray) -> tuple[int, int] | None:
    # in blocks, so that checking a large benchmark takes no second copy of it
    block = max(1, 2**22 // array.shape[1])
    for start in range(0, len(array), block):
        part = array[start : start + block]
        if not np.isfinite(part).all():
            row, column = np.argwhere(~np.isfinite(part))[0]
            return start + int(row), int(column)
        release(array)
    return None


def _class(b: Benchmark, class_id: int) -> str:
    return f"{int(class_id) + 1} ('{b.class_names[int(class_id)]}')"
