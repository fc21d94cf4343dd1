"""The keys of EXEM; nothing here needs torch."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from zsl_lab.data.normalization import Normalization
from zsl_lab.keys import AddedLater
from zsl_lab.methods.config import MethodConfig

Distance = Literal["cosine", "euclidean"]
Whitening = Literal["full", "diagonal", "none"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Shrinkage = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True)
class Constants:
    """What is chosen.

    Attributes:
        shrinkage: r of the within-class covariance.
        width: Of the RBF kernel, in units of the mean squared distance of two classes.
        ridge: In units of the mean eigenvalue of the classes' kernel matrix.
        mixture: Weight of a seen class's own mean in its exemplar; the rest is the regression's.
    """

    shrinkage: float
    width: float
    ridge: float
    mixture: float


@dataclass(frozen=True)
class Settings:
    """What is not chosen here.

    Attributes:
        normalize_semantics: How semantics are scaled, fitted on the classes that are not left out.
        kernel: ``linear`` or ``rbf``.
        whitening: Which part of the within-class covariance counts.
        distance: How a sample and an exemplar are compared.
        folds: Parts that the classes are divided into, each left out once.
        partitions: How often they are divided.
    """

    normalize_semantics: Normalization
    kernel: Literal["linear", "rbf"]
    whitening: Whitening
    distance: Distance
    folds: int
    partitions: int


class EXEMConfig(MethodConfig):
    """The keys of EXEM; conf/method/exem.yaml says what each does and its source."""

    normalize: Normalization | Literal["auto"]
    normalize_semantics: Normalization
    pca: int | None = Field(ge=1)
    whitening: Whitening
    distance: Distance
    kernel: Literal["linear", "rbf"]
    shrinkages: list[Shrinkage] = Field(min_length=1)
    ridges: list[Positive] = Field(min_length=1)
    mixtures: list[Share] = Field(min_length=1)
    widths: list[Positive] = Field(min_length=1)
    folds: int = Field(ge=3)
    partitions: int = Field(ge=1)
    #: runs stored before this key existed had fewer classes
    most_classes: Annotated[int, AddedLater(1000)] = Field(default=1000, ge=3)
    calibrate: bool

    @property
    def candidates(self) -> list[Constants]:
        """Every combination, the stronger regularisation first: the first of equals is chosen."""
        lists = (
            self.shrinkages if self.whitening != "none" else [1.0],
            self.widths if self.kernel == "rbf" else [1.0],
            self.ridges,
            self.mixtures,
        )
        return [
            Constants(*values)
            for values in itertools.product(*(sorted(set(v), reverse=True) for v in lists))
        ]

    @property
    def settings(self) -> Settings:
        """What is not chosen on classes that are left out."""
        return Settings(
            self.normalize_semantics,
            self.kernel,
            self.whitening,
            self.distance,
            self.folds,
            self.partitions,
        )
