"""Class normalization as a zero-shot method (Skorokhodov & Elhoseiny, ICLR 2021)."""

from __future__ import annotations

import warnings
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.methods.base import Comparison, ZeroShotMethod
from zsl_lab.methods.class_norm.config import ClassNormConfig
from zsl_lab.methods.class_norm.networks import PrototypeNetwork


class ClassNorm(ZeroShotMethod):
    """Scores a class by the cosine of a feature and the prototype that its semantics give.

    Args:
        config: See :class:`ClassNormConfig`.
        feature_dim: D.
        classes: Semantics of all classes and which of them are seen.
    """

    config_class: ClassVar[type[ClassNormConfig]] = ClassNormConfig
    config: ClassNormConfig

    def __init__(self, config: ClassNormConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        self.network = PrototypeNetwork(
            classes.semantics.shape[1],
            config.hidden_dim,
            feature_dim,
            config.epsilon,
            config.momentum,
        )
        # computed once: indexing with a mask on a GPU waits for it
        self.register_buffer("_seen_semantics", self.semantics[self.seen_mask], persistent=False)
        self.register_buffer("_seen_position", self.seen_mask.cumsum(0) - 1, persistent=False)
        if len(self._seen_semantics) > config.most_classes:
            warnings.warn(
                f"method={config.name}: a step compares samples with {config.most_classes} of the "
                f"{len(self._seen_semantics)} seen classes, those of the batch and others drawn "
                "at random, and standardises over these (method.most_classes).",
                stacklevel=2,
            )
        self._seen_semantics: Tensor
        self._seen_position: Tensor

    def logits(self, features: Tensor, prototypes: Tensor) -> Tensor:
        """gamma^2 times the cosine of ``[B, D]`` features and ``[C, D]`` prototypes, ``[B, C]``."""
        cosine = normalize(features, dim=1) @ normalize(prototypes, dim=1).T
        return self.config.gamma**2 * cosine

    def class_scores(self, features: Tensor) -> Tensor:
        """Logits of every class, ``[B, C]``; a logit does not depend on the other classes."""
        return self.logits(features, self.network(self.semantics))

    def loss(self, batch: Batch) -> Tensor:
        """Cross entropy over the seen classes, over some of them where they are very many."""
        semantics, targets = self._seen_semantics, self._seen_position[batch.labels]
        if len(semantics) > self.config.most_classes:
            classes, targets = self._drawn(targets)
            semantics = semantics[classes]
        return cross_entropy(self.logits(batch.inputs, self.network(semantics)), targets)

    def _drawn(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Draw the classes of a step: those of the batch, filled up with others at random.

        Args:
            targets: Position of each sample's class among the seen classes, ``[B]``.

        Returns:
            Positions of the drawn classes among the seen classes, and the index of each sample's
            class among the drawn ones, ``[B]``.
        """
        own, places = torch.unique(targets, return_inverse=True)
        order = torch.randperm(len(self._seen_semantics), device=targets.device)
        others = order[~torch.isin(order, own)]
        return torch.cat([own, others[: max(0, self.config.most_classes - len(own))]]), places

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with weight decay; the fused kernel computes the same update."""
        config = self.config
        return torch.optim.Adam(
            self.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )

    def learning_rate_at(self, step: int) -> float:
        """The schedule's rate, times ``decay`` once ``decay_after`` of the steps are taken."""
        rate = super().learning_rate_at(step)
        rate = self.config.learning_rate if rate is None else rate
        late = step >= self.config.decay_after * self.total_steps
        return rate * self.config.decay if late else rate

    def prototypes(self, semantics: Tensor) -> Tensor:
        """The network's prototypes, ``[K, D]``."""
        prototypes: Tensor = self.network(semantics)
        return prototypes

    @property
    def comparison(self) -> Comparison:
        """Cosine."""
        return "cosine"

    @torch.no_grad()
    def latent_space(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Directions of features and of prototypes of all classes, ``([B, D], [C, D])``."""
        return normalize(features, dim=1), normalize(self.network(self.semantics), dim=1)
