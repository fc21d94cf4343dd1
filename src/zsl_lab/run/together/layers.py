"""Layers that compute what those of :mod:`torch.nn` do, without random numbers and side effects.

They take the place of dropout and batch normalisation in networks that are computed for several
runs at once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: of the running statistics of batch normalisation, PyTorch's default
MOMENTUM = 0.1


class GivenMask(nn.Dropout):
    """Dropout whose factors were drawn before.

    Args:
        p: Probability with which a unit was dropped.
        masks: The factors of the layers to come, in their order; each takes the first.
    """

    def __init__(self, p: float, masks: list[Tensor]) -> None:
        super().__init__(p)
        self._masks = masks

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by the factors; the identity in evaluation."""
        return x * self._masks.pop(0) if self.training else x


class RecordedBatchNorm(nn.Module):
    """Batch normalisation that records the statistics of a batch instead of averaging them.

    Args:
        norm: The layer that it replaces.
        name: Its name in the networks.
        recorded: Receives by this name, in training, the mean and the unbiased variance, each
            ``[width]``.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, norm: nn.BatchNorm1d, name: str, recorded: dict[str, tuple[Tensor, Tensor]]
    ) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.register_buffer("running_mean", norm.running_mean)
        self.register_buffer("running_var", norm.running_var)
        self._eps, self._name, self._recorded = norm.eps, name, recorded

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[B, width]``."""
        if self.training:
            variance, mean = torch.var_mean(x, 0, correction=0)
            unbiased = variance.detach() * (len(x) / (len(x) - 1))
            self._recorded[self._name] = (mean.detach(), unbiased)
        else:
            variance, mean = self.running_var, self.running_mean
        return (x - mean) * torch.rsqrt(variance + self._eps) * self.weight + self.bias


def replace_layers(
    network: nn.Module,
    masks: list[Tensor],
    recorded: dict[str, tuple[Tensor, Tensor]],
    prefix: str = "",
) -> None:
    """Replace dropout and batch normalisation within a network.

    Args:
        network: The network.
        masks: As of :class:`GivenMask`.
        recorded: As of :class:`RecordedBatchNorm`.
        prefix: Of the names of layers.
    """
    for name, layer in network.named_children():
        if isinstance(layer, nn.Dropout):
            setattr(network, name, GivenMask(layer.p, masks) if layer.p > 0 else nn.Identity())
        elif isinstance(layer, nn.BatchNorm1d):
            setattr(network, name, RecordedBatchNorm(layer, f"{prefix}{name}", recorded))
        else:
            replace_layers(layer, masks, recorded, f"{prefix}{name}.")
