"""The keys of methods; nothing here needs torch.

A method's own keys are declared in ``config.py`` of its folder: a class named after the method,
``SGALConfig`` for ``SGAL``. The command line checks values with it before it imports torch, which
takes seconds. A method without such a file works too; its class is then imported for the check.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from zsl_lab.keys import AfterPretraining

#: what a sample is to a method
Takes = Literal["features", "images"]
#: the width of a layer, as a configuration key
Width = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Pretraining:
    """A first part of training that runs share if they differ only in what follows it.

    Attributes:
        steps: Its last step, which is also a milestone (:attr:`ZeroShotMethod.milestones`). Keys
            without effect before it carry the mark :class:`zsl_lab.keys.AfterPretraining`.
    """

    steps: int


class MethodConfig(BaseModel):
    """The keys of every method; a method's configuration is a subclass with its own keys.

    Attributes:
        name: The method's name, as in ``method=...`` and in ``result.json``.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    #: what a sample is to the method; :attr:`ZeroShotMethod.takes` says the same
    takes: ClassVar[Takes] = "features"

    name: Annotated[str, AfterPretraining()]

    @property
    def initial_weights(self) -> str | None:
        """A checkpoint to start from instead of pre-training; None trains from scratch."""
        return None

    @property
    def pretraining(self) -> Pretraining | None:
        """The part of training that runs may share, if there is one."""
        return None

    def check_files(self) -> None:
        """Raise an error if a file that training needs beside the data is missing or damaged."""


class GradientMethodConfig(MethodConfig):
    """The keys of a method that is trained on mini-batches by gradient descent.

    Attributes:
        steps: Training steps; a step is one mini-batch.
        batch_size: Training samples a step.
        learning_rate: Adam's.
    """

    steps: int = Field(ge=0)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
