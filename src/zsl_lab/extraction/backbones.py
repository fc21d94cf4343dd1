"""Frozen backbones of torchvision: networks without their classifier, which return features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from zsl_lab.errors import CheckpointError, ConfigError
from zsl_lab.extraction.names import IMAGENET
from zsl_lab.extraction.weights import Terms, import_package, misfit, read_state_dict


@dataclass(frozen=True)
class AdaptedTensor:
    """Description of a tensor of a network that a method may replace.

    Attributes:
        name: Its name in the network's state dict, for ``functional_call``.
        kind: The type of its layer.
        filters: Number K of the layer's output filters, the rows of the tensor; of batch norm, its
            channels.
        size: Number of weights of a filter, ``C * kh * kw``; 1 for batch norm.
        shape: The tensor's shape, ``[K, C, kh, kw]``, ``[K, C]`` or, of batch norm, ``[K]``.
    """

    name: str
    kind: Literal["conv", "linear", "batch norm"]
    filters: int
    size: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Architecture:
    """Facts about a network of torchvision.

    Attributes:
        removed: Parts that belong to the classifier or are only used in training.
        classifier: The layer with a row for each class.
        min_size: Smallest height and width of an image, in pixels, that leaves at least one output
            to pool.
        mean: Subtracted from each channel of an image in [0, 1], for the published weights.
        std: Each channel is then divided by it.
        options: Arguments of torchvision's constructor.
        kernel: Height and width of the classifier's filters if it is a convolution; else empty.
    """

    removed: tuple[str, ...]
    classifier: str
    min_size: int
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    options: Mapping[str, Any] = field(default_factory=dict)
    kernel: tuple[int, ...] = ()


ARCHITECTURES = {
    **{
        f"resnet{depth}": _Architecture(("avgpool", "fc"), "fc", min_size=1)
        for depth in (18, 34, 50, 101, 152)
    },
    "squeezenet1_1": _Architecture(("classifier",), "classifier.1", min_size=17, kernel=(1, 1)),
    "googlenet": _Architecture(
        ("aux1", "aux2", "avgpool", "dropout", "fc"),
        "fc",
        min_size=15,
        # its weights come from another framework, with other statistics than torchvision's, which
        # transform_input converts
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        options={"init_weights": False},
    ),
    "efficientnet_b0": _Architecture(("avgpool", "classifier"), "classifier.1", min_size=1),
}


def _resnet_stages(width: int, *blocks: int) -> dict[str, int]:
    """The last layers of a ResNet's stem and four stages, with their numbers of channels.

    Args:
        width: Channels of the first stage; each further stage has twice as many.
        blocks: Number of blocks of each stage.
    """
    return {
        "relu": 64,
        **{f"layer{i}.{count - 1}": width * 2 ** (i - 1) for i, count in enumerate(blocks, 1)},
    }


#: for each network the last layer of each stage and its number of channels, from input to output; a
#: stage is a part in which the size of the image does not change
STAGES: dict[str, dict[str, int]] = {
    "resnet18": _resnet_stages(64, 2, 2, 2, 2),
    "resnet34": _resnet_stages(64, 3, 4, 6, 3),
    "resnet50": _resnet_stages(256, 3, 4, 6, 3),
    "resnet101": _resnet_stages(256, 3, 4, 23, 3),
    "resnet152": _resnet_stages(256, 3, 8, 36, 3),
    "squeezenet1_1": {"features.1": 64, "features.4": 128, "features.7": 256, "features.12": 512},
    "googlenet": {
        "conv1": 64,
        "conv3": 192,
        "inception3b": 480,
        "inception4e": 832,
        "inception5b": 1024,
    },
    "efficientnet_b0": {
        "features.1": 16,
        "features.2": 24,
        "features.3": 40,
        "features.5": 112,
        "features.8": 1280,
    },
}


class BaseNetwork(nn.Module):
    """A convolutional backbone: takes images and returns features averaged over the image.

    The weight of every convolution, and the weight and bias of every batch norm, can be replaced
    through ``functional_call``. The state dict has the names of the package that the layers come
    from, without the classifier. Batch norm is always in evaluation mode.

    Args:
        name: The network's name, for messages.
        layers: The layers by name, applied in this order; each returns ``[B, channels, height,
            width]``.
        ends: The last layer of each stage and its number of channels, from input to output.
        stages: Numbers of the stages whose outputs are the features, from 1 at the input; None for
            the last. Later layers are not applied.
        min_size: The smallest height and width of an image, in pixels.
        mean: Subtracted from each channel of an image in [0, 1]; one value for each input channel.
        std: Each channel is then divided by it.
        terms: Words for messages.
        cells: Rows and columns of the grid in whose cells averages are taken.

    Attributes:
        feature_dim: F, the dimension of the features.
        weights_file: The file that the weights were read from; None for none.
        reads_last: Whether the features are the input of the network's own classifier.
        tensors: The weights of convolutions and linear layers up to the last selected stage, in the
            order in which they are applied.
        batch_norm_tensors: The weights and biases of batch norm there.
        half_precision: Whether features are extracted in half precision on a GPU.
    """

    half_precision = False

    def __init__(
        self,
        name: str,
        layers: Mapping[str, nn.Module],
        ends: Mapping[str, int],
        stages: Sequence[int] | None,
        min_size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        terms: Terms,
        cells: int = 1,
    ) -> None:
        super().__init__()
        self.name = name
        self._terms = terms
        self.weights_file: Path | None = None
        self.stages = tuple(stages or (len(ends),))
        self.reads_last = self.stages == (len(ends),)
        self._read = tuple(list(ends)[stage - 1] for stage in self.stages)
        self._cells = cells
        self.feature_dim = cells**2 * sum(ends[end] for end in self._read)
        self.min_size = min_size
        for part, layer in layers.items():
            self.add_module(part, layer)
        replaceable = [
            tensor for part, layer in self._applied() for tensor in _adapted_tensors(part, layer)
        ]
        self.tensors = tuple(tensor for tensor in replaceable if tensor.kind != "batch norm")
        self.batch_norm_tensors = tuple(
            tensor for tensor in replaceable if tensor.kind == "batch norm"
        )
        # constants of the architecture, not stored in a state dict
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        self.mean: Tensor
        self.std: Tensor
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """The outputs of the selected stages, averaged over the image.

        Args:
            images: uint8 ``[B, channels, height, width]``; a single channel is repeated for all
                input channels of the network.

        Returns:
            The features ``[B, F]``.

        Raises:
            ConfigError: If the images are too small for the network.
        """
        height, width = images.shape[-2:]
        if min(height, width) < self.min_size:
            raise ConfigError(
                f"{self._terms.network}{self.name}: the images have {height} x {width} pixels; "
                f"expected at least {self.min_size} x {self.min_size}. {self._terms.larger}"
            )
        # channels_last makes convolutions up to twice as fast on a CPU
        images = images.expand(-1, len(self.mean), -1, -1).contiguous(
            memory_format=torch.channels_last
        )
        hidden = (images.to(self.mean.dtype) / 255 - self.mean) / self.std
        averages = []
        for name, layer in self._applied():
            hidden = layer(hidden)
            if name in self._read:
                averages.append(adaptive_avg_pool2d(hidden, self._cells).flatten(1))
        return torch.cat(averages, dim=1)

    def _applied(self) -> Iterator[tuple[str, nn.Module]]:
        """The layers up to the last selected stage; those of an ``nn.Sequential`` one by one."""
        for part, module in self.named_children():
            inner = (
                [(f"{part}.{name}", layer) for name, layer in module.named_children()]
                if isinstance(module, nn.Sequential)
                else []
            )
            for name, layer in inner or [(part, module)]:
                yield name, layer
                if name == self._read[-1]:
                    return

    @property
    def description(self) -> str:
        """The network's name, with the selected stages if they are not the last."""
        return (
            self.name
            if self.reads_last
            else f"{self.name}, the classifier for averages of stages "
            f"{', '.join(map(str, self.stages))}"
        )

    def train(self, mode: bool = True) -> BaseNetwork:
        """Set the mode of all layers but batch norm, which keeps its stored statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(False)
        return self

    def classifier_state(self, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
        """The state dict of a classifier of these features.

        It has the names of the network's own package if these are the features of its classifier.

        Args:
            weight: A row for each of k classes, ``[k, F]``.
            bias: ``[k]``.
        """
        if self.name not in ARCHITECTURES or not self.reads_last:
            return {"classifier.weight": weight, "classifier.bias": bias}
        architecture = ARCHITECTURES[self.name]
        weight = weight.reshape(*weight.shape, *architecture.kernel)
        return {
            f"{architecture.classifier}.weight": weight,
            f"{architecture.classifier}.bias": bias,
        }


def build_network(
    name: str, weights: str | None, terms: Terms, stages: Sequence[int] | None = None
) -> BaseNetwork:
    """Make a frozen network of torchvision.

    Args:
        name: One of :data:`ARCHITECTURES`.
        weights: ``imagenet`` (torchvision downloads them) or the file of a state dict; None sets
            all weights to 0, to be loaded from a checkpoint.
        terms: Words for messages.
        stages: Numbers of the stages whose outputs are the features; None for the last.

    Raises:
        ConfigError: If torchvision is missing, or the weights cannot be downloaded.
        CheckpointError: If the weights' file is missing, damaged or of another network.
    """
    models = import_package("torchvision.models", name, "images", terms)
    network = _without_classifier(models, name, terms, stages)
    for part in network.children():
        part.to_empty(device="cpu")
    for tensor in network.state_dict().values():
        tensor.zero_()
    if weights == IMAGENET:
        state, network.weights_file = _downloaded(models, name, terms)
        _load(network, state, f"{terms.weights}{IMAGENET} ({network.weights_file})", models, terms)
    elif weights is not None:
        network.weights_file = Path(weights).expanduser()
        _load(
            network,
            read_state_dict(network.weights_file, name, terms),
            f"{terms.weights}{network.weights_file}",
            models,
            terms,
        )
    return network.requires_grad_(False)


def _without_classifier(
    models: Any, name: str, terms: Terms, stages: Sequence[int] | None = None
) -> BaseNetwork:
    """The network of torchvision up to its classifier, on the meta device."""
    architecture = ARCHITECTURES[name]
    # on the meta device: drawing random weights would take time and advance the run's random state
    with torch.device("meta"):
        model = models.get_model(name, weights=None, **architecture.options)
    layers = {
        part: layer for part, layer in model.named_children() if part not in architecture.removed
    }
    return BaseNetwork(
        name,
        layers,
        STAGES[name],
        stages,
        architecture.min_size,
        architecture.mean,
        architecture.std,
        terms,
    )


def _adapted_tensors(part: str, layer: nn.Module) -> list[AdaptedTensor]:
    """The tensors of a part of a network that can be replaced, from its input on."""
    found = []
    for name, module in layer.named_modules(prefix=part):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            shape = tuple(module.weight.shape)
            kind: Literal["conv", "linear"] = "conv" if isinstance(module, nn.Conv2d) else "linear"
            found.append(AdaptedTensor(f"{name}.weight", kind, shape[0], prod(shape[1:]), shape))
        elif isinstance(module, nn.BatchNorm2d):
            channels = module.num_features
            found += [
                AdaptedTensor(f"{name}.{tensor}", "batch norm", channels, 1, (channels,))
                for tensor in ("weight", "bias")
            ]
    return found


# -------------------------------------------------------------------------------------------
# weights


def _downloaded(models: Any, name: str, terms: Terms) -> tuple[dict[str, Tensor], Path]:
    """The weights that torchvision publishes, and the file that they are stored in."""
    url: str = models.get_model_weights(name).IMAGENET1K_V1.url
    stored = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    try:
        state = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
    except Exception as error:  # of the connection, the disk or the file itself
        if stored.is_file():
            raise CheckpointError(
                f"{terms.weights}{IMAGENET}: {stored} is no readable file of weights "
                f"({type(error).__name__}). Delete it, and it is downloaded again; or set "
                f"{terms.own}."
            ) from error
        raise ConfigError(
            f"{terms.weights}{IMAGENET}: cannot download {url} ({error}). "
            f"Get the file by other means and store it as {stored}, or give a file: "
            f"{terms.weights}FILE."
        ) from error
    return state, stored


def _load(
    network: BaseNetwork, state: Mapping[str, Tensor], source: str, models: Any, terms: Terms
) -> None:
    """Copy weights into a network, all of them or none.

    Raises:
        CheckpointError: If they are of another network; the message names it if it is known.
    """
    problem = _misfit(network, state)
    if problem:
        others = [name for name in terms.networks if name in ARCHITECTURES and name != network.name]
        fitting = [
            name for name in others if not _misfit(_without_classifier(models, name, terms), state)
        ]
        if fitting:
            ways = (
                f"They fit {fitting[0]}: set {terms.network}{fitting[0]}, or "
                f"{terms.weights.strip('= ')} to weights of {network.name}."
            )
        else:
            ways = (
                f"Set {terms.weights.strip('= ')} to a state dict of {network.name}, or "
                f"{terms.network.strip('= ')} to the network that these are of."
            )
        raise CheckpointError(
            f"{source}: these weights do not fit {terms.network}{network.name}: {problem}. {ways}"
        )
    # the network lacks the classifier, and the file may lack batch norm's counters
    network.load_state_dict(state, strict=False)


def _misfit(network: BaseNetwork, state: Mapping[str, Tensor]) -> str:
    removed = tuple(f"{part}." for part in ARCHITECTURES[network.name].removed)
    return misfit(network.state_dict(), state, removed)
