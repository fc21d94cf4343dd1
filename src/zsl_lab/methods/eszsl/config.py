"""The keys of ESZSL; nothing here needs torch."""

from __future__ import annotations

import itertools
from typing import Annotated

from pydantic import Field

from zsl_lab.methods.config import MethodConfig

Ridge = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ESZSLConfig(MethodConfig):
    """The keys of ESZSL, described in conf/method/eszsl.yaml."""

    gammas: list[Ridge] = Field(min_length=1)
    lambdas: list[Ridge] = Field(min_length=1)
    negative: float = Field(ge=-1, le=0)

    @property
    def candidates(self) -> list[tuple[float, float]]:
        """Every pair (gamma, lambda), largest first: of equally good ones the first is selected."""
        return list(
            itertools.product(sorted(self.gammas, reverse=True), sorted(self.lambdas, reverse=True))
        )
