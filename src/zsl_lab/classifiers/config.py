"""The keys of classifiers; nothing here needs torch. What each does is said in its yaml."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from zsl_lab.nn.comparison import Comparison

if TYPE_CHECKING:
    from typing_extensions import Self

#: the classifier of a stored configuration that names none: the method's own scores
OWN = {"_target_": "zsl_lab.classifiers.Own", "name": "own"}
#: the space of the points: scaled features, or the method's embeddings; ``auto`` is ``features`` if
#: the method generates them, else ``method``, unless the method sets ``classified_in``
Space = Literal["auto", "features", "method"]


class ClassifierConfig(BaseModel):
    """The keys of every classifier; a classifier's configuration is a subclass with its own keys.

    Attributes:
        name: The classifier's name, as in ``classifier=...`` and in ``result.json``.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str


class OwnConfig(ClassifierConfig):
    """The method's own scores have no keys."""


class SoftmaxConfig(ClassifierConfig):
    """The keys of the linear softmax, described in conf/classifier/softmax.yaml."""

    space: Space
    unseen: Literal["auto", "generated", "residuals"]
    samples: int = Field(ge=1)
    #: the default is what runs did before this key existed: they took all training samples
    seen_samples: int | None = Field(default=None, ge=1)
    steps: int | None = Field(ge=1)
    epochs: float | None = Field(default=None, gt=0, le=1e6)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)

    @model_validator(mode="after")
    def _steps_or_epochs(self) -> Self:
        if self.steps is None and self.epochs is None:
            raise ValueError(
                "steps and epochs are both null; give one of them: classifier.steps=NUMBER, or "
                "classifier.epochs=NUMBER of passes over the samples that it is trained on"
            )
        return self

    def steps_for(self, samples: int) -> int:
        """Training steps with a number of samples; ``steps`` wins over ``epochs``."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, math.ceil(self.epochs * samples / self.batch_size))


class MeansConfig(ClassifierConfig):
    """The keys of the nearest class mean, described in conf/classifier/means.yaml."""

    space: Space
    compare: Comparison | Literal["auto"]
    whitening_shrinkage: float = Field(gt=0, le=1)
    shrinkage: float = Field(ge=0, le=1)
    samples: int = Field(ge=1)


class ZLAPConfig(ClassifierConfig):
    """The keys of zero-shot logit adjustment, described in conf/classifier/zlap.yaml."""

    space: Space
    hidden_dim: int = Field(ge=1)
    temperature: float = Field(gt=0)
    ratio: Annotated[float, Field(gt=0)] | Literal["auto"]
    samples: int = Field(ge=1)
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
