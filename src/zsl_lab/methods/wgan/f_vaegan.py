"""f-VAEGAN-D2 as a zero-shot method, without the unlabelled samples (Xian et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from zsl_lab.data.batches.base import ClassSpace, PhaseDataModule
from zsl_lab.data.batches.features import FeatureDataModule
from zsl_lab.hardware import distributed
from zsl_lab.methods.config import MethodConfig
from zsl_lab.methods.wgan.base import ConditionalWGAN, check_range
from zsl_lab.methods.wgan.config import FVAEGANConfig
from zsl_lab.methods.wgan.losses import reconstruction
from zsl_lab.methods.wgan.networks import Encoder
from zsl_lab.nn.gaussian import kl_to_unit_variance, reparameterize


class FVAEGAN(ConditionalWGAN):
    """A Wasserstein GAN whose generator is the decoder of a VAE as well.

    Args:
        config: See :class:`FVAEGANConfig`.
        feature_dim: D.
        classes: Semantics of all classes and which of them are seen.
    """

    config_class: ClassVar[type[FVAEGANConfig]] = FVAEGANConfig
    config: FVAEGANConfig

    def __init__(self, config: FVAEGANConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        self.encoder = Encoder(
            feature_dim,
            classes.semantics.shape[1],
            config.encoder_hidden,
            self.generator.noise_dim,
        )
        # adapted while training, so it is part of the weights
        self.register_buffer("penalty_lambda", torch.tensor(config.lambda_))
        self.penalty_lambda: Tensor

    @classmethod
    def build(
        cls,
        config: MethodConfig,
        data: PhaseDataModule,
        *,
        cache_dir: Path | None = None,
        weights_follow: bool = False,
    ) -> FVAEGAN:
        """Construct the method.

        Raises:
            ConfigError: Features lie outside [0, 1].
        """
        assert isinstance(config, FVAEGANConfig)
        assert isinstance(data, FeatureDataModule)
        inputs = data.samples(data.split.train).inputs
        why = "the generator ends in a sigmoid and is compared by binary cross entropy"
        check_range(inputs, config.name, 0, 1, why)
        return cls(config, data.feature_dim, data.classes)

    @property
    def penalty_weight(self) -> Tensor:
        """The current lambda, see :func:`lambda_factor`."""
        return self.penalty_lambda

    @property
    def critic_weight(self) -> float:
        """gamma_D."""
        return self.config.gamma_critic

    def synthesize(self, noise: Tensor, semantics: Tensor) -> Tensor:
        """See :meth:`ConditionalWGAN.synthesize`; the generator ends in a sigmoid."""
        logits: Tensor = self.generator(noise, semantics)
        return logits.sigmoid()

    def encoded(self, features: Tensor, semantics: Tensor) -> Tensor:
        """Draw z ~ q(z|x, a), ``[B, Z]``."""
        return reparameterize(*self.encoder(features, semantics))

    def noise_for_critic(self, features: Tensor, semantics: Tensor) -> Tensor:
        """The z of the features that the critic sees: encoded, or drawn from N(0, I)."""
        if self.config.encoded_noise:
            return self.encoded(features, semantics)
        return self._noise(semantics)

    def _generated(self, features: Tensor, semantics: Tensor) -> Iterator[Tensor]:
        with torch.no_grad():
            # encoder and generator stay the same: the features of all critic steps in one pass
            generated = self.synthesize(self.noise_for_critic(features, semantics), semantics)
        yield from generated.chunk(self.config.critic_steps)

    def _train_critic(
        self, features: Tensor, semantics: Tensor, optimizer: Any
    ) -> dict[str, Tensor]:
        """The critic steps of a round; then lambda is adapted."""
        found = super()._train_critic(features, semantics, optimizer)
        if self.config.adapt_lambda:
            distributed.average([found["penalty"]])
            self.penalty_lambda *= lambda_factor(found["penalty"])
        return {**found, "lambda": self.penalty_lambda.clone()}

    def generator_losses(
        self, features: Tensor, labels: Tensor, semantics: Tensor
    ) -> dict[str, Tensor]:
        """``reconstruction``, ``kl`` and ``adversarial`` (Eq. 1 to 3), see the base class."""
        mean, log_variance = self.encoder(features, semantics)
        logits = self.generator(reparameterize(mean, log_variance), semantics)
        generated = (
            logits.sigmoid()
            if self.config.encoded_noise
            else self.synthesize(self._noise(semantics), semantics)
        )
        terms = {
            "reconstruction": reconstruction(logits, features),
            "kl": kl_to_unit_variance(mean, log_variance, torch.zeros_like(mean)).mean(),
            "adversarial": -self.critic(generated, semantics).mean(),
        }
        gamma = self.config.gamma_generator
        total = terms["reconstruction"] + terms["kl"] + gamma * terms["adversarial"]
        return {"total": total, **terms}


def lambda_factor(penalty: Tensor) -> Tensor:
    """Factor that lambda is multiplied by after the critic steps of a round (authors' code).

    Args:
        penalty: Mean of ``(||slope|| - 1)^2`` over the critic steps, a scalar.

    Returns:
        1.1 if the penalty is above 1.05, 1 / 1.1 if it is below 1.001, else 1.
    """
    one = torch.ones_like(penalty)
    return torch.where(penalty > 1.05, 1.1 * one, torch.where(penalty < 1.001, one / 1.1, one))
