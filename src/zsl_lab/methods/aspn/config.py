"""The keys of ASPN; nothing here needs torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from zsl_lab.methods.config import GradientMethodConfig, Width

#: how features and prototypes are compared
Compatibility = Literal["inner_product", "distance", "cosine", "centered_cosine", "whitened_cosine"]


class ASPNConfig(GradientMethodConfig):
    """The keys of ASPN, described in conf/method/aspn.yaml."""

    batch_size: int = Field(ge=2)
    decay: bool
    hidden_dim: Width
    noise_dim: Width | Literal["semantics"]
    semantic_scale: float = Field(gt=0)
    noise_scale: float = Field(gt=0)
    negative_slope: float = Field(ge=0, lt=1)
    output_scale: float = Field(ge=0)
    output_bias: Literal["random", "mean"]
    visual_weight: float = Field(ge=0)
    semantic_weight: float = Field(ge=0)
    semantic_cycle_weight: float = Field(ge=0)
    visual_cycle_weight: float = Field(ge=0)
    unseen_share: float = Field(ge=0, le=1000)
    adversarial_weight: float = Field(ge=0)
    beta: float = Field(ge=0)
    critic_steps: int = Field(ge=1)
    vartheta: float = Field(ge=0)
    compatibility: Compatibility
    temperature: float = Field(gt=0)
    classify_among: Literal["all", "seen"]
    attention: Literal["none", "hidden", "output"]
    alpha: float = Field(gt=0, lt=1)
    learn_alpha: bool
    scale_attention: bool
    swap_attention: bool
    score: Compatibility
    shrinkage: float = Field(gt=0, le=1)

    @property
    def whitens(self) -> bool:
        """Whether anything is compared after whitening."""
        return "whitened_cosine" in (self.score, self.compatibility)
