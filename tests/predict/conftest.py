"""Predictors of short runs, and the digits as samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zsl_lab
from tests.conftest import OF_IMAGES, SHORT_FIT, composed
from tests.helpers.predict import Load, ShortRun
from zsl_lab.data.benchmark import ImageBenchmark, VectorBenchmark
from zsl_lab.predict.command import predict
from zsl_lab.predict.predictions import Prediction
from zsl_lab.predict.predictor import Predictor
from zsl_lab.run.config import parse


@pytest.fixture(scope="module")
def load(short_run: ShortRun) -> Load:
    """The predictor of a method's short run, loaded once."""
    loaded: dict[str, Predictor] = {}
    return lambda method: loaded.setdefault(method, zsl_lab.load(short_run(method)))


@pytest.fixture(scope="module")
def digits() -> VectorBenchmark:
    return parse(composed(Path("run"), "method=mmvae")).dataset.load(None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pictures() -> ImageBenchmark:
    return parse(composed(Path("run"), "method=n3")).dataset.load_images(None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def samples(digits: VectorBenchmark, pictures: ImageBenchmark) -> Callable[[str, Any], Any]:
    """Samples of the digits as a method takes them."""
    return lambda method, index: (pictures.images if method in OF_IMAGES else digits.features)[
        index
    ]


@pytest.fixture
def attributes(digits: VectorBenchmark) -> dict[str, Any]:
    """The columns of a table of the unseen digits."""
    rows = digits.semantics[[2, 4, 5]]
    return {name: rows[:, i].tolist() for i, name in enumerate(digits.recipe.attributes)}


@pytest.fixture(scope="module")
def vectors() -> VectorBenchmark:
    return parse(composed(Path(), "method=sgal")).dataset.load(None)  # type: ignore[arg-type]


@pytest.fixture
def of_features(
    short_run: Callable[[str], Path], vectors: VectorBenchmark, tmp_path: Path
) -> Callable[..., Prediction]:
    """Predict forty unseen digits with a short run, unless other keys are given."""

    def of_features(
        features: Path | None = None, *overrides: str, out: str = "out", method: str = "sgal"
    ) -> Prediction:
        if features is None:
            features = tmp_path / "features.npy"
            np.save(features, vectors.features[vectors.test_unseen[:40]])
        cfg = composed(
            tmp_path / out, f"method={method}", *SHORT_FIT[method], "task=predict", *overrides
        )
        cfg.ckpt, cfg.features = str(short_run(method)), str(features) if features.name else None
        return predict(cfg)

    return of_features
