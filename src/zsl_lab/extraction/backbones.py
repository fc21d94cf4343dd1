"""Networks of torchvision without their classifier, frozen, with weights that were checked: images in, averaged features out.

They make features of images, and N3 adapts them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from zsl_lab.errors import CheckpointError, ConfigError

IMAGENET = "imagenet"
#: counts batches in training, which batch norm is not in here; older state dicts lack it
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Terms:
    """What messages call a user's choices: keys of a configuration, or options of a command.

    Attributes:
        network: What stands before a network's name where one is chosen (``"method.base.name="``,
            ``"--backbone "``).
        weights: Likewise before its weights.
        networks: The networks that can be chosen there.
        otherwise: What can be done without torchvision, beside installing it; empty where nothing
            can.
        larger: The sentence on what to do about images that are too small.
    """

    network: str
    weights: str
    networks: Sequence[str]
    otherwise: str
    larger: str

    @property
    def published(self) -> str:
        """The choice of published weights."""
        return f"{self.weights}{IMAGENET} (torchvision downloads them)"

    @property
    def own(self) -> str:
        """The choice of a file of weights."""
        return (
            f"{self.weights}FILE (a state dict, as torch.save(model.state_dict(), FILE) writes it)"
        )


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
        mean: Of each channel of an image in [0, 1], by which the published weights expect it to be
            normalised.
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
        # its weights come from another framework: torchvision's transform_input makes these of the
        # usual mean and std
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        options={"init_weights": False},
    ),
    "efficientnet_b0": _Architecture(("avgpool", "classifier"), "classifier.1", min_size=1),
}


def _resnet_stages(width: int, *blocks: int) -> dict[str, int]:
    """Four stages of so many blocks, the first of them with ``width`` channels, behind a first convolution of 64."""
    return {
        "relu": 64,
        **{f"layer{i}.{count - 1}": width * 2 ** (i - 1) for i, count in enumerate(blocks, 1)},
    }


#: of each network the layer that ends a stage and the channels that leave it, from input to output
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
    "small_cnn": {"relu1": 16, "relu3": 64},
}


class BaseNetwork(nn.Module):
    """Images in, features out; the weight of every convolution that they depend on can be replaced through ``functional_call``.

    The parts are registered under their own names: a state dict of this network holds what
    torchvision's holds under the same names, less the classifier. Batch norm keeps its statistics
    whatever :meth:`train` says.

    Args:
        name: The network's name, for messages.
        layers: What is applied one after the other, by name; each gives ``[B, channels, height,
            width]``.
        stages: The stages that are read, by number from the input; None for the last. Layers after
            them are not applied.
        min_size: Height and width that an image needs.
        mean: Of each channel of an image in [0, 1], subtracted; as many as the first layer takes
            channels.
        std: Likewise, divided by.
        terms: For messages.
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
        terms: Terms,
        cells: int = 1,
    ) -> None:
        super().__init__()
        self.name = name
        self._terms = terms
        #: where the weights were read; None where they were not
        self.weights_file: Path | None = None
        ends = list(STAGES[name])
        self.stages = tuple(stages or (len(ends),))
        #: whether the features are those that the network's own classifier reads
        self.reads_last = self.stages == (len(ends),)
        self._read = tuple(ends[stage - 1] for stage in self.stages)
        self._cells = cells
        self.feature_dim = cells**2 * sum(STAGES[name][end] for end in self._read)
        self.min_size = min_size
        for part, layer in layers.items():
            self.add_module(part, layer)
        self.tensors = tuple(
            tensor for part, layer in self._applied() for tensor in _adapted_tensors(part, layer)
        )
        # constants of the architecture: no part of a state dict
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        self.mean: Tensor
        self.std: Tensor
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """What leaves the stages that are read, averaged over the image.

        Args:
            images: uint8 ``[B, channels, height, width]``; a single channel serves as all those
                that the network takes.

        Returns:
            ``[B, F]``.

        Raises:
            ConfigError: The images are too small for the network.
        """
        height, width = images.shape[-2:]
        if min(height, width) < self.min_size:
            raise ConfigError(
                f"{self._terms.network}{self.name}: the images have {height} x {width} pixels; "
                f"expected at least {self.min_size} x {self.min_size}. {self._terms.larger}"
            )
        # with the channels last convolutions take up to half the time on a CPU, whatever the layout
        # of their weights
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
        """Layers, those of a sequence one by one, up to the last that is read."""
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
        """The network's name; and what its classifier is for, where that is not what torchvision's reads."""
        return (
            self.name
            if self.reads_last
            else f"{self.name}, the classifier for averages of stages "
            f"{', '.join(map(str, self.stages))}"
        )

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
        weights: ``imagenet`` (torchvision downloads them) or the file of a state dict; None leaves
            all numbers 0, for weights that follow from elsewhere.
        terms: For messages.
        stages: The stages that are read; None for the last.

    Raises:
        ConfigError: torchvision is missing, or the weights cannot be downloaded.
        CheckpointError: The weights' file is missing, damaged or of another network.
    """
    models = _torchvision_models(name, terms)
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
            _read(network.weights_file, name, terms),
            f"{terms.weights}{network.weights_file}",
            models,
            terms,
        )
    return network.requires_grad_(False)


def _torchvision_models(name: str, terms: Terms) -> Any:
    try:
        return import_module("torchvision.models")
    except ImportError as error:
        otherwise = f", or {terms.otherwise}" if terms.otherwise else ""
        raise ConfigError(
            f"{terms.network}{name}: this network comes from torchvision, which cannot be imported "
            f"({error}). "
            f'Install it with: pip install "zsl-lab[images]"{otherwise}.'
        ) from error


def _without_classifier(
    models: Any, name: str, terms: Terms, stages: Sequence[int] | None = None
) -> BaseNetwork:
    """The network of torchvision up to its classifier; its tensors have shapes and no numbers yet."""
    architecture = ARCHITECTURES[name]
    # random numbers would cost time, and move the generator that the run's own come from
    with torch.device("meta"):
        model = models.get_model(name, weights=None, **architecture.options)
    layers = {
        part: layer for part, layer in model.named_children() if part not in architecture.removed
    }
    return BaseNetwork(
        name, layers, stages, architecture.min_size, architecture.mean, architecture.std, terms
    )


def _adapted_tensors(part: str, layer: nn.Module) -> list[AdaptedTensor]:
    """Weights of all convolutions and inner linear layers in a part of a network, from input to output."""
    found = []
    for name, module in layer.named_modules(prefix=part):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            shape = tuple(module.weight.shape)
            kind: Literal["conv", "linear"] = "conv" if isinstance(module, nn.Conv2d) else "linear"
            found.append(AdaptedTensor(f"{name}.weight", kind, shape[0], prod(shape[1:]), shape))
    return found


# -------------------------------------------------------------------------------------------
# weights


def _read(path: Path, name: str, terms: Terms) -> dict[str, Tensor]:
    """Read the file of a state dict, without unpickling anything else."""
    ways = f"Give the file of a state dict of {name} (torch.save(model.state_dict(), FILE) writes one), or set {terms.published}."
    if path.is_dir():
        raise CheckpointError(f"{terms.weights}{path}: this is a folder. {ways}")
    if not path.is_file():
        raise CheckpointError(f"{terms.weights}{path}: there is no such file. {ways}")
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, all of which mean the same to a user
        raise CheckpointError(
            f"{terms.weights}{path}: these are no readable weights ({type(error).__name__}). They "
            f"were not unpickled further. {ways}"
        ) from error
    if not isinstance(state, Mapping):
        raise CheckpointError(
            f"{terms.weights}{path}: found a value of type {type(state).__name__}; expected "
            f"tensors by name. {ways}"
        )
    wrong = [
        key
        for key, value in state.items()
        if not isinstance(key, str) or not isinstance(value, Tensor)
    ]
    if wrong or not state:
        found = f"{wrong[0]!r} of type {type(state[wrong[0]]).__name__}" if wrong else "nothing"
        raise CheckpointError(
            f"{terms.weights}{path}: found {found}; expected tensors by name. {ways}"
        )
    return dict(state)


def _downloaded(models: Any, name: str, terms: Terms) -> tuple[dict[str, Tensor], Path]:
    """The weights of torchvision, and where they are stored."""
    url: str = models.get_model_weights(name).IMAGENET1K_V1.url
    stored = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    try:
        state = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
    except Exception as error:  # of network, disk and file; which, shows in whether there is a file
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
        CheckpointError: They are of another network; the message names it if it is known.
    """
    problem = _misfit(network, state)
    if problem:
        others = [name for name in terms.networks if name in ARCHITECTURES and name != network.name]
        fitting = [
            name for name in others if not _misfit(_without_classifier(models, name, terms), state)
        ]
        if fitting:
            ways = f"They fit {fitting[0]}: set {terms.network}{fitting[0]}, or {terms.weights.strip('= ')} to weights of {network.name}."
        else:
            ways = (
                f"Set {terms.weights.strip('= ')} to a state dict of {network.name}, or "
                f"{terms.network.strip('= ')} to the network"
                " that these are of."
            )
        raise CheckpointError(
            f"{source}: these weights do not fit {terms.network}{network.name}: {problem}. {ways}"
        )
    # what is not in the network is its classifier; what is not in the file, counters
    network.load_state_dict(state, strict=False)


def _misfit(network: BaseNetwork, state: Mapping[str, Tensor]) -> str:
    """In which way weights are not of a network; empty where they are."""
    ignored = tuple(f"{part}." for part in ARCHITECTURES[network.name].removed)
    expected = {
        name: list(tensor.shape)
        for name, tensor in network.state_dict().items()
        if not name.endswith(_COUNTER)
    }
    found = {
        name: list(tensor.shape)
        for name, tensor in state.items()
        if not name.startswith(ignored) and not name.endswith(_COUNTER)
    }
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    other = [name for name in expected if name in found and found[name] != expected[name]]
    if not (missing or unexpected or other):
        return ""
    first = [f"{name} has shape {found[name]}, expected {expected[name]}" for name in other[:1]]
    first += [f"{name} {expected[name]} is missing" for name in missing[:1]]
    first += [f"{name} {found[name]} is not expected" for name in unexpected[:1]]
    return (
        f"of its {len(expected)} tensors {len(missing)} are missing and {len(other)} have another "
        f"shape, and {len(unexpected)} tensors are not expected ({'; '.join(first)})"
    )
