"""Splits into training and evaluation samples: test phase, validation phase, random splits.

The validation phase is drawn from ``trainval`` alone: no index of ``test_seen`` or ``test_unseen``
appears in it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from zsl_lab.data.benchmark import B, Benchmark, IntArray
from zsl_lab.errors import DataError
from zsl_lab.files.hashing import sha256_arrays

_VALIDATION_FRACTION = 0.2
#: maximum share of the seen classes that is drawn as validation classes where unseen classes
#: without test samples raise this share
_MOST_UNTESTED_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Split:
    """The samples and classes of one phase.

    Attributes:
        name: ``"validation"`` or ``"test"``.
        train: 0-based indices of the samples to train on, int64.
        eval_seen: 0-based indices of held-out samples of the seen classes, int64; may be empty.
        eval_unseen: 0-based indices of the samples of the unseen classes, int64; may be empty.
        seen_classes: Sorted ids of the classes with training samples.
        unseen_classes: Sorted ids of the classes that act as unseen in this phase, with or without
            samples.
    """

    name: str
    train: IntArray
    eval_seen: IntArray
    eval_unseen: IntArray
    seen_classes: IntArray
    unseen_classes: IntArray


def test_split(benchmark: Benchmark) -> Split:
    """The final phase: train on ``trainval``, evaluate on ``test_seen`` and ``test_unseen``."""
    return Split(
        name="test",
        train=benchmark.trainval,
        eval_seen=benchmark.test_seen,
        eval_unseen=benchmark.test_unseen,
        seen_classes=benchmark.seen_classes,
        unseen_classes=benchmark.unseen_classes,
    )


def validation_split(benchmark: Benchmark, seed: int, draw: int = 0) -> Split:
    """The validation phase: some seen classes act as unseen; of the others, samples are held out.

    The classes that act as unseen are the benchmark's own validation classes. Where it names none,
    they are drawn by the seed. Their share of the seen classes is then that of the unseen classes
    among all classes, rounded, at least 1 class, with at least 2 left to train on. Unseen classes
    without test samples raise the share to at most a half.

    Args:
        benchmark: The benchmark; only samples of its ``trainval`` are used.
        seed: Draws the validation classes where the benchmark names none, and the held-out samples
            of each class (20 %, rounded, at least one; a class with a single sample keeps it).
        draw: Number of the draw with this seed, from 0. Draw ``k`` takes the ``k``-th set of
            validation classes that the benchmark names; after the last set, classes are drawn, as
            many as the first set has.

    Raises:
        DataError: If fewer than 2 classes would remain to train on, or no sample can be held out.
    """
    rng = np.random.default_rng(seed if draw == 0 else [seed, draw])
    seen, named = benchmark.seen_classes, benchmark.validation_classes
    published = () if named is None else (named, *benchmark.more_validation_classes)
    if draw >= len(published):
        if len(seen) < 3:
            raise DataError(
                f"{benchmark.provenance.origin}: found {len(seen)} seen classes; expected at least "
                "3, to hold one out for validation and train on two. Use a benchmark with more "
                "classes, or selection=last, which needs no validation."
            )
        wanted = _round(_unseen_share(benchmark) * len(seen)) if named is None else len(named)
        count = min(max(wanted, 1), len(seen) - 2)
        unseen = np.sort(rng.choice(seen, count, replace=False))
    else:
        unseen = np.unique(published[draw])
    remaining = np.setdiff1d(seen, unseen)
    if len(remaining) < 2:
        raise DataError(
            f"{benchmark.provenance.origin}: found {len(unseen)} validation classes among "
            f"{len(seen)} seen ones; expected at least 2 other"
            " classes to train on. Use a split file with fewer validation classes, or "
            "selection=last, which needs no validation."
        )
    plays_unseen = np.isin(benchmark.labels[benchmark.trainval], unseen)
    train, eval_seen = hold_out(
        benchmark.trainval[~plays_unseen], benchmark.labels, _VALIDATION_FRACTION, rng
    )
    if len(eval_seen) == 0:
        raise DataError(
            f"{benchmark.provenance.origin}: found one training sample in each class; expected at "
            "least one class with 2, to hold one out for validation. Use a benchmark with more "
            "samples, or selection=last, which needs no validation."
        )
    return Split(
        "validation", train, eval_seen, benchmark.trainval[plays_unseen], remaining, unseen
    )


def _unseen_share(benchmark: Benchmark) -> float:
    seen, unseen = len(benchmark.seen_classes), len(benchmark.unseen_classes)
    tested = unseen - len(benchmark.untested_classes)
    return max(tested / (seen + tested), min(unseen / (seen + unseen), _MOST_UNTESTED_SHARE))


def redraw(benchmark: B, seed: int) -> B:
    """The same benchmark with the same number of unseen classes with samples, drawn by the seed.

    Classes without samples stay unseen. The same share of samples as in the proposed split becomes
    ``test_seen``: of each seen class, rounded, at least one; a class with a single sample keeps it
    for training. If the proposed split has no ``test_seen``, neither has the result.

    Args:
        benchmark: A benchmark with its proposed split.
        seed: Draws the unseen classes and the held-out samples.
    """
    rng = np.random.default_rng(seed)
    tested = np.setdiff1d(benchmark.unseen_classes, benchmark.untested_classes)
    classes = np.union1d(benchmark.seen_classes, tested)
    unseen = rng.choice(classes, len(tested), replace=False)
    samples = np.sort(
        np.concatenate([benchmark.trainval, benchmark.test_seen, benchmark.test_unseen])
    )
    is_unseen = np.isin(benchmark.labels[samples], unseen)
    fraction = len(benchmark.test_seen) / (len(benchmark.trainval) + len(benchmark.test_seen))
    trainval, test_seen = samples[~is_unseen], benchmark.test_seen
    if len(test_seen):
        trainval, test_seen = hold_out(trainval, benchmark.labels, fraction, rng)
    test_unseen = samples[is_unseen]
    provenance = replace(
        benchmark.provenance,
        splits_sha256=sha256_arrays(trainval, test_seen, test_unseen),
        splits_version=f"random, split_seed={seed}",
        sources={},
    )
    return benchmark.with_split(trainval, test_seen, test_unseen, None, provenance)


def split_by_classes(
    benchmark: B,
    unseen: IntArray,
    validation: Sequence[IntArray] = (),
    *,
    version: str,
    test_seen_fraction: float = 0.0,
    seed: int = 0,
) -> B:
    """The same samples with other unseen classes.

    Args:
        benchmark: A benchmark with any split; only samples in a part of it are used.
        unseen: Ids of the unseen classes.
        validation: Sets of seen classes that are held out for tuning, in the order of their use.
        version: Name of the split in results.
        test_seen_fraction: The share of each seen class's samples that becomes ``test_seen``,
            rounded, at least one sample; with 0 all are trained on (conventional zero-shot
            learning).
        seed: Draws the samples of ``test_seen``.

    Raises:
        DataError: As in :class:`~zsl_lab.data.benchmark.Benchmark`.
    """
    parts = (benchmark.trainval, benchmark.test_seen, benchmark.test_unseen)
    samples = np.sort(np.concatenate(parts))
    is_unseen = np.isin(benchmark.labels[samples], unseen)
    trainval, test_seen = samples[~is_unseen], np.zeros(0, dtype=np.int64)
    if test_seen_fraction and len(trainval):
        rng = np.random.default_rng(seed)
        trainval, test_seen = hold_out(trainval, benchmark.labels, test_seen_fraction, rng)
        version += f", {test_seen_fraction:.0%} of each seen class in test_seen"
    test_unseen = samples[is_unseen]
    provenance = replace(
        benchmark.provenance,
        splits_sha256=sha256_arrays(trainval, test_seen, test_unseen),
        splits_version=version,
        sources={},
    )
    first = validation[0] if validation else None
    return benchmark.with_split(
        trainval, test_seen, test_unseen, first, provenance, tuple(validation[1:])
    )


def hold_out(
    index: IntArray, labels: IntArray, fraction: float, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Divide samples, class by class.

    Args:
        index: Sample indices, int64 ``[n]``.
        labels: Class ids of all samples, int64 ``[N]``.
        fraction: The share of each class's samples to hold out, rounded, at least one and never
            all: a class with a single sample keeps it.
        rng: Draws the held-out samples.

    Returns:
        The kept and the held-out sample indices, both sorted.
    """
    held = []
    for class_id in np.unique(labels[index]):
        members = index[labels[index] == class_id]
        count = min(max(_round(fraction * len(members)), 1), len(members) - 1)
        held.append(rng.permutation(members)[:count])
    held_out = np.sort(np.concatenate(held))
    return np.setdiff1d(index, held_out), held_out


def published_validation_classes(
    labels: IntArray,
    class_names: Sequence[str],
    trainval: IntArray,
    train: IntArray,
    val: IntArray,
    train_field: tuple[str, str],
    val_field: tuple[str, str],
) -> IntArray | None:
    """The classes of the published ``val`` samples.

    Only samples in ``trainval`` count: the published fields contain images of ``test_seen``.

    Args:
        labels: Class ids of all samples, int64 ``[N]``.
        class_names: Names of the C classes.
        trainval: 0-based sample indices.
        train: 0-based indices of the published samples to train on in tuning.
        val: 0-based indices of the published samples of the classes held out for tuning.
        train_field: The file and field that ``train`` comes from, for the warning.
        val_field: The file and field that ``val`` comes from.

    Returns:
        Sorted class ids; None, with a warning, where ``train`` and ``val`` share a class or ``val``
        has no training sample.
    """
    classes = np.unique(labels[np.intersect1d(val, trainval)])
    common = np.intersect1d(classes, labels[np.intersect1d(train, trainval)])
    if len(classes) and not len(common):
        return classes
    found = (
        f"class '{class_names[common[0]]}' in both"
        if len(common)
        else f"no training sample in '{val_field[1]}'"
    )
    warnings.warn(
        f"{val_field[0]}: fields '{train_field[1]}' and '{val_field[1]}' are ignored: found "
        f"{found}; expected training samples in each, of different classes."
        " Validation classes are drawn by the seed instead.",
        stacklevel=3,
    )
    return None


def warn_of_one_part(fields: Sequence[tuple[str, str]], present: Sequence[bool]) -> None:
    """Warn if only one of the published ``train`` and ``val`` exists.

    Args:
        fields: The file and field of ``train``, and those of ``val``.
        present: Whether each of the two exists.
    """
    if all(present) or not any(present):
        return
    there, missing = sorted(fields, key=lambda field: not present[fields.index(field)])
    warnings.warn(
        f"{there[0]}: field '{there[1]}' is ignored: found no field '{missing[1]}'; expected both "
        "or none. Validation classes are drawn by the seed instead.",
        stacklevel=3,
    )


def _round(value: float) -> int:
    # half up: Python rounds half to even
    return int(value + 0.5)
