"""The keys of ConSE; nothing here needs torch."""

from __future__ import annotations

from pydantic import Field

from zsl_lab.methods.config import GradientMethodConfig


class ConSEConfig(GradientMethodConfig):
    """The keys of ConSE, described in conf/method/conse.yaml."""

    top: int = Field(ge=1)
    weight_decay: float = Field(ge=0)
