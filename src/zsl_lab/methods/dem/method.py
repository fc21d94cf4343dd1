"""DEM (Zhang, Xiang and Gong, CVPR 2017): semantics are mapped to features, not the reverse."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.methods.base import Comparison, ZeroShotMethod
from zsl_lab.methods.dem.config import DEMConfig
from zsl_lab.nn.gaussian import squared_distances
from zsl_lab.nn.many_classes import FEW_CLASSES


class DEM(ZeroShotMethod):
    """Deep embedding model: two layers map a class's semantics to its prototype in feature space.

    Args:
        config: See :class:`DEMConfig`.
        feature_dim: D.
        classes: Semantics of all classes and which of them are seen.
    """

    config_class: ClassVar[type[DEMConfig]] = DEMConfig
    config: DEMConfig

    def __init__(self, config: DEMConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        self.network = nn.Sequential(
            nn.Linear(classes.semantics.shape[1], config.hidden_dim),
            nn.ReLU(),
            nn.Linear(config.hidden_dim, feature_dim),
            nn.ReLU() if config.output == "relu" else nn.Identity(),
        )

    def prototypes(self, semantics: Tensor) -> Tensor:
        """Class prototypes in feature space, ``[K, D]``, for ``[K, Q]`` semantics."""
        found: Tensor = self.network(semantics)
        return found

    @property
    def comparison(self) -> Comparison:
        """By Euclidean distance."""
        return "distance"

    def class_scores(self, features: Tensor) -> Tensor:
        """Minus the squared distance to each prototype, ``[B, C]``."""
        return -squared_distances(features, self.prototypes(self.semantics))

    def loss(self, batch: Batch) -> Tensor:
        """Squared error of the prototype of each sample's class, mean over samples and dimensions.

        The paper's ridge penalty on the weights is the weight decay of the optimiser.
        """
        if len(self.semantics) > FEW_CLASSES:
            classes, targets = torch.unique(batch.labels, return_inverse=True)
            seen = self.prototypes(self.semantics[classes])
        else:
            seen = self.prototypes(self.semantics[self.seen_mask])
            targets = (self.seen_mask.cumsum(0) - 1)[batch.labels]
        return mse_loss(seen[targets].float(), batch.inputs)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam on the error plus ``weight_decay / 2`` times the sum of squared weights."""
        config = self.config
        return torch.optim.Adam(
            self.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )

    @torch.no_grad()
    def latent_space(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features and prototypes of all classes, ``([B, D], [C, D])``."""
        return features, self.prototypes(self.semantics)
