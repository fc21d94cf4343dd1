"""The scores that the method itself defines, as its paper does."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from zsl_lab.classifiers.base import Classifier
from zsl_lab.classifiers.config import OwnConfig
from zsl_lab.data.batches.base import PhaseDataModule
from zsl_lab.methods.base import ZeroShotMethod


class Own(Classifier):
    """:meth:`ZeroShotMethod.class_scores`; there is nothing to fit."""

    config_class: ClassVar[type[OwnConfig]] = OwnConfig

    def fit(self, method: ZeroShotMethod, data: PhaseDataModule) -> None:
        """Nothing to do."""

    def scores(self, method: ZeroShotMethod, features: Tensor) -> Tensor:
        """The method's own scores, ``[B, C]``."""
        return method.class_scores(features)
