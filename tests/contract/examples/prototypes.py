"""A linear map from class semantics to prototypes in feature space, around which it generates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.methods.base import GradientMethodConfig, MethodConfig, ZeroShotMethod


class Prototypes(ZeroShotMethod):
    """Scores a class by minus the distance of the features from its prototype."""

    config_class: ClassVar[type[MethodConfig]] = GradientMethodConfig

    def __init__(self, config: MethodConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        self.prototype = nn.Linear(classes.semantics.shape[1], feature_dim)

    def class_scores(self, features: Tensor) -> Tensor:
        """Minus the distances from the prototypes of all classes, ``[B, C]``."""
        return -torch.cdist(features, self.prototype(self.semantics))

    def loss(self, batch: Batch) -> Mapping[str, Tensor]:
        """The squared error of the prototypes."""
        error = mse_loss(self.prototype(self.semantics[batch.labels]), batch.inputs)
        return {"total": error, "error": error}

    @torch.no_grad()
    def generate(self, semantics: Tensor, samples: int) -> Tensor:
        """Prototypes with Gaussian noise, ``[K, n, D]``."""
        prototypes: Tensor = self.prototype(semantics).repeat_interleave(samples, 0)
        noisy = prototypes + 0.1 * torch.randn_like(prototypes)
        return noisy.view(len(semantics), samples, -1)
