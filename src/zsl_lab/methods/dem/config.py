"""The keys of DEM; nothing here needs torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from zsl_lab.methods.config import GradientMethodConfig, Width


class DEMConfig(GradientMethodConfig):
    """The keys of DEM, described in conf/method/dem.yaml."""

    hidden_dim: Width
    output: Literal["relu", "linear"]
    weight_decay: float = Field(ge=0)
