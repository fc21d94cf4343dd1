"""ONNX files of ``features -> scores``, run by onnxruntime and compared with PyTorch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import numpy as np
import onnxruntime
import pytest
import torch

from tests.conftest import ENTRIES, OF_FEATURES
from tests.helpers.untrained import CLASSES, fit_classifier, predictor, samples
from zsl_lab.data.normalization import Normalization
from zsl_lab.data.scaling import Scaler
from zsl_lab.errors import ConfigError
from zsl_lab.predict.features import FeaturePredictor
from zsl_lab.predict.images import ImagePredictor
from zsl_lab.sharing import onnx

#: what the class of a method decides is tested once a class
ONCE_A_CLASS = [name for name in OF_FEATURES if not ENTRIES[name].variant]


def scored(path: Path, features: Any) -> Any:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["scores"], {"features": features})[0]


def assert_same_scores(path: Path, model: FeaturePredictor, features: Any, **among: Any) -> None:
    expected = model.predict(features, **among).scores
    found = scored(path, features)
    assert found.dtype == np.float32
    # to 1e-5 of the largest score: they have no common scale
    largest = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found / largest, expected / largest, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ONCE_A_CLASS)
def test_scores_are_those_of_pytorch(method: str, tmp_path: Path) -> None:
    model = predictor(method)
    model.export_onnx(tmp_path / "model.onnx")
    for count in (1, 9):  # the number of rows is free
        assert_same_scores(tmp_path / "model.onnx", model, samples(count))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", get_args(Normalization))
def test_scaling_is_in_the_graph(kind: Normalization, tmp_path: Path) -> None:
    model = predictor("ale", normalize=kind)
    model.export_onnx(tmp_path / "model.onnx")
    assert_same_scores(tmp_path / "model.onnx", model, samples(20))


@pytest.mark.filterwarnings("ignore")
def test_candidates_and_metadata(tmp_path: Path) -> None:
    model, vector = predictor("eszsl"), np.linspace(0, 1, 12)
    path = model.export_onnx(tmp_path / "new.onnx", {"yak": vector}, among="all")
    assert_same_scores(path, model, samples(4), classes={"yak": vector}, among="all")
    metadata = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == [*CLASSES, "yak"]
    assert json.loads(metadata["kinds"]) == ["seen"] * 5 + ["unseen"] * 2 + ["new"]
    assert (metadata["method"], metadata["dataset"]) == ("eszsl", "toy")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("classifier", ["means", "softmax", "zlap"])
def test_classifiers_are_exported(classifier: str, tmp_path: Path) -> None:
    model = predictor("mmvae")
    fit_classifier(model, classifier)
    model.export_onnx(tmp_path / "model.onnx")
    assert_same_scores(tmp_path / "model.onnx", model, samples(6))


def test_a_method_of_images_is_refused(tmp_path: Path) -> None:
    of_images = cast("Any", SimpleNamespace(method="n3"))
    with pytest.raises(ConfigError, match=r"method=n3 takes images .*task=predict"):
        ImagePredictor.export_onnx(of_images, tmp_path / "model.onnx")


class _Odd(torch.nn.Module):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = torch.linalg.eigvals(features.T @ features).real
        return values[None].expand(len(features), -1)


def test_an_operation_that_onnx_lacks_is_named(tmp_path: Path) -> None:
    rows = torch.rand(4, 3)
    scores = onnx.Scores(_Odd(), Scaler.fit("none", rows.numpy()), 0.0)
    with pytest.raises(
        ConfigError, match=r"^method=odd: PyTorch cannot export it to ONNX .*eigvals"
    ):
        onnx.export(scores, 3, tmp_path / "odd.onnx", {}, "method=odd")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r'pip install "zsl-lab\[onnx\]"'):
        predictor("eszsl").export_onnx(tmp_path / "model.onnx")
