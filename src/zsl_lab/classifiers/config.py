"""The keys of classifiers; nothing here needs torch. What each does is said in its yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from zsl_lab.nn.comparison import Comparison

#: the classifier of a stored configuration that names none: the method's own scores
OWN = {"_target_": "zsl_lab.classifiers.Own", "name": "own"}
#: where points are compared: among scaled features, or where the method itself compares them;
#: ``auto`` is the first where the method generates features, unless it asks for the other
Space = Literal["auto", "features", "method"]


class ClassifierConfig(BaseModel):
    """The keys of every classifier; another one's are a subclass with its own keys.

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
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)


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
