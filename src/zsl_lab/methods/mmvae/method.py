"""mmVAE as a zero-shot method (SGAL paper, section 3.2 and supplement)."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.methods.base import Comparison, MethodConfig, ZeroShotMethod
from zsl_lab.methods.joint import Losses, Update
from zsl_lab.methods.mmvae import objective
from zsl_lab.methods.mmvae.config import MMVAEConfig
from zsl_lab.methods.mmvae.networks import MMVAENetworks, Widths
from zsl_lab.nn.gaussian import squared_distances


class MMVAE(ZeroShotMethod):
    """Multi-modal VAE: pulls q(z|x) towards a Gaussian whose mean is predicted from semantics.

    Args:
        config: See :class:`MMVAEConfig`.
        feature_dim: D.
        classes: Semantics of all classes and which of them are seen.
    """

    config_class: ClassVar[type[MMVAEConfig]] = MMVAEConfig
    config: MMVAEConfig

    def __init__(self, config: MMVAEConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        self.networks = MMVAENetworks(
            feature_dim,
            classes.semantics.shape[1],
            Widths(
                config.latent_dim, config.encoder_hidden, config.decoder_hidden, config.prior_hidden
            ),
            encoder_dropout=config.encoder_dropout,
            decoder_dropout=config.decoder_dropout,
            prior_dropout=config.prior_dropout,
            batch_norm=config.batch_norm,
            prior_batch_norm=config.prior_batch_norm,
        )

    def class_scores(self, features: Tensor) -> Tensor:
        """Minus the squared distance of latent means from prior means (Eq. 3), ``[B, C]``."""
        mean, _ = self.networks.encode(features)
        return -squared_distances(
            mean, self.for_batches(lambda: self.networks.prior(self.semantics))
        )

    def losses(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The terms of the loss and their weighted sum (Eq. 2 as the usual ELBO, supplement Eq. 1).

        Args:
            features: ``[B, D]``.
            labels: Class positions, ``[B]``.

        Returns:
            ``total``, ``reconstruction``, ``kl`` and ``separation``, scalars.
        """
        semantics, pairs = self.semantics[labels], objective.pairs_of(self.config)
        weights = objective.scalars(self.config)
        return objective.losses(
            self.networks, features, semantics, labels, None, pairs=pairs, **weights
        )

    def loss(self, batch: Batch) -> Mapping[str, Tensor]:
        """The loss of a batch of seen samples."""
        return self.losses(batch.inputs, batch.labels)

    def train_on(self, batch: Batch) -> Mapping[str, Tensor]:
        """One update on a batch of seen samples."""
        return self.update(batch.inputs, batch.labels)

    def update(self, features: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Update the networks once.

        Args:
            features: ``[B, D]``.
            labels: Class positions, ``[B]``.

        Returns:
            The named losses.
        """
        losses = self.losses(features, labels)
        self.descend(losses["total"], self.optimizers())
        return losses

    def joint_updates(self, batch: Batch) -> Generator[Update, Losses, Losses]:
        """The update on a batch of seen samples."""
        return (yield self.joint_update(batch.inputs, batch.labels))

    @classmethod
    def trains_together(cls, config: MethodConfig) -> bool:
        """False also for a subclass with a loss of its own, which :meth:`joint_update` lacks."""
        return super().trains_together(config) and cls.losses is MMVAE.losses

    def joint_update(self, features: Tensor, labels: Tensor) -> Update:
        """:meth:`update`, to be computed together with updates of other runs."""
        return self.joint_run.update(features, self.semantics[labels], labels)

    @cached_property
    def joint_run(self) -> objective.JointRun:
        """The run as one of several that are trained together."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        return objective.JointRun(self.networks, self.config, optimizer)

    @torch.no_grad()
    def generate(self, semantics: Tensor, samples: int, **options: Any) -> Tensor:
        """Sample features of any classes, seen, unseen or new (Eq. 4).

        Args:
            semantics: Scaled class semantics, ``[K, Q]``.
            samples: Features per class, n.
            options: Passed on to :meth:`MMVAENetworks.generate`.

        Returns:
            Scaled features, ``[K, n, D]``.
        """
        rows = torch.arange(len(semantics), device=semantics.device).repeat_interleave(samples)
        return self.networks.generate(semantics, rows, **options).view(len(semantics), samples, -1)

    def embed(self, features: Tensor) -> Tensor:
        """Latent means, ``[B, Z]``."""
        return self.networks.encode(features)[0]

    def prototypes(self, semantics: Tensor) -> Tensor:
        """Prior means, ``[K, Z]``."""
        means: Tensor = self.networks.prior(semantics)
        return means

    @property
    def comparison(self) -> Comparison:
        """Squared distance (Eq. 3)."""
        return "distance"

    @torch.no_grad()
    def latent_space(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Latent means of features and prior means of all classes, ``([B, Z], [C, Z])``."""
        return self.networks.encode(features)[0], self.networks.prior(self.semantics)
