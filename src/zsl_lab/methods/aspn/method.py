"""The attentive semantic preservation network as a zero-shot method (ASPN paper, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from zsl_lab.data.batches.base import Batch, ClassSpace, PhaseDataModule
from zsl_lab.data.batches.features import FeatureDataModule
from zsl_lab.methods.aspn.attention import CategoryAttention
from zsl_lab.methods.aspn.config import ASPNConfig, Compatibility
from zsl_lab.methods.aspn.losses import (
    comparable,
    compatibility,
    critic_loss,
    prototype_cross_entropy,
    transformed,
)
from zsl_lab.methods.aspn.networks import Critic, Generator, Inference
from zsl_lab.methods.base import Comparison, ZeroShotMethod
from zsl_lab.methods.config import MethodConfig
from zsl_lab.nn.losses import squared_error
from zsl_lab.nn.whitening import within_class_whitening


class ASPN(ZeroShotMethod):
    """A generator of features from semantics whose noiseless output is each class's prototype.

    Args:
        config: See :class:`ASPNConfig`.
        feature_dim: D.
        classes: Semantics of all classes and which of them are seen.
    """

    config_class: ClassVar[type[ASPNConfig]] = ASPNConfig
    config: ASPNConfig

    def __init__(self, config: ASPNConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        semantic_dim, hidden_dim = classes.semantics.shape[1], config.hidden_dim
        noise_dim = semantic_dim if config.noise_dim == "semantics" else config.noise_dim
        on_output = config.attention == "output"
        attention = (
            None
            if config.attention == "none"
            else CategoryAttention(
                feature_dim if on_output else hidden_dim,
                alpha=config.alpha,
                learn_alpha=config.learn_alpha,
                scaled=config.scale_attention,
                swapped=config.swap_attention,
            )
        )
        self.generator = Generator(
            semantic_dim,
            noise_dim,
            hidden_dim,
            feature_dim,
            attention=attention,
            attention_on_output=on_output,
            semantic_scale=config.semantic_scale,
            noise_scale=config.noise_scale,
            negative_slope=config.negative_slope,
            output_scale=config.output_scale,
        )
        preserves = (
            max(config.semantic_weight, config.semantic_cycle_weight, config.visual_cycle_weight)
            > 0
        )
        self.inference = (
            Inference(feature_dim, hidden_dim, semantic_dim, noise_dim) if preserves else None
        )
        self.critic = (
            Critic(feature_dim, semantic_dim, hidden_dim) if config.adversarial_weight > 0 else None
        )
        # with the weights: what is measured with it must be measured so again
        self.register_buffer("centre", torch.zeros(feature_dim))
        self.centre: Tensor
        self.register_buffer("whitening", torch.eye(feature_dim) if config.whitens else None)
        self.whitening: Tensor | None

    @classmethod
    def build(
        cls,
        config: MethodConfig,
        data: PhaseDataModule,
        *,
        cache_dir: Path | None = None,
        weights_follow: bool = False,
    ) -> ASPN:
        """Measure the training features' mean and scatter, and initialise the output's bias."""
        assert isinstance(config, ASPNConfig)
        assert isinstance(data, FeatureDataModule)
        method = cls(config, data.feature_dim, data.classes)
        samples = data.samples(data.split.train)
        with torch.no_grad():
            method.centre.copy_(samples.inputs.mean(0))
            if method.whitening is not None:
                method.whitening.copy_(
                    within_class_whitening(samples.inputs, samples.labels, config.shrinkage)
                )
            if config.output_bias == "mean":
                method.generator.output.bias.copy_(method.centre)
        return method

    def class_scores(self, features: Tensor) -> Tensor:
        """Compatibility of features with the classes' prototypes (section 3.5), ``[B, C]``."""
        return self._compatibility(
            features, self.generator.prototypes(self.semantics), self.config.score
        )

    def losses(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The loss of generator and inference network (Eq. 9): its terms and their weighted sum.

        Args:
            features: ``[B, D]``.
            labels: Class positions, ``[B]``.

        Returns:
            ``total``, ``visual``, ``semantic``, ``semantic_cycle``, ``visual_cycle``,
            ``adversarial`` and ``classification``, scalars; those of networks that there are not
            are left out.
        """
        config = self.config
        of_batch = self.semantics[labels]
        # Eq. 3 takes semantics from p(s), which unseen classes have too
        extra = self.unseen[
            torch.randint(
                len(self.unseen), (round(config.unseen_share * len(labels)),), device=labels.device
            )
        ]
        semantics = torch.cat([of_batch, self.semantics[extra]])
        generated_too = self.generator(semantics, self._noise(semantics), attend=True)
        generated = generated_too[: len(labels)]
        terms = {"visual": squared_error(features, generated)}
        weights = {"visual": config.visual_weight}
        if self.inference is not None:
            inferred, noise = self.inference(features)
            again, _ = self.inference(generated_too)
            terms["semantic"] = squared_error(of_batch, inferred)
            terms["semantic_cycle"] = squared_error(semantics, again)
            terms["visual_cycle"] = squared_error(
                features, self.generator(inferred, noise, attend=True)
            )
            weights |= {
                "semantic": config.semantic_weight,
                "semantic_cycle": config.semantic_cycle_weight,
                "visual_cycle": config.visual_cycle_weight,
            }
        if self.critic is not None:
            terms["adversarial"] = -self.critic(generated, of_batch).mean()
            weights["adversarial"] = config.adversarial_weight
        if config.vartheta > 0:
            prototypes = self.generator.prototypes(self.semantics)
            among = self.seen_mask if config.classify_among == "seen" else None
            of_real, of_generated = (
                prototype_cross_entropy(
                    self._compatibility(x, prototypes, config.compatibility),
                    labels,
                    config.temperature,
                    among,
                )
                for x in (features, generated)
            )
            terms["classification"] = of_real + of_generated
            weights["classification"] = config.vartheta
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return {"total": total, **terms}

    def train_on(self, batch: Batch) -> Mapping[str, Tensor]:
        """``critic_steps`` updates of the critic, then one of the other networks, on one batch."""
        if self.config.decay:
            self._decay()
        if self.critic is None:
            losses = self.losses(batch.inputs, batch.labels)
            self.descend(losses["total"], self.optimizers())
            return losses
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        optimizer, critic_optimizer = optimizers
        semantics = self.semantics[batch.labels]
        for _ in range(self.config.critic_steps):
            with torch.no_grad():
                generated = self.generator(semantics, self._noise(semantics), attend=True)
            loss = critic_loss(self.critic, batch.inputs, generated, semantics, self.config.beta)
            self.descend(loss, critic_optimizer)
        # the generator's step looks through the critic without changing it
        self.critic.requires_grad_(False)
        losses = self.losses(batch.inputs, batch.labels)
        self.descend(losses["total"], optimizer)
        self.critic.requires_grad_(True)
        return {**losses, "critic": loss}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for generator and inference network, and another for the critic, if there is one."""
        critic = list(self.critic.parameters()) if self.critic is not None else []
        others = [
            parameter
            for name, parameter in self.named_parameters()
            if not name.startswith("critic.")
        ]
        groups = [parameters for parameters in (others, critic) if parameters]
        return [
            torch.optim.Adam(parameters, lr=self.config.learning_rate, fused=True)
            for parameters in groups
        ]

    def _decay(self) -> None:
        """Learning rates fall linearly from the first step to 0 after the last."""
        optimizers = self.optimizers(use_pl_optimizer=False)
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            for group in optimizer.param_groups:
                group["lr"] = self.config.learning_rate * (1 - self.step / self.config.steps)

    def _compatibility(self, features: Tensor, prototypes: Tensor, kind: Compatibility) -> Tensor:
        return compatibility(features, prototypes, kind, self.centre, self.whitening)

    def _noise(self, semantics: Tensor) -> Tensor:
        return torch.randn(len(semantics), self.generator.noise_dim, device=semantics.device)

    @torch.no_grad()
    def generate(self, semantics: Tensor, samples: int) -> Tensor:
        """Generate without attention, so that a class's features do not depend on the others."""
        rows = semantics.repeat_interleave(samples, 0)
        features: Tensor = self.generator(rows, self._noise(rows))
        return features.view(len(semantics), samples, -1)

    def embed(self, features: Tensor) -> Tensor:
        """Features in the space that they are compared with prototypes in, ``[B, D]``."""
        return transformed(features, self.config.score, self.centre, self.whitening)

    def prototypes(self, semantics: Tensor) -> Tensor:
        """E(s, 0) in the same space, ``[K, D]``."""
        return self.embed(self.generator.prototypes(semantics))

    @property
    def comparison(self) -> Comparison:
        """Distance or cosine, as ``method.score`` says."""
        return "distance" if self.config.score == "distance" else "cosine"

    @property
    def embedding_is_fixed(self) -> bool:
        """Centre and whitening are measured before training."""
        return True

    @torch.no_grad()
    def latent_space(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features and prototypes in the space they are compared in, ``([B, D], [C, D])``."""
        both = (features, self.generator.prototypes(self.semantics))
        features, prototypes = (
            comparable(rows, self.config.score, self.centre, self.whitening) for rows in both
        )
        return features, prototypes
