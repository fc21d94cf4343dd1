"""The data check of samples: feature vectors, images, and copies among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import (
    PARTS,
    Benchmark,
    FeatureBenchmark,
    FloatArray,
    ImageBenchmark,
    IntArray,
    VectorBenchmark,
)
from zsl_lab.data.checks.equal_rows import equal_rows, rounded_rows
from zsl_lab.data.checks.findings import Finding
from zsl_lab.data.checks.numbers import PROBED, check_scale, off_columns
from zsl_lab.data.checks.words import (
    LISTED,
    SHOWN,
    columns_text,
    count_text,
    first_rows,
    names_of,
    names_text,
    place,
    rows_text,
)
from zsl_lab.files.rows import release, row_blocks

#: shares of constant columns of features from which on they give a note, and a warning
_CONSTANT, _MOSTLY_CONSTANT = 0.5, 0.9
#: factor by which the largest number of a sample of another scale differs from the typical one
_SAMPLE_OFF = 50.0


def check_samples(benchmark: Benchmark) -> Iterator[Finding]:
    """Check features or images, and find copies among them."""
    if isinstance(benchmark, FeatureBenchmark):
        dead = _all_equal(benchmark.features)
        yield from check_features(benchmark.features, place(benchmark, "features"))
        if dead:
            return  # all rows are copies of each other
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
    """Check feature vectors, without labels or split.

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
    found = list(check_scale(features, largest, where, "features", remedy))
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
                f"{where}: found {count_text(len(zero), 'row')} of features that "
                f"{'are' if len(zero) > 1 else 'is'} zero throughout "
                f"({rows_text(zero)}); expected numbers of a picture. Such rows cannot be scaled "
                "to length 1, and are all alike to every method.",
                "Extract these pictures again, or leave these samples out.",
                rows=first_rows(zero),
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
    """Findings about equal rows: across parts of the split, across classes, and within both.

    Args:
        benchmark: The benchmark.
        first: For each row the index of the first row equal to it.
        copies: Indices of the rows with an equal row before them.
    """
    where = place(benchmark, "features" if isinstance(benchmark, VectorBenchmark) else "images")
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
            f"{where}: found {count_text(len(inside), 'sample')} equal to another of the same "
            f"class and part of the split ({example}). They count more than once.",
            "Leave the copies out, if each picture should count once.",
            rows=first_rows(np.array(inside)),
        )


def _leak(
    benchmark: Benchmark, where: str, part: str, leaked: IntArray, first: IntArray
) -> Finding:
    names = names_of(benchmark, benchmark.labels[leaked])
    trainval = np.sort(benchmark.trainval)
    other = trainval[np.flatnonzero(first[trainval] == first[leaked[0]])[0]]
    total = len(getattr(benchmark, part))
    return Finding(
        "warning",
        f"equal_rows_trainval_{part}",
        f"{where}: found {len(leaked):,} of the {total:,} samples of {part} equal to samples of "
        f"trainval ({_equal_pair(benchmark, int(leaked[0]), int(other))}; of "
        f"{names_text(names)}); expected no sample that is also trained on. The metrics on {part} "
        "are too high.",
        "Leave one of each pair out, or put all copies of a picture into the same part of the "
        "split and make the file again.",
        rows=first_rows(leaked),
        classes=tuple(names[:LISTED]),
    )


def _mixed_classes(
    benchmark: Benchmark, where: str, pairs: Counter[tuple[int, int]], rows: Sequence[int]
) -> Finding:
    shown = [
        f"{count_text(count, 'sample')} of '{benchmark.class_names[one]}' and "
        f"'{benchmark.class_names[other]}'"
        for (one, other), count in pairs.most_common(SHOWN)
    ]
    more = f" and {len(pairs) - SHOWN} more pairs of classes" if len(pairs) > SHOWN else ""
    ids = np.unique([class_id for pair in pairs for class_id in pair])
    return Finding(
        "warning",
        "equal_rows_classes",
        f"{where}: found equal samples in different classes: {', '.join(shown)}{more}; expected "
        "each picture in one class.",
        "Correct the labels of these samples, or leave them out.",
        rows=first_rows(np.array(rows)),
        classes=tuple(names_of(benchmark, ids)[:LISTED]),
    )


def _equal_pair(benchmark: Benchmark, one: int, other: int) -> str:
    # images are copies only if they are bit-equal
    rounded = isinstance(benchmark, FeatureBenchmark) and not np.array_equal(
        benchmark.features[one], benchmark.features[other]
    )
    return f"row {one} is equal to row {other}{' but for rounding' * rounded}, 0-based"


def _all_equal(features: FloatArray) -> bool:
    """Whether all rows are equal up to the rounding of float32."""
    probe = features[:: max(1, len(features) // PROBED)]
    if not _alike(probe).all():
        return False
    return bool(_alike(features).all())


def _alike(rows: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether each column has a single value, up to the rounding of float32."""
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
    probe = features[:: max(1, len(features) // PROBED)]
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
    """The smallest and the largest number of each row, in blocks that fit into the CPU's cache."""
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
    """Rows with the same number in all columns, and rows of another scale than the others."""
    flat = np.flatnonzero((low == high) & (high != 0))
    if len(flat) and features.shape[1] > SHOWN:
        yield Finding(
            "warning",
            "features_constant",
            f"{where}: found {count_text(len(flat), 'row')} of features that "
            f"{'are' if len(flat) > 1 else 'is'} the same number throughout ({rows_text(flat)}: "
            f"{high[flat[0]]:.6g}); expected numbers of a picture. It may mark features that are "
            "missing.",
            "Extract these pictures again, or leave these samples out.",
            rows=first_rows(flat),
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
            f"{where}: found {count_text(len(off), 'row')} of features far off the others: up to "
            f"{size[row]:.4g} in row {row}, 0-based, where half of the rows stay below "
            f"{typical:.4g}; expected all samples in the same scale.",
            "Correct these rows (marks of missing numbers? features that were scaled before?), or "
            "leave these samples out.",
            rows=first_rows(off),
        )


def _of_length_1(features: FloatArray) -> IntArray:
    """Rows (of a sample of them) that were scaled to length 1 while others were not."""
    step = max(1, len(features) // (4 * PROBED))
    lengths = np.linalg.norm(features[::step].astype(np.float64), axis=1)
    unit = np.abs(lengths - 1) < 1e-4
    rest = lengths[~unit & (lengths > 0)]
    few = min(int(unit.sum()), len(rest)) < max(2, len(lengths) // 20)
    if few or 0.5 < np.median(rest) < 2:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(unit) * step


def _check_columns(features: FloatArray, where: str) -> Iterator[Finding]:
    """Columns far above the others, as if in another unit, judged by a sample of the rows."""
    if len(features) < 4 or features.shape[1] < 4:
        return
    columns = np.abs(features[:: max(1, len(features) // PROBED)]).max(axis=0).astype(np.float64)
    middle = float(np.median(columns[columns > 0])) if columns.any() else 0.0
    off = off_columns(columns, middle)
    off = off[columns[off] > middle]  # small ones may just be rarely above 0
    if len(off) and len(off) <= max(1, len(columns) // 4):
        worst = off[columns[off].argmax()]
        yield Finding(
            "warning",
            "features_unit_column",
            f"{where}: found {columns_text(off, ())} of features far above the others: up to "
            f"{columns[worst]:.4g} in {columns_text(np.array([worst]), ())}, where half of the "
            f"columns stay below {middle:.4g}; expected columns in similar units. A larger column "
            "outweighs all others in the length of a sample's vector.",
            "Write these columns in other units, leave them out if they are ids or labels, or "
            "scale each column (dataset.normalize=standard or minmax).",
        )
