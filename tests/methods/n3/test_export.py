"""The exported network: torchvision's own network loads it and gives the same logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import SHORT_FIT, composed
from zsl_lab.data.batches.base import ClassSpace
from zsl_lab.methods.n3 import N3
from zsl_lab.methods.n3.adapted_network import build_base_network
from zsl_lab.methods.n3.base_config import BaseConfig
from zsl_lab.run.config import parse
from zsl_lab.text import TokenStates


def n3(name: str, *overrides: str) -> N3:
    """An N3 that nobody trained for three classes, with deltas of the size of the weights."""
    cfg = composed(
        Path(), "method=n3", *SHORT_FIT["n3"], "method.mu=0.05", "method.gamma=0.9", *overrides
    )
    settings: Any = parse(cfg).method
    torch.manual_seed(0)
    text = TokenStates(
        np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32),
        np.ones((3, 4), dtype=bool),
    )
    classes = ClassSpace(
        np.arange(3),
        np.zeros((3, 0), dtype=np.float32),
        np.array([True, True, False]),
        tuple("abc"),
        tuple("abc"),
    )
    base = build_base_network(BaseConfig(name=name, weights=None), 3, load=False)  # type: ignore[arg-type]
    return N3(settings, base, text, classes).eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {}),
        ("squeezenet1_1", {}),
        ("googlenet", {"aux_logits": False, "init_weights": True}),
    ],
)
@pytest.mark.parametrize("adapt", ["all", "classifier"])
def test_torchvisions_own_network_loads_the_export_and_gives_the_same_logits(
    name: str, options: dict[str, bool], adapt: str
) -> None:
    models: Any = pytest.importorskip(
        "torchvision.models", reason='needs torchvision: pip install "zsl-lab[images]"'
    )
    model = n3(name, f"method.adapt={adapt}")
    theirs = models.get_model(name, num_classes=3, **options).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    model.base.load_state_dict(theirs.state_dict(), strict=False)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        adaptation = model.adapt(torch.tensor([2, 0, 1]))
        expected = model.logits(images, adaptation)
        state = model.state_of(adaptation)
        theirs.load_state_dict(state)
        if name == "squeezenet1_1":  # clips before it averages
            theirs.classifier[2] = nn.Identity()
        found = theirs((images / 255 - model.base.mean) / model.base.std)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert float(expected.std()) > 0
    adapted = [
        tensor.name
        for tensor in model.base.tensors
        if not torch.equal(state[tensor.name], model.base.state_dict()[tensor.name])
    ]
    assert adapted == ([tensor.name for tensor in model.base.tensors] if adapt == "all" else [])


def test_an_export_is_no_part_of_the_method() -> None:
    model = n3("small_cnn")
    state = model.state_of(model.adapt(torch.arange(3)))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for tensor in state.values():
        assert not tensor.requires_grad
        tensor.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
