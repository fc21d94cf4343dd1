"""The keys of N3; nothing here needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from zsl_lab.methods.config import GradientMethodConfig, Takes, Width
from zsl_lab.methods.n3.base_config import WITHOUT_BATCH_NORM, BaseConfig
from zsl_lab.text import TextConfig, check_encoder


class N3Config(GradientMethodConfig):
    """The keys of N3; conf/method/n3.yaml says what each does and where its value comes from."""

    takes: ClassVar[Takes] = "images"

    steps: int = Field(ge=1)
    classes_per_task: int = Field(ge=2)
    mu_learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    decay: bool
    text: TextConfig
    base: BaseConfig
    base_steps: int = Field(ge=0)
    base_learning_rate: float = Field(gt=0)
    adapt: Literal["all", "all_with_batch_norm", "classifier"]
    gamma: float
    mu: float
    hidden_dim: Width
    heads: int = Field(ge=1)
    pool: Literal["attention", "mean", "paragraph_means"]
    pool_noise: float = Field(ge=0)
    sem_layers: int = Field(ge=0)
    encoder_layers: int = Field(ge=0)
    decoder_layers: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    state_dropout: float = Field(ge=0, lt=1)
    word_dropout: float = Field(ge=0, lt=1)
    compare_by: Literal["inner_product", "cosine", "whitened_cosine"]
    scale: float = Field(gt=0)
    shrinkage: float = Field(gt=0, le=1)
    gradient_checkpointing: bool
    permutations: int = Field(ge=1)

    def check_files(self) -> None:
        """Check the weights of the base network by loading them."""
        from zsl_lab.methods.n3.adapted_network import build_base_network  # it needs torch

        build_base_network(self.base, channels=3)

    def check_models(self, cache_dir: Path | None) -> None:
        """Check that the text encoder is available."""
        check_encoder(self.text, cache_dir)

    @model_validator(mode="after")
    def _needs_a_trained_base(self) -> N3Config:
        if self.base.name == "small_cnn" and self.base_steps == 0:
            raise ValueError(
                "base.name=small_cnn has no pretrained weights: set method.base_steps above 0, "
                "which trains it on the seen classes, or choose another network with "
                "method.base.name and method.base.weights"
            )
        if self.adapt == "all_with_batch_norm" and self.base.name in WITHOUT_BATCH_NORM:
            raise ValueError(
                f"found adapt=all_with_batch_norm, but base.name={self.base.name} has no batch "
                "norm; set method.adapt=all, or choose another network with method.base.name"
            )
        if self.hidden_dim % self.heads:
            raise ValueError(
                f"found hidden_dim={self.hidden_dim} and heads={self.heads}; expected a width that "
                "the heads divide evenly"
            )
        return self
