"""Zero-shot classification as in CLIP (Radford et al., ICML 2021): the nearest class by cosine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.errors import ConfigError
from zsl_lab.methods.base import Comparison, ZeroShotMethod
from zsl_lab.methods.cosine.config import CosineConfig


class Cosine(ZeroShotMethod):
    """Cosine of a feature vector and the semantics of each class. It has no parameters.

    Args:
        config: See :class:`CosineConfig`.
        feature_dim: D.
        classes: Semantics ``[C, D]`` of all classes and which of them are seen.

    Raises:
        ConfigError: Features and semantics have different dimensions.
    """

    config_class: ClassVar[type[CosineConfig]] = CosineConfig
    config: CosineConfig

    def __init__(self, config: CosineConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        semantic_dim = classes.semantics.shape[1]
        if semantic_dim != feature_dim:
            raise ConfigError(
                f"method={config.name}: found features of {feature_dim} dimensions and class "
                f"semantics of {semantic_dim}; expected equal dimensions, since both must lie in "
                "one space. Extract both with the two towers of one image-text model, such as "
                "CLIP, or choose a method that learns a map between two spaces "
                "(`python -m zsl_lab --help` lists the methods)."
            )

    @property
    def total_steps(self) -> int:
        """One step, which changes nothing."""
        return 1

    def batch_size_at(self, step: int) -> int | None:
        """None: all training samples at once."""

    def class_scores(self, features: Tensor) -> Tensor:
        """Cosine of each sample and each class, ``[B, C]``."""
        return normalize(features, dim=1) @ normalize(self.semantics, dim=1).T

    @torch.no_grad()
    def train_on(self, batch: Batch) -> Mapping[str, Tensor]:
        """Train nothing.

        Returns:
            ``total``: 1 minus the cosine of a sample and its own class, averaged over samples.
        """
        own = normalize(self.semantics, dim=1)[batch.labels]
        return {"total": 1 - (normalize(batch.inputs, dim=1) * own).sum(1).mean()}

    def prototypes(self, semantics: Tensor) -> Tensor:
        """The semantics themselves, ``[K, D]``."""
        return semantics

    @property
    def comparison(self) -> Comparison:
        """By cosine."""
        return "cosine"

    @torch.no_grad()
    def latent_space(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Directions of samples and classes, ``([B, D], [C, D])``."""
        return normalize(features, dim=1), normalize(self.semantics, dim=1)
