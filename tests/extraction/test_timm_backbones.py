"""Networks of timm: features equal timm's own, sizes, weights, and messages."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.helpers.extraction import TERMS
from tests.helpers.packages import skip_without
from zsl_lab.cli.data.main import main
from zsl_lab.data.files import benchmark_file as hdf5
from zsl_lab.errors import CheckpointError, ConfigError
from zsl_lab.extraction.features import extract_features
from zsl_lab.extraction.recipes import build_backbone, default_sizes, load_backbone
from zsl_lab.extraction.timm_backbones import timm_defaults

skip_without("timm", "timm")

#: small networks of several families: name and the sizes that timm prepares images with
NETWORKS = {
    "test_resnet": (168, 160),
    "test_vit": (168, 160),
    "test_convnext": (168, 160),
    "resnet10t": (201, 176),
}


def saved(name: str, folder: Path, **options: Any) -> tuple[nn.Module, Path]:
    """A network of timm with random weights and its classifier, and the file of its state dict."""
    timm = pytest.importorskip("timm")

    torch.manual_seed(0)
    network: nn.Module = timm.create_model(name, pretrained=False, **options)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
    path = folder / f"{name}.pth"
    torch.save(network.state_dict(), path)
    return network.eval(), path


def as_efficientnet_lite_pytorch_names_it(name: str) -> str:
    """The name of a tensor of timm's ``tf_efficientnet_lite0`` in that package."""
    layer, _, tensor = name.rpartition(".")
    if not layer.startswith("blocks."):
        outer = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head"}
        return f"{ {**outer, 'bn2': '_bn1', 'classifier': '_fc'}[layer] }.{tensor}"
    _, stage, block, part = layer.split(".")
    first = sum((1, 2, 2, 3, 3, 4, 1)[: int(stage)])
    if stage == "0":  # its block does not expand
        parts = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv"}
    else:
        parts = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv"}
        parts |= {"bn2": "_bn1", "conv_pwl": "_project_conv", "bn3": "_bn2"}
    return f"_blocks.{first + int(block)}.{ {'bn2': '_bn2', **parts}[part] }.{tensor}"


def photographs(folder: Path, *shapes: tuple[int, int]) -> list[Path]:
    """Smooth random images of the given heights and widths."""
    rng, files = np.random.default_rng(0), []
    for number, (height, width) in enumerate(shapes):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        files.append(folder / f"{number}.png")
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(files[-1])
    return files


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_timms_own_with_its_own_preprocessing(name: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")

    network, path = saved(name, tmp_path)
    files = photographs(tmp_path, (200, 200), (300, 300))
    backbone = f"timm:{name}"
    sizes = default_sizes(backbone, None, None, TERMS)
    assert sizes == NETWORKS[name]
    found = extract_features(files, *build_backbone(backbone, str(path), *sizes, TERMS))
    config = timm.data.resolve_model_data_config(network)
    transform = timm.data.create_transform(**config, is_training=False)
    images = torch.stack([transform(Image.open(file)) for file in files])
    with torch.no_grad():
        hidden = network.forward_features(images)  # type: ignore[operator]
        expected = network.forward_head(hidden, pre_logits=True)  # type: ignore[operator]
    assert found.features.shape == expected.shape
    np.testing.assert_allclose(found.features, expected, rtol=1e-3, atol=1e-4)


def test_an_oblong_image_is_cut_from_the_centre_as_timm_does(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")

    network, path = saved("test_resnet", tmp_path)
    files = photographs(tmp_path, (200, 320))
    found = extract_features(files, *build_backbone("timm:test_resnet", str(path), 168, 160, TERMS))
    config = timm.data.resolve_model_data_config(network)
    transform = timm.data.create_transform(**config, is_training=False)
    with torch.no_grad():
        hidden = network.forward_features(transform(Image.open(files[0]))[None])  # type: ignore[operator]
        expected = network.forward_head(hidden, pre_logits=True)  # type: ignore[operator]
    # Pillow cuts before it scales here, timm after: edges differ by less than a grey level
    np.testing.assert_allclose(found.features, expected, atol=0.02 * float(expected.abs().max()))


def test_a_network_whose_images_are_squashed_sees_the_whole_image(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")

    squashing = next(
        name
        for name in timm.list_pretrained()
        if timm.get_pretrained_cfg(name).crop_mode == "squash"
    )
    assert timm_defaults(f"timm:{squashing}", None, TERMS).preparation.crop_mode == "squash"
    _, path = saved("test_vit", tmp_path)
    network, recipe = build_backbone("timm:test_vit", str(path), 160, 160, TERMS)
    left = np.zeros((64, 256, 3), dtype=np.uint8)
    left[:, :32] = 255  # outside the square from the centre
    Image.fromarray(left).save(tmp_path / "left.png")
    Image.fromarray(np.zeros_like(left)).save(tmp_path / "black.png")
    files = [tmp_path / "left.png", tmp_path / "black.png"]
    assert recipe.preparation is not None
    squashed = recipe.preparation.model_copy(update={"crop_mode": "squash"})
    cut = extract_features(files, network, recipe).features
    whole = extract_features(
        files, network, recipe.model_copy(update={"preparation": squashed})
    ).features
    assert np.array_equal(cut[0], cut[1])
    assert not np.allclose(whole[0], whole[1])


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_another_image_size_can_be_chosen(name: str, tmp_path: Path) -> None:
    network, path = saved(name, tmp_path)
    backbone = f"timm:{name}"
    sizes = default_sizes(backbone, None, 64, TERMS)
    assert sizes == (67, 64)
    found = extract_features(
        photographs(tmp_path, (67, 67)), *build_backbone(backbone, str(path), *sizes, TERMS)
    )
    assert found.features.shape == (1, network.num_features)
    assert np.isfinite(found.features).all()


def test_random_numbers_of_the_run_are_left_alone(tmp_path: Path) -> None:
    _, path = saved("test_resnet", tmp_path)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    build_backbone("timm:test_resnet", str(path), 36, 32, TERMS)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_network_of_a_recipe_gives_the_same_features(tmp_path: Path) -> None:
    _, path = saved("test_vit", tmp_path)
    network, recipe = build_backbone("timm:test_vit", str(path), 36, 32, TERMS)
    assert (recipe.backbone, recipe.weights) == ("timm:test_vit", "test_vit.pth")
    files = photographs(tmp_path, (50, 40))
    again = load_backbone(recipe, str(path))
    assert np.array_equal(
        extract_features(files, network, recipe).features,
        extract_features(files, again, recipe).features,
    )
    _, other = saved("test_resnet", tmp_path)
    with pytest.raises(CheckpointError, match="found a file with SHA-256"):
        load_backbone(recipe, str(other))


def test_safetensors_are_read_and_the_classifier_may_be_missing(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    network, path = saved("test_resnet", tmp_path)
    state = {k: v for k, v in network.state_dict().items() if not k.startswith("fc.")}
    assert len(state) < len(network.state_dict())
    safetensors.save_file(state, tmp_path / "model.safetensors")
    files = photographs(tmp_path, (40, 40))
    features = [
        extract_features(files, *build_backbone("timm:test_resnet", str(file), 36, 32, TERMS))
        for file in (path, tmp_path / "model.safetensors")
    ]
    assert np.array_equal(features[0].features, features[1].features)


# ------------------------------------------------------------------------------------------------
# timm's own weights


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A Hugging Face Hub that has one file."""
    import huggingface_hub

    held: list[Path] = []
    (tmp_path / "hub").mkdir()

    def download(repository: str, name: str, revision: str | None = None) -> str:
        assert repository == "timm/test_resnet.r160_in1k"
        if not held or held[0].name != name:
            # what the client raises without a connection and without a cached file
            raise huggingface_hub.errors.LocalEntryNotFoundError(f"{name} is not in the cache")
        return str(held[0])

    def hold(name: str) -> Path:
        held.append(tmp_path / "hub" / name)
        return held[0]

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return hold


@pytest.mark.slow
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_timms_own_weights_are_named_with_their_tag(
    file: str, hub: Callable[[str], Path], tmp_path: Path
) -> None:
    network, path = saved("test_resnet", tmp_path)
    target = hub(file)
    if target.suffix == ".safetensors":
        pytest.importorskip("safetensors.torch").save_file(network.state_dict(), target)
    else:
        shutil.copy(path, target)
    _, recipe = build_backbone("timm:test_resnet", "imagenet", 36, 32, TERMS)
    assert (recipe.backbone, recipe.weights) == ("timm:test_resnet.r160_in1k", "imagenet")
    again = load_backbone(recipe)
    assert again.weights_file == target
    with target.open("ab") as output:
        output.write(b"\0")
    with pytest.raises(CheckpointError):
        load_backbone(recipe)


def test_weights_that_cannot_be_downloaded_are_named_with_the_way_out(
    hub: Callable[[str], Path],
) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^--weights imagenet: cannot download the weights of timm:test_resnet\.r160_in1k "
        r"from timm/test_resnet\.r160_in1k .* give it: --weights FILE\.$",
    ):
        build_backbone("timm:test_resnet", "imagenet", 36, 32, TERMS)


def test_a_network_without_weights_says_so() -> None:
    timm = pytest.importorskip("timm")

    name = next(name for name in timm.list_models() if not timm.list_pretrained(f"{name}.*"))
    size = timm_defaults(f"timm:{name}", None, TERMS).image_size
    with pytest.raises(
        ConfigError, match=rf"^--weights imagenet: timm has no weights for timm:{name}\. Give a"
    ):
        build_backbone(f"timm:{name}", "imagenet", size, size, TERMS)


# ------------------------------------------------------------------------------------------------
# messages


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("timm:resnet18_", r"Did you mean timm:resnet18\?"),
        ("timm:resnet18.a1_in2k", r"Did you mean timm:resnet18\.a1_in1k\?"),
        ("timm:xyz", r"Give one that timm\.list_models\(\) lists"),
    ],
)
def test_an_unknown_name_gives_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"^--backbone {name}: timm has no network of this name\. {hint}"
    ):
        default_sizes(name, None, None, TERMS)


@pytest.mark.slow
def test_a_size_that_the_network_does_not_take_is_named(tmp_path: Path) -> None:
    _, path = saved("test_vit", tmp_path)
    with pytest.raises(
        ConfigError,
        match=r"^--backbone timm:swin_tiny_patch4_window7_224: found images of 3 x 3 pixels, which "
        r"this network does not take \(.*\); its own size is 224 x 224\.",
    ):
        build_backbone("timm:swin_tiny_patch4_window7_224", str(path), 4, 3, TERMS)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    _, path = saved("test_vit", tmp_path)
    with pytest.raises(CheckpointError) as caught:
        build_backbone("timm:test_resnet", str(path), 36, 32, TERMS)
    said = str(caught.value)
    assert said.startswith(
        f"--weights {path}: these weights do not fit --backbone timm:test_resnet: of its "
    )
    assert said.endswith(
        "Set --weights to a state dict of this network, or --backbone to the network that these "
        "are of."
    )


def test_weights_of_a_deeper_network_of_the_family_are_refused(tmp_path: Path) -> None:
    network, path = saved("test_resnet", tmp_path)
    state = network.state_dict()
    deeper = {f"layer4.7{k.removeprefix('layer4.0')}": v for k, v in state.items() if "r4.0" in k}
    torch.save({**state, **deeper}, path)
    with pytest.raises(CheckpointError, match="0 are missing and 0 have another shape, and"):
        build_backbone("timm:test_resnet", str(path), 36, 32, TERMS)


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    torch.save({"model": object()}, tmp_path / "pickle.pth")
    with pytest.raises(CheckpointError, match="were not unpickled further"):
        build_backbone("timm:test_resnet", str(tmp_path / "pickle.pth"), 36, 32, TERMS)


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        ConfigError,
        match=r"^--backbone timm:resnet18: this network comes from timm, which cannot be imported "
        r'.* pip install "zsl-lab\[timm\]", or choose a network of torchvision: resnet18, ',
    ):
        default_sizes("timm:resnet18", None, None, TERMS)


# ------------------------------------------------------------------------------------------------
# the command


@pytest.mark.slow
def test_the_command_writes_a_benchmark_of_timms_features(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, path = saved("test_resnet", tmp_path)
    given = ["--images", own / "images", "--classes", own / "classes.csv", "--weights", path]
    options = ["--backbone", "timm:test_resnet", "--image-size", "32", "--semantics", "attributes"]
    assert main(["extract", *map(str, given), *options, str(own / "own.h5")]) == 0
    content = hdf5.read(own / "own.h5")
    assert content.recipe.images is not None
    assert (content.recipe.images.resize, content.recipe.images.image_size) == (33, 32)
    assert content.recipe.images.preparation is not None
    files = [own / "images" / file for file in content.files or ()]
    network = load_backbone(content.recipe.images, str(path))
    assert np.array_equal(
        content.features, extract_features(files, network, content.recipe.images).features
    )
    assert "numbers each, timm:test_resnet" in capsys.readouterr().out


@pytest.mark.slow
def test_weights_of_the_package_of_efficientnet_lite_are_taken(tmp_path: Path) -> None:
    network, path = saved("tf_efficientnet_lite0", tmp_path)
    state = network.state_dict()
    renamed = {as_efficientnet_lite_pytorch_names_it(name): state[name] for name in state}
    assert len(renamed) == len(state)
    other = tmp_path / "efficientnet-lite0.pth"
    torch.save(renamed, other)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), np.uint8))
    features = [
        build_backbone("timm:tf_efficientnet_lite0", str(file), 73, 64, TERMS)[0](images)
        for file in (path, other)
    ]
    assert torch.equal(*features)
