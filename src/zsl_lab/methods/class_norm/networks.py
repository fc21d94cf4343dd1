"""The network of class normalization (Skorokhodov & Elhoseiny, ICLR 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


class ClassStandardization(nn.Module):
    """Standardises each unit over the classes: (x - mean) / (variance + epsilon).

    It divides by the variance, not by its square root (paper, Eq. 9). In training mode mean and
    variance are those of the rows given; in evaluation mode they are running averages, so that a
    row of the output depends on no other row.

    Args:
        units: H.
        epsilon: Added to the variance.
        momentum: Weight of the current statistics in the running averages.
    """

    def __init__(self, units: int, epsilon: float, momentum: float) -> None:
        super().__init__()
        self.epsilon, self.momentum = epsilon, momentum
        self.register_buffer("running_mean", torch.zeros(units))
        self.register_buffer("running_variance", torch.ones(units))
        self.running_mean: Tensor
        self.running_variance: Tensor

    def forward(self, rows: Tensor) -> Tensor:
        """Standardised units ``[C, H]`` of C classes."""
        # small variances are lost in half precision
        rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
        if self.training:
            variance, mean = torch.var_mean(rows, dim=0)
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_variance.lerp_(variance.detach(), self.momentum)
        else:
            variance, mean = self.running_variance, self.running_mean
        return (rows - mean) / (variance + self.epsilon)


class PrototypeNetwork(nn.Module):
    """Maps class semantics to prototypes in feature space.

    Args:
        semantic_dim: Q.
        hidden_dim: Width of the two hidden layers, H.
        feature_dim: D.
        epsilon: See :class:`ClassStandardization`.
        momentum: See :class:`ClassStandardization`.
    """

    def __init__(
        self, semantic_dim: int, hidden_dim: int, feature_dim: int, epsilon: float, momentum: float
    ) -> None:
        super().__init__()
        last = nn.Linear(hidden_dim, feature_dim)
        # variance 1 / (H D) (paper, Eq. 10)
        bound = math.sqrt(3 / (hidden_dim * feature_dim))
        nn.init.uniform_(last.weight, -bound, bound)
        self.layers = nn.Sequential(
            nn.Linear(semantic_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, hidden_dim),
            ClassStandardization(hidden_dim, epsilon, momentum),
            nn.ReLU(),
            ClassStandardization(hidden_dim, epsilon, momentum),
            last,
            nn.ReLU(),
        )

    def forward(self, semantics: Tensor) -> Tensor:
        """Prototypes ``[C, D]`` of classes with semantics ``[C, Q]``, whose norm has no effect."""
        prototypes: Tensor = self.layers(
            normalize(semantics, dim=1) * math.sqrt(semantics.shape[1])
        )
        return prototypes
