"""DAP (Lampert, Nickisch and Harmeling, PAMI 2014): attributes are classified, classes inferred."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.errors import ConfigError
from zsl_lab.methods.base import Comparison, ZeroShotMethod
from zsl_lab.methods.dap.config import DAPConfig


class DAP(ZeroShotMethod):
    """Direct attribute prediction: a logistic regression per attribute, combined into class scores.

    Args:
        config: See :class:`DAPConfig`.
        feature_dim: D.
        classes: Semantics of all classes and which of them are seen.

    Attributes:
        thresholds: Threshold that binarises each dimension of the semantics, ``[Q]``.
        priors: p(a_m), the share of seen classes with each attribute, ``[Q]``.

    Raises:
        ConfigError: The semantics cannot be read as attributes.
    """

    config_class: ClassVar[type[DAPConfig]] = DAPConfig
    config: DAPConfig
    thresholds: Tensor
    priors: Tensor

    def __init__(self, config: DAPConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        seen = self.semantics[self.seen_mask]
        if config.binarize == "none":
            _check_probabilities(seen)
        # stored with the weights: new classes are binarised with the same thresholds
        self.register_buffer("thresholds", seen.mean(0))
        attributes = self.attributes(seen)
        if bool((attributes == attributes[0]).all()):
            raise ConfigError(
                f"method=dap: the {len(seen)} seen classes have equal attributes (method.binarize="
                f"{config.binarize}); expected classes that differ. Give other semantics "
                "(dataset.semantics), or a method that needs no attributes, such as method=conse."
            )
        share = attributes.mean(0)
        # a prior of 0 or 1 would rule out every class that differs from all seen classes
        degenerate = (share <= 0) | (share >= 1)
        self.register_buffer("priors", torch.where(degenerate, 0.5, share))
        self.attribute_logits = nn.Linear(feature_dim, seen.shape[1])

    def attributes(self, semantics: Tensor) -> Tensor:
        """``[K, Q]`` semantics as attributes between 0 and 1, ``[K, Q]``."""
        if self.config.binarize == "none":
            return semantics.clamp(0, 1)
        return (semantics > self.thresholds).to(semantics.dtype)

    def loss(self, batch: Batch) -> Tensor:
        """Cross entropy of the attributes of each sample's class, mean over samples and attributes.

        The regressions share no parameters, so that the mean trains each of them independently.
        """
        targets = self.attributes(self.semantics)[batch.labels]
        logits = self.attribute_logits(batch.inputs).float()
        return binary_cross_entropy_with_logits(logits, targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, with decoupled weight decay."""
        config = self.config
        return torch.optim.AdamW(
            self.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )

    def class_scores(self, features: Tensor) -> Tensor:
        """``sum_m log p(a_m = a_m^c | x) - log p(a_m^c)`` of every class c, ``[B, C]``.

        The logarithm of the paper's Eq. 2.
        """
        logits, table = self.attribute_logits(features), self.attributes(self.semantics)
        fits: Tensor = logsigmoid(logits) @ table.T + logsigmoid(-logits) @ (1 - table).T
        prior = table @ self.priors.log() + (1 - table) @ (1 - self.priors).log()
        return fits - prior

    def embed(self, features: Tensor) -> Tensor:
        """Probabilities of the attributes, ``[B, Q]``."""
        probabilities: Tensor = self.attribute_logits(features).sigmoid()
        return probabilities

    def prototypes(self, semantics: Tensor) -> Tensor:
        """The attributes of classes, ``[K, Q]``."""
        return self.attributes(semantics)

    @property
    def comparison(self) -> Comparison:
        """By Euclidean distance."""
        return "distance"

    @torch.no_grad()
    def latent_space(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities of attributes, and attributes of all classes, ``([B, Q], [C, Q])``."""
        return self.embed(features), self.attributes(self.semantics)


def _check_probabilities(semantics: Tensor) -> None:
    low, high = float(semantics.min()), float(semantics.max())
    if low < 0 or high > 1:
        raise ConfigError(
            "method.binarize=none: method=dap reads class semantics as probabilities of "
            f"attributes, and found values from {low:.3g} to {high:.3g}; expected 0 to 1. Give "
            "method.binarize=mean, which makes attributes of them, or semantics between 0 and 1 "
            "(dataset.normalize_semantics=minmax, or other dataset.semantics)."
        )
