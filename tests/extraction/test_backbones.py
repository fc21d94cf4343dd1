"""Networks of torchvision without their classifier."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.helpers.extraction import TERMS
from tests.helpers.packages import skip_without
from zsl_lab.errors import CheckpointError
from zsl_lab.extraction.backbones import ARCHITECTURES, STAGES, build_network
from zsl_lab.extraction.names import TORCHVISION_NETWORKS

skip_without("torchvision", "images")


def test_the_command_offers_every_network_that_there_is() -> None:
    assert tuple(ARCHITECTURES) == TORCHVISION_NETWORKS


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION_NETWORKS)
def test_the_stages_of_a_network_are_where_its_image_shrinks(name: str) -> None:
    from torchvision.models import get_model

    with torch.device("meta"):
        model = get_model(name, weights=None, **ARCHITECTURES[name].options).eval()
        shapes: dict[str, torch.Size] = {}

        def note(end: str, _module: nn.Module, _given: object, out: torch.Tensor) -> None:
            shapes.setdefault(end, out.shape)

        for end in STAGES[name]:
            model.get_submodule(end).register_forward_hook(partial(note, end))
        model(torch.zeros(1, 3, 64, 64))
    assert [(end, shape[1]) for end, shape in shapes.items()] == list(STAGES[name].items())
    sizes = [shape[2] for shape in shapes.values()]
    assert sizes == sorted(set(sizes), reverse=True)


@pytest.mark.slow
def test_weights_of_another_network_are_named_in_the_words_of_the_command(weights: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        build_network("resnet50", str(weights), TERMS)
    said = str(caught.value)
    assert said.startswith(
        f"--weights {weights}: these weights do not fit --backbone resnet50: of its 265 tensors "
        "265 are missing"
    )
    assert said.endswith(
        "They fit squeezenet1_1: set --backbone squeezenet1_1, or --weights to weights of resnet50."
    )
