"""Networks of torchvision with their own preprocessing: features, weights, messages."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.extraction import TERMS
from tests.helpers.packages import skip_without
from zsl_lab.errors import CheckpointError, ConfigError
from zsl_lab.extraction.features import extract_features
from zsl_lab.extraction.recipes import build_backbone, default_sizes, load_backbone

skip_without("torchvision", "images")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("squeezenet1_1", "classifier"),
        ("shufflenet_v2_x0_5", "fc"),
        ("mobilenet_v3_small", "classifier.3"),
        ("mnasnet0_5", "classifier.1"),
    ],
)
def test_features_are_what_the_last_layer_reads(
    name: str, head: str, photographs: list[Path], tmp_path: Path
) -> None:
    from torchvision import models

    torch.manual_seed(0)
    network: Any = models.get_model(name).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    built, recipe = build_backbone(
        f"torchvision:{name}", str(tmp_path / "weights.pth"), 36, 32, TERMS
    )
    transform = models.get_model_weights(name).DEFAULT.transforms(resize_size=36, crop_size=32)
    read: list[Any] = []
    network.get_submodule(head).register_forward_pre_hook(lambda _, given: read.append(given[0]))
    with torch.no_grad():
        network(torch.stack([transform(Image.open(file)) for file in photographs]))
    expected = read[0].mean((2, 3)) if read[0].ndim == 4 else read[0]
    found = extract_features(photographs, built, recipe).features
    np.testing.assert_allclose(found, expected, atol=0.03 * float(expected.abs().max()))
    np.testing.assert_array_equal(
        extract_features(photographs, load_backbone(recipe), recipe).features, found
    )


@pytest.mark.parametrize(
    ("name", "image_size", "sizes"),
    [
        ("resnet50", None, (256, 224)),
        ("resnet50.IMAGENET1K_V2", None, (232, 224)),
        ("resnet50", 112, (128, 112)),
        ("vit_h_14", None, (518, 518)),
    ],
)
def test_sizes_are_those_of_the_weights(
    name: str, image_size: int | None, sizes: tuple[int, int]
) -> None:
    assert default_sizes(f"torchvision:{name}", None, image_size, TERMS) == sizes


@pytest.mark.slow
@pytest.mark.parametrize("name", ["googlenet", "densenet121"])
def test_random_weights_are_always_the_same(name: str) -> None:
    network, recipe = build_backbone(f"torchvision:{name}", "random", 32, 32, TERMS)
    assert (recipe.weights, recipe.weights_path) == ("random", None)
    assert network.feature_dim == 1024
    load_backbone(recipe)


@pytest.mark.slow
def test_published_names_of_densenets_layers_are_read(tmp_path: Path) -> None:
    from torchvision import models

    state = models.get_model("densenet121").state_dict()
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])")
    torch.save({old.sub(r"\1.\2", key): value for key, value in state.items()}, tmp_path / "x.pth")
    network, _ = build_backbone("torchvision:densenet121", str(tmp_path / "x.pth"), 32, 32, TERMS)
    key = "features.denseblock1.denselayer1.norm1.weight"
    assert torch.equal(network.state_dict()[f"model.{key}"], state[key])


@pytest.mark.slow
def test_published_weights_are_named_with_their_tag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import models

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    url = models.get_model_weights("shufflenet_v2_x0_5").IMAGENET1K_V1.url
    stored = tmp_path / "checkpoints" / url.rsplit("/", 1)[-1]

    def download(url: str, **options: object) -> None:
        stored.parent.mkdir(exist_ok=True)
        torch.save(models.get_model("shufflenet_v2_x0_5").state_dict(), stored)

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    _, recipe = build_backbone("torchvision:shufflenet_v2_x0_5", "imagenet", 36, 32, TERMS)
    assert recipe.backbone == "torchvision:shufflenet_v2_x0_5.IMAGENET1K_V1"
    assert (recipe.weights, recipe.weights_path) == ("imagenet", None)


def test_weights_that_cannot_be_downloaded_name_both_ways_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreachable(url: str, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    with pytest.raises(ConfigError, match=r"cannot download .* store it as .*or give it: --we"):
        build_backbone("torchvision:shufflenet_v2_x0_5", "imagenet", 36, 32, TERMS)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="do not fit --backbone torchvision:mnasnet0_5: of i"):
        build_backbone("torchvision:mnasnet0_5", str(tmp_path / "other.pth"), 36, 32, TERMS)
    with pytest.raises(CheckpointError, match=r"gone\.pth: there is no such file"):
        build_backbone("torchvision:mnasnet0_5", str(tmp_path / "gone.pth"), 36, 32, TERMS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("torchvision:resnet51", r"no network of this name\. Did you mean torchvision:resnet"),
        (
            "torchvision:resnet50.V3",
            r"no weights of this name for resnet50\. Give one of torch",
        ),
    ],
)
def test_unknown_names_give_those_that_are_there(name: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        default_sizes(name, None, None, TERMS)


def test_without_torchvision_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(ConfigError, match=r'pip install "zsl-lab\[images\]"'):
        default_sizes("torchvision:resnet50", None, None, TERMS)
