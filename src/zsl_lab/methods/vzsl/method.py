"""VZSL as a zero-shot method (W. Wang et al., AAAI 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.errors import ConfigError
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.methods.config import MethodConfig
from zsl_lab.methods.vzsl.config import VZSLConfig
from zsl_lab.methods.vzsl.losses import margin, margin_over_many, negative_log_likelihood
from zsl_lab.methods.vzsl.networks import LinearGaussianPrior
from zsl_lab.nn.blocks import mlp
from zsl_lab.nn.gaussian import kl_divergence, pairwise_kl_divergence, reparameterize
from zsl_lab.nn.many_classes import FEW_CLASSES


class VZSL(ZeroShotMethod):
    """A VAE whose prior is one Gaussian per class, computed from the class's semantics.

    q(z|x) is pulled towards the prior of x's class and kept away from those of other classes.

    Args:
        config: See :class:`VZSLConfig`.
        feature_dim: D.
        classes: Semantics of all classes and which of them are seen.
    """

    config_class: ClassVar[type[VZSLConfig]] = VZSLConfig
    config: VZSLConfig

    def __init__(self, config: VZSLConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        latent = config.latent_dim
        self.encoder = mlp(
            [feature_dim, *config.encoder_hidden, 2 * latent],
            dropout=config.dropout,
            batch_norm=False,
        )
        self.decoder = (
            mlp(
                [latent, *config.decoder_hidden, feature_dim],
                dropout=config.dropout,
                batch_norm=False,
            )
            if config.reconstruction
            else None
        )
        self.prior = LinearGaussianPrior(
            self.semantics[self.seen_mask],
            latent,
            bias=config.prior_bias,
            log_variance_limit=config.log_variance_limit,
        )

    def encode(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each ``[B, Z]``, for features ``[B, D]``.

        The log-variance is clamped as the prior's is.
        """
        mean, log_variance = self.encoder(features).chunk(2, dim=-1)
        limit = self.config.log_variance_limit
        return mean, log_variance.clamp(-limit, limit)

    def class_scores(self, features: Tensor) -> Tensor:
        """-KL(q(z|x) || p(z|a_c)) for every class, ``[B, C]`` (slides, unseen class inference)."""
        return -pairwise_kl_divergence(*self.encode(features), *self.prior(self.semantics))

    def losses(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The terms of minus the final objective, and their sum.

        Args:
            features: ``[B, D]``.
            labels: Class positions, ``[B]``.

        Returns:
            ``total``, ``kl`` and, unless switched off, ``reconstruction`` and ``margin``; scalars.
        """
        config = self.config
        mean, log_variance = self.encode(features)
        prior_mean, prior_log_variance = self.prior(self.semantics)
        terms = {
            "kl": kl_divergence(
                mean, log_variance, prior_mean[labels], prior_log_variance[labels]
            ).mean()
        }
        total = terms["kl"]
        if self.decoder is not None:
            reconstruction = self.decoder(reparameterize(mean, log_variance))
            terms["reconstruction"] = negative_log_likelihood(
                features, reconstruction, config.decoder_variance
            )
            total = total + terms["reconstruction"]
        if config.lambda_ > 0:
            prior = (prior_mean, prior_log_variance)
            terms["margin"] = self._margin(mean, log_variance, prior, labels)
            total = total + config.lambda_ * terms["margin"]
        return {"total": total, **terms}

    def _margin(
        self, mean: Tensor, log_variance: Tensor, prior: tuple[Tensor, Tensor], labels: Tensor
    ) -> Tensor:
        """:func:`margin` of q(z|x) ``[B, Z]`` to the priors ``[C, Z]``; scalar."""
        exclude_true = self.config.exclude_true
        seen = self.seen_mask.nonzero().squeeze(1)
        if len(seen) > FEW_CLASSES:
            return margin_over_many(
                mean, log_variance, prior, labels, seen, exclude_true=exclude_true
            )
        divergences = pairwise_kl_divergence(mean, log_variance, *prior)
        return margin(divergences, labels, self.seen_mask, exclude_true=exclude_true)

    def loss(self, batch: Batch) -> Mapping[str, Tensor]:
        """The loss of a batch of seen samples."""
        return self.losses(batch.inputs, batch.labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, as in re-implementations; the fused kernel computes the same update."""
        config = self.config
        return torch.optim.Adam(
            self.parameters(), lr=config.learning_rate, betas=(config.beta1, 0.999), fused=True
        )

    @classmethod
    def generates(cls, config: MethodConfig) -> bool:
        """True if there is a decoder."""
        assert isinstance(config, VZSLConfig)
        return config.reconstruction

    @torch.no_grad()
    def generate(self, semantics: Tensor, samples: int) -> Tensor:
        """Sample z ~ p(z|a) and decode it to the mean of p(x|z).

        Raises:
            ConfigError: There is no decoder.
        """
        if self.decoder is None:
            raise ConfigError(
                "method.reconstruction=false: without a decoder no features can be generated. "
                "Train with true."
            )
        was_training = self.decoder.training
        self.decoder.eval()
        try:
            mean, log_variance = (
                rows.repeat_interleave(samples, 0) for rows in self.prior(semantics)
            )
            features: Tensor = self.decoder(reparameterize(mean, log_variance))
        finally:
            self.decoder.train(was_training)
        return features.view(len(semantics), samples, -1)

    def embed(self, features: Tensor) -> Tensor:
        """Means of q(z|x), ``[B, Z]``."""
        return self.encode(features)[0]

    def prototypes(self, semantics: Tensor) -> Tensor:
        """Prior means, ``[K, Z]``."""
        means: Tensor = self.prior(semantics)[0]
        return means

    @torch.no_grad()
    def latent_space(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Latent means of features and prior means of all classes, ``([B, Z], [C, Z])``."""
        return self.encode(features)[0], self.prior(self.semantics)[0]
