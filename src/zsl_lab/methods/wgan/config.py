"""The keys of the feature-generating Wasserstein GANs; nothing here needs torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from zsl_lab.methods.config import GradientMethodConfig, Width

if TYPE_CHECKING:
    from typing_extensions import Self


class WGANConfig(GradientMethodConfig):
    """The keys that the three methods share, described in conf/method/f_clswgan.yaml."""

    beta1: float = Field(ge=0, lt=1)
    noise_dim: Width | Literal["semantics"]
    generator_hidden: Width
    critic_hidden: Width
    critic_steps: int = Field(ge=1)
    lambda_: float = Field(ge=0)
    synthetic_samples: int = Field(ge=1)


class FCLSWGANConfig(WGANConfig):
    """The keys of f-CLSWGAN, described in conf/method/f_clswgan.yaml."""

    output: Literal["relu", "linear"]
    classification_weight: float = Field(ge=0)
    softmax_epochs: int = Field(ge=1)
    softmax_batch_size: int = Field(ge=1)
    softmax_learning_rate: float = Field(gt=0)


class FVAEGANConfig(WGANConfig):
    """The keys of f-VAEGAN-D2, described in conf/method/f_vaegan.yaml."""

    encoder_hidden: Width
    encoded_noise: bool
    gamma_critic: float = Field(gt=0)
    gamma_generator: float = Field(ge=0)
    adapt_lambda: bool


class TFVAEGANConfig(FVAEGANConfig):
    """The keys of TF-VAEGAN, described in conf/method/tf_vaegan.yaml."""

    decoder_hidden: Width
    decoder_weight: float = Field(ge=0)
    decoder_learning_rate: float = Field(gt=0)
    freeze_decoder: bool
    feedback_learning_rate: float = Field(gt=0)
    feedback_period: int | None = Field(ge=1)
    a1: float = Field(ge=0)
    a2: float = Field(ge=0)

    def for_samples(self, samples: int) -> Self:
        """An epoch is two passes over the training samples, one without and one with feedback."""
        found = super().for_samples(samples)
        changed = {}
        if self.epochs is not None:
            changed["steps"] = 2 * found.steps
        if self.feedback_period is None:
            changed["feedback_period"] = max(1, math.ceil(samples / self.batch_size))
        return found.model_copy(update=changed)
