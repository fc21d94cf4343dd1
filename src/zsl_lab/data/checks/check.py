"""The data check: problems in the content of a benchmark, as a list of findings.

Readers refuse inconsistent files. This check finds problems in consistent files that can make every
metric wrong: the same image in training and in test, a class without a description, marks of
unknown values, a backbone whose features are the same for every image.

    >>> for finding in check(benchmark):
    ...     print(finding.level, finding.text)

``data info``, ``data extract`` and ``data convert`` print the findings; a run emits them as
warnings (``data.check=strict`` makes them errors) and keeps them in ``result.json``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from zsl_lab.data.benchmark import PARTS, Benchmark, ImageBenchmark, VectorBenchmark
from zsl_lab.data.checks.class_names import alike
from zsl_lab.data.checks.findings import Finding, by_level
from zsl_lab.data.checks.samples import check_samples
from zsl_lab.data.checks.semantics import check_semantics, check_texts
from zsl_lab.data.checks.words import (
    LISTED,
    count_text,
    first_rows,
    groups_text,
    names_of,
    names_text,
    place,
    rows_text,
)


def check(benchmark: Benchmark) -> list[Finding]:
    """Check a benchmark.

    Args:
        benchmark: Features and semantics, or images and texts.

    Returns:
        The findings, the most serious first.
    """
    found = [*check_samples(benchmark), *_check_classes(benchmark)]
    found += _check_names(benchmark)
    if isinstance(benchmark, VectorBenchmark):
        where = place(benchmark, "semantics")
        found += check_semantics(
            benchmark.semantics, benchmark.class_names, where, benchmark.recipe.attributes
        )
    elif isinstance(benchmark, ImageBenchmark):
        found += check_texts(benchmark)
    return by_level(found)


def _check_classes(benchmark: Benchmark) -> Iterator[Finding]:
    unseen = np.setdiff1d(benchmark.unseen_classes, benchmark.untested_classes)
    if len(unseen) == 1:
        yield Finding(
            "warning",
            "one_unseen_class",
            f"{benchmark.name}: found one unseen class, '{benchmark.class_names[unseen[0]]}'; "
            "expected several. Among one class no prediction can be wrong: zsl_top1 is 100 "
            "whatever the method, and means nothing.",
            "Compare by unseen, seen and harmonic_mean, or leave more classes out of training.",
            classes=(benchmark.class_names[unseen[0]],),
        )
    used = np.zeros(len(benchmark.labels), dtype=bool)
    for name in PARTS:
        used[getattr(benchmark, name)] = True
    unused = np.flatnonzero(~used)
    if len(unused):
        yield Finding(
            "note",
            "samples_unused",
            f"{benchmark.name}: found {count_text(len(unused), 'sample')} of {len(used):,} in no "
            f"part of the split ({rows_text(unused)}). They are neither trained on nor tested.",
            "Nothing need be done, unless they were left out by mistake.",
            rows=first_rows(unused),
        )
    sizes = np.bincount(benchmark.labels, minlength=benchmark.num_classes)
    empty = np.flatnonzero(sizes == 0)
    if len(empty):
        names = names_of(benchmark, empty)
        yield Finding(
            "note",
            "classes_without_samples",
            f"{benchmark.name}: found {count_text(len(empty), 'class', 'classes')} without a "
            f"sample ({names_text(names)}). They have no recall.",
            "Nothing need be done, unless their samples were left out by mistake.",
            classes=tuple(names[:LISTED]),
        )


def _check_names(benchmark: Benchmark) -> Iterator[Finding]:
    """Class names that look alike."""
    groups: dict[str, list[str]] = {}
    for name in benchmark.class_names:
        groups.setdefault(alike(name), []).append(name)
    pairs = [names for names in groups.values() if len(names) > 1]
    if pairs:
        yield Finding(
            "warning",
            "class_names_alike",
            f"{benchmark.name}: found names of classes that differ only in case, separators or "
            f"characters that look alike: {groups_text(pairs)}; expected names that tell classes "
            "apart. Such names may be one class twice, and tables join them by exact names "
            "only.",
            "Merge these classes, or rename them.",
            classes=tuple(name for names in pairs for name in names)[:LISTED],
        )
