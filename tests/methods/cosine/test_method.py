from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import composed
from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.errors import ConfigError
from zsl_lab.methods.cosine import Cosine
from zsl_lab.run.config import parse

SEEN = np.array([True, False, True])


def method(feature_dim: int, semantics: Any) -> Cosine:
    config: Any = parse(composed(Path("run"), "method=cosine")).method
    return Cosine(config, feature_dim, ClassSpace(np.arange(3), semantics, SEEN, tuple("abc")))


def cosine(x: Any, a: Any) -> float:
    return float(sum(x * a) / (sum(x * x) ** 0.5 * sum(a * a) ** 0.5))


@pytest.mark.slow
def test_scores_are_cosines_and_the_loss_is_that_of_the_own_class() -> None:
    rng = np.random.default_rng(0)
    features, semantics = rng.normal(size=(4, 5)), rng.normal(size=(3, 5))
    labels = [0, 2, 2, 0]
    expected = [[cosine(x, a) for a in semantics] for x in features]
    found = method(5, semantics.astype(np.float32))
    x = torch.as_tensor(features, dtype=torch.float32)
    np.testing.assert_allclose(found.class_scores(x), expected, atol=1e-6)
    loss = found.train_on(Batch(x, torch.tensor(labels), torch.arange(4)))["total"]
    own = [row[label] for row, label in zip(expected, labels, strict=True)]
    assert float(loss) == pytest.approx(1 - np.mean(own), rel=1e-5)
    assert not list(found.parameters())


def test_features_and_semantics_have_as_many_dimensions() -> None:
    with pytest.raises(ConfigError, match=r"features of 6 dimensions and class semantics of 5;"):
        method(6, np.zeros((3, 5), np.float32))
