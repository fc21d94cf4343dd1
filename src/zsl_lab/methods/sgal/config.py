"""The keys of SGAL; nothing here needs torch."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from zsl_lab.keys import AfterPretraining, Place
from zsl_lab.methods.config import Pretraining
from zsl_lab.methods.mmvae.config import MMVAEConfig


class SGALConfig(MMVAEConfig):
    """The keys of SGAL beside mmVAE's, described in conf/method/sgal.yaml."""

    stages: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("steps", "epochs", "batch_size"),
        ("fine_tune_steps", "fine_tune_epochs", "fine_tune_batch_size"),
    )

    fine_tune_steps: Annotated[int, AfterPretraining()] = Field(ge=0)
    fine_tune_epochs: Annotated[float | None, AfterPretraining()] = Field(
        default=None, gt=0, le=1e6
    )
    fine_tune_batch_size: Annotated[int, AfterPretraining()] = Field(ge=2)
    fine_tune_learning_rate: Annotated[float, AfterPretraining()] = Field(gt=0)
    init_from: Annotated[str | None, Place(per_seed=True), AfterPretraining()]
    g: Annotated[float, AfterPretraining()] = Field(ge=0, le=1)
    delta: Annotated[float, AfterPretraining()] = Field(ge=0, le=1)
    p: Annotated[float, AfterPretraining()] = Field(ge=0, le=1)
    decoder_samples: Annotated[int, AfterPretraining()] = Field(ge=1)
    generate_with_dropout: Annotated[bool, AfterPretraining()]
    restore_best: Annotated[bool, AfterPretraining()]

    @property
    def initial_weights(self) -> str | None:
        """``init_from``: a trained mmVAE."""
        return self.init_from

    @property
    def pretraining(self) -> Pretraining | None:
        """The training of the mmVAE."""
        return Pretraining(self.steps) if self.steps else None

    @model_validator(mode="after")
    def _needs_pretraining(self) -> SGALConfig:
        if self.steps == 0 and self.epochs is None and self.init_from is None:
            raise ValueError(
                "learning from generated samples diverges without pre-training; set method.steps "
                "(mmVAE steps) above 0, or give a trained mmVAE: method.init_from=<checkpoint>"
            )
        if self.generate_with_dropout and (self.decoder_dropout == 0 or not self.decoder_hidden):
            raise ValueError(
                "method.generate_with_dropout=true needs dropout in the decoder: set "
                "method.decoder_dropout above 0 and give it a hidden layer (method.decoder_hidden)"
            )
        return self
