"""The keys of DAP; nothing here needs torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from zsl_lab.methods.config import GradientMethodConfig


class DAPConfig(GradientMethodConfig):
    """The keys of DAP, described in conf/method/dap.yaml."""

    binarize: Literal["mean", "none"]
    weight_decay: float = Field(ge=0)
