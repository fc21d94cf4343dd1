"""The keys of class normalization; nothing here needs torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from zsl_lab.keys import AddedLater
from zsl_lab.methods.config import GradientMethodConfig, Width


class ClassNormConfig(GradientMethodConfig):
    """The keys of class normalization, described in conf/method/class_norm.yaml."""

    weight_decay: float = Field(ge=0)
    decay: float = Field(gt=0, le=1)
    decay_after: float = Field(ge=0, le=1)
    hidden_dim: Width
    #: runs stored before this key existed took all seen classes
    most_classes: Annotated[int, AddedLater(2000)] = Field(default=2000, ge=2)
    gamma: float = Field(gt=0)
    epsilon: float = Field(gt=0)
    momentum: float = Field(gt=0, le=1)
