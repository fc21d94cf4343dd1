"""``adapt=all_with_batch_norm``: weights and biases of batch norm get deltas, too."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

import zsl_lab
from tests.conftest import SHORT_FIT
from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.errors import ConfigError
from zsl_lab.extraction.backbones import BaseNetwork
from zsl_lab.extraction.weights import Terms
from zsl_lab.methods.n3 import N3
from zsl_lab.run.config import parse
from zsl_lab.run.experiment import run
from zsl_lab.text import TokenStates

Configure = Callable[..., DictConfig]

C = 6
#: any network of torchvision that has batch norm: the tests bring their own
RESNET = ("method.base.name=resnet18", "method.base.weights=random", "method.base_steps=0")
BATCH_NORM = ("bn1.weight", "bn1.bias", "bn2.weight", "bn2.bias")


def base() -> BaseNetwork:
    """Two convolutions with batch norm, every number random."""
    layers = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(1, 8, 3, padding=1, bias=False),
        bn1=nn.BatchNorm2d(8),
        relu=nn.ReLU(),
        conv2=nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False),
        bn2=nn.BatchNorm2d(12),
    )
    for layer in layers.values():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor, low in (
                (layer.weight, 0.8),
                (layer.bias, 0.1),
                (layer.running_mean, -0.2),
                (layer.running_var, 0.3),
            ):
                assert tensor is not None
                nn.init.uniform_(tensor, low, low + 0.5)
    terms = Terms("network=", "weights=", (), "", "")
    return BaseNetwork("small", layers, {"bn2": 12}, None, 1, (0.5,), (0.5,), terms)


def make(configure: Configure, *overrides: str) -> N3:
    """Six classes, positions 2 and 4 unseen."""
    settings: Any = parse(configure("method=n3", *SHORT_FIT["n3"], *RESNET, *overrides)).method
    torch.manual_seed(0)
    states = np.random.default_rng(0).standard_normal((C, 4, 5)).astype(np.float32)
    classes = ClassSpace(
        np.arange(C),
        np.zeros((C, 0), dtype=np.float32),
        np.array([True, True, False, True, False, True]),
        tuple("abcdef"),
        tuple("ABCDEF"),
    )
    return N3(settings, base(), TokenStates(states, np.ones((C, 4), dtype=bool)), classes)


def images(count: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=generator)


def written_out(model: N3, weights: Mapping[str, Tensor], classifier: Tensor) -> Tensor:
    """The small network with other weights, batch norm by its definition."""
    hidden = (images() / 255 - 0.5) / 0.5
    for number, stride in ((1, 1), (2, 2)):
        hidden = nn.functional.conv2d(
            hidden, weights[f"conv{number}.weight"], stride=stride, padding=1
        )
        norm: Any = model.base.get_submodule(f"bn{number}")
        channels = []
        for channel in range(hidden.shape[1]):
            z = (hidden[:, channel] - norm.running_mean[channel]) / (
                norm.running_var[channel] + norm.eps
            ).sqrt()
            channels.append(
                weights[f"bn{number}.weight"][channel] * z + weights[f"bn{number}.bias"][channel]
            )
        hidden = torch.stack(channels, dim=1)
        if number == 1:
            hidden = hidden.clamp(min=0)
    return hidden.mean((2, 3)) @ classifier.T


def test_w_is_gamma_w_plus_mu_delta_for_batch_norm_too(configure: Configure) -> None:
    options = ("method.adapt=all_with_batch_norm", "method.gamma=0.7", "method.mu=0.3")
    model = make(configure, *options).eval()
    adaptation = model.adapt(torch.tensor([4, 0, 2]))
    given = dict(model.base.named_parameters())
    assert set(adaptation.deltas) == set(given) == {"conv1.weight", "conv2.weight", *BATCH_NORM}
    expected = written_out(
        model,
        {name: 0.7 * given[name] + adaptation.deltas[name] for name in given},
        adaptation.classifier,
    )
    found = model.logits(images(), adaptation)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    unchanged = written_out(model, given, adaptation.classifier)
    assert not torch.allclose(found, unchanged, rtol=1e-2)

    parameters = [*model.adapter.parameters()]
    gradients = (
        torch.autograd.grad(logits.square().sum(), parameters, retain_graph=True)
        for logits in (found, expected)
    )
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("adapt", ["all", "classifier"])
def test_otherwise_batch_norm_is_that_of_the_base_network(configure: Configure, adapt: str) -> None:
    model = make(configure, f"method.adapt={adapt}", "method.mu=0.3", "method.gamma=0.7").eval()
    adaptation = model.adapt(torch.tensor([4, 0, 2]))
    assert not set(BATCH_NORM) & set(adaptation.deltas)
    state = model.state_of(adaptation)
    assert all(torch.equal(state[name], model.base.state_dict()[name]) for name in BATCH_NORM)


def test_a_gradient_reaches_every_delta_of_batch_norm_and_not_the_base_network(
    configure: Configure,
) -> None:
    model = make(configure, "method.adapt=all_with_batch_norm")
    names = [tensor.name for tensor in model.adapter._tensors]
    model.losses(Batch(images(), torch.tensor([0, 3, 5, 1]), torch.arange(4)))[
        "cross_entropy"
    ].backward()  # type: ignore[no-untyped-call]
    assert set(BATCH_NORM) <= set(names)
    assert model.adapter.mu.grad is not None
    assert model.adapter.mu.grad.all()
    embedding = model.adapter.tensor_embedding.grad
    assert embedding is not None
    assert embedding.abs().sum((1, 2)).all()
    assert not any(parameter.grad is not None for parameter in model.base.parameters())


def test_running_statistics_stay_in_training(configure: Configure) -> None:
    model = make(configure, "method.adapt=all_with_batch_norm").train()
    before = {name: tensor.clone() for name, tensor in model.base.state_dict().items()}
    model.losses(Batch(images(), torch.tensor([0, 3, 5, 1]), torch.arange(4)))
    after = model.base.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("adapt", ["all", "all_with_batch_norm"])
def test_the_figures_norms_of_batch_norm_are_those_of_its_deltas(
    configure: Configure, adapt: str
) -> None:
    model = make(configure, f"method.adapt={adapt}", "method.gamma=0.9").eval()
    deltas = model.adapt(torch.tensor([2, 4])).deltas
    norms = {norm.name: norm for norm in model.tensor_norms()}
    for name in BATCH_NORM:
        weight = model.base.get_parameter(name)
        assert norms[name].kind == "batch norm"
        adapted = adapt == "all_with_batch_norm"
        assert norms[name].delta == (
            pytest.approx(float(deltas[name].detach().square().sum().sqrt())) if adapted else 0
        )
        assert norms[name].pretrained == pytest.approx(
            (0.9 if adapted else 1) * float(weight.square().sum().sqrt())
        )


@pytest.mark.parametrize("name", ["squeezenet1_1", "small_cnn"])
def test_a_network_without_batch_norm_is_refused(configure: Configure, name: str) -> None:
    weights = "null" if name == "small_cnn" else "random"
    with pytest.raises(
        ConfigError,
        match=rf"adapt=all_with_batch_norm, but base.name={name} has no batch norm; set "
        r"method.adapt=all,",
    ):
        parse(
            configure(
                "method=n3",
                *SHORT_FIT["n3"],
                f"method.base.name={name}",
                f"method.base.weights={weights}",
                "method.adapt=all_with_batch_norm",
            )
        )


@pytest.mark.slow
def test_a_run_stores_it_and_its_checkpoint_gives_the_same_network(
    configure: Configure, tmp_path: Path
) -> None:
    run(
        configure(
            "method=n3",
            *SHORT_FIT["n3"],
            *RESNET,
            "method.adapt=all_with_batch_norm",
            "method.mu=0.01",
            "method.steps=2",
            "selection=last",
            "figures=false",
        )
    )
    network = zsl_lab.load(tmp_path / "run").network
    assert isinstance(network, N3)
    stored = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    # 20 convolutions, and the weights and biases of as many batch norms
    assert stored["state_dict"]["adapter.mu"].shape == (60,)
    own, exported = network.base.state_dict(), network.export().state
    changed = {name for name in own if not torch.equal(exported[name], own[name])}
    assert changed == {name for name, _ in network.base.named_parameters()}
