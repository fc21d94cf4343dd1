"""Summaries of benchmarks: counts, ranges, and the overlap of published tuning sets with test sets.

This module needs no torch. ``python -m zsl_lab.data info`` prints the summaries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import PARTS, Benchmark, ImageBenchmark, IntArray, VectorBenchmark
from zsl_lab.data.storage.source import ArraySource, FeatureSource
from zsl_lab.files.rows import release

_EXAMPLES = 5
_HIGHEST = 4


@dataclass(frozen=True)
class TableSummary:
    """Summary of a matrix.

    Attributes:
        shape: Rows and columns.
        low: Smallest value.
        high: Largest value.
        mean: Mean of all values.
        zeros: Share of values that are 0, from 0 to 1.
        not_finite: Number of values that are infinite or not a number.
    """

    shape: tuple[int, ...]
    low: float
    high: float
    mean: float
    zeros: float
    not_finite: int

    @classmethod
    def of(cls, table: npt.NDArray[Any]) -> TableSummary:
        """Summarise ``[N, D]``."""
        return cls.of_source(ArraySource(table))

    @classmethod
    def of_source(cls, table: FeatureSource) -> TableSummary:
        """Summarise ``[N, D]`` in blocks of rows, so that a large table is not copied."""
        low, high, total, zeros, bad = np.inf, -np.inf, 0.0, 0, 0
        block = max(1, 2**22 // table.shape[1])
        for start in range(0, len(table), block):
            part = table.read(start, min(start + block, len(table)))
            low, high = min(low, float(part.min())), max(high, float(part.max()))
            total += float(part.sum(dtype=np.float64))
            zeros += int((part == 0).sum())
            bad += int((~np.isfinite(part)).sum())
            release(part)
        size = math.prod(table.shape)
        return cls(table.shape, low, high, total / size, zeros / size, bad)


@dataclass(frozen=True)
class TuningOverlap:
    """How many of the samples that the authors published for tuning are in each part of the split.

    Attributes:
        place: The fields that list the tuning samples, for messages.
        inside: Number of tuning samples in each part.
        sizes: Number of samples of each part.
        outside: Number of tuning samples in no part.
    """

    place: str
    inside: Mapping[str, int]
    sizes: Mapping[str, int]
    outside: int

    @classmethod
    def of(
        cls, parts: Mapping[str, IntArray], train: IntArray, val: IntArray, place: str
    ) -> TuningOverlap:
        """Compare the published ``train`` and ``val`` with the parts; all are sample indices."""
        union = np.union1d(train, val)
        inside = {part: len(np.intersect1d(index, union)) for part, index in parts.items()}
        sizes = {part: len(index) for part, index in parts.items()}
        return cls(place, inside, sizes, len(union) - sum(inside.values()))

    @property
    def leaks(self) -> bool:
        """Whether tuning on the samples as published would use test samples."""
        return self.inside["test_seen"] + self.inside["test_unseen"] > 0

    @property
    def unused(self) -> int:
        """Number of ``trainval`` samples in neither of the published tuning sets."""
        return self.sizes["trainval"] - self.inside["trainval"]


@dataclass(frozen=True)
class ClassExample:
    """One class, as an example.

    Attributes:
        name: Its name.
        part: ``seen``, ``unseen``, or empty where the labels are not known.
        highest: Column and value of its largest positive semantics, in decreasing order.
        text: Its description; empty where classes have semantics instead.
    """

    name: str
    part: str = ""
    highest: tuple[tuple[int, float], ...] = ()
    text: str = ""


@dataclass(frozen=True)
class ClassSizes:
    """The numbers of samples of classes.

    Attributes:
        smallest: Name and size of the smallest class.
        largest: Name and size of the largest class.
        median: The median size.
    """

    smallest: tuple[str, int]
    largest: tuple[str, int]
    median: float


@dataclass(frozen=True)
class BenchmarkSummary:
    """Summary of a benchmark.

    Attributes:
        counts: Numbers of ``samples``, ``classes``, ``seen`` and ``unseen`` classes, semantic
            dimensions (``semantic_dim``), and samples of each part; None where it is not known.
        examples: Some classes.
        class_sizes: Sizes of the classes; None where the labels are not known.
        features: Summary of the features; None where samples are images, or features are missing.
        semantics: Summary of the class semantics; None where classes have descriptions instead.
        images: Shape of the images ``[N, height, width, channels]``; None without images.
        words: Smallest, largest and median number of words of the descriptions; None without them.
        validation_classes: Number of published validation classes; None where none are published.
        untested: Names of the unseen classes without a sample in ``test_unseen``.
        tuning: Overlap of the published tuning samples; None where none are published.
    """

    counts: Mapping[str, int | None]
    examples: tuple[ClassExample, ...]
    class_sizes: ClassSizes | None = None
    features: TableSummary | None = None
    semantics: TableSummary | None = None
    images: tuple[int, ...] | None = None
    words: tuple[int, int, float] | None = None
    validation_classes: int | None = None
    untested: tuple[str, ...] = ()
    tuning: TuningOverlap | None = None


def summarize(
    benchmark: Benchmark, tuning: tuple[IntArray, IntArray, str] | None = None
) -> BenchmarkSummary:
    """Summarise a benchmark.

    Args:
        benchmark: The benchmark.
        tuning: The published ``train`` and ``val`` (0-based sample indices), and the fields that
            list them.
    """
    parts: dict[str, IntArray] = {part: getattr(benchmark, part) for part in PARTS}
    counts: dict[str, int | None] = {
        "samples": benchmark.num_samples,
        "classes": benchmark.num_classes,
        "seen": len(benchmark.seen_classes),
        "unseen": len(benchmark.unseen_classes),
    }
    features, semantics, images, words = None, None, None, None
    if isinstance(benchmark, VectorBenchmark):
        counts["semantic_dim"] = benchmark.semantics.shape[1]
        features = TableSummary.of_source(benchmark.source)
        semantics = TableSummary.of(benchmark.semantics)
    elif isinstance(benchmark, ImageBenchmark):
        lengths = [len(text.split()) for text in benchmark.descriptions]
        images = benchmark.images.shape
        words = (min(lengths), max(lengths), float(np.median(lengths)))
    validation = benchmark.validation_classes
    return BenchmarkSummary(
        counts={**counts, **{part: len(index) for part, index in parts.items()}},
        examples=_examples(benchmark),
        class_sizes=_class_sizes(benchmark),
        features=features,
        semantics=semantics,
        images=images,
        words=words,
        validation_classes=None if validation is None else len(validation),
        untested=tuple(benchmark.class_names[i] for i in benchmark.untested_classes),
        tuning=None if tuning is None else TuningOverlap.of(parts, *tuning),
    )


def summarize_splits(
    parts: Mapping[str, IntArray],
    class_names: Sequence[str],
    semantics: npt.NDArray[Any],
    tuning: tuple[IntArray, IntArray, str] | None = None,
) -> BenchmarkSummary:
    """Summarise a benchmark whose features and labels are missing.

    Args:
        parts: 0-based sample indices of ``trainval``, ``test_seen`` and ``test_unseen``.
        class_names: C names.
        semantics: Class semantics ``[C, Q]``.
        tuning: As in :func:`summarize`.
    """
    sizes = {part: len(index) for part, index in parts.items()}
    chosen = np.linspace(0, len(class_names) - 1, _EXAMPLES).round().astype(int)
    return BenchmarkSummary(
        counts={
            "samples": sum(sizes.values()),
            "classes": len(semantics),
            "seen": None,
            "unseen": None,
            "semantic_dim": semantics.shape[1],
            **sizes,
        },
        examples=tuple(
            ClassExample(class_names[i], highest=_highest(semantics[i])) for i in chosen
        ),
        semantics=TableSummary.of(semantics),
        tuning=None if tuning is None else TuningOverlap.of(parts, *tuning),
    )


def _examples(benchmark: Benchmark) -> tuple[ClassExample, ...]:
    """Three seen and two unseen classes, or fewer where there are fewer."""
    examples = []
    for part, ids, count in (
        ("seen", benchmark.seen_classes, 3),
        ("unseen", benchmark.unseen_classes, 2),
    ):
        if not len(ids):
            continue
        for i in ids[np.unique(np.linspace(0, len(ids) - 1, count).round().astype(int))]:
            highest: tuple[tuple[int, float], ...] = ()
            text = ""
            if isinstance(benchmark, VectorBenchmark):
                highest = _highest(benchmark.semantics[i])
            elif isinstance(benchmark, ImageBenchmark):
                text = benchmark.descriptions[i]
            examples.append(ClassExample(benchmark.class_names[i], part, highest, text))
    return tuple(examples)


def _highest(row: npt.NDArray[Any]) -> tuple[tuple[int, float], ...]:
    # only values above 0: in standardised semantics, 0 is the average
    order = np.argsort(-row, kind="stable")[:_HIGHEST]
    return tuple((int(i), float(row[i])) for i in order if row[i] > 0)


def _class_sizes(benchmark: Benchmark) -> ClassSizes:
    sizes = np.bincount(benchmark.labels, minlength=benchmark.num_classes)
    least, most = int(sizes.argmin()), int(sizes.argmax())
    names = benchmark.class_names
    return ClassSizes(
        (names[least], int(sizes[least])), (names[most], int(sizes[most])), float(np.median(sizes))
    )
