"""The network that N3 adapts: a pretrained one, or a small one that is trained in the run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import get_args

import torch
from torch import nn

from zsl_lab.errors import ConfigError, quoted
from zsl_lab.extraction import efficientnet_lite
from zsl_lab.extraction.backbones import BaseNetwork, build_network
from zsl_lab.extraction.weights import Terms
from zsl_lab.methods.n3.base_config import RANDOM, SMALL_CNN_STAGES, BaseConfig, Name

_KEY = "method.base.weights"
_TERMS = Terms(
    network="method.base.name=",
    weights=f"{_KEY}=",
    networks=get_args(Name),
    otherwise="set method.base.name=small_cnn, which needs nothing",
    larger="Take larger ones (dataset.image_size of an image folder), or set "
    "method.base.name=small_cnn.",
)


def build_base_network(config: BaseConfig, channels: int, *, load: bool = True) -> BaseNetwork:
    """Make a base network, frozen with its weights, or ``small_cnn`` with random ones.

    Args:
        config: Which network, with which weights.
        channels: Channels of the images: 1 or 3 for a pretrained network, any number for
            ``small_cnn``.
        load: Whether to load the weights; False if those of a checkpoint will be loaded, and
            ``config.weights`` may be None.

    Raises:
        ConfigError: torchvision, timm or the weights are missing, the weights cannot be downloaded,
            or the channels do not fit.
        CheckpointError: The weights' file is missing, damaged or of another network.
    """
    if config.name == "small_cnn":
        if config.weights is not None:
            others = [name for name in _TERMS.networks if name != "small_cnn"]
            raise ConfigError(
                f"{quoted(_KEY, config.weights)}: method.base.name=small_cnn takes no weights, it "
                f"is trained in the run. Set {_KEY}=null, or method.base.name to a network that "
                f"takes them: {', '.join(others)}."
            )
        return _small_cnn(channels, config.stages)
    if channels not in (1, 3):
        raise ConfigError(
            f"method.base.name={config.name}: the images have {channels} channels; expected 1 or "
            "3. Take other images, or set method.base.name=small_cnn."
        )
    if config.weights is None and load:
        raise ConfigError(
            f"{_KEY}=null: {config.name} needs pretrained weights. Set {_TERMS.published} or "
            f"{_TERMS.own}."
        )
    weights = config.weights if load and config.weights != RANDOM else None
    build = (
        efficientnet_lite.build_network
        if config.name in efficientnet_lite.STAGES
        else build_network
    )
    network = build(config.name, weights, _TERMS, config.stages)
    if load and config.weights == RANDOM:
        _draw_weights(network)
    return network


@torch.no_grad()
def _draw_weights(network: BaseNetwork) -> None:
    """Fill a network with weights for rectifiers (He et al., 2015), drawn with a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)


def _small_cnn(channels: int, stages: Sequence[int] | None) -> BaseNetwork:
    layers = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(channels, 16, 3, padding=1),
        relu1=nn.ReLU(inplace=True),
        conv2=nn.Conv2d(16, 32, 3, stride=2, padding=1),
        relu2=nn.ReLU(inplace=True),
        conv3=nn.Conv2d(32, 64, 3, padding=1),
        relu3=nn.ReLU(inplace=True),
    )
    # averages over quarters of the image: its few layers cannot encode positions in channels
    return BaseNetwork(
        "small_cnn",
        layers,
        SMALL_CNN_STAGES,
        stages,
        min_size=1,
        mean=(0.5,) * channels,
        std=(0.5,) * channels,
        terms=_TERMS,
        cells=2,
    )
