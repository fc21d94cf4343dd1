"""Small data with a known answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from zsl_lab.estimator.classifier import ZeroShotClassifier

#: a closed form, so that a fit takes a fifth of a second
QUICK: dict[str, Any] = {
    "method": "eszsl",
    "selection": "last",
    "gammas": [1.0],
    "lambdas": [1.0],
    "dataset.normalize_semantics": "none",
}


@dataclass(frozen=True)
class Birds:
    """Samples around a linear map of the semantics; ``kite`` and ``wren`` have none to train on."""

    semantics: dict[str, npt.NDArray[Any]]
    X: npt.NDArray[Any]
    y: npt.NDArray[Any]
    X_unseen: npt.NDArray[Any]
    y_unseen: npt.NDArray[Any]


@pytest.fixture(scope="session")
def birds() -> Birds:
    rng = np.random.default_rng(0)
    names = ["wren", "crow", "duck", "gull", "hawk", "kite", "lark", "swan", "ibis", "kiwi"]
    semantics = {name: rng.normal(size=3) for name in names}
    weights = rng.normal(size=(3, 6))
    y = np.repeat(names, 12)
    X = np.stack([semantics[name] @ weights for name in y]) + rng.normal(0, 0.1, (len(y), 6))
    unseen = np.isin(y, ["wren", "kite"])
    return Birds(semantics, X[~unseen], y[~unseen], X[unseen], y[unseen])


@pytest.fixture(scope="session")
def trained(birds: Birds) -> ZeroShotClassifier:
    """An estimator that knows the birds; do not change it."""
    return ZeroShotClassifier(**QUICK).fit(birds.X, birds.y, birds.semantics)
