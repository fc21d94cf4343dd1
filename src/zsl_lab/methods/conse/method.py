"""ConSE (Norouzi et al., ICLR 2014): a sample's semantics from a softmax over seen classes."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.methods.base import Comparison, ZeroShotMethod
from zsl_lab.methods.conse.config import ConSEConfig


class ConSE(ZeroShotMethod):
    """Convex combination of the semantics of the seen classes that a softmax finds likeliest.

    Args:
        config: See :class:`ConSEConfig`.
        feature_dim: D.
        classes: Semantics of all classes and which of them are seen.

    Attributes:
        anchors: Semantics of the seen classes, in the order of the softmax, ``[S, Q]``.
    """

    config_class: ClassVar[type[ConSEConfig]] = ConSEConfig
    config: ConSEConfig
    anchors: Tensor

    def __init__(self, config: ConSEConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        # stored with the weights: set_classes replaces self.semantics
        self.register_buffer("anchors", self.semantics[self.seen_mask].clone())
        self.softmax = nn.Linear(feature_dim, len(self.anchors))

    def loss(self, batch: Batch) -> Tensor:
        """Cross entropy of the seen classes."""
        targets = (self.seen_mask.cumsum(0) - 1)[batch.labels]
        return cross_entropy(self.softmax(batch.inputs), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, with decoupled weight decay."""
        config = self.config
        return torch.optim.AdamW(
            self.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )

    def embed(self, features: Tensor) -> Tensor:
        """The semantics of samples, ``[B, Q]``.

        ``f(x) = sum_t p(y_t|x) a_{y_t} / sum_t p(y_t|x)``, over the ``top`` likeliest seen classes
        (section 3.1).
        """
        probabilities = self.softmax(features).softmax(1)
        likeliest = probabilities.topk(min(self.config.top, len(self.anchors)), dim=1)
        kept = torch.zeros_like(probabilities).scatter(1, likeliest.indices, likeliest.values)
        return kept / kept.sum(1, keepdim=True) @ self.anchors

    def prototypes(self, semantics: Tensor) -> Tensor:
        """The semantics themselves, ``[K, Q]``."""
        return semantics

    @property
    def comparison(self) -> Comparison:
        """By cosine."""
        return "cosine"

    def class_scores(self, features: Tensor) -> Tensor:
        """Cosine of a sample's semantics and those of each class, ``[B, C]``."""
        return normalize(self.embed(features), dim=1) @ normalize(self.semantics, dim=1).T

    @torch.no_grad()
    def latent_space(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Directions of samples' and classes' semantics, ``([B, Q], [C, Q])``."""
        return normalize(self.embed(features), dim=1), normalize(self.semantics, dim=1)
