"""Whether two files of features hold the same ones: cosines per image, and what can be learnt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import IntArray

Array = npt.NDArray[np.floating]

#: two vectors of an image with a larger cosine count as equal
EQUAL_COSINE = 0.99
#: share of images with equal vectors from which on two files are said to hold the same features
_SAME_SHARE = 0.99
#: cosine from which on two vectors have the same direction but for rounding
_VERY_SAME = 1 - 1e-6
#: how many rows a sentence names
_SHOWN = 5
#: median cosine from which on features are similar, if accuracies agree within so many points
_SIMILAR_COSINE, _POINTS = 0.95, 2.0
#: relative difference of norms from which on it is mentioned
_SCALED = 0.01
#: ridge of the linear probe, where features have variance 1
_RIDGE = 0.1
_BLOCK = 1024


@dataclass(frozen=True)
class Agreement:
    """How the vectors of the same images agree.

    Attributes:
        least: The smallest cosine.
        median: The median cosine.
        equal: Share of images whose cosine is above :data:`EQUAL_COSINE`.
        scale: Median ratio of the norms, second over first.
        others: Indices of the other images, where most have the very same direction; else none.
    """

    least: float
    median: float
    equal: float
    scale: float
    others: tuple[int, ...] = ()


@dataclass(frozen=True)
class Accuracies:
    """Mean per-class top-1 in percent of classifiers of the seen classes.

    Attributes:
        linear_probe: Of a ridge regression to the classes.
        nearest_neighbour: Of the class of the training image with the largest cosine.
    """

    linear_probe: float
    nearest_neighbour: float


def agreement(a: Array, b: Array) -> Agreement:
    """Compare the vectors of the same images.

    Args:
        a: ``[N, D]``; no row is zero.
        b: Likewise, rows in the same order.
    """
    norms = [np.linalg.norm(part.astype(np.float64), axis=1) for part in (a, b)]
    products = np.einsum("nd,nd->n", a.astype(np.float64), b.astype(np.float64))
    cosines = products / (norms[0] * norms[1])
    most = np.median(cosines) > _VERY_SAME
    return Agreement(
        float(cosines.min()),
        float(np.median(cosines)),
        float((cosines > EQUAL_COSINE).mean()),
        float(np.median(norms[1] / norms[0])),
        tuple(np.flatnonzero(cosines <= EQUAL_COSINE).tolist()) if most else (),
    )


def accuracies(features: Array, labels: IntArray, train: IntArray, test: IntArray) -> Accuracies:
    """Classify test samples by training samples.

    Args:
        features: ``[N, D]``.
        labels: Class ids, ``[N]``.
        train: Indices of the training samples.
        test: Indices of the test samples, of classes that train.
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
    """What follows, as a sentence.

    Args:
        found: None where the vectors have different dimensions.
        a: Accuracies of the first file; None where there are no labels.
        b: Those of the second.
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
