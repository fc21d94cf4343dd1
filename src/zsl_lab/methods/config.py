"""The keys of methods; nothing here needs torch.

A method's own keys are declared in ``config.py`` of its folder: a class named after the method,
``SGALConfig`` for ``SGAL``. The command line checks values with it before it imports torch, which
takes seconds. A method without such a file works too; its class is then imported for the check.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from zsl_lab.keys import AfterPretraining

if TYPE_CHECKING:
    from typing_extensions import Self

#: the kind of sample that a method takes
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

    #: the kind of sample that the method takes; equals :attr:`ZeroShotMethod.takes`
    takes: ClassVar[Takes] = "features"
    #: whether features and class semantics must lie in one space, as those of image-text models do
    one_space: ClassVar[bool] = False

    name: Annotated[str, AfterPretraining()]

    @property
    def initial_weights(self) -> str | None:
        """A checkpoint to start from instead of pre-training; None trains from scratch."""
        return None

    @property
    def pretraining(self) -> Pretraining | None:
        """The part of training that runs may share, if there is one."""
        return None

    def for_samples(self, samples: int) -> Self:
        """The configuration with steps in place of epochs.

        Args:
            samples: Number of training samples of the benchmark, including those of validation
                classes, since both phases take the same number of steps.
        """
        return self

    def check_files(self) -> None:
        """Raise an error if a file that training needs beside the data is missing or damaged."""

    def check_models(self, cache_dir: Path | None) -> None:
        """Raise an error if a model that training would download is not available.

        Args:
            cache_dir: The cache folder, which may hold earlier outputs of the model.
        """


class GradientMethodConfig(MethodConfig):
    """The keys of a method that is trained on mini-batches by gradient descent.

    Attributes:
        steps: Training steps; a step is one mini-batch. If the key is null, it is 0 until
            :meth:`for_samples` has computed it from the epochs.
        epochs: Passes over the training samples, where ``steps`` is null; else None.
        batch_size: Training samples a step.
        learning_rate: Learning rate of the optimiser, before any schedule.
        learning_rate_schedule: ``cosine``: learning rates fall along half a cosine to 0 after the
            last step (Loshchilov & Hutter, ICLR 2017, without restarts); None: they are constant.
    """

    #: names of the keys of each stage of training: steps, epochs, batch size
    stages: ClassVar[tuple[tuple[str, str, str], ...]] = (("steps", "epochs", "batch_size"),)

    steps: int = Field(ge=0)
    epochs: float | None = Field(default=None, gt=0, le=1e6)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    learning_rate_schedule: Literal["cosine"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _steps_or_epochs(cls, values: Any) -> Any:
        """Steps win over epochs, so that ``method.steps=100`` holds with any settings."""
        if not isinstance(values, Mapping):
            return values
        found = dict(values)
        for steps, epochs, _ in cls.stages:
            if found.get(steps, 0) is not None:
                found[epochs] = None
            elif found.get(epochs) is None:
                raise ValueError(
                    f"{steps} and {epochs} are both null; give one of them: method.{steps}=NUMBER, "
                    f"or method.{epochs}=NUMBER of passes over the training samples"
                )
            else:
                found[steps] = 0
        return found

    def for_samples(self, samples: int) -> Self:
        """The configuration with steps in place of epochs; see :meth:`MethodConfig.for_samples`."""
        found: dict[str, int] = {}
        for steps, epochs, batch_size in self.stages:
            passes = getattr(self, epochs)
            if passes is not None:
                found[steps] = max(1, math.ceil(passes * samples / getattr(self, batch_size)))
        return self.model_copy(update=found)


def decayed(schedule: Literal["cosine"] | None, step: int, steps: int) -> float:
    """The factor by which a schedule multiplies the learning rate at a step.

    Args:
        schedule: ``learning_rate_schedule`` of :class:`GradientMethodConfig`.
        step: The step, from 0.
        steps: Steps of the schedule.

    Returns:
        A number in [0, 1].
    """
    if schedule is None or steps <= 0:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))
