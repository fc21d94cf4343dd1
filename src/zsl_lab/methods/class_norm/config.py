"""The keys of class normalization; nothing here needs torch."""

from __future__ import annotations

from pydantic import Field

from zsl_lab.methods.config import GradientMethodConfig, Width


class ClassNormConfig(GradientMethodConfig):
    """The keys of class normalization, described in conf/method/class_norm.yaml."""

    weight_decay: float = Field(ge=0)
    decay: float = Field(gt=0, le=1)
    decay_after: float = Field(ge=0, le=1)
    hidden_dim: Width
    gamma: float = Field(gt=0)
    epsilon: float = Field(gt=0)
    momentum: float = Field(gt=0, le=1)
