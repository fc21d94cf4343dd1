"""The attentive semantic preservation network as a zero-shot method (ASPN paper, section 3)."""

from __future__ import annotations

import warnings
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
from zsl_lab.nn.many_classes import FEW_CLASSES, logsumexp_over_classes, some_of
from zsl_lab.nn.whitening import within_class_whitening


class ASPN(ZeroShotMethod):
    """A generator of features from semantics; its output without noise is a class's prototype.

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
        # stored with the weights: prediction needs the same centre and whitening
        self.register_buffer("centre", torch.zeros(feature_dim))
        self.centre: Tensor
        self.register_buffer("whitening", torch.eye(feature_dim) if config.whitens else None)
        self.whitening: Tensor | None
        self.register_buffer("_trained_semantics", self.semantics.clone(), persistent=False)
        self._trained_semantics: Tensor
        if config.attends_to_classes and len(self.semantics) > FEW_CLASSES:
            warnings.warn(
                f"method={config.name}: with method.attend_among=classes, generated features "
                f"attend to {FEW_CLASSES} of the {len(self.semantics)} classes, drawn with a fixed "
                "seed, since attention to all would take time and memory by the square of their "
                "number.",
                stacklevel=2,
            )

    @classmethod
    def build(
        cls,
        config: MethodConfig,
        data: PhaseDataModule,
        *,
        cache_dir: Path | None = None,
        weights_follow: bool = False,
    ) -> ASPN:
        """Compute mean and whitening of the training features; initialise the output's bias."""
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
        """Compatibility of features with the classes' prototypes (section 3.5), ``[B, C]``.

        With attention among classes, prototypes attend to all classes of training, whether they
        are candidates or not, and to candidates that are new. So the score of a class does not
        depend on which classes of training are candidates, but on the new classes given with it.
        """
        prototypes = self.for_batches(lambda: self._prototypes(self.semantics))
        return self._compatibility(features, prototypes, self.config.score)

    def losses(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The loss of generator and inference network (Eq. 9): its terms and their weighted sum.

        Args:
            features: ``[B, D]``.
            labels: Class positions, ``[B]``.

        Returns:
            ``total``, ``visual``, ``semantic``, ``semantic_cycle``, ``visual_cycle``,
            ``adversarial`` and ``classification``, scalars, without those that belong to an absent
            network.
        """
        config = self.config
        # Eq. 3 takes semantics from p(s), which unseen classes have too
        extra = self.unseen[
            torch.randint(
                len(self.unseen), (round(config.unseen_share * len(labels)),), device=labels.device
            )
        ]
        semantics = self.semantics[torch.cat([labels, extra])]
        attended = self._attended(self.semantics)
        generated_too = self._generated(semantics, self._noise(semantics), attended)
        generated = generated_too[: len(labels)]
        terms = {"visual": squared_error(features, generated)}
        terms |= self._preservation(features, semantics, generated_too, attended)
        if self.critic is not None:
            terms["adversarial"] = -self.critic(generated, semantics[: len(labels)]).mean()
        if config.vartheta > 0:
            terms["classification"] = self._classification(features, generated, labels, attended)
        weights = {
            "visual": config.visual_weight,
            "semantic": config.semantic_weight,
            "semantic_cycle": config.semantic_cycle_weight,
            "visual_cycle": config.visual_cycle_weight,
            "adversarial": config.adversarial_weight,
            "classification": config.vartheta,
        }
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return {"total": total, **terms}

    def _preservation(
        self, features: Tensor, semantics: Tensor, generated: Tensor, attended: Tensor | None
    ) -> dict[str, Tensor]:
        """Eq. 2 and 3; empty without inference network.

        Args:
            features: ``[B, D]``.
            semantics: Of the features' classes first, then of unseen classes, ``[B + E, Q]``.
            generated: Features generated from them, ``[B + E, D]``.
            attended: See :meth:`_attended`.
        """
        if self.inference is None:
            return {}
        inferred, noise = self.inference(features)
        again, _ = self.inference(generated)
        return {
            "semantic": squared_error(semantics[: len(features)], inferred),
            "semantic_cycle": squared_error(semantics, again),
            "visual_cycle": squared_error(features, self._generated(inferred, noise, attended)),
        }

    def _classification(
        self, features: Tensor, generated: Tensor, labels: Tensor, attended: Tensor | None
    ) -> Tensor:
        """Eq. 7, for real and for generated features."""
        if len(self.semantics) > FEW_CLASSES:
            return self._classification_among_many(features, generated, labels, attended)
        prototypes = self.generator.prototypes(self.semantics, attended)
        among = self.seen_mask if self.config.classify_among == "seen" else None
        of_real, of_generated = (
            prototype_cross_entropy(
                self._compatibility(x, prototypes, self.config.compatibility),
                labels,
                self.config.temperature,
                among,
            )
            for x in (features, generated)
        )
        return of_real + of_generated

    def _classification_among_many(
        self, features: Tensor, generated: Tensor, labels: Tensor, attended: Tensor | None
    ) -> Tensor:
        """Eq. 7 with the prototypes of some classes in memory at a time."""
        config, both = self.config, torch.cat([features, generated])
        among = torch.arange(len(self.semantics), device=labels.device)
        if config.classify_among == "seen":
            among = among[self.seen_mask]

        def scores(part: Tensor) -> Tensor:
            prototypes = self.generator.prototypes(self.semantics[part], attended)
            found = self._compatibility(both, prototypes, config.compatibility)
            return found.float() / config.temperature

        classes, column = torch.unique(labels, return_inverse=True)
        own = scores(classes).gather(1, column.repeat(2)[:, None]).squeeze(1)
        # the sum of the two means
        return (logsumexp_over_classes(scores, among) - own).sum() / len(labels)

    def train_on(self, batch: Batch) -> Mapping[str, Tensor]:
        """Update the critic ``critic_steps`` times, then the other networks once, on one batch."""
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
                generated = self._generated(
                    semantics, self._noise(semantics), self._attended(self.semantics)
                )
            loss = critic_loss(self.critic, batch.inputs, generated, semantics, self.config.beta)
            self.descend(loss, critic_optimizer)
        # the generator's gradient passes through the critic without changing it
        self.critic.requires_grad_(False)
        losses = self.losses(batch.inputs, batch.labels)
        self.descend(losses["total"], optimizer)
        self.critic.requires_grad_(True)
        return {**losses, "critic": loss}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One Adam for generator and inference network, another for the critic if there is one."""
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
        """Let learning rates fall linearly from the first step to 0 after the last."""
        optimizers = self.optimizers(use_pl_optimizer=False)
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            for group in optimizer.param_groups:
                group["lr"] = self.config.learning_rate * (1 - self.step / self.config.steps)

    def _compatibility(self, features: Tensor, prototypes: Tensor, kind: Compatibility) -> Tensor:
        return compatibility(features, prototypes, kind, self.centre, self.whitening)

    def _noise(self, semantics: Tensor) -> Tensor:
        return torch.randn(len(semantics), self.generator.noise_dim, device=semantics.device)

    # ------------------------------------------------------------------------------- attention

    def _prototypes(self, semantics: Tensor) -> Tensor:
        """The prototypes of candidate classes ``[K, Q]``: ``[K, D]``."""
        return self.generator.prototypes(semantics, self._attended(self._with_trained(semantics)))

    def _generated(self, semantics: Tensor, noise: Tensor, attended: Tensor | None) -> Tensor:
        """Features as they are generated in training, ``[B, D]``."""
        features: Tensor = self.generator(semantics, noise, attend=True, attended=attended)
        return features

    def _attended(self, semantics: Tensor) -> Tensor | None:
        """The rows that generated features and prototypes attend to.

        Args:
            semantics: Semantics of the classes to attend to, ``[C, Q]``.

        Returns:
            :meth:`Generator.class_rows` of these classes, or of a sample of them where there are
            very many; None without attention among classes.
        """
        if not self.config.attends_to_classes:
            return None
        return self.generator.class_rows(some_of(semantics))

    def _with_trained(self, semantics: Tensor) -> Tensor:
        """The semantics of the classes of training, followed by those given that are new.

        Where there are very many classes of training, only a sample of them is returned.
        """
        trained = some_of(self._trained_semantics)
        if len(trained) < len(self._trained_semantics):
            return trained
        exact = "donot_use_mm_for_euclid_dist"
        distances = torch.cdist(semantics, trained, compute_mode=exact)
        # equal semantics may differ by rounding if they were scaled in another batch
        new = distances.amin(1) > 1e-4 * trained.norm(dim=1).mean()
        return torch.cat([trained, semantics[new]])

    @torch.no_grad()
    def generate(self, semantics: Tensor, samples: int) -> Tensor:
        """Generate features of any classes.

        With ``attend_among=classes``, features attend to the classes of training and to given
        classes that are new. With ``attend_among=batch`` there is no attention here, so that a
        feature does not depend on those generated with it.
        """
        rows = semantics.repeat_interleave(samples, 0)
        attended = self._attended(self._with_trained(semantics))
        features: Tensor = self.generator(
            rows, self._noise(rows), attend=attended is not None, attended=attended
        )
        return features.view(len(semantics), samples, -1)

    def embed(self, features: Tensor) -> Tensor:
        """Features in the space that they are compared with prototypes in, ``[B, D]``."""
        return transformed(features, self.config.score, self.centre, self.whitening)

    def prototypes(self, semantics: Tensor) -> Tensor:
        """The prototypes of classes in the same space, ``[K, D]``."""
        return self.embed(self._prototypes(semantics))

    @property
    def comparison(self) -> Comparison:
        """Distance or cosine, as ``method.score`` says."""
        return "distance" if self.config.score == "distance" else "cosine"

    @property
    def embedding_is_fixed(self) -> bool:
        """True: centre and whitening are computed before training."""
        return True

    @torch.no_grad()
    def latent_space(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features and prototypes in the space they are compared in, ``([B, D], [C, D])``."""
        features, prototypes = (
            comparable(rows, self.config.score, self.centre, self.whitening)
            for rows in (features, self._prototypes(self.semantics))
        )
        return features, prototypes
