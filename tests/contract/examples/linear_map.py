"""A linear map from features to class semantics, trained by cross entropy."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.methods.base import GradientMethodConfig, ZeroShotMethod


class LinearMapConfig(GradientMethodConfig):
    """The keys of the method beside steps, batch_size and learning_rate."""

    temperature: float = Field(gt=0)


class LinearMap(ZeroShotMethod):
    """Scores a class by the inner product of its semantics with the mapped features."""

    config_class: ClassVar[type[LinearMapConfig]] = LinearMapConfig
    config: LinearMapConfig

    def __init__(self, config: LinearMapConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        self.to_semantics = nn.Linear(feature_dim, classes.semantics.shape[1])

    def class_scores(self, features: Tensor) -> Tensor:
        """Inner products with the semantics of all classes, ``[B, C]``."""
        scores: Tensor = self.to_semantics(features) @ self.semantics.T
        return scores / self.config.temperature

    def loss(self, batch: Batch) -> Tensor:
        """Cross entropy over the seen classes."""
        scores = self.class_scores(batch.inputs)
        return cross_entropy(scores.masked_fill(~self.seen_mask, float("-inf")), batch.labels)
