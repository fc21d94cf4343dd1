"""Predictors with random weights, of every method that takes features, without training."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from omegaconf import OmegaConf

from tests.conftest import ENTRIES, SHORT_FIT, composed
from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.data.checks.statistics import ColumnStatistics
from zsl_lab.data.recipe import Recipe
from zsl_lab.data.scaling import Scaler
from zsl_lab.methods.catalogue import without_examples
from zsl_lab.predict.features import FeaturePredictor
from zsl_lab.predict.images import ImagePredictor
from zsl_lab.predict.load import restore
from zsl_lab.run.checkpoints.files import Checkpoint
from zsl_lab.run.checkpoints.state import NOTHING_SPENT, RunState
from zsl_lab.run.config import RunConfig, parse

CLASSES, DIM = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu"), 12
CALIBRATION = 0.25


def samples(count: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(3, 2, (count, DIM)).astype(np.float32)


@cache
def _base() -> Any:
    return OmegaConf.to_container(composed(Path("nowhere"), "method=eszsl"), resolve=True)


def config_of(method: str) -> RunConfig:
    """The configuration of a short run of a method."""
    plain = dict(_base())
    keys = without_examples(ENTRIES[method].settings)
    short = ENTRIES[method].settings.get("short") or {}
    keys |= {k.removeprefix("method."): v for k, v in short.items() if k.startswith("method.")}
    config = {**plain, "method": keys, "task": "predict", "ckpt": "nowhere/checkpoints/best.ckpt"}
    return parse(OmegaConf.create(config))


def predictor(method: str, normalize: Any = "standard") -> FeaturePredictor:
    """A predictor with random weights, seven classes, two of them unseen, and a calibration."""
    config = config_of(method)
    features = samples(50, seed=0)
    semantics = np.random.default_rng(2).random((len(CLASSES), DIM)).astype(np.float32)
    of_semantics = Scaler.fit("l2", semantics)
    ids, seen = np.arange(len(CLASSES)), np.arange(len(CLASSES)) < 5
    scaled = of_semantics.apply(torch.from_numpy(semantics)).numpy()
    space = ClassSpace(ids, scaled, seen, CLASSES)
    network = config.method_class.empty_for_checkpoint(config.method, DIM, space)
    generator = torch.Generator().manual_seed(0)
    weights = {
        # of a usual size; statistics of batch norm are positive
        name: torch.rand(t.shape, generator=generator) * 0.2 + 0.02 if t.is_floating_point() else t
        for name, t in network.state_dict().items()
    }
    data = {
        "benchmark": "toy",
        "classes": {
            "names": list(CLASSES),
            "ids": torch.from_numpy(ids),
            "seen": torch.from_numpy(seen),
            "descriptions": [],
            "semantics": torch.from_numpy(semantics),
            "semantics_scaler": of_semantics.state(),
        },
        "scaler": Scaler.fit(normalize, features).state(),
        "feature_dim": DIM,
        "feature_statistics": ColumnStatistics.of(features).state(),
        "recipe": Recipe().model_dump(),
    }
    found = restore(config, _checkpoint(config, weights, data))
    assert isinstance(found, FeaturePredictor)
    return found


def image_predictor(method: str) -> ImagePredictor:
    """A predictor of images of digits with its initial weights, three classes of texts."""
    config = parse(
        composed(Path("nowhere"), f"method={method}", *SHORT_FIT[method], "task=predict")
    )
    config = config.model_copy(update={"ckpt": Path("nowhere/checkpoints/best.ckpt")})
    texts = ("a small black ant", "a striped bee", "a grey cat")
    ids, seen = np.arange(3), np.arange(3) < 2
    space = ClassSpace(ids, np.zeros((3, 0), np.float32), seen, CLASSES[:3], texts)
    channels = config.dataset.image_view().channels
    network = config.method_class.empty_for_checkpoint(config.method, channels, space)
    classes = {
        "names": list(CLASSES[:3]),
        "ids": torch.from_numpy(ids),
        "seen": torch.from_numpy(seen),
        "descriptions": list(texts),
    }
    data = {"benchmark": "pictures", "classes": classes}
    found = restore(config, _checkpoint(config, network.state_dict(), data))
    assert isinstance(found, ImagePredictor)
    return found


def _checkpoint(config: RunConfig, weights: Any, data: dict[str, Any]) -> Checkpoint:
    metrics = {"zsl_top1": 50.0, "harmonic_mean": 40.0, "ausuc": float("nan")}
    state = RunState(
        config.plain, "refit", 3, CALIBRATION, metrics, NOTHING_SPENT, "0" * 64, "1" * 64,
        reported=True,
    )  # fmt: skip
    assert config.ckpt is not None
    return Checkpoint(config.ckpt, state, 3, weights, {"data": data})


def fit_classifier(model: FeaturePredictor, name: str) -> None:
    """Give a predictor's network a classifier that is fitted to a few samples."""
    keys = classifier_keys(name)
    plain = {**config_of(model.method).plain, "classifier": keys}
    config = parse(OmegaConf.create({**plain, "task": "fit", "ckpt": None}))
    classifier = config.classifier_class(config.classifier, model._space, 0)
    inputs = model._scaler.apply(torch.from_numpy(samples(20)))
    batch = Batch(inputs, torch.arange(20) % 5, torch.arange(20))
    data = SimpleNamespace(training_batches=lambda device, shard=None: [batch])
    with torch.no_grad():
        classifier.fit(model.network, cast("Any", data))
    model.network.classifier = classifier


def classifier_keys(name: str) -> dict[str, Any]:
    """The section ``classifier`` of a configuration, for a quick fit."""
    path = files("zsl_lab.conf").joinpath("classifier", f"{name}.yaml")
    keys = cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.load(str(path))))
    return keys | {key: 5 for key in ("steps", "samples", "batch_size") if key in keys}
