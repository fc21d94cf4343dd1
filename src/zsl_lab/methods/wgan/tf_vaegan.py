"""TF-VAEGAN as a zero-shot method (Narayan et al., ECCV 2020)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.methods.config import decayed
from zsl_lab.methods.wgan.config import TFVAEGANConfig
from zsl_lab.methods.wgan.f_vaegan import FVAEGAN
from zsl_lab.methods.wgan.losses import reconstruction, semantic_error
from zsl_lab.methods.wgan.networks import Decoder, Feedback
from zsl_lab.nn.gaussian import kl_to_unit_variance, reparameterize


class TFVAEGAN(FVAEGAN):
    """An f-VAEGAN with a decoder of semantics, whose hidden units are fed back to the generator.

    Passes without and with feedback alternate, ``feedback_period`` steps each.

    Args:
        config: See :class:`TFVAEGANConfig`.
        feature_dim: D.
        classes: Semantics of all classes and which of them are seen.
    """

    config_class: ClassVar[type[TFVAEGANConfig]] = TFVAEGANConfig
    classified_in: ClassVar[Literal["features", "method"] | None] = "method"
    config: TFVAEGANConfig

    def __init__(self, config: TFVAEGANConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        self.decoder = Decoder(feature_dim, config.decoder_hidden, classes.semantics.shape[1])
        self.feedback = Feedback(config.decoder_hidden, config.generator_hidden)

    # --------------------------------------------------------------------------------- training

    @property
    def feeds_back(self) -> bool:
        """Whether the present step belongs to a pass with feedback: the second of every two."""
        return self.step // (self.config.feedback_period or 1) % 2 == 1

    def train_on(self, batch: Batch) -> Mapping[str, Tensor]:
        """One round; every group of parameters has a learning rate of its own."""
        schedule = self.config.learning_rate_schedule
        if schedule is not None:
            share = decayed(schedule, self.step, self.total_steps)
            optimizers: Any = self.optimizers()
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = share * group["first_lr"]
        return super().train_on(batch)

    def learning_rate_at(self, step: int) -> float | None:
        """None: see :meth:`train_on`."""
        return None

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """See :meth:`ConditionalWGAN.configure_optimizers`; groups keep their first rate."""
        optimizers = super().configure_optimizers()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["first_lr"] = group["lr"]
        return optimizers

    def _groups_beside_critic(self) -> list[dict[str, Any]]:
        config = self.config
        return [
            {"params": [*self.generator.parameters(), *self.encoder.parameters()]},
            {"params": list(self.feedback.parameters()), "lr": config.feedback_learning_rate},
            {"params": list(self.decoder.parameters()), "lr": config.decoder_learning_rate},
        ]

    def _generated(self, features: Tensor, semantics: Tensor) -> Iterator[Tensor]:
        """Features for each critic step; the decoder is updated before each of them."""
        with torch.no_grad():
            # encoder and generator stay the same: all critic steps in one pass
            noise = self.noise_for_critic(features, semantics)
            hidden = self.generator.hidden(noise, semantics)
            first = self.generator.output(hidden).sigmoid()
        parts = (rows.chunk(self.config.critic_steps) for rows in (features, semantics))
        steps = (rows.chunk(self.config.critic_steps) for rows in (hidden, first))
        for real, of_real, units, generated in zip(*parts, *steps, strict=True):
            self._train_decoder(real, of_real)
            with torch.no_grad():
                found = (
                    self._logits_with_feedback(units, generated, self.config.a1).sigmoid()
                    if self.feeds_back
                    else generated
                )
            yield found

    def _train_decoder(self, features: Tensor, semantics: Tensor) -> None:
        weight = self.config.decoder_weight
        if weight > 0:
            optimizers: Any = self.optimizers()
            error = semantic_error(self.decoder(features)[1], semantics)
            self.descend(weight * error, optimizers[0])

    def generator_losses(
        self, features: Tensor, labels: Tensor, semantics: Tensor
    ) -> dict[str, Tensor]:
        """f-VAEGAN's terms and ``semantic``, the error of semantics decoded from features."""
        config = self.config
        mean, log_variance = self.encoder(features, semantics)
        logits = self._training_logits(reparameterize(mean, log_variance), semantics)
        generated = (
            logits
            if config.encoded_noise
            else self._training_logits(self._noise(semantics), semantics)
        ).sigmoid()
        terms = {
            "reconstruction": reconstruction(logits, features),
            "kl": kl_to_unit_variance(mean, log_variance, torch.zeros_like(mean)).mean(),
            "adversarial": -self.critic(generated, semantics).mean(),
        }
        total = terms["reconstruction"] + terms["kl"]
        total = total + config.gamma_generator * terms["adversarial"]
        if config.decoder_weight > 0:
            self.decoder.requires_grad_(not config.freeze_decoder)
            terms["semantic"] = semantic_error(self.decoder(generated)[1], semantics)
            self.decoder.requires_grad_(True)
            total = total + config.decoder_weight * terms["semantic"]
        return {"total": total, **terms}

    def _training_logits(self, noise: Tensor, semantics: Tensor) -> Tensor:
        hidden = self.generator.hidden(noise, semantics)
        if not self.feeds_back:
            logits: Tensor = self.generator.output(hidden)
            return logits
        with torch.no_grad():  # no gradient passes through the decoder's hidden units
            first = self.generator.output(hidden).sigmoid()
        return self._logits_with_feedback(hidden, first, self.config.a1)

    def _logits_with_feedback(self, hidden: Tensor, generated: Tensor, amount: float) -> Tensor:
        """The generator's output with feedback.

        Args:
            hidden: The generator's hidden units, ``[..., H]``.
            generated: The features generated from them without feedback, ``[..., D]``.
            amount: The weight of the feedback, a1 or a2.
        """
        with torch.no_grad():
            decoded = self.decoder.hidden(generated)
        logits: Tensor = self.generator.output(hidden + amount * self.feedback(decoded))
        return logits

    # ------------------------------------------------------------------ scores and generation

    def synthesize(self, noise: Tensor, semantics: Tensor) -> Tensor:
        """See :meth:`ConditionalWGAN.synthesize`; with feedback, weighted by a2."""
        hidden = self.generator.hidden(noise, semantics)
        first = self.generator.output(hidden).sigmoid()
        return self._logits_with_feedback(hidden, first, self.config.a2).sigmoid()

    def embed(self, features: Tensor) -> Tensor:
        """Features, the decoder's hidden units and its semantics, ``[B, D + H + Q]``."""
        return torch.cat([features, *self.decoder(features)], dim=-1)
