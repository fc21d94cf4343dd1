"""The benchmark in memory: features, labels, class semantics and which sample plays which part.

Nothing here knows a file or a method. Readers build a :class:`Benchmark`; every array is validated once, on
construction, so that whoever holds one may trust it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from zsl_lab.errors import DataError

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Provenance:
    """Where a benchmark came from, for error messages and for ``result.json``.

    Attributes:
        origin: What an error message calls the source (a file's path, or the generator's name).
        splits_sha256: SHA-256 of the split file, or of the generated index arrays.
        features_sha256: SHA-256 of the feature file, or of the generated feature array.
        splits_version: Name of the split version that the hash identifies; ``"unknown"`` for other hashes.
        sources: The file and the field in it that an attribute of the benchmark was read from, for error messages;
            what is not listed is called by its own name, in ``origin``.
    """

    origin: str
    splits_sha256: str = ""
    features_sha256: str = ""
    splits_version: str = "unknown"
    sources: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Benchmark:
    """A zero-shot benchmark, validated.

    Attributes:
        name: The benchmark's name (``"FLO"``).
        features: Visual features, float32 ``[N, D]``.
        labels: Class id of each sample, 0-based, int64 ``[N]``.
        semantics: Class semantics, float32 ``[C, Q]``; row ``c`` describes class id ``c``.
        class_names: ``C`` names; row ``c`` names class id ``c``.
        trainval: 0-based sample indices of the seen classes that may be trained on, int64.
        test_seen: 0-based sample indices of the seen classes that are only tested on, int64.
        test_unseen: 0-based sample indices of the unseen classes, int64.
        validation_classes: Ids of the seen classes that the benchmark's authors hold out for tuning, or None where
            the files name none. Samples of validation are always drawn from ``trainval``: the published ``train_loc``
            and ``val_loc`` contain the images of ``test_seen_loc``.
        provenance: Where all this came from.

    Raises:
        DataError: If any of it is inconsistent; the text names the source, the field, what was found and expected.
    """

    name: str
    features: FloatArray
    labels: IntArray
    semantics: FloatArray
    class_names: tuple[str, ...]
    trainval: IntArray
    test_seen: IntArray
    test_unseen: IntArray
    validation_classes: IntArray | None = None
    provenance: Provenance = field(default_factory=lambda: Provenance("memory"))

    def __post_init__(self) -> None:
        _validate(self)

    @property
    def num_samples(self) -> int:
        """N, the number of samples."""
        return len(self.features)

    @property
    def num_classes(self) -> int:
        """C, the number of classes, seen and unseen."""
        return len(self.semantics)

    @cached_property
    def seen_classes(self) -> IntArray:
        """Sorted ids of the classes that train."""
        return np.unique(self.labels[self.trainval])

    @cached_property
    def unseen_classes(self) -> IntArray:
        """Sorted ids of the classes that are only tested."""
        return np.unique(self.labels[self.test_unseen])

    def with_split(
        self,
        trainval: IntArray,
        test_seen: IntArray,
        test_unseen: IntArray,
        validation_classes: IntArray | None,
        provenance: Provenance,
    ) -> Benchmark:
        """The same samples and semantics with other parts to play."""
        return replace(
            self,
            trainval=trainval,
            test_seen=test_seen,
            test_unseen=test_unseen,
            validation_classes=validation_classes,
            provenance=provenance,
        )


def _validate(b: Benchmark) -> None:
    """Check everything that training or evaluation relies on; cost is one pass over the features."""

    def fail(name: str, found: str, expected: str, other: str | None = None) -> DataError:
        sources = b.provenance.sources
        file, first = sources.get(name, (b.provenance.origin, name))
        fields = f"field '{first}'" if other is None else f"fields '{first}' and '{sources.get(other, (file, other))[1]}'"
        return DataError(f"{file}: {fields}: found {found}; expected {expected}.")

    if b.features.ndim != 2 or 0 in b.features.shape:
        raise fail("features", f"an array of shape {list(b.features.shape)}", "[samples, dimensions], neither of them 0")
    if b.labels.shape != (b.num_samples,):
        raise fail("labels", f"shape {list(b.labels.shape)}", f"one label for each of the {b.num_samples} samples")
    if b.semantics.ndim != 2 or 0 in b.semantics.shape:
        raise fail("semantics", f"an array of shape {list(b.semantics.shape)}", "[classes, dimensions], neither of them 0")
    if len(b.class_names) != b.num_classes:
        raise fail("class names", f"{len(b.class_names)} names", f"{b.num_classes}, one for each row of the semantics")
    low, high = int(b.labels.min()), int(b.labels.max())
    if low < 0 or high >= b.num_classes:
        raise fail("labels", f"class ids from {low + 1} to {high + 1} (1-based)", f"1 to {b.num_classes}, the classes of the semantics")
    for name, array in (("features", b.features), ("semantics", b.semantics)):
        bad = _first_not_finite(array)
        if bad is not None:
            row, column = bad
            raise fail(name, f"{array[row, column]} in row {row}, column {column} (0-based)", "finite numbers only")
    parts = {"trainval": b.trainval, "test_seen": b.test_seen, "test_unseen": b.test_unseen}
    for name, index in parts.items():
        if index.ndim != 1 or len(index) == 0:
            raise fail(name, "no sample" if index.size == 0 else f"shape {list(index.shape)}", "a list of at least one sample index")
        if index.min() < 0 or index.max() >= b.num_samples:
            worst = int(index.min()) if index.min() < 0 else int(index.max())
            raise fail(name, f"sample index {worst + 1} (1-based)", f"1 to {b.num_samples}, the samples of the feature file")
        if len(np.unique(index)) != len(index):
            raise fail(name, "the same sample more than once", "every sample at most once")
    names = list(parts)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            common = np.intersect1d(parts[first], parts[second])
            if len(common):
                raise fail(
                    first,
                    f"{len(common)} samples in both (the first, 1-based: {int(common[0]) + 1})",
                    "no sample in two parts: one that is trained on cannot be tested on",
                    other=second,
                )
    both = np.intersect1d(b.seen_classes, b.unseen_classes)
    if len(both):
        raise fail(
            "test_unseen", f"class {_class(b, both[0])}, which also has training samples", "only classes without any sample in trainval"
        )
    strangers = np.setdiff1d(b.labels[b.test_seen], b.seen_classes)
    if len(strangers):
        raise fail("test_seen", f"class {_class(b, strangers[0])}, which has no training sample", "only classes that train")
    if len(b.seen_classes) < 2:
        raise fail("trainval", f"{len(b.seen_classes)} seen class", "at least 2 seen classes")
    if b.validation_classes is not None:
        outside = np.setdiff1d(b.validation_classes, b.seen_classes)
        if len(outside):
            raise fail("validation classes", f"class {_class(b, outside[0])}, which is not a seen class", "seen classes only")


def _first_not_finite(array: FloatArray) -> tuple[int, int] | None:
    # in blocks, so that checking a large benchmark takes no second copy of it
    block = max(1, 2**22 // array.shape[1])
    for start in range(0, len(array), block):
        part = array[start : start + block]
        if not np.isfinite(part).all():
            row, column = np.argwhere(~np.isfinite(part))[0]
            return start + int(row), int(column)
    return None


def _class(b: Benchmark, class_id: int) -> str:
    return f"{int(class_id) + 1} ('{b.class_names[int(class_id)]}')"
