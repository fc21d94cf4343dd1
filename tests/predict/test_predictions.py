"""Classes and scores of samples."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.predict import Load
from zsl_lab.data.benchmark import FeatureBenchmark
from zsl_lab.errors import ConfigError
from zsl_lab.predict.predictions import Predictions


def test_of_equal_scores_a_seen_class_comes_first() -> None:
    found = Predictions(
        ("a", "b", "c", "d"),
        ("unseen", "seen", "seen", "new"),
        np.array([[1, 1, 1, 0], [2, 1, 1, 2]], np.float32),
    )
    assert found.predicted == ["b", "a"]
    assert found.top(2) == [[("b", 1.0), ("c", 1.0)], [("a", 2.0), ("d", 2.0)]]
    assert [name for name, _ in found.top(9)[0]] == ["b", "c", "a", "d"]


def test_the_best_none_of_the_classes_are_refused(load: Load, digits: FeatureBenchmark) -> None:
    for k in (0, -1, 1.5):
        with pytest.raises(ConfigError, match=rf"^k={k}: expected a whole number of at least 1\.$"):
            load("sgal").predict(digits.features[:2]).top(k)
