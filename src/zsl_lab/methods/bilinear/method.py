"""The bilinear family: scores ``x^T W a`` of features and class semantics, learned by ranking."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.errors import ConfigError
from zsl_lab.methods.base import Comparison, ZeroShotMethod
from zsl_lab.methods.bilinear import losses
from zsl_lab.methods.bilinear.config import (
    ALEConfig,
    BilinearConfig,
    DeViSEConfig,
    LATEMConfig,
    SJEConfig,
)
from zsl_lab.methods.config import MethodConfig
from zsl_lab.nn.many_classes import FEW_CLASSES


class Bilinear(ZeroShotMethod):
    """Scores a class by ``F(x, a) = max_i x^T W_i a``; most methods have a single W.

    A sample's class is to score higher than every other seen class by a margin; a subclass says
    which other classes count and how much.

    Args:
        config: See :class:`BilinearConfig`.
        feature_dim: D.
        classes: Semantics of all classes and which of them are seen.

    Raises:
        ConfigError: There is no other seen class that a class could be ranked against.
    """

    config_class: ClassVar[type[BilinearConfig]]
    config: BilinearConfig

    def __init__(self, config: BilinearConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        seen = int(classes.seen_mask.sum())
        if seen < 2:
            raise ConfigError(
                f"method={config.name}: found {seen} seen class to train on; expected at least 2, "
                "since the class of a sample is ranked against other seen classes. Give data with "
                "more seen classes, or selection=last, which leaves none of them out for "
                "validation."
            )
        draws = torch.randn(self.matrices(config), feature_dim, classes.semantics.shape[1])
        self.weights = nn.Parameter(draws / feature_dim**0.5)

    @classmethod
    def matrices(cls, config: MethodConfig) -> int:
        """The number of matrices W_i."""
        return 1

    @abstractmethod
    def ranking_loss(self, hinges: Tensor, targets: Tensor) -> Tensor:
        """The loss of a batch; scalar.

        Args:
            hinges: As :func:`zsl_lab.methods.bilinear.losses.violations` returns them, ``[B, S]``.
            targets: Column of each sample's class among the seen classes, ``[B]``.
        """

    def scores_of(self, features: Tensor, semantics: Tensor) -> Tensor:
        """``max_i x^T W_i a`` of ``[B, D]`` features and ``[K, Q]`` semantics, ``[B, K]``."""
        if len(semantics) > FEW_CLASSES:  # the same product without W a of each class in memory
            return (features @ self.weights @ semantics.T).max(0).values
        classifiers = self.weights @ semantics.T
        if len(classifiers) == 1:
            return features @ classifiers[0]
        # not amax: of equal maxima only one gets the gradient, as in the authors' code
        return (features @ classifiers).max(0).values

    def class_scores(self, features: Tensor) -> Tensor:
        """Scores of all classes, ``[B, C]``."""
        return self.scores_of(features, self.semantics)

    def loss(self, batch: Batch) -> Mapping[str, Tensor]:
        """The ranking loss among seen classes, and the share of samples that violate it."""
        targets = (self.seen_mask.cumsum(0) - 1)[batch.labels]
        scores = self.scores_of(batch.inputs, self.semantics[self.seen_mask]).float()
        hinges = losses.violations(scores, targets, self.config.margin)
        violating = (hinges > 0).any(1).float().mean()
        return {"total": self.ranking_loss(hinges, targets), "violating": violating}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Stochastic gradient descent without momentum, as in the papers."""
        return torch.optim.SGD(self.parameters(), lr=self.config.learning_rate)

    def embed(self, features: Tensor) -> Tensor:
        """Features mapped to the space of the semantics, ``x^T W``, ``[B, Q]``."""
        return features @ self.weights[0]

    def prototypes(self, semantics: Tensor) -> Tensor:
        """The semantics themselves, ``[K, Q]``."""
        return semantics

    @classmethod
    def has_prototypes(cls, config: MethodConfig) -> bool:
        """True with a single W: several would map features to a space each."""
        return cls.matrices(config) == 1

    @property
    def comparison(self) -> Comparison:
        """Cosine, since a score is an inner product."""
        return "cosine"

    @torch.no_grad()
    def latent_space(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Directions of mapped features and of the classes' semantics, ``([B, Q], [C, Q])``.

        A sample is mapped by the W_i that gives its highest score.
        """
        best = (features @ self.weights @ self.semantics.T).amax(2).argmax(0)
        points = (features @ self.weights)[best, torch.arange(len(features), device=best.device)]
        return normalize(points, dim=1), normalize(self.semantics, dim=1)


class DeViSE(Bilinear):
    """Sum of all violations (Frome et al., NeurIPS 2013), on features that are not fine-tuned."""

    config_class: ClassVar[type[DeViSEConfig]] = DeViSEConfig

    def ranking_loss(self, hinges: Tensor, targets: Tensor) -> Tensor:
        """See :func:`zsl_lab.methods.bilinear.losses.unweighted`."""
        return losses.unweighted(hinges)


class ALE(Bilinear):
    """Violations weighted by the rank of the sample's class (Akata et al., PAMI 2016)."""

    config_class: ClassVar[type[ALEConfig]] = ALEConfig

    def ranking_loss(self, hinges: Tensor, targets: Tensor) -> Tensor:
        """See :func:`zsl_lab.methods.bilinear.losses.rank_weighted`."""
        return losses.rank_weighted(hinges)


class SJE(Bilinear):
    """The largest violation (Akata et al., CVPR 2015)."""

    config_class: ClassVar[type[SJEConfig]] = SJEConfig

    def ranking_loss(self, hinges: Tensor, targets: Tensor) -> Tensor:
        """See :func:`zsl_lab.methods.bilinear.losses.worst_violator`."""
        return losses.worst_violator(hinges)


class LATEM(Bilinear):
    """The violation of a class drawn at random; the best of several W (Xian et al., CVPR 2016)."""

    config_class: ClassVar[type[LATEMConfig]] = LATEMConfig
    config: LATEMConfig

    @classmethod
    def matrices(cls, config: MethodConfig) -> int:
        """The number of matrices W_i, K in the paper."""
        assert isinstance(config, LATEMConfig)
        return config.matrices

    def ranking_loss(self, hinges: Tensor, targets: Tensor) -> Tensor:
        """See :func:`zsl_lab.methods.bilinear.losses.sampled_violator`."""
        return losses.sampled_violator(hinges, targets)
