"""Whole runs with attention among classes: what tests/contract checks with the default settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

import zsl_lab
from tests.conftest import SHORT_FIT, Finished
from tests.helpers.equal_runs import assert_resumed_equals_whole
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.predict.features import FeaturePredictor
from zsl_lab.run.config import parse

Configure = Callable[..., DictConfig]
OVERRIDES = ("method=aspn", *SHORT_FIT["aspn"], "method.attend_among=classes")


def test_a_crashed_run_ends_in_the_same_weights_after_resuming(
    configure: Configure, finished: Finished
) -> None:
    assert_resumed_equals_whole(configure, finished(*OVERRIDES), OVERRIDES, ("refit", 10))


def test_a_new_class_described_as_an_unseen_one_gets_its_scores(
    configure: Configure, finished: Finished, tmp_path: Path
) -> None:
    predictor = zsl_lab.load(finished(*OVERRIDES))
    assert isinstance(predictor, FeaturePredictor)
    benchmark = parse(configure(*OVERRIDES)).dataset.load(DataPaths(tmp_path, tmp_path))
    features = benchmark.features[benchmark.test_unseen[:20]]
    whole = predictor.predict(features)
    own = predictor.predict(features, among="unseen")
    columns = [whole.names.index(name) for name in own.names]
    # the calibration constant is added only where seen classes are candidates
    added = whole.scores[:, columns] - own.scores
    np.testing.assert_allclose(added, added[0, 0], rtol=1e-3, atol=1e-5)
    new = {f"new {name}": benchmark.semantics[int(name)] for name in own.names}
    found = predictor.predict(features, new)
    np.testing.assert_allclose(found.scores, own.scores, rtol=1e-4, atol=1e-5)
    alone = predictor.predict(features[:1], new)
    np.testing.assert_allclose(alone.scores, found.scores[:1], rtol=1e-4, atol=1e-5)
