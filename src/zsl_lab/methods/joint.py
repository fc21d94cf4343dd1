"""What a method asks for when several runs are trained together: updates, computed as one.

The runs have networks of the same shapes and may differ in weights, batches, learning rates and the
scalars of the loss. A run draws all random numbers of an update before it asks for it, in the order
in which its own update would draw them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor, nn

#: the named scalar losses of an update, without gradient
Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Update:
    """An update that one run asks for.

    Attributes:
        networks: The networks to update; only dropout and batch normalisation may differ between
            training and evaluation.
        optimizer: The run's Adam, over all parameters of ``networks`` and no others.
        objective: Makes a module of which ``networks`` is the submodule ``networks``. Called with
            ``inputs`` and ``scalars`` it returns named scalar losses, of which ``total`` is
            minimised. It draws no random numbers but those of dropout.
        inputs: Tensors of the run's batch.
        scalars: Weights and thresholds of the loss, which may differ between runs.
        masks: The factors of each active dropout layer, in the order in which the objective calls
            them.
        layers: Equal where the networks have the same parameters and buffers.
        form: Equal where the objectives compute the same function of their arguments.
    """

    networks: nn.Module
    optimizer: torch.optim.Optimizer
    objective: Callable[[], nn.Module]
    inputs: tuple[Tensor, ...]
    scalars: Mapping[str, float]
    masks: tuple[Tensor, ...]
    layers: Hashable
    form: Hashable

    @property
    def key(self) -> Hashable:
        """Equal for updates that can be computed together."""
        return (self.layers, self.form, *self.scalars, *(part.shape for part in self.inputs))


#: the updates of some training steps; each receives its losses
Updates = Generator[Update, Losses, None]


class JointUpdates(Protocol):
    """Computes the updates of a run together with those of other runs."""

    def __call__(self, updates: Updates) -> None:
        """Compute updates until there are no more.

        Args:
            updates: Runs in another thread, while no other run draws random numbers.
        """


def layers_of(networks: nn.Module) -> Hashable:
    """Names and shapes of parameters and buffers: :attr:`Update.layers`."""
    return tuple((name, value.shape) for name, value in networks.state_dict().items())


def dropout_layers(network: nn.Sequential) -> list[tuple[nn.Dropout, int]]:
    """The dropout layers of a network with their widths.

    Args:
        network: Each dropout layer follows a linear layer, whose width it has.
    """
    found, width = [], 0
    for layer in network:
        if isinstance(layer, nn.Linear):
            width = layer.out_features
        elif isinstance(layer, nn.Dropout):
            found.append((layer, width))
    return found


def dropout_masks(layers: Sequence[tuple[nn.Dropout, int]], inputs: Tensor) -> list[Tensor]:
    """The factors that dropout layers in training mode would draw next.

    Args:
        layers: The layers with their widths, in their order.
        inputs: A batch; the factors have as many rows, its dtype and its device.

    Returns:
        Of each layer that drops anything, ``[B, width]``.
    """
    rows, dtype, device = inputs.shape[0], inputs.dtype, inputs.device
    return [
        torch.dropout(_ones(rows, width, dtype, device), layer.p, True)
        for layer, width in layers
        if layer.p > 0
    ]


@lru_cache(maxsize=64)
def _ones(rows: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.ones(rows, width, dtype=dtype, device=device)
