"""The keys of SAE; nothing here needs torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from zsl_lab.methods.config import MethodConfig

Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SAEConfig(MethodConfig):
    """The keys of SAE, described in conf/method/sae.yaml."""

    lambdas: list[Weight] = Field(min_length=1)
    reading: Literal["encoder", "decoder"]

    @property
    def candidates(self) -> list[float]:
        """Every lambda, the smallest first."""
        return sorted(self.lambdas)
