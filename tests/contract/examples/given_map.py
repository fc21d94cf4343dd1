"""A linear map from features to class semantics that starts from a matrix in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from zsl_lab.data.batches.base import Batch, ClassSpace, PhaseDataModule
from zsl_lab.errors import ConfigError
from zsl_lab.keys import Place
from zsl_lab.methods.base import GradientMethodConfig, MethodConfig, ZeroShotMethod


class GivenMapConfig(GradientMethodConfig):
    """The keys of the method beside steps, batch_size and learning_rate."""

    matrix: Annotated[str, Place()]

    def check_files(self) -> None:
        """The matrix."""
        if not Path(self.matrix).is_file():
            raise ConfigError(f"method.matrix={self.matrix}: there is no such file.")


class GivenMap(ZeroShotMethod):
    """Scores a class by the inner product of its semantics with the mapped features."""

    config_class: ClassVar[type[GivenMapConfig]] = GivenMapConfig
    config: GivenMapConfig

    def __init__(self, config: MethodConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        self.to_semantics = nn.Linear(feature_dim, classes.semantics.shape[1])

    @classmethod
    def build(
        cls,
        config: MethodConfig,
        data: PhaseDataModule,
        *,
        cache_dir: Path | None = None,
        weights_follow: bool = False,
    ) -> ZeroShotMethod:
        """Read the matrix, unless a checkpoint's weights replace it."""
        method = super().build(config, data, cache_dir=cache_dir, weights_follow=weights_follow)
        assert isinstance(method, GivenMap)
        if not weights_follow:
            with torch.no_grad():
                method.to_semantics.weight.copy_(torch.from_numpy(np.load(method.config.matrix)))
        return method

    def class_scores(self, features: Tensor) -> Tensor:
        """Inner products with the semantics of all classes, ``[B, C]``."""
        scores: Tensor = self.to_semantics(features) @ self.semantics.T
        return scores

    def loss(self, batch: Batch) -> Tensor:
        """The squared error of the semantics."""
        return mse_loss(self.to_semantics(batch.inputs), self.semantics[batch.labels])
