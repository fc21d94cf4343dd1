"""Probes of a benchmark file before any method is trained on it, in closed form.

Features: a logistic regression on ``trainval``, tested on ``test_seen``. Semantics: a ridge
regression from the semantics of the seen classes to the means of their whitened features says where
the unseen classes should be; the nearest by cosine among them counts. Accuracies are averaged over
classes.

    python experiments/own_images/probe.py FILE.h5 [KIND]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from zsl_lab.data.files import benchmark_file as hdf5
from zsl_lab.data.splits import redraw

DRAWS = 10
#: both regularise; figures on the flowers differ by a point for three times as much or as little
SHRINKAGE = RIDGE = 0.3

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def per_class(predicted: Ints, labels: Ints) -> float:
    """Accuracy per class in percent, averaged over the classes of the labels."""
    return 100 * float(
        np.mean(
            [(predicted[labels == class_id] == class_id).mean() for class_id in np.unique(labels)]
        )
    )


def seen_accuracy(features: Floats, labels: Ints, train: Ints, test: Ints) -> float:
    """Accuracy of a logistic regression."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=200))
    return per_class(
        probe.fit(features[train], labels[train]).predict(features[test]), labels[test]
    )


def unseen_accuracy(
    features: Floats, semantics: Floats, labels: Ints, train: Ints, test: Ints
) -> float:
    """Accuracy of a ridge regression from semantics to class means, among unseen classes."""
    seen, unseen = np.unique(labels[train]), np.unique(labels[test])
    z = StandardScaler().fit(features[train]).transform(features)
    means = np.stack([z[train][labels[train] == class_id].mean(0) for class_id in seen])
    within = np.cov(
        (z[train] - means[np.searchsorted(seen, labels[train])]).T
    ) + SHRINKAGE * np.eye(z.shape[1])
    whiten = np.linalg.inv(np.linalg.cholesky(within)).T
    centre = means.mean(0)
    targets, samples = (means - centre) @ whiten, (z[test] - centre) @ whiten
    s = unit(semantics - semantics[seen].mean(0))
    weights = np.linalg.solve(s[seen] @ s[seen].T + RIDGE * np.eye(len(seen)), targets)
    expected = s[unseen] @ s[seen].T @ weights
    return per_class(unseen[(unit(samples) @ unit(expected).T).argmax(1)], labels[test])


def unit(rows: Floats) -> Floats:
    """Rows of length 1."""
    unit_rows: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit_rows


def main() -> None:
    """Print both accuracies, the second also for other draws of the unseen classes."""
    content = hdf5.read(Path(sys.argv[1]))
    kind = (
        sys.argv[2] if len(sys.argv) > 2 else content.default_kind or next(iter(content.semantics))
    )
    given = content.benchmark(kind)
    features, semantics = given.features.astype(np.float64), given.semantics.astype(np.float64)
    seen = seen_accuracy(features, given.labels, given.trainval, given.test_seen)
    print(
        f"features:  {seen:.1f} % of {len(given.test_seen):,} test images of "
        f"{len(given.seen_classes)} seen classes"
    )
    found = [
        unseen_accuracy(features, semantics, b.labels, b.trainval, b.test_unseen)
        for b in (given, *(redraw(given, k) for k in range(DRAWS)))
    ]
    count = len(given.unseen_classes)
    print(
        f"semantics ({kind}): {found[0]:.1f} % among {count} unseen classes (chance "
        f"{100 / count:.0f})"
    )
    print(
        f"           {np.mean(found[1:]):.1f} ± {np.std(found[1:], ddof=1):.1f} % among as many of "
        f"{DRAWS} draws"
    )


if __name__ == "__main__":
    main()
