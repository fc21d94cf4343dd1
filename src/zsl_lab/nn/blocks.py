"""Feed-forward networks made of the unit block of the SGAL supplement."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def mlp(
    sizes: Sequence[int], *, dropout: float, batch_norm: bool, slope: float = 0.2
) -> nn.Sequential:
    """Dense layers, each but the last followed by leaky ReLU, batch norm and dropout.

    The order within a block, and the plain last layer, are those of the SGAL supplement ("dense,
    leaky-relu, batch normalization and dropout layers sequentially; for the last blocks we omit the
    activation, batch normalization and dropout").

    Args:
        sizes: Width of the input, of each hidden layer, and of the output; ``[in, out]`` is one
            linear map.
        dropout: Probability with which a hidden unit is dropped while training.
        batch_norm: Whether hidden layers are batch-normalised.
        slope: Negative slope of the leaky ReLU.

    Returns:
        A network that maps ``[B, sizes[0]]`` to ``[B, sizes[-1]]``.
    """
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(sizes[:-1]):
        layers += [nn.Linear(width_in, width_out), nn.LeakyReLU(slope)]
        if batch_norm:
            layers.append(nn.BatchNorm1d(width_out))
        if dropout > 0:
            layers.append(nn.Dropout(dropout))
    layers.append(nn.Linear(sizes[-2], sizes[-1]))
    return nn.Sequential(*layers)


def geometric_widths(first: int, last: int, layers: int) -> list[int]:
    """Hidden widths in geometric progression between an input and an output width.

    Args:
        first: Input width.
        last: Output width.
        layers: Number of dense layers; there is one hidden width fewer.
    """
    ratio = (last / first) ** (1 / layers)
    return [round(first * ratio**i) for i in range(1, layers)]


def set_dropout(network: nn.Module, *, active: bool) -> int:
    """Switch the dropout layers of a network on or off; other layers keep their mode.

    Returns:
        How many dropout layers there are.
    """
    found = [module for module in network.modules() if isinstance(module, nn.Dropout)]
    for module in found:
        module.train(active)
    return len(found)
