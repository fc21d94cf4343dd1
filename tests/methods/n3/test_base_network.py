from __future__ import annotations

import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.func import functional_call

from zsl_lab.errors import CheckpointError, ConfigError
from zsl_lab.extraction.backbones import BaseNetwork
from zsl_lab.methods.n3.adapted_network import build_base_network
from zsl_lab.methods.n3.base_config import BaseConfig

Name = Literal["resnet18", "squeezenet1_1", "googlenet"]
NAMES: tuple[Name, ...] = ("resnet18", "squeezenet1_1", "googlenet")
CLASSIFIERS = {"resnet18": "fc", "squeezenet1_1": "classifier", "googlenet": "fc"}
FEATURES = {"resnet18": 512, "squeezenet1_1": 512, "googlenet": 1024}


@pytest.fixture(scope="module")
def models() -> Any:
    pytest.importorskip("torchvision", reason='needs torchvision: pip install "zsl-lab[images]"')
    from importlib import import_module

    return import_module("torchvision.models")


@pytest.fixture(scope="module")
def random_model(models: Any) -> Callable[[str], nn.Module]:
    """torchvision's networks with weights nobody trained; batch norm that does something."""
    made: dict[str, nn.Module] = {}

    def random_model(name: str) -> nn.Module:
        if name not in made:
            torch.manual_seed(0)
            options = {"googlenet": {"init_weights": False, "transform_input": True}}.get(name, {})
            made[name] = models.get_model(name, **options).eval()
            for module in made[name].modules():
                if isinstance(module, nn.BatchNorm2d):
                    for values, low in (
                        (module.weight, 0.8),
                        (module.bias, 0.0),
                        (module.running_mean, -0.1),
                        (module.running_var, 0.1),
                    ):
                        assert values is not None
                        nn.init.uniform_(values, low, low + 0.4)
        return made[name]

    return random_model


@pytest.fixture(scope="module")
def weights(
    random_model: Callable[[str], nn.Module], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("weights")

    def weights(name: str) -> Path:
        path = folder / f"{name}.pth"
        if not path.exists():
            torch.save(random_model(name).state_dict(), path)
        return path

    return weights


@pytest.fixture
def build(weights: Callable[[str], Path]) -> Callable[..., BaseNetwork]:
    def build(name: Name, channels: int = 3) -> BaseNetwork:
        return build_base_network(BaseConfig(name=name, weights=str(weights(name))), channels)

    return build


def small_cnn(channels: int = 1) -> BaseNetwork:
    torch.manual_seed(0)
    return build_base_network(BaseConfig(name="small_cnn", weights=None), channels)


def images(channels: int = 3, size: int = 64, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(
        0, 256, (count, channels, size, size), dtype=torch.uint8, generator=generator
    )


def message(kind: type[Exception], name: Name, path: object) -> str:
    with pytest.raises(kind) as caught:
        build_base_network(BaseConfig(name=name, weights=None if path is None else str(path)), 3)
    return str(caught.value)


# -------------------------------------------------------------------------------------------
# features


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_features_are_what_torchvisions_classifier_is_applied_to(
    name: Name, build: Callable[..., BaseNetwork], random_model: Callable[[str], nn.Module]
) -> None:
    model, inputs = random_model(name), []
    classifier = model.get_submodule(CLASSIFIERS[name])
    hook = classifier.register_forward_pre_hook(lambda _module, given: inputs.append(given[0]))
    usual = (images() / 255 - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor(
        [0.229, 0.224, 0.225]
    )[:, None, None]
    with torch.no_grad():
        model(usual)
        found = build(name)(images())
    hook.remove()
    expected = inputs[0].mean((2, 3)) if inputs[0].dim() == 4 else inputs[0]
    assert found.shape == (2, FEATURES[name])
    assert found.std() > 0
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_the_same_state_dict_without_its_classifier_is_the_networks(
    build: Callable[..., BaseNetwork], random_model: Callable[[str], nn.Module]
) -> None:
    found = build("resnet18").state_dict()
    expected = {
        name: tensor
        for name, tensor in random_model("resnet18").state_dict().items()
        if not name.startswith("fc.")
    }
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_gray_images_are_seen_as_colour_images_of_equal_channels(
    build: Callable[..., BaseNetwork],
) -> None:
    gray = images(channels=1)
    with torch.no_grad():
        torch.testing.assert_close(
            build("squeezenet1_1", channels=1)(gray),
            build("squeezenet1_1")(gray.repeat(1, 3, 1, 1)),
        )


@pytest.mark.slow
def test_an_images_features_do_not_depend_on_its_batch_mates(
    build: Callable[..., BaseNetwork],
) -> None:
    network = build("resnet18").train()
    with torch.no_grad():
        together, alone = network(images(count=3))[:1], network(images(count=3)[:1])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4 * float(alone.abs().max()))


@pytest.mark.parametrize(
    ("name", "size"), [("squeezenet1_1", 17), ("googlenet", 15), ("resnet18", 1)]
)
def test_the_smallest_images_pass_and_smaller_ones_are_refused(
    name: Name, size: int, build: Callable[..., BaseNetwork]
) -> None:
    network = build(name)
    assert network(images(size=size)).isfinite().all()
    if size > 1:
        with pytest.raises(
            ConfigError,
            match=rf"name={name}: the images have {size - 1} x {size - 1} .* at least {size} x "
            rf"{size}.*small_cnn",
        ):
            network(images(size=size - 1))


STAGES = {
    "resnet18": (
        ("relu", 64, 32),
        ("layer1", 64, 16),
        ("layer2", 128, 8),
        ("layer3", 256, 4),
        ("layer4", 512, 2),
    ),
    "squeezenet1_1": (
        ("features.1", 64, 31),
        ("features.4", 128, 15),
        ("features.7", 256, 7),
        ("features.12", 512, 3),
    ),
    "googlenet": (
        ("conv1", 64, 32),
        ("conv3", 192, 16),
        ("inception3b", 480, 8),
        ("inception4e", 832, 4),
        ("inception5b", 1024, 2),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_features_of_stages_are_the_averages_of_what_leaves_them_side_by_side(
    name: Name, weights: Callable[[str], Path], random_model: Callable[[str], nn.Module]
) -> None:
    model = random_model(name)
    left: dict[str, Tensor] = {}

    def keep(layer: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _module, _given, found: left.__setitem__(layer, found.clone())

    hooks = [
        model.get_submodule(layer).register_forward_hook(keep(layer))
        for layer, _, _ in STAGES[name]
    ]
    usual = (images() / 255 - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor(
        [0.229, 0.224, 0.225]
    )[:, None, None]
    if name == "resnet18":  # its blocks have a layer of the same name
        hooks[0].remove()
        left["relu"] = model.get_submodule("bn1")(model.get_submodule("conv1")(usual)).relu()
    with torch.no_grad():
        model(usual)
        for stages in ([2, 3], [1, len(STAGES[name])], [1]):
            network = build_base_network(
                BaseConfig(name=name, weights=str(weights(name)), stages=stages), 3
            )
            found = network(images())
            layers = [STAGES[name][stage - 1] for stage in stages]
            assert [left[layer].shape[1:] for layer, _, _ in layers] == [
                (channels, size, size) for _, channels, size in layers
            ]
            expected = torch.cat([left[layer].mean((2, 3)) for layer, _, _ in layers], dim=1)
            assert found.shape == (2, network.feature_dim)
            torch.testing.assert_close(
                found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
            )
    for hook in hooks:
        hook.remove()


def test_only_layers_up_to_the_last_stage_are_adapted_and_all_are_kept(
    build: Callable[..., BaseNetwork], weights: Callable[[str], Path]
) -> None:
    network = build_base_network(
        BaseConfig(name="squeezenet1_1", weights=str(weights("squeezenet1_1")), stages=[2, 3]), 3
    )
    expected = [
        tensor for tensor in build("squeezenet1_1").tensors if int(tensor.name.split(".")[1]) <= 7
    ]
    assert list(network.tensors) == expected
    assert network.state_dict().keys() == build("squeezenet1_1").state_dict().keys()


def test_the_last_stage_alone_is_the_network_as_it_is(
    build: Callable[..., BaseNetwork], weights: Callable[[str], Path]
) -> None:
    network = build_base_network(
        BaseConfig(name="squeezenet1_1", weights=str(weights("squeezenet1_1")), stages=[4]), 3
    )
    assert torch.equal(network(images()), build("squeezenet1_1")(images()))
    assert network.reads_last


@pytest.mark.parametrize("stages", [[], [0], [5], [3, 2], [2, 2]])
def test_stages_that_are_not_there_or_not_in_order_are_refused(stages: list[int]) -> None:
    with pytest.raises(
        ValidationError,
        match=r"ascending numbers from 1 to 4, the stages of squeezenet1_1, or null for the last "
        r"one",
    ):
        BaseConfig(name="squeezenet1_1", weights=None, stages=stages)


def test_a_classifier_for_stages_has_names_that_no_network_of_torchvision_takes(
    random_model: Callable[[str], nn.Module],
) -> None:
    network = build_base_network(
        BaseConfig(name="squeezenet1_1", weights=None, stages=[2, 3]), 3, load=False
    )
    state = network.classifier_state(torch.zeros(5, 384), torch.zeros(5))
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {
        "classifier.weight": (5, 384),
        "classifier.bias": (5,),
    }
    assert not state.keys() & random_model("squeezenet1_1").state_dict().keys()
    assert network.description == "squeezenet1_1, the classifier for averages of stages 2, 3"


def test_the_small_networks_features_of_digits_are_averages_by_quarters_and_it_learns() -> None:
    network = small_cnn()
    found = network(images(channels=1, size=8))
    assert found.shape == (2, network.feature_dim) == (2, 256)
    hidden = (images(channels=1, size=8) / 255 - 0.5) / 0.5
    for layer in network.children():
        hidden = layer(hidden)
    quarters = [
        hidden[:, :, rows, columns].mean((2, 3))
        for rows in (slice(2), slice(2, 4))
        for columns in (slice(2), slice(2, 4))
    ]
    torch.testing.assert_close(found, torch.stack(quarters, dim=2).flatten(1))
    found.sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.any() for parameter in network.parameters()
    )


def test_the_small_network_comes_back_from_its_state_dict() -> None:
    torch.manual_seed(5)
    other = build_base_network(BaseConfig(name="small_cnn", weights=None), 1)
    other.load_state_dict(small_cnn().state_dict())
    assert torch.equal(other(images(channels=1, size=8)), small_cnn()(images(channels=1, size=8)))


def test_black_and_white_are_as_far_from_0_in_the_small_network() -> None:
    network, seen = small_cnn(), []
    network.get_submodule("conv1").register_forward_pre_hook(
        lambda _module, given: seen.append(given[0])
    )
    network(torch.tensor([0, 255], dtype=torch.uint8).expand(1, 1, 2, 2))
    assert seen[0].flatten().tolist() == [-1, 1, -1, 1]


# -------------------------------------------------------------------------------------------
# adapted tensors


@pytest.mark.parametrize(
    ("name", "count", "filters"),
    [("resnet18", 20, 4800), ("squeezenet1_1", 25, 2944), ("googlenet", 57, 7280)],
)
def test_every_convolutions_weight_is_adapted(
    name: Name, count: int, filters: int, build: Callable[..., BaseNetwork]
) -> None:
    network = build(name)
    convolutions = {
        f"{path}.weight": tuple(m.weight.shape)
        for path, m in network.named_modules()
        if isinstance(m, nn.Conv2d)
    }
    assert {tensor.name: tensor.shape for tensor in network.tensors} == convolutions
    assert len(network.tensors) == count
    assert sum(tensor.filters for tensor in network.tensors) == filters
    for tensor in network.tensors:
        assert tensor.kind == "conv"
        assert tensor.filters == tensor.shape[0]
        assert tensor.filters * tensor.size == network.get_parameter(tensor.name).numel()


@pytest.mark.slow
def test_tensors_come_in_the_order_in_which_an_image_meets_them(
    build: Callable[..., BaseNetwork],
) -> None:
    for network, size in (
        (build("squeezenet1_1"), 64),
        (build("googlenet"), 64),
        (small_cnn(3), 8),
    ):
        names = {module: f"{path}.weight" for path, module in network.named_modules()}
        met: list[nn.Module] = []
        for module in names:
            module.register_forward_hook(lambda module, *_, met=met: met.append(module))
        network(images(size=size))
        assert [tensor.name for tensor in network.tensors] == [
            names[module] for module in met if isinstance(module, nn.Conv2d)
        ]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_unchanged_weights_give_the_same_features(
    name: Name, build: Callable[..., BaseNetwork]
) -> None:
    network = build(name)
    unchanged = {
        tensor.name: network.get_parameter(tensor.name).clone() for tensor in network.tensors
    }
    assert torch.equal(functional_call(network, unchanged, (images(),)), network(images()))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_replaced_tensors_and_nothing_else(
    name: Name, build: Callable[..., BaseNetwork]
) -> None:
    network = build(name).train()
    replaced = {
        tensor.name: network.get_parameter(tensor.name).clone().requires_grad_()
        for tensor in network.tensors
    }
    # a sum alone says nothing about what the last batch norm takes the mean of
    functional_call(network, replaced, (images(),)).square().sum().backward()
    assert all(
        tensor.grad is not None and tensor.grad.isfinite().all() and tensor.grad.any()
        for tensor in replaced.values()
    )
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_training_leaves_batch_norm_alone(name: Name, build: Callable[..., BaseNetwork]) -> None:
    network = build(name)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    expected = network.eval()(images())
    assert torch.equal(network.train()(images()), expected)
    assert network.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


# -------------------------------------------------------------------------------------------
# weights


def test_the_real_weights_load(models: Any, shared: Path) -> None:
    path = shared / "weights" / "squeezenet1_1_imagenet.pth"
    network = build_base_network(BaseConfig(name="squeezenet1_1", weights=str(path)), 3)
    state = torch.load(path, weights_only=True)
    assert all(
        torch.equal(network.get_parameter(tensor.name), state[tensor.name])
        for tensor in network.tensors
    )
    assert network(images()).std() > 0.1


def test_building_a_network_draws_no_random_numbers(build: Callable[..., BaseNetwork]) -> None:
    before = torch.get_rng_state()
    build("googlenet")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
@pytest.mark.parametrize("given", ["gone.pth", "imagenet", None])
def test_where_weights_follow_from_a_checkpoint_none_are_needed(
    given: str | None, build: Callable[..., BaseNetwork], hub: Path
) -> None:
    assert not hub.exists()
    network = build_base_network(BaseConfig(name="resnet18", weights=given), 3, load=False)
    assert not any(tensor.any() for tensor in network.state_dict().values())
    network.load_state_dict(build("resnet18").state_dict())
    assert torch.equal(network(images()), build("resnet18")(images()))


def test_old_weights_without_counters_and_of_half_precision_load(
    random_model: Callable[[str], nn.Module], models: Any, tmp_path: Path
) -> None:
    state = random_model("resnet18").state_dict()
    torch.save(
        {
            key: tensor.half()
            for key, tensor in state.items()
            if not key.endswith("num_batches_tracked")
        },
        tmp_path / "old.pth",
    )
    network = build_base_network(BaseConfig(name="resnet18", weights=str(tmp_path / "old.pth")), 3)
    assert network.get_parameter("conv1.weight").dtype == torch.float32
    assert torch.equal(network.get_parameter("conv1.weight"), state["conv1.weight"].half().float())


def test_weights_of_another_known_network_are_named(
    weights: Callable[[str], Path], random_model: Callable[[str], nn.Module]
) -> None:
    found = message(CheckpointError, "resnet18", weights("squeezenet1_1"))
    unexpected = sum(
        not key.startswith("fc.") for key in random_model("squeezenet1_1").state_dict()
    )
    assert str(weights("squeezenet1_1")) in found
    assert (
        "do not fit method.base.name=resnet18: of its 100 tensors 100 are missing and 0 have "
        "another shape" in found
    )
    assert (
        f"and {unexpected} tensors are not expected (conv1.weight [64, 3, 7, 7] is missing; "
        "features.0.weight [64, 3, 3, 3] is not" in found
    )
    assert (
        "They fit squeezenet1_1: set method.base.name=squeezenet1_1, or method.base.weights to "
        "weights of resnet18." in found
    )


def test_weights_of_an_unknown_network_are_described(models: Any, tmp_path: Path) -> None:
    torch.save(models.get_model("squeezenet1_0").state_dict(), tmp_path / "v1_0.pth")
    found = message(CheckpointError, "squeezenet1_1", tmp_path / "v1_0.pth")
    assert "features.0.weight has shape [96, 3, 7, 7], expected [64, 3, 3, 3]" in found
    assert "They fit" not in found
    assert (
        "Set method.base.weights to a state dict of squeezenet1_1, or method.base.name to the "
        "network that these are of." in found
    )


@pytest.mark.slow
def test_a_single_missing_or_additional_tensor_is_named(
    random_model: Callable[[str], nn.Module], models: Any, tmp_path: Path
) -> None:
    state = dict(random_model("resnet18").state_dict())
    torch.save({**state, "layer5.weight": torch.zeros(3)}, tmp_path / "more.pth")
    assert (
        "0 are missing and 0 have another shape, and 1 tensors are not expected (layer5.weight [3]"
        in message(CheckpointError, "resnet18", tmp_path / "more.pth")
    )
    del state["bn1.running_var"]
    torch.save(state, tmp_path / "less.pth")
    assert (
        "1 are missing and 0 have another shape, and 0 tensors are not expected (bn1.running_var "
        "[64] is missing)" in message(CheckpointError, "resnet18", tmp_path / "less.pth")
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no such file"),
        (b"", "these are not readable weights (EOFError). They were not unpickled further"),
        (
            b"<html>404</html>",
            "these are not readable weights (UnpicklingError). They were not unpickled further",
        ),
        ([torch.zeros(1)], "found a value of type list; expected tensors by name"),
        ({}, "found nothing; expected tensors by name"),
        ({"epoch": 3, "state_dict": {}}, "found 'epoch' of type int; expected tensors by name"),
        (
            nn.ReLU(),
            "these are not readable weights (UnpicklingError). They were not unpickled further",
        ),
    ],
)
def test_what_is_no_state_dict_is_said(
    content: object, says: str, models: Any, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    found = message(CheckpointError, "resnet18", path)
    assert found.startswith(f"method.base.weights={path}: {says}")
    assert "Give the file of a state dict of resnet18" in found
    assert "or set method.base.weights=imagenet" in found


def test_a_folder_is_no_file_of_weights(models: Any, tmp_path: Path) -> None:
    assert message(CheckpointError, "resnet18", tmp_path).startswith(
        f"method.base.weights={tmp_path}: this is a folder. Give the file"
    )


def test_a_flipped_bit_of_the_weights_is_noticed(tmp_path: Path, models: Any) -> None:
    weight = torch.arange(64.0)
    path = tmp_path / "weights.pth"
    torch.save({"weight": weight}, path)
    data = bytearray(path.read_bytes())
    data[data.index(weight.numpy().tobytes()) + 9] ^= 4
    path.write_bytes(data)
    assert "these are not readable weights" in message(CheckpointError, "resnet18", path)


def test_half_a_file_is_not_readable(weights: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "half.pth"
    path.write_bytes(weights("squeezenet1_1").read_bytes()[:2_000_000])
    assert "these are not readable weights" in message(CheckpointError, "squeezenet1_1", path)


def test_without_weights_both_sources_are_named() -> None:
    found = message(ConfigError, "resnet18", None)
    assert found.startswith("method.base.weights=null: resnet18 needs pretrained weights.")
    assert (
        "method.base.weights=imagenet (torchvision downloads them) or method.base.weights=FILE"
        in found
    )


def test_the_small_network_takes_no_weights() -> None:
    with pytest.raises(
        ConfigError,
        match=r"small_cnn takes no weights.* Set method.base.weights=null, or method.base.name to "
        r".*resnet18",
    ):
        build_base_network(BaseConfig(name="small_cnn", weights="imagenet"), 1)


def test_images_of_four_channels_are_for_the_small_network_only() -> None:
    with pytest.raises(
        ConfigError, match=r"resnet18: the images have 4 channels; expected 1 or 3.*small_cnn"
    ):
        build_base_network(BaseConfig(name="resnet18", weights="imagenet"), 4)
    assert small_cnn(channels=4)(images(channels=4, size=8)).shape == (2, 256)


def test_a_network_nobody_knows_is_refused() -> None:
    with pytest.raises(ValidationError, match="resnet18"):
        BaseConfig.model_validate({"name": "resnet19", "weights": None})


def test_without_torchvision_both_ways_out_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    found = message(ConfigError, "resnet18", "imagenet")
    assert 'pip install "zsl-lab[images]"' in found
    assert "method.base.name=small_cnn" in found
    assert small_cnn(channels=1).feature_dim == 256


@pytest.fixture
def hub(models: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where downloads are stored; there is no network."""

    def no_network(url: str, *_args: object, **_options: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    return tmp_path / "hub" / "checkpoints"


def test_a_failed_download_names_its_address_and_both_ways_out(hub: Path) -> None:
    found = message(ConfigError, "resnet18", "imagenet")
    assert found.startswith(
        "method.base.weights=imagenet: cannot download "
        "https://download.pytorch.org/models/resnet18-f37072fd.pth ("
    )
    assert "Name or service not known" in found
    assert (
        f"store it as {hub / 'resnet18-f37072fd.pth'}, or give a file: method.base.weights=FILE."
        in found
    )


@pytest.mark.slow
def test_what_was_downloaded_before_needs_no_network(
    hub: Path, random_model: Callable[[str], nn.Module]
) -> None:
    hub.mkdir(parents=True)
    torch.save(random_model("googlenet").state_dict(), hub / "googlenet-1378be20.pth")
    network = build_base_network(BaseConfig(name="googlenet", weights="imagenet"), 3)
    assert torch.equal(
        network.get_parameter("conv1.conv.weight"),
        random_model("googlenet").get_parameter("conv1.conv.weight"),
    )


def test_a_damaged_download_is_named(hub: Path) -> None:
    hub.mkdir(parents=True)
    (hub / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"half a fi")
    found = message(CheckpointError, "squeezenet1_1", "imagenet")
    assert f"{hub / 'squeezenet1_1-b8a52dc0.pth'} is no readable file of weights" in found
    assert "Delete it, and it is downloaded again; or set method.base.weights=FILE" in found
