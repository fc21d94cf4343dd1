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
    """The constants that are selected on left-out classes.

    Attributes:
        shrinkage: r of the within-class covariance.
        width: Width of the RBF kernel, in units of the mean squared distance of two classes.
        ridge: Ridge constant, in units of the mean eigenvalue of the classes' kernel matrix.
        mixture: Weight of a seen class's own mean in its exemplar; the exemplar that the
            regression predicts has the rest.
    """

    shrinkage: float
    width: float
    ridge: float
    mixture: float


@dataclass(frozen=True)
class Settings:
    """The fixed settings, which the selection of constants uses but does not change.

    Attributes:
        normalize_semantics: How semantics are scaled; fitted on the classes that are not left out.
        kernel: ``linear`` or ``rbf``.
        whitening: Which part of the within-class covariance is used.
        distance: How a sample and an exemplar are compared.
        folds: Number of parts that the classes are divided into; each is left out once.
        partitions: How often the classes are divided, each time differently.
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
        """Every combination, strongest regularisation first: of equals the first is selected."""
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
        """The fixed settings of the selection of constants."""
        return Settings(
            self.normalize_semantics,
            self.kernel,
            self.whitening,
            self.distance,
            self.folds,
            self.partitions,
        )
