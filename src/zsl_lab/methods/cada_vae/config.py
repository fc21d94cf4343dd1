"""The keys of CADA-VAE; nothing here needs torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from zsl_lab.methods.config import GradientMethodConfig, Width

#: the noise of z around its mean: ``dimension``: N(0, I) times the standard deviation; ``sample``:
#: one standard normal number per sample times the variance
Noise = Literal["dimension", "sample"]


class Ramp(BaseModel):
    """A weight that rises linearly from 0.

    Attributes:
        weight: What it rises to.
        start: The share of the training steps after which it begins to rise.
        end: The share of the training steps after which it stays.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    weight: float = Field(ge=0)
    start: float = Field(ge=0)
    end: float = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Ramp:
        if self.end < self.start:
            raise ValueError(
                f"end is {self.end:g}, before start, {self.start:g}; give end >= start"
            )
        return self

    def at(self, share: float) -> float:
        """The weight after a share of the training steps."""
        if share >= self.end:
            return self.weight
        if share <= self.start:
            return 0.0
        return self.weight * (share - self.start) / (self.end - self.start)


class CADAVAEConfig(GradientMethodConfig):
    """The keys of CADA-VAE, described in conf/method/cada_vae.yaml."""

    latent_dim: Width
    encoder_hidden: list[Width]
    decoder_hidden: list[Width]
    semantic_encoder_hidden: list[Width]
    semantic_decoder_hidden: list[Width]
    noise: Noise
    nonnegative: bool
    beta: Ramp
    gamma: Ramp
    delta: Ramp
