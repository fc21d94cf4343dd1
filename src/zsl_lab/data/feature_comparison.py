"""Compares two sets of features of the same images: cosines, and accuracies of classifiers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import IntArray

Array = npt.NDArray[np.floating]

#: two vectors of an image count as equal where their cosine is larger
EQUAL_COSINE = 0.99
#: share of images with equal vectors from which on two files count as having the same features
_SAME_SHARE = 0.99
#: vectors with a larger cosine have the same direction but for rounding
_VERY_SAME = 1 - 1e-6
#: maximum number of rows that a sentence names
_SHOWN = 5
#: features are similar if their median cosine is at least the first, and their accuracies differ by
#: at most the second, in percentage points
_SIMILAR_COSINE, _POINTS = 0.95, 2.0
#: largest relative difference of norms that is not mentioned
_SCALED = 0.01
#: ridge penalty of the linear probe, for features of variance 1
_RIDGE = 0.1
_BLOCK = 1024
#: number of images without an equal vector that are searched for in other rows, and the share to be
#: found there for the rows to count as permuted
_LOOKED_FOR, _FOUND_SHARE = 256, 0.9


@dataclass(frozen=True)
class Agreement:
    """The agreement of two sets of vectors of the same images.

    Attributes:
        least: The smallest cosine.
        median: The median cosine.
        equal: Share of images whose cosine is above :data:`EQUAL_COSINE`.
        scale: Median ratio of the norms, second over first.
        others: Indices of the images whose vectors are not equal, if most vectors have the same
            direction up to rounding; else empty.
        scales: The smallest and largest ratio of the norms, where it varies; else None.
        permuted: Whether the vectors of the second file are those of the first in another order.
    """

    least: float
    median: float
    equal: float
    scale: float
    others: tuple[int, ...] = ()
    scales: tuple[float, float] | None = None
    permuted: bool = False


@dataclass(frozen=True)
class Accuracies:
    """Mean per-class top-1 accuracy, in percent, of two classifiers of the seen classes.

    Attributes:
        linear_probe: Accuracy of a ridge regression from features to one-hot classes.
        nearest_neighbour: Accuracy of the class of the nearest training image by cosine.
    """

    linear_probe: float
    nearest_neighbour: float


def agreement(a: Array, b: Array) -> Agreement:
    """Compare the vectors of the same images.

    Args:
        a: ``[N, D]``; no row is zero.
        b: ``[N, D]``, with the images in the same order; no row is zero.
    """
    norms = [np.linalg.norm(part.astype(np.float64), axis=1) for part in (a, b)]
    products = np.einsum("nd,nd->n", a.astype(np.float64), b.astype(np.float64))
    cosines = products / (norms[0] * norms[1])
    most = np.median(cosines) > _VERY_SAME
    others = np.flatnonzero(cosines <= EQUAL_COSINE)
    ratios = norms[1] / norms[0]
    low, high, scale = float(ratios.min()), float(ratios.max()), float(np.median(ratios))
    return Agreement(
        float(cosines.min()),
        float(np.median(cosines)),
        float((cosines > EQUAL_COSINE).mean()),
        scale,
        tuple(others.tolist()) if most else (),
        (low, high) if high - low > _SCALED * scale else None,
        not most and len(others) > 1 and _elsewhere(a[others], b) >= _FOUND_SHARE,
    )


def _elsewhere(wanted: Array, rows: Array) -> float:
    """The share of (a sample of) the wanted vectors whose direction occurs among the rows."""
    step = -(-len(wanted) // _LOOKED_FOR)
    x = wanted[::step].astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    best = np.zeros(len(x))
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK].astype(np.float64)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        best = np.maximum(best, (x @ block.T).max(1))
    return float((best > _VERY_SAME).mean())


def accuracies(features: Array, labels: IntArray, train: IntArray, test: IntArray) -> Accuracies:
    """The accuracies of two classifiers fitted on some samples and tested on others.

    Args:
        features: ``[N, D]``.
        labels: Class ids, ``[N]``.
        train: Indices of the training samples.
        test: Indices of the test samples; all their classes have training samples.
    """
    x, y = features[train].astype(np.float64), labels[train]
    z, truth = features[test].astype(np.float64), labels[test]
    return Accuracies(
        _per_class(_linear_probe(x, y, z), truth), _per_class(_nearest(x, y, z), truth)
    )


def _linear_probe(x: Array, y: IntArray, z: Array) -> IntArray:
    """Ridge regression from standardised features to one-hot classes."""
    mean, scale = x.mean(0), x.std(0)
    scale[scale == 0] = 1
    x, z = (x - mean) / scale, (z - mean) / scale
    classes, targets = np.unique(y, return_inverse=True)
    one_hot = np.eye(len(classes))[targets]
    share = one_hot.mean(0)
    gram = x.T @ x / len(x) + _RIDGE * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x.T @ (one_hot - share) / len(x))
    found: IntArray = classes[(z @ weights + share).argmax(1)]
    return found


def _nearest(x: Array, y: IntArray, z: Array) -> IntArray:
    """The class of the training sample with the largest cosine."""
    x, z = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (x, z))
    blocks = (z[start : start + _BLOCK] for start in range(0, len(z), _BLOCK))
    return np.concatenate([y[(block @ x.T).argmax(1)] for block in blocks])


def _per_class(predicted: IntArray, truth: IntArray) -> float:
    recalls = [(predicted[truth == c] == c).mean() for c in np.unique(truth)]
    return 100 * float(np.mean(recalls))


def verdict(found: Agreement | None, a: Accuracies | None, b: Accuracies | None) -> str:
    """A sentence on whether two files hold the same features, and on what to do.

    Args:
        found: None where the vectors have different dimensions.
        a: Accuracies of the first file; None where there are no labels.
        b: Accuracies of the second file; None where there are no labels.
    """
    if found is None:
        return (
            "Different features: the dimensions differ, so another network or layer made them. "
            "Metrics on one file say nothing about metrics on the other."
        )
    if found.others:
        shown = ", ".join(map(str, found.others[:_SHOWN]))
        more = ", ..." if len(found.others) > _SHOWN else ""
        count = len(found.others)
        rows = f"{count:,} image{'s' if count > 1 else ''} (row {shown}{more}, 0-based)"
        return (
            f"The same features but for {rows}. The likely cause: other pictures or labels there, "
            "or rows in another order. Extract these again, or find out which file is right."
        )
    if found.permuted:
        return (
            "The same vectors in another order of rows. Labels of one file are wrong for the "
            "other: put the rows in one order, or give files that name their images."
        )
    if found.equal >= _SAME_SHARE and found.scales is not None and found.median > _VERY_SAME:
        low, high = found.scales
        return (
            f"The same directions, but each image has a length of its own (factors {low:.4g} to "
            f"{high:.4g}), as where vectors were scaled to length 1: metrics on one file hold for "
            "the other with dataset.normalize=l2 only."
        )
    if found.equal >= _SAME_SHARE:
        scaled = abs(found.scale - 1) > _SCALED
        but = f", but for their scale (factor {found.scale:.4g})" if scaled else ""
        return f"The same features{but}: metrics on one file hold for the other."
    agree = a is not None and b is not None and _points_apart(a, b) <= _POINTS
    if found.median >= _SIMILAR_COSINE and (agree or a is None):
        learnt = "; as much can be learnt from both" if agree else ""
        return (
            f"Similar features, not the same{learnt}. The likely cause: the same network with "
            "another preparation of images (decoder, resizing, crop) or other weights of it. "
            "Metrics may differ by more than methods do."
        )
    return (
        "Different features: another network, layer or preparation made them, or the rows are of "
        "other images. Metrics on one file say nothing about metrics on the other."
    )


def _points_apart(a: Accuracies, b: Accuracies) -> float:
    return max(abs(a.linear_probe - b.linear_probe), abs(a.nearest_neighbour - b.nearest_neighbour))
