"""The data check: what is wrong or odd in the numbers of a benchmark, as a list of findings.

Readers refuse files that are inconsistent. What is checked here is consistent and can still make
every metric wrong: the same picture in training and in test, a class without a description, marks
of unknown values, features of a network that answers the same to every picture.

    >>> for finding in check(benchmark):
    ...     print(finding.level, finding.text)

``data info``, ``data extract`` and ``data convert`` print the findings; a run emits them as
warnings (``data.check=strict`` makes them errors) and keeps them in ``result.json``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import (
    Benchmark,
    FeatureBenchmark,
    FloatArray,
    ImageBenchmark,
    IntArray,
    VectorBenchmark,
)
from zsl_lab.data.checks.class_names import alike
from zsl_lab.data.checks.equal_rows import equal_classes, equal_rows, rounded_rows
from zsl_lab.data.checks.findings import Finding, by_level
from zsl_lab.data.checks.unknown import Mask, unknown_marks
from zsl_lab.files.rows import release, row_blocks

PARTS = ("trainval", "test_seen", "test_unseen")

#: how many rows, classes or columns a sentence names
_SHOWN = 3
#: how many rows and classes a finding lists
_LISTED = 100
#: float32 holds squares of numbers between these, and sums of many
_LARGE, _SMALL = 1e15, 1e-15
#: shares of constant columns of features from which on they are a note, and a warning
_CONSTANT, _MOSTLY_CONSTANT = 0.5, 0.9
#: spread of a column over its largest number, below which float32 keeps no more than two digits
_PRECISION = 1e-5
#: how many times larger a column of semantics is than the median one
_COLUMN_ABOVE, _COLUMN_BELOW = 30.0, 80.0
#: the same, from where on a column lies between the median one and those of other units
_GAP = 15.0
#: how many times larger a number of a class is than that of every other class
_CELL_ABOVE = 12.0
#: how many times longer a row of semantics is than the median one
_ROW_ABOVE = 20.0
#: share of the typical size below which a column is taken as empty, not as one of other units
_NEGLIGIBLE = 1e-4
#: how many times larger or smaller the largest number of a sample is than the typical one
_SAMPLE_OFF = 50.0
#: share of a table's numbers up to which they are exceptions to what the others are
_EXCEPTIONS = 0.01
#: numbers of a table from which on it has such exceptions
_ENOUGH_NUMBERS = 50
#: how many rows are looked at where a sample of them is enough
_PROBED = 64


def check(benchmark: Benchmark, handed: Sequence[Finding] = ()) -> list[Finding]:
    """Check a benchmark.

    Args:
        benchmark: Features and semantics, or images and texts.
        handed: Findings of those who read the files: tables that contradict each other, what was
            left out.

    Returns:
        What was found, the gravest first.
    """
    found = [*handed, *_check_samples(benchmark), *_check_classes(benchmark)]
    found += _check_names(benchmark)
    if isinstance(benchmark, VectorBenchmark):
        where = _place(benchmark, "semantics")
        found += check_semantics(
            benchmark.semantics, benchmark.class_names, where, benchmark.recipe.attributes
        )
    elif isinstance(benchmark, ImageBenchmark):
        found += _check_texts(benchmark)
    return by_level(found)


# ------------------------------------------------------------------------------------------------
# samples


def _check_samples(benchmark: Benchmark) -> Iterator[Finding]:
    if isinstance(benchmark, FeatureBenchmark):
        dead = _all_equal(benchmark.features)
        yield from check_features(benchmark.features, _place(benchmark, "features"))
        if dead:
            return  # every row is equal to every other
        table: npt.NDArray[np.generic] = benchmark.features
    elif isinstance(benchmark, ImageBenchmark):
        table = benchmark.images
    else:
        return
    first = equal_rows(table)
    if isinstance(benchmark, FeatureBenchmark):
        first = rounded_rows(benchmark.features, first)
    copies = np.flatnonzero(first != np.arange(len(first)))
    if len(copies):
        yield from _check_copies(benchmark, first, copies)


def check_features(features: FloatArray, where: str) -> list[Finding]:
    """Check feature vectors by themselves.

    Args:
        features: ``[N, D]``.
        where: File and field, for the sentences.
    """
    rows, width = features.shape
    if rows > 1 and _all_equal(features):
        value = f"all of them {features[0, 0]:.6g}" if np.ptp(features[0]) == 0 else "the same row"
        return [
            Finding(
                "error",
                "features_all_equal",
                f"{where}: found {rows:,} equal rows of features ({value}, but for rounding); "
                "expected a row of its own for each sample. No metric on them means anything.",
                "Check the network that extracted them and the weights that it loaded, and "
                "extract them again.",
            )
        ]
    low, high = _row_ranges(features)
    largest = max(-float(low.min()), float(high.max())) if rows else 0.0
    remedy = "Divide them all by one number"
    found = list(_check_scale(features, largest, where, "features", remedy))
    if width == 1:
        found.append(
            Finding(
                "warning",
                "features_one_dimension",
                f"{where}: found features of one dimension; expected feature vectors of a network.",
                "Check that the table is not transposed or cut, or give the whole features.",
            )
        )
    zero = np.flatnonzero((low == 0) & (high == 0))
    if len(zero):
        found.append(
            Finding(
                "warning",
                "features_zero",
                f"{where}: found {_count(len(zero), 'row')} of features that "
                f"{'are' if len(zero) > 1 else 'is'} zero throughout "
                f"({_rows(zero)}); expected numbers of a picture. Such rows cannot be scaled to "
                "length 1, and are all alike to every method.",
                "Extract these pictures again, or leave these samples out.",
                rows=_first(zero),
            )
        )
    found += _check_rows(features, low, high, where)
    found += _check_columns(features, where)
    constant = _constant_columns(features)
    if width > 1 and len(constant) >= _CONSTANT * width:
        found.append(
            Finding(
                "warning" if len(constant) >= _MOSTLY_CONSTANT * width else "note",
                "features_constant_columns",
                f"{where}: found {len(constant):,} of {width:,} columns of features with one value "
                "for all samples; expected columns that tell samples apart.",
                "Check the network and the layer that the features were taken from, or leave "
                "these columns out.",
            )
        )
    return found


def _check_copies(benchmark: Benchmark, first: IntArray, copies: IntArray) -> Iterator[Finding]:
    """Findings of equal rows, by the parts of the split and by the classes."""
    where = _place(benchmark, "features" if isinstance(benchmark, VectorBenchmark) else "images")
    part = np.full(len(first), -1)
    for number, name in enumerate(PARTS):
        part[getattr(benchmark, name)] = number
    trained = np.zeros(len(first), dtype=bool)
    trained[first[benchmark.trainval]] = True
    for name in PARTS[1:]:
        index = getattr(benchmark, name)
        leaked = np.sort(index[trained[first[index]]])
        if len(leaked):
            yield _leak(benchmark, where, name, leaked, first)
    members = np.flatnonzero(np.isin(first, first[copies]))
    pairs: Counter[tuple[int, int]] = Counter()
    mixed = []
    labels: dict[int, int] = {int(row): int(benchmark.labels[first[row]]) for row in members}
    for row in members:
        own, other = int(benchmark.labels[row]), labels[int(row)]
        if own != other:
            pairs[(other, own)] += 1
            mixed.append(int(row))
    if pairs:
        yield _mixed_classes(benchmark, where, pairs, mixed)
    inside = [
        int(row)
        for row in copies
        if benchmark.labels[row] == benchmark.labels[first[row]] and part[row] == part[first[row]]
    ]
    if inside:
        example = _equal_pair(benchmark, inside[0], int(first[inside[0]]))
        yield Finding(
            "note",
            "equal_rows",
            f"{where}: found {_count(len(inside), 'sample')} equal to another of the same class "
            f"and part of the split ({example}). They count more than once.",
            "Leave the copies out, if each picture should count once.",
            rows=_first(np.array(inside)),
        )


def _leak(
    benchmark: Benchmark, where: str, part: str, leaked: IntArray, first: IntArray
) -> Finding:
    names = _names(benchmark, benchmark.labels[leaked])
    trainval = np.sort(benchmark.trainval)
    other = trainval[np.flatnonzero(first[trainval] == first[leaked[0]])[0]]
    total = len(getattr(benchmark, part))
    return Finding(
        "warning",
        f"equal_rows_trainval_{part}",
        f"{where}: found {len(leaked):,} of the {total:,} samples of {part} equal to samples of "
        f"trainval ({_equal_pair(benchmark, int(leaked[0]), int(other))}; of "
        f"{_quoted(names)}); expected no sample that is also trained on. The metrics on {part} "
        "are too high.",
        "Leave one of each pair out, or put all copies of a picture into the same part of the "
        "split and make the file again.",
        rows=_first(leaked),
        classes=tuple(names[:_LISTED]),
    )


def _mixed_classes(
    benchmark: Benchmark, where: str, pairs: Counter[tuple[int, int]], rows: Sequence[int]
) -> Finding:
    shown = [
        f"{_count(count, 'sample')} of '{benchmark.class_names[one]}' and "
        f"'{benchmark.class_names[other]}'"
        for (one, other), count in pairs.most_common(_SHOWN)
    ]
    more = f" and {len(pairs) - _SHOWN} more pairs of classes" if len(pairs) > _SHOWN else ""
    ids = np.unique([class_id for pair in pairs for class_id in pair])
    return Finding(
        "warning",
        "equal_rows_classes",
        f"{where}: found equal samples in different classes: {', '.join(shown)}{more}; expected "
        "each picture in one class.",
        "Correct the labels of these samples, or leave them out.",
        rows=_first(np.array(rows)),
        classes=tuple(_names(benchmark, ids)[:_LISTED]),
    )


def _all_equal(features: FloatArray) -> bool:
    """Whether all rows are equal up to the rounding of float32."""
    probe = features[:: max(1, len(features) // _PROBED)]
    if not _alike(probe).all():
        return False
    return bool(_alike(features).all())


def _alike(rows: FloatArray) -> npt.NDArray[np.bool_]:
    """Which columns have one value up to the rounding of float32."""
    low, high = rows[0], rows[0]
    for block in row_blocks(rows):
        low = np.minimum(low, block.min(axis=0))
        high = np.maximum(high, block.max(axis=0))
    size = np.maximum(np.abs(low), np.abs(high)).astype(np.float64)
    spread: npt.NDArray[np.bool_] = high.astype(np.float64) - low <= 1e-6 * size
    return spread


def _constant_columns(features: FloatArray) -> IntArray:
    if len(features) < 2:
        return np.empty(0, dtype=np.int64)
    probe = features[:: max(1, len(features) // _PROBED)]
    suspects = np.flatnonzero(np.ptp(probe, axis=0) == 0)
    if len(suspects) < _CONSTANT * features.shape[1]:
        return suspects[:0]
    low = high = features[0, suspects]
    for block in row_blocks(features):
        low = np.minimum(low, block[:, suspects].min(axis=0))
        high = np.maximum(high, block[:, suspects].max(axis=0))
    constant: IntArray = suspects[low == high]
    return constant


def _row_ranges(features: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The smallest and the largest number of each row, in blocks that stay in the cache."""
    low, high = np.empty(len(features), np.float32), np.empty(len(features), np.float32)
    block = max(1, 2**16 // features.shape[1])
    for start in range(0, len(features), block):
        part = slice(start, start + block)
        low[part], high[part] = features[part].min(axis=1), features[part].max(axis=1)
        release(features)
    return low, high


def _check_rows(
    features: FloatArray, low: FloatArray, high: FloatArray, where: str
) -> Iterator[Finding]:
    """Rows of one number, and rows of another scale than the others."""
    flat = np.flatnonzero((low == high) & (high != 0))
    if len(flat) and features.shape[1] > _SHOWN:
        yield Finding(
            "warning",
            "features_constant",
            f"{where}: found {_count(len(flat), 'row')} of features that "
            f"{'are' if len(flat) > 1 else 'is'} the same number throughout ({_rows(flat)}: "
            f"{high[flat[0]]:.6g}); expected numbers of a picture. It may mark features that are "
            "missing.",
            "Extract these pictures again, or leave these samples out.",
            rows=_first(flat),
        )
    size = np.maximum(-low, high).astype(np.float64)
    typical = float(np.median(size[size > 0])) if size.any() else 0.0
    off = np.flatnonzero(
        (size > _SAMPLE_OFF * typical) | ((size > 0) & (size * _SAMPLE_OFF < typical))
    )
    if not len(off):
        off = _of_length_1(features)
    if len(off):
        row = off[np.abs(np.log(size[off] / typical)).argmax()]
        yield Finding(
            "warning",
            "features_unit_sample",
            f"{where}: found {_count(len(off), 'row')} of features far off the others: up to "
            f"{size[row]:.4g} in row {row}, 0-based, where half of the rows stay below "
            f"{typical:.4g}; expected all samples in the same scale.",
            "Correct these rows (marks of missing numbers? features that were scaled before?), or "
            "leave these samples out.",
            rows=_first(off),
        )


def _of_length_1(features: FloatArray) -> IntArray:
    """Rows that were scaled to length 1 where others were not, among a sample of the rows."""
    step = max(1, len(features) // (4 * _PROBED))
    lengths = np.linalg.norm(features[::step].astype(np.float64), axis=1)
    unit = np.abs(lengths - 1) < 1e-4
    rest = lengths[~unit & (lengths > 0)]
    few = min(int(unit.sum()), len(rest)) < max(2, len(lengths) // 20)
    if few or 0.5 < np.median(rest) < 2:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(unit) * step


def _check_columns(features: FloatArray, where: str) -> Iterator[Finding]:
    """Columns far above the others, as of another unit, judged by some of the rows."""
    if len(features) < 4 or features.shape[1] < 4:
        return
    columns = np.abs(features[:: max(1, len(features) // _PROBED)]).max(axis=0).astype(np.float64)
    middle = float(np.median(columns[columns > 0])) if columns.any() else 0.0
    off = _off_columns(columns, middle)
    off = off[columns[off] > middle]  # those that are rarely above 0 look small
    if len(off) and len(off) <= max(1, len(columns) // 4):
        worst = off[columns[off].argmax()]
        yield Finding(
            "warning",
            "features_unit_column",
            f"{where}: found {_columns(off, ())} of features far above the others: up to "
            f"{columns[worst]:.4g} in {_columns(np.array([worst]), ())}, where half of the columns "
            f"stay below {middle:.4g}; expected columns in similar units. A larger column "
            "outweighs all others in the length of a sample's vector.",
            "Write these columns in other units, leave them out if they are ids or labels, or "
            "scale each column (dataset.normalize=standard or minmax).",
        )


# ------------------------------------------------------------------------------------------------
# classes


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
            f"{benchmark.name}: found {_count(len(unused), 'sample')} of {len(used):,} in no part "
            f"of the split ({_rows(unused)}). They are neither trained on nor tested.",
            "Nothing need be done, unless they were left out by mistake.",
            rows=_first(unused),
        )
    sizes = np.bincount(benchmark.labels, minlength=benchmark.num_classes)
    empty = np.flatnonzero(sizes == 0)
    if len(empty):
        names = _names(benchmark, empty)
        yield Finding(
            "note",
            "classes_without_samples",
            f"{benchmark.name}: found {_count(len(empty), 'class', 'classes')} without a sample "
            f"({_quoted(names)}). They have no recall.",
            "Nothing need be done, unless their samples were left out by mistake.",
            classes=tuple(names[:_LISTED]),
        )


def _check_names(benchmark: Benchmark) -> Iterator[Finding]:
    """Names that readers take for one another."""
    groups: dict[str, list[str]] = {}
    for name in benchmark.class_names:
        groups.setdefault(alike(name), []).append(name)
    pairs = [names for names in groups.values() if len(names) > 1]
    if pairs:
        yield Finding(
            "warning",
            "class_names_alike",
            f"{benchmark.name}: found names of classes that differ only in case, separators or "
            f"characters that look alike: {_groups(pairs)}; expected names that tell classes "
            "apart. Such names may be one class twice, and tables join them by exact names "
            "only.",
            "Merge these classes, or rename them.",
            classes=tuple(name for names in pairs for name in names)[:_LISTED],
        )


def _check_texts(benchmark: ImageBenchmark) -> Iterator[Finding]:
    where = _place(benchmark, "descriptions")
    classes: dict[str, list[str]] = {}
    for name, text in zip(benchmark.class_names, benchmark.descriptions, strict=True):
        classes.setdefault(" ".join(text.split()), []).append(name)
    equal = [names for names in classes.values() if len(names) > 1]
    if equal:
        yield _coinciding(where, equal, "description")


def check_semantics(
    semantics: FloatArray,
    class_names: Sequence[str],
    where: str,
    attributes: Sequence[str] = (),
) -> list[Finding]:
    """Check class semantics by themselves.

    Args:
        semantics: ``[C, Q]``, unscaled.
        class_names: C names.
        where: File and field, for the sentences.
        attributes: Q names of columns; empty where they have none.
    """
    found: list[Finding] = []
    size = np.abs(semantics).max(axis=1)
    zero = np.flatnonzero(size == 0)
    if len(zero):
        names = [class_names[int(i)] for i in zero]
        found.append(
            Finding(
                "warning",
                "semantics_zero",
                f"{where}: found only zeros for {_classes(names)}; expected numbers that describe "
                f"{'each class' if len(names) > 1 else 'it'}. No method can recognise a class "
                "without a description.",
                "Describe these classes, or leave them out.",
                classes=tuple(names[:_LISTED]),
            )
        )
    constant = np.flatnonzero((np.ptp(semantics, axis=1) <= 1e-6 * size) & (size > 0))
    coded = len(np.unique(semantics[:, : _SHOWN * 8])) <= 2  # yes and no: a class may have all
    if len(constant) and semantics.shape[1] > 1 and not coded:
        names = [class_names[int(i)] for i in constant]
        found.append(
            Finding(
                "warning",
                "semantics_constant",
                f"{where}: found the same number in all {semantics.shape[1]:,} columns for "
                f"{_classes(names)}; expected numbers that differ.",
                "Describe these classes, or leave them out.",
                classes=tuple(names[:_LISTED]),
            )
        )
    groups: dict[int, list[str]] = {}
    first = equal_classes(semantics)
    for row in np.flatnonzero(size > 0):
        groups.setdefault(int(first[row]), []).append(class_names[int(row)])
    equal = [names for names in groups.values() if len(names) > 1]
    if equal:
        found.append(_coinciding(where, equal, "semantics"))
    found += _check_proportional(semantics, first, class_names, where)
    found += _check_constant_attributes(semantics, where, attributes)
    marks = unknown_marks(semantics)
    found += _check_exceptions(semantics, marks, class_names, where, attributes)
    if marks.any():
        found.append(_unknown(semantics, marks, class_names, where, attributes))
    largest, remedy = float(size.max(initial=0)), "Write them in other units"
    found += _check_scale(semantics, largest, where, "semantics", remedy)
    found += _check_units(np.where(marks, 0, semantics), class_names, where, attributes)
    return found


def _check_proportional(
    semantics: FloatArray, first: IntArray, class_names: Sequence[str], where: str
) -> Iterator[Finding]:
    """Classes that coincide once each is scaled to length 1, and not as they are (``first``)."""
    lengths = np.linalg.norm(semantics.astype(np.float64), axis=1)
    rows = np.flatnonzero(lengths > 0)
    if semantics.shape[1] < _SHOWN or not np.isfinite(lengths).all():
        return
    groups: dict[int, list[int]] = {}
    unit = (semantics[rows] / lengths[rows, None]).astype(np.float32)
    for row, leader in zip(rows.tolist(), equal_classes(unit), strict=True):
        groups.setdefault(int(leader), []).append(row)
    pairs = [
        [class_names[row] for row in group]
        for group in groups.values()
        if len({int(first[row]) for row in group}) > 1
    ]
    if pairs:
        yield Finding(
            "warning",
            "semantics_proportional",
            f"{where}: found semantics that are the same but for a factor: {_groups(pairs)}; "
            "expected other proportions for each class. Scaled to length 1 such classes cannot be "
            "told apart.",
            "Describe them differently, or scale columns instead of classes "
            "(dataset.normalize_semantics=standard or minmax).",
            classes=tuple(name for names in pairs for name in names)[:_LISTED],
        )


def _check_constant_attributes(
    semantics: FloatArray, where: str, attributes: Sequence[str]
) -> Iterator[Finding]:
    constant = np.flatnonzero(np.ptp(semantics, axis=0) == 0)
    if len(constant) and len(semantics) > _SHOWN:
        yield Finding(
            "note",
            "semantics_constant_columns",
            f"{where}: found the same number for all classes in {_columns(constant, attributes)} "
            f"of {semantics.shape[1]:,}. They tell no class from another.",
            "Nothing need be done, unless their numbers were lost.",
        )


def _check_exceptions(
    semantics: FloatArray,
    marks: Mask,
    class_names: Sequence[str],
    where: str,
    attributes: Sequence[str],
) -> Iterator[Finding]:
    """Few numbers unlike all others: below 0 where none is, or beside a code of two values."""
    if semantics.size < _ENOUGH_NUMBERS or min(semantics.shape) < 4:
        return
    few = max(1, int(_EXCEPTIONS * semantics.size))
    odd, others = (semantics < 0) & ~marks, "none of the others is below 0"
    if not 0 < odd.sum() <= few:
        probe = semantics[:: max(1, len(semantics) // _PROBED)]
        if len(np.unique(probe)) > max(_ENOUGH_NUMBERS, probe.size // 2):
            return  # no code: sorting all numbers of a large table takes long
        values, counts = np.unique(semantics[~marks], return_counts=True)
        if len(values) < 3 or len(values) > 2 + few:
            return
        common = np.sort(values[np.argsort(counts)[-2:]])
        odd = ~np.isin(semantics, common) & ~marks
        others = f"all others are {common[0]:.4g} or {common[1]:.4g}"
        if odd.sum() > few or counts.min() == counts.max():
            return
    row, column = np.argwhere(odd)[0]
    names = [class_names[int(i)] for i in np.flatnonzero(odd.any(axis=1))]
    yield Finding(
        "warning",
        "semantics_exception",
        f"{where}: found {_count(int(odd.sum()), 'number')} unlike all others "
        f"({semantics[row, column]:.4g} for '{class_names[int(row)]}' in "
        f"{_columns(np.array([column]), attributes)}, where {others}); expected numbers of one "
        "kind. It may mark an unknown value, and is taken as a number.",
        "Write the true numbers into the table, or leave those columns out.",
        classes=tuple(names[:_LISTED]),
    )


def _coinciding(where: str, groups: Sequence[Sequence[str]], what: str) -> Finding:
    return Finding(
        "warning",
        "semantics_equal",
        f"{where}: found the same {what} for different classes: {_groups(groups)}; expected "
        f"{what} of its own for each class. Such classes cannot be told apart.",
        "Describe them differently, or merge them.",
        classes=tuple(name for names in groups for name in names)[:_LISTED],
    )


def unknown_finding(benchmark: VectorBenchmark, marks: Mask) -> Finding:
    """The finding of marks of unknown values.

    Args:
        benchmark: The benchmark with the marks.
        marks: Which numbers are marks, bool ``[C, Q]``
            (:func:`zsl_lab.data.checks.unknown.unknown_marks`).
    """
    return _unknown(
        benchmark.semantics,
        marks,
        benchmark.class_names,
        _place(benchmark, "semantics"),
        benchmark.recipe.attributes,
    )


def _unknown(
    semantics: FloatArray,
    marks: Mask,
    class_names: Sequence[str],
    where: str,
    attributes: Sequence[str],
) -> Finding:
    rows = np.flatnonzero(marks.any(axis=1))
    shown = [
        f"'{class_names[row]}' in {_columns(np.flatnonzero(marks[row]), attributes)}"
        for row in rows[:_SHOWN]
    ]
    more = f" and {len(rows) - _SHOWN} more classes" if len(rows) > _SHOWN else ""
    values = np.unique(semantics[marks])
    listed = ", ".join(f"{value:.4g}" for value in values[:_SHOWN])
    rest = semantics[~marks]
    others = f"; all other numbers lie from {rest.min():.4g} to {rest.max():.4g}" * bool(len(rest))
    return Finding(
        "warning",
        "semantics_unknown",
        f"{where}: found {_count(int(marks.sum()), 'number')} that seem to mark unknown values "
        f"({listed}): of {', '.join(shown)}{more}{others}.",
        "A run takes the mean of the column over the seen classes in their place; a prediction "
        "takes them as numbers. Write the true numbers into the table, or leave those columns out "
        "(dataset.semantics=FILE takes another table).",
        classes=tuple(class_names[row] for row in rows[:_LISTED]),
    )


def _check_units(
    table: FloatArray, class_names: Sequence[str], where: str, attributes: Sequence[str]
) -> Iterator[Finding]:
    """Columns, classes and single numbers far off the others, as of other units."""
    size = np.abs(table.astype(np.float64))
    if min(table.shape) < 4:
        return
    columns = size.max(axis=0)
    middle = float(np.median(columns[columns > 0])) if columns.any() else 0.0
    off = _off_columns(columns, middle)
    if len(off) and len(off) <= max(1, len(columns) // 4):
        worst = off[np.abs(np.log(columns[off] / middle)).argmax()]
        yield Finding(
            "warning",
            "semantics_unit_column",
            f"{where}: found {_columns(off, attributes)} far off the others: up to "
            f"{columns[worst]:.4g} in {_columns(np.array([worst]), attributes)}, where half of "
            f"the columns stay below {middle:.4g}; expected columns in similar units. A larger "
            "column outweighs all others in the length of a class's vector.",
            "Write these columns in other units, or scale each column "
            "(dataset.normalize_semantics=standard or minmax).",
        )
    lengths = np.sqrt((size**2).sum(axis=1))
    typical = float(np.median(lengths[lengths > 0])) if lengths.any() else 0.0
    rows = np.flatnonzero(
        (lengths > _ROW_ABOVE * typical) | ((lengths > 0) & (lengths * _ROW_ABOVE < typical))
    )
    if len(rows) and len(rows) <= len(lengths) // 4:
        names = [class_names[int(row)] for row in rows]
        yield Finding(
            "warning",
            "semantics_unit_class",
            f"{where}: found {_classes(names)} far off the others: a vector of length "
            f"{lengths[rows[0]]:.4g}, where that of half of the classes is below {typical:.4g}; "
            "expected all classes in the same units.",
            "Correct the numbers of these classes, or scale each class to length 1 "
            "(dataset.normalize_semantics=l2).",
            classes=tuple(names[:_LISTED]),
        )
    yield from _check_cells(size, class_names, where, attributes, np.union1d(rows, []), middle)


def _off_columns(columns: npt.NDArray[np.float64], middle: float) -> IntArray:
    """Columns far above or below the median size; none where sizes in between are found too."""
    above, below = columns > _COLUMN_ABOVE * middle, columns * _COLUMN_BELOW < middle
    below &= columns > _NEGLIGIBLE * middle
    if ((columns > _GAP * middle) & (columns <= _COLUMN_ABOVE * middle)).any():
        above[:] = False
    if ((columns * _GAP < middle) & (columns * _COLUMN_BELOW >= middle)).any():
        below[:] = False
    return np.flatnonzero(above | below)


def _check_cells(
    size: npt.NDArray[np.float64],
    class_names: Sequence[str],
    where: str,
    attributes: Sequence[str],
    rows: npt.NDArray[np.generic],
    middle: float,
) -> Iterator[Finding]:
    top = size.argmax(axis=0)
    columns = np.arange(size.shape[1])
    largest, others = size[top, columns], size.copy()
    others[top, columns] = 0
    second = others.max(axis=0)
    common = np.count_nonzero(size, axis=0) >= max(3, len(size) // 2)
    off = np.flatnonzero(
        common & (largest > _CELL_ABOVE * second) & (largest > middle / 10) & ~np.isin(top, rows)
    )
    if len(off):
        names = [class_names[i] for i in dict.fromkeys(top[off].tolist())]
        column = off[0]
        yield Finding(
            "warning",
            "semantics_unit_value",
            f"{where}: found {largest[column]:.4g} for '{class_names[top[column]]}' in "
            f"{_columns(np.array([column]), attributes)}, where the largest of all other classes "
            f"is {second[column]:.4g}"
            + (f", and {len(off) - 1} more such columns" if len(off) > 1 else "")
            + "; expected all classes in the same units.",
            "Correct the number, if it is of other units than those of the other classes.",
            classes=tuple(names[:_LISTED]),
        )


def _check_scale(
    table: FloatArray, largest: float, where: str, what: str, remedy: str
) -> Iterator[Finding]:
    """Numbers that float32, in which training computes, loses."""
    if largest > _LARGE or 0 < largest < _SMALL:
        odd = "large" if largest > _LARGE else "small"
        yield Finding(
            "warning",
            f"{what}_scale",
            f"{where}: found {what} of up to {largest:.3g}; expected numbers whose squares single "
            f"precision holds ({_SMALL:.0e} to {_LARGE:.0e}). Methods compute with these, and lose "
            f"numbers as {odd} as that.",
            f"{remedy}, or set dataset.normalize"
            f"{'_semantics' if what == 'semantics' else ''}=standard.",
        )
        return
    if len(table) < 3:
        return
    probe = table[:: max(1, len(table) // _PROBED)]
    size = np.abs(probe).max(axis=0).astype(np.float64)
    spread = np.ptp(probe, axis=0).astype(np.float64)
    lost = np.flatnonzero(
        (spread > 0) & (spread < _PRECISION * size) & (size > _NEGLIGIBLE * largest)
    )
    if len(lost):
        column = lost[0]
        yield Finding(
            "warning",
            f"{what}_precision",
            f"{where}: found {_count(len(lost), 'column')} whose numbers differ by less than "
            f"{_PRECISION:.0e} of their size (column {column + 1}: {probe[0, column]:.8g} and "
            "others alike); single precision, in which training computes, keeps seven digits.",
            "Subtract a constant from these columns before writing the file, or leave them out.",
        )


def check_rounding(
    table: npt.NDArray[np.generic], where: str, what: Literal["features", "semantics"]
) -> list[Finding]:
    """Check what single precision, in which training computes, makes of numbers.

    Args:
        table: ``[N, D]``, of the type that the file has.
        where: File and field, for the sentence.
        what: What the table holds.
    """
    if table.dtype.kind not in "iuf" or table.dtype.itemsize <= 2 or table.dtype == np.float32:
        return []
    probe = table[:: max(1, len(table) // 1024)]
    with np.errstate(over="ignore", under="ignore"):
        rounded = probe.astype(np.float32)
    vanished = int(((probe != 0) & (rounded == 0)).sum())
    merged = np.flatnonzero((np.ptp(probe, axis=0) > 0) & (np.ptp(rounded, axis=0) == 0))
    if not vanished and not len(merged):
        return []
    problems = []
    if vanished:
        problems.append(f"{_count(vanished, 'number')} that become 0")
    if len(merged):
        problems.append(f"{_columns(merged, ())} with numbers that differ and become equal")
    return [
        Finding(
            "warning",
            f"{what}_rounding",
            f"{where}: found {' and '.join(problems)} in single precision, in which training "
            f"computes; expected numbers of which seven digits suffice ({table.dtype}).",
            "Write the numbers in other units, or subtract a constant from these columns.",
        )
    ]


# ------------------------------------------------------------------------------------------------
# words


def _place(benchmark: Benchmark, name: str) -> str:
    """File and field that an attribute was read from."""
    provenance = benchmark.provenance
    file, field = provenance.sources.get(name, (provenance.origin, name))
    return f"{file}: field '{field}'"


def _first(rows: npt.NDArray[np.generic]) -> tuple[int, ...]:
    return tuple(int(row) for row in rows[:_LISTED])


def _groups(groups: Sequence[Sequence[str]]) -> str:
    """Groups of names of classes, a few of them."""
    shown = "; ".join(_quoted(names) for names in groups[:_SHOWN])
    more = f"; and {len(groups) - _SHOWN} more groups" if len(groups) > _SHOWN else ""
    return shown + more


def _rows(rows: IntArray) -> str:
    shown = ", ".join(str(int(row)) for row in rows[:_SHOWN])
    return f"row {shown}{', ...' if len(rows) > _SHOWN else ''}, 0-based"


def _equal_pair(benchmark: Benchmark, one: int, other: int) -> str:
    # images are compared bit for bit
    rounded = isinstance(benchmark, FeatureBenchmark) and not np.array_equal(
        benchmark.features[one], benchmark.features[other]
    )
    return f"row {one} is equal to row {other}{' but for rounding' * rounded}, 0-based"


def _names(benchmark: Benchmark, ids: IntArray) -> list[str]:
    return [benchmark.class_names[class_id] for class_id in np.unique(ids)]


def _quoted(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:_SHOWN]) + more


def _classes(names: Sequence[str]) -> str:
    return f"the class{'es' if len(names) > 1 else ''} {_quoted(names)}"


def _columns(columns: npt.NDArray[np.generic], attributes: Sequence[str]) -> str:
    shown = [
        f"{int(column) + 1}" + (f" ({attributes[int(column)]})" if attributes else "")
        for column in columns[: _SHOWN + 1]
    ]
    more = f" and {len(columns) - _SHOWN - 1} more" if len(columns) > _SHOWN + 1 else ""
    return f"column{'s' if len(columns) > 1 else ''} {', '.join(shown)}{more}"


def _count(number: int, singular: str, plural: str = "") -> str:
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"
