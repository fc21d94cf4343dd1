"""The networks that N3 adapts: torchvision's, without their classifier, and a small one that is trained in the run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from zsl_lab.errors import CheckpointError, ConfigError, quoted

_KEY = "method.base.weights"
_FILE = f"{_KEY}=FILE (a state dict, as torch.save(model.state_dict(), FILE) writes it)"
_IMAGENET = f"{_KEY}=imagenet (torchvision downloads them)"
#: counts batches in training, which batch norm is not in here; older state dicts lack it
_COUNTER = "num_batches_tracked"


class BaseConfig(BaseModel):
    """Which network is adapted, and where its weights come from.

    Attributes:
        name: The network.
        weights: ``imagenet`` (torchvision downloads them), the file of a state dict (a relative path starts at the
            working folder), or None: not given. ``small_cnn`` takes None only, it is trained in the run.
        stages: Whose averages over the image are the features, side by side, by number from the input. A stage is what lies
            between two reductions of the image's size. None is the last, which the network's own classifier reads.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Literal["resnet18", "squeezenet1_1", "googlenet", "small_cnn"]
    weights: str | None
    stages: list[int] | None = None

    @model_validator(mode="after")
    def _check_stages(self) -> BaseConfig:
        if self.stages is None:
            return self
        count = len(_STAGES[self.name])
        if not self.stages or self.stages != sorted(set(self.stages)) or not 1 <= self.stages[0] <= self.stages[-1] <= count:
            raise ValueError(
                f"found base.stages={self.stages}; expected ascending numbers from 1 to {count}, the stages of {self.name}, "
                "or null for the last one"
            )
        return self


@dataclass(frozen=True)
class AdaptedTensor:
    """A tensor of the network that deltas are generated for.

    Attributes:
        name: Its name in the network, as ``functional_call`` takes it.
        kind: The type of its layer.
        filters: K, its output filters: the rows of the tensor.
        size: Numbers in a filter, ``C * kh * kw``.
        shape: The tensor's, ``[K, C, kh, kw]`` or ``[K, C]``.
    """

    name: str
    kind: Literal["conv", "linear"]
    filters: int
    size: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Architecture:
    """What there is to know about a network of torchvision.

    Attributes:
        removed: Its parts that are the classifier or serve training from scratch only.
        classifier: Its layer that has a row for each class.
        min_size: Height and width that an image needs to leave something to pool.
        mean: Of each channel of an image in [0, 1], by which the published weights expect it to be normalised.
        std: Likewise.
        options: Of torchvision's constructor.
        kernel: Height and width of the classifier's filters where it is a convolution.
    """

    removed: tuple[str, ...]
    classifier: str
    min_size: int
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    options: Mapping[str, Any] = field(default_factory=dict)
    kernel: tuple[int, ...] = ()


_ARCHITECTURES = {
    "resnet18": _Architecture(("avgpool", "fc"), "fc", min_size=1),
    "squeezenet1_1": _Architecture(("classifier",), "classifier.1", min_size=17, kernel=(1, 1)),
    "googlenet": _Architecture(
        ("aux1", "aux2", "avgpool", "dropout", "fc"),
        "fc",
        min_size=15,
        # its weights come from another framework: torchvision's transform_input makes these of the usual mean and std
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        options={"init_weights": False},
    ),
}

#: of each network the layer that ends a stage and the channels that leave it, from input to output
_STAGES: dict[str, dict[str, int]] = {
    "resnet18": {"relu": 64, "layer1.1": 64, "layer2.1": 128, "layer3.1": 256, "layer4.1": 512},
    "squeezenet1_1": {"features.1": 64, "features.4": 128, "features.7": 256, "features.12": 512},
    "googlenet": {"conv1": 64, "conv3": 192, "inception3b": 480, "inception4e": 832, "inception5b": 1024},
    "small_cnn": {"relu1": 16, "relu3": 64},
}


class BaseNetwork(nn.Module):
    """Images in, features out; the weight of every convolution that they depend on can be replaced through ``functional_call``.

    The parts are registered under their own names: a state dict of this network holds what torchvision's holds under
    the same names, less the classifier. Batch norm keeps its statistics whatever :meth:`train` says.

    Args:
        name: The network's name, for messages.
        layers: What is applied one after the other, by name; each gives ``[B, channels, height, width]``.
        stages: The stages that are read, by number from the input; None for the last. Layers after them are not applied.
        min_size: Height and width that an image needs.
        mean: Of each channel of an image in [0, 1], subtracted; as many as the first layer takes channels.
        std: Likewise, divided by.
        cells: Averages are taken over each cell of a grid of so many rows and columns.
    """

    def __init__(
        self,
        name: str,
        layers: Mapping[str, nn.Module],
        stages: Sequence[int] | None,
        min_size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        cells: int = 1,
    ) -> None:
        super().__init__()
        self.name = name
        ends = list(_STAGES[name])
        self.stages = tuple(stages or (len(ends),))
        #: whether the features are those that the network's own classifier reads
        self.reads_last = self.stages == (len(ends),)
        self._read = tuple(ends[stage - 1] for stage in self.stages)
        self._cells = cells
        self.feature_dim = cells**2 * sum(_STAGES[name][end] for end in self._read)
        self.min_size = min_size
        for part, layer in layers.items():
            self.add_module(part, layer)
        self.tensors = tuple(tensor for part, layer in self._applied() for tensor in _adapted_tensors(part, layer))
        # constants of the architecture: no part of a state dict
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        self.mean: Tensor
        self.std: Tensor
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """What leaves the stages that are read, averaged over the image.

        Args:
            images: uint8 ``[B, channels, height, width]``; a single channel serves as all those that the network takes.

        Returns:
            ``[B, F]``.

        Raises:
            ConfigError: The images are too small for the network.
        """
        height, width = images.shape[-2:]
        if min(height, width) < self.min_size:
            raise ConfigError(
                f"method.base.name={self.name}: the images have {height} x {width} pixels; expected at least {self.min_size} x "
                f"{self.min_size}. Take larger ones (dataset.image_size of an image folder), or set method.base.name=small_cnn."
            )
        # with the channels last convolutions take up to half the time on a CPU, whatever the layout of their weights
        images = images.expand(-1, len(self.mean), -1, -1).contiguous(memory_format=torch.channels_last)
        hidden = (images.to(self.mean.dtype) / 255 - self.mean) / self.std
        averages = []
        for name, layer in self._applied():
            hidden = layer(hidden)
            if name in self._read:
                averages.append(adaptive_avg_pool2d(hidden, self._cells).flatten(1))
        return torch.cat(averages, dim=1)

    def _applied(self) -> Iterator[tuple[str, nn.Module]]:
        """Layers, those of a sequence one by one, up to the last that is read."""
        for part, module in self.named_children():
            inner = [(f"{part}.{name}", layer) for name, layer in module.named_children()] if isinstance(module, nn.Sequential) else []
            for name, layer in inner or [(part, module)]:
                yield name, layer
                if name == self._read[-1]:
                    return

    @property
    def description(self) -> str:
        """The network's name; and what its classifier is for, where that is not what torchvision's reads."""
        return self.name if self.reads_last else f"{self.name}, the classifier for averages of stages {', '.join(map(str, self.stages))}"

    def train(self, mode: bool = True) -> BaseNetwork:
        """Set the mode of everything but batch norm, which normalises by the statistics that came with the weights."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(False)
        return self

    def classifier_state(self, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
        """A classifier under the names that torchvision's network has it by; ``classifier.weight`` and ``.bias`` where it has none.

        Args:
            weight: A row for each class, ``[k, F]``.
            bias: ``[k]``.
        """
        if self.name == "small_cnn" or not self.reads_last:
            return {"classifier.weight": weight, "classifier.bias": bias}
        architecture = _ARCHITECTURES[self.name]
        weight = weight.reshape(*weight.shape, *architecture.kernel)
        return {f"{architecture.classifier}.weight": weight, f"{architecture.classifier}.bias": bias}


def build_base_network(config: BaseConfig, channels: int, *, load: bool = True) -> BaseNetwork:
    """Make a base network: a frozen one with its weights, or ``small_cnn`` as training starts with it.

    Args:
        config: Which network, with which weights.
        channels: Of the images: 1 or 3 for a network of torchvision, any number for ``small_cnn``.
        load: Whether to load the weights; False where they follow from a checkpoint, and none need to be given.

    Raises:
        ConfigError: torchvision or the weights are missing, the weights cannot be downloaded, or the channels do not fit.
        CheckpointError: The weights' file is missing, damaged or of another network.
    """
    if config.name == "small_cnn":
        if config.weights is not None:
            raise ConfigError(
                f"{quoted(_KEY, config.weights)}: method.base.name=small_cnn takes no weights, it is trained in the run. "
                f"Set {_KEY}=null, or method.base.name to a network that takes them: {', '.join(_ARCHITECTURES)}."
            )
        return _small_cnn(channels, config.stages)
    if channels not in (1, 3):
        raise ConfigError(
            f"method.base.name={config.name}: the images have {channels} channels; expected 1 or 3. "
            "Take other images, or set method.base.name=small_cnn."
        )
    if config.weights is None and load:
        raise ConfigError(f"{_KEY}=null: {config.name} needs pretrained weights. Set {_IMAGENET} or {_FILE}.")
    models = _torchvision_models(config.name)
    network = _without_classifier(models, config.name, config.stages)
    if load and config.weights == "imagenet":
        state, source = _downloaded(models, config.name)
        _load(network, state, f"{_KEY}=imagenet ({source})", models)
    elif load and config.weights is not None:
        path = Path(config.weights).expanduser()
        _load(network, _read(path, config.name), f"{_KEY}={path}", models)
    return network.requires_grad_(False)


def _small_cnn(channels: int, stages: Sequence[int] | None) -> BaseNetwork:
    layers = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(channels, 16, 3, padding=1),
        relu1=nn.ReLU(inplace=True),
        conv2=nn.Conv2d(16, 32, 3, stride=2, padding=1),
        relu2=nn.ReLU(inplace=True),
        conv3=nn.Conv2d(32, 64, 3, padding=1),
        relu3=nn.ReLU(inplace=True),
    )
    # by quarters of the image: its few layers cannot put into channels where a stroke is
    return BaseNetwork("small_cnn", layers, stages, min_size=1, mean=(0.5,) * channels, std=(0.5,) * channels, cells=2)


def _torchvision_models(name: str) -> Any:
    try:
        return import_module("torchvision.models")
    except ImportError as error:
        raise ConfigError(
            f"method.base.name={name}: this network comes from torchvision, which cannot be imported ({error}). "
            'Install it with: pip install "zsl-lab[n3]", or set method.base.name=small_cnn, which needs nothing.'
        ) from error


def _without_classifier(models: Any, name: str, stages: Sequence[int] | None = None) -> BaseNetwork:
    """The network of torchvision up to its classifier, all its numbers 0."""
    architecture = _ARCHITECTURES[name]
    # without numbers at first: random ones would cost time, and move the generator that the run's own come from
    with torch.device("meta"):
        model = models.get_model(name, weights=None, **architecture.options)
    layers = {part: layer for part, layer in model.named_children() if part not in architecture.removed}
    for layer in layers.values():
        layer.to_empty(device="cpu")
        for tensor in layer.state_dict().values():
            tensor.zero_()
    return BaseNetwork(name, layers, stages, architecture.min_size, architecture.mean, architecture.std)


def _adapted_tensors(part: str, layer: nn.Module) -> list[AdaptedTensor]:
    """Weights of all convolutions and inner linear layers in a part of a network, from input to output."""
    found = []
    for name, module in layer.named_modules(prefix=part):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            shape = tuple(module.weight.shape)
            kind: Literal["conv", "linear"] = "conv" if isinstance(module, nn.Conv2d) else "linear"
            found.append(AdaptedTensor(f"{name}.weight", kind, shape[0], prod(shape[1:]), shape))
    return found


# ------------------------------------------------------------------------------------------- weights


def _read(path: Path, name: str) -> dict[str, Tensor]:
    """Read the file of a state dict, without unpickling anything else."""
    ways = f"Give the file of a state dict of {name} (torch.save(model.state_dict(), FILE) writes one), or set {_IMAGENET}."
    if path.is_dir():
        raise CheckpointError(f"{_KEY}={path}: this is a folder. {ways}")
    if not path.is_file():
        raise CheckpointError(f"{_KEY}={path}: there is no such file. {ways}")
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, all of which mean the same to a user
        raise CheckpointError(
            f"{_KEY}={path}: these are no readable weights ({type(error).__name__}). They were not unpickled further. {ways}"
        ) from error
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{_KEY}={path}: found a value of type {type(state).__name__}; expected tensors by name. {ways}")
    wrong = [key for key, value in state.items() if not isinstance(key, str) or not isinstance(value, Tensor)]
    if wrong or not state:
        found = f"{wrong[0]!r} of type {type(state[wrong[0]]).__name__}" if wrong else "nothing"
        raise CheckpointError(f"{_KEY}={path}: found {found}; expected tensors by name. {ways}")
    return dict(state)


def _downloaded(models: Any, name: str) -> tuple[dict[str, Tensor], Path]:
    """The weights of torchvision, and where they are stored."""
    url: str = models.get_model_weights(name).IMAGENET1K_V1.url
    stored = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    try:
        state = torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except Exception as error:  # of network, disk and file; which, shows in whether there is a file
        if stored.is_file():
            raise CheckpointError(
                f"{_KEY}=imagenet: {stored} is no readable file of weights ({type(error).__name__}). "
                f"Delete it, and it is downloaded again; or set {_FILE}."
            ) from error
        raise ConfigError(
            f"{_KEY}=imagenet: cannot download {url} ({error}). "
            f"Get the file by other means and store it as {stored}, or give a file: {_KEY}=FILE."
        ) from error
    return state, stored


def _load(network: BaseNetwork, state: Mapping[str, Tensor], source: str, models: Any) -> None:
    """Copy weights into a network, all of them or none.

    Raises:
        CheckpointError: They are of another network; the message names it if it is known.
    """
    problem = _misfit(network, state)
    if problem:
        others = [name for name in _ARCHITECTURES if name != network.name]
        fitting = [name for name in others if not _misfit(_without_classifier(models, name), state)]
        if fitting:
            ways = f"They fit {fitting[0]}: set method.base.name={fitting[0]}, or {_KEY} to weights of {network.name}."
        else:
            ways = f"Set {_KEY} to a state dict of {network.name}, or method.base.name to the network that these are of."
        raise CheckpointError(f"{source}: these weights do not fit method.base.name={network.name}: {problem}. {ways}")
    # what is not in the network is its classifier; what is not in the file, counters
    network.load_state_dict(state, strict=False)


def _misfit(network: BaseNetwork, state: Mapping[str, Tensor]) -> str:
    """In which way weights are not of a network; empty where they are."""
    ignored = tuple(f"{part}." for part in _ARCHITECTURES[network.name].removed)
    expected = {name: list(tensor.shape) for name, tensor in network.state_dict().items() if not name.endswith(_COUNTER)}
    found = {name: list(tensor.shape) for name, tensor in state.items() if not name.startswith(ignored) and not name.endswith(_COUNTER)}
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    other = [name for name in expected if name in found and found[name] != expected[name]]
    if not (missing or unexpected or other):
        return ""
    first = [f"{name} has shape {found[name]}, expected {expected[name]}" for name in other[:1]]
    first += [f"{name} {expected[name]} is missing" for name in missing[:1]]
    first += [f"{name} {found[name]} is not expected" for name in unexpected[:1]]
    return (
        f"of its {len(expected)} tensors {len(missing)} are missing and {len(other)} have another shape, "
        f"and {len(unexpected)} tensors are not expected ({'; '.join(first)})"
    )
