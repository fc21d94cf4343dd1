"""The keys of VZSL; nothing here needs torch."""

from __future__ import annotations

from pydantic import Field

from zsl_lab.methods.config import GradientMethodConfig, Width


class VZSLConfig(GradientMethodConfig):
    """The keys of VZSL, described in conf/method/vzsl.yaml."""

    beta1: float = Field(ge=0, lt=1)
    latent_dim: Width
    encoder_hidden: list[Width]
    decoder_hidden: list[Width]
    dropout: float = Field(ge=0, lt=1)
    prior_bias: bool
    log_variance_limit: float = Field(gt=0)
    decoder_variance: float = Field(gt=0)
    reconstruction: bool
    lambda_: float = Field(ge=0)
    exclude_true: bool
