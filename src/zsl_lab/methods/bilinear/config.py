"""The keys of the bilinear family; nothing here needs torch."""

from __future__ import annotations

from pydantic import Field

from zsl_lab.methods.config import GradientMethodConfig


class BilinearConfig(GradientMethodConfig):
    """The keys of all methods of the family, described in conf/method/devise.yaml."""

    margin: float = Field(gt=0, allow_inf_nan=False)


class DeViSEConfig(BilinearConfig):
    """The keys of DeViSE."""


class ALEConfig(BilinearConfig):
    """The keys of ALE."""


class SJEConfig(BilinearConfig):
    """The keys of SJE."""


class LATEMConfig(BilinearConfig):
    """The keys of LATEM, described in conf/method/latem.yaml."""

    matrices: int = Field(ge=1)
