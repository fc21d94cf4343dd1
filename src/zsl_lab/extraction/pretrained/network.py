"""Classes and functions shared by the pretrained networks of all packages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from zsl_lab.data.recipe import Preparation
from zsl_lab.errors import ConfigError
from zsl_lab.extraction.names import RANDOM
from zsl_lab.extraction.weights import Terms

#: seed of random weights, so that the same name always has the same weights
_SEED = 0


@dataclass(frozen=True)
class Defaults:
    """The sizes and the preparation of images that a network's own package uses.

    Attributes:
        resize: Side, in pixels, of the square that an image is scaled to.
        image_size: Side, in pixels, of the square that the network sees.
        preparation: Filter, crop, mean and standard deviation.
    """

    resize: int
    image_size: int
    preparation: Preparation


@dataclass(frozen=True)
class LoadedWeights:
    """Description of a network's weights.

    Attributes:
        label: Their name in a recipe: a tag, the name of a file or folder, or ``random``.
        sha256: SHA-256 of the file; if there are several, of their hashes; of random weights, of
            the state dict.
        path: The file or folder if it is the user's; None for downloaded and random weights.
        name: The network's name with the tag of the weights.
    """

    label: str
    sha256: str
    path: Path | None
    name: str


class PooledNetwork(nn.Module):
    """A frozen network with its own preprocessing, in evaluation mode.

    Args:
        name: Its name, with the prefix of its package.
        model: Takes normalised images ``[B, 3, height, width]`` and returns features ``[B, D]``.
        preparation: Mean and standard deviation of its images.

    Attributes:
        feature_dim: D, the dimension of the features; set by :func:`measure`.
        weights_file: The file that the weights were read from; None for several files or random
            weights.
        min_size: Always 1: :func:`measure` checks the size by a forward pass.
        half_precision: Whether features are extracted in half precision on a GPU.
    """

    min_size = 1
    half_precision = True

    def __init__(self, name: str, model: nn.Module, preparation: Preparation) -> None:
        super().__init__()
        self.name = name
        self.weights_file: Path | None = None
        self.feature_dim = 0
        self.model = model
        for key in ("mean", "std"):
            value = torch.tensor(getattr(preparation, key))[:, None, None]
            self.register_buffer(key, value, persistent=False)
        self.mean: Tensor
        self.std: Tensor
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Compute pooled features.

        Args:
            images: uint8 ``[B, 3, height, width]``.

        Returns:
            The features ``[B, D]``.
        """
        # channels_last makes convolutions up to twice as fast on a CPU
        images = images.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.model((images.to(self.mean.dtype) / 255 - self.mean) / self.std)
        return features


def measure(network: PooledNetwork, image_size: int, own_size: int, terms: Terms) -> PooledNetwork:
    """Set the dimension of a network's features, by a forward pass of one black image.

    Args:
        network: The network.
        image_size: Side of its images, in pixels.
        own_size: The side that its package uses, for messages.
        terms: Words for messages.

    Returns:
        The network.

    Raises:
        ConfigError: If it does not take images of this size, or does not return vectors.
    """
    image = torch.zeros(1, 3, image_size, image_size, dtype=torch.uint8)
    try:
        with torch.inference_mode():
            features = network(image)
    except Exception as error:  # each family of networks checks the size in its own way
        raise wrong_size(network.name, own_size, image_size, error, terms) from error
    if features.ndim != 2:
        raise ConfigError(
            f"{terms.network}{network.name}: found features of shape {list(features.shape)} for "
            "one image; expected a vector. Choose another network."
        )
    network.feature_dim = int(features.shape[1])
    return network


def wrong_size(
    name: str, own_size: int, image_size: int, error: Exception, terms: Terms
) -> ConfigError:
    """The error of a network that does not take images of this size."""
    lines = (str(error) or type(error).__name__).splitlines()
    return ConfigError(
        f"{terms.network}{name}: found images of {image_size} x {image_size} pixels, which this "
        f"network does not take ({lines[0].rstrip('.')}); its own size is {own_size} x {own_size}. "
        f"{terms.larger}"
    )


@contextmanager
def seeded() -> Iterator[None]:
    """A context for drawing a network's random weights with a fixed seed.

    Afterwards the run's random state is as before.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        yield


def random_weights(name: str, model: nn.Module) -> LoadedWeights:
    """The description of the weights of a model that was made within :func:`seeded`."""
    return LoadedWeights(RANDOM, _sha256_state(model.state_dict()), None, name)


def _sha256_state(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        values = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name}\0{values.dtype.str}{values.shape}\0".encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


@dataclass(frozen=True)
class TextTower:
    """The text encoder of an image-text model.

    Attributes:
        name: The model's name, with the prefix of its package.
        weights: Description of its weights.
        max_tokens: Number of tokens at which texts are cut.
        embed: Returns the embeddings ``[N, D]`` of N texts, in the space of the images' embeddings,
            not normalised.
        count_tokens: Returns the number of tokens of a whole text.
    """

    name: str
    weights: LoadedWeights
    max_tokens: int
    embed: Callable[[list[str]], Tensor]
    count_tokens: Callable[[str], int]
