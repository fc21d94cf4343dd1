"""The keys of mmVAE; nothing here needs torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from zsl_lab.methods.config import GradientMethodConfig, Width

#: which pairs of samples the prior means are kept apart for
Pairs = Literal["different", "all", "classes"]


class MMVAEConfig(GradientMethodConfig):
    """The keys of mmVAE, described in conf/method/mmvae.yaml."""

    batch_size: int = Field(ge=2)
    latent_dim: Width
    encoder_hidden: list[Width]
    decoder_hidden: list[Width]
    prior_hidden: list[Width] | Literal["geometric"]
    encoder_dropout: float = Field(ge=0, lt=1)
    decoder_dropout: float = Field(ge=0, lt=1)
    prior_dropout: float = Field(ge=0, lt=1)
    batch_norm: bool
    prior_batch_norm: bool
    kl_weight: float = Field(gt=0)
    gamma: float = Field(ge=0)
    d: float = Field(ge=0)
    pairs: Pairs
