"""Half precision of extracted features: by autocast on the CPU, and on a GPU where there is one."""

from __future__ import annotations

from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.extraction import TERMS, backbone
from tests.helpers.pretrained import hf_model, open_clip_model
from zsl_lab.data.recipe import ImageRecipe
from zsl_lab.extraction import features
from zsl_lab.extraction.backbones import BaseNetwork
from zsl_lab.extraction.features import extract_features
from zsl_lab.extraction.pretrained.network import PooledNetwork
from zsl_lab.extraction.recipes import Backbone, build_backbone, default_sizes

#: networks of every family with a prefix, and the package that each takes
FAMILIES = {
    "timm:test_resnet": "timm",
    "timm:test_vit": "timm",
    "torchvision:squeezenet1_1": "torchvision",
    "open_clip": "open_clip",
    "hf:clip": "transformers",
    "hf:siglip": "transformers",
    "hf:dinov2": "transformers",
}


def built(family: str, folder: Path) -> tuple[Backbone, ImageRecipe]:
    """A tiny network of a family with random weights."""
    package = FAMILIES[family]
    if find_spec(package) is None:
        pytest.skip(f"needs {package}")
    name, weights = family, "random"
    if package == "open_clip":
        name, weights = f"open_clip:tiny-clip/{open_clip_model(folder)[1]}", "imagenet"
    elif package == "transformers":
        hf_model(family.removeprefix("hf:"), folder)
        name, weights = f"hf:{folder}", "imagenet"
    size = 64 if package in ("timm", "torchvision") and "vit" not in name else None
    return build_backbone(name, weights, *default_sizes(name, None, size, TERMS), TERMS)


def precision_of(kind: type[PooledNetwork | BaseNetwork], device: str) -> object:
    mean = SimpleNamespace(device=torch.device(device))
    network: Any = SimpleNamespace(mean=mean, half_precision=kind.half_precision)
    return features._precision(network)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of each pair of rows."""
    found: np.ndarray = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return found


def assert_nearly_single(half: np.ndarray, single: np.ndarray) -> None:
    assert half.dtype == single.dtype == np.float32
    assert np.isfinite(half).all()
    assert cosines(half, single).min() >= 0.999
    # with random weights the features of two images are close to each other too
    errors = np.linalg.norm(half - single, axis=1)
    assert errors.max() < 0.1 * np.linalg.norm(single[0] - single[1])
    # or half precision was not taken
    assert not np.array_equal(half, single)


@pytest.mark.parametrize("family", FAMILIES)
def test_features_in_half_precision_are_float32_and_nearly_those_in_single(
    family: str, photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, recipe = built(family, tmp_path)
    single = extract_features(photographs, network, recipe).features
    assert network.half_precision
    monkeypatch.setattr(features, "_precision", lambda _: torch.autocast("cpu", torch.bfloat16))
    assert_nearly_single(extract_features(photographs, network, recipe).features, single)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("family", FAMILIES)
def test_features_on_a_gpu_are_nearly_those_of_the_cpu(
    family: str, photographs: list[Path], tmp_path: Path
) -> None:
    network, recipe = built(family, tmp_path)
    single = extract_features(photographs, network, recipe).features
    found = extract_features(photographs, network.to("cuda"), recipe).features
    assert_nearly_single(found, single)


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_on_a_gpu_networks_with_a_prefix_alone_compute_in_half_precision(
    has_bfloat16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bfloat16)
    monkeypatch.setattr(torch, "autocast", lambda *given: given)
    dtype = torch.bfloat16 if has_bfloat16 else torch.float16
    assert precision_of(PooledNetwork, "cuda") == ("cuda", dtype)
    assert isinstance(precision_of(PooledNetwork, "cpu"), nullcontext)
    assert isinstance(precision_of(BaseNetwork, "cuda"), nullcontext)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_features_on_a_gpu_of_a_network_without_a_prefix_are_those_of_the_cpu(
    weights: Path, photographs: list[Path]
) -> None:
    network, recipe = backbone(weights)
    single = extract_features(photographs, network, recipe).features
    found = extract_features(photographs, network.to("cuda"), recipe).features
    # TF32, which convolutions may take, keeps 10 bits of the mantissa
    np.testing.assert_allclose(found, single, atol=2e-3 * float(np.abs(single).max()))
