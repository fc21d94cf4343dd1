"""The keys of ASPN; nothing here needs torch."""

from __future__ import annotations

import warnings
from typing import Any, Literal

from pydantic import Field, model_validator

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
    #: the default is what runs did before this key existed
    attend_among: Literal["batch", "classes"] = "batch"
    alpha: float = Field(gt=0, lt=1)
    learn_alpha: bool
    scale_attention: bool
    score: Compatibility
    shrinkage: float = Field(gt=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _without_former_keys(cls, values: Any) -> Any:
        """Drop ``swap_attention``, which exchanged the names of two maps of equal shape."""
        if not isinstance(values, dict) or "swap_attention" not in values:
            return values
        if values["swap_attention"]:
            warnings.warn(
                "method.swap_attention=true: this key no longer exists, and is ignored. "
                "Predictions stay the same; an interrupted run that is resumed goes on with the "
                "two maps of its attention exchanged.",
                stacklevel=2,
            )
        return {key: value for key, value in values.items() if key != "swap_attention"}

    @property
    def attends_to_classes(self) -> bool:
        """Whether generated features and prototypes attend to the prototypes of all classes."""
        return self.attention != "none" and self.attend_among == "classes"

    @property
    def whitens(self) -> bool:
        """Whether the loss or the score compares whitened features."""
        return "whitened_cosine" in (self.score, self.compatibility)
