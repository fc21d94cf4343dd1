"""What the feature-generating Wasserstein GANs have in common: the schedule and the scores."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.errors import ConfigError
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.methods.wgan.config import WGANConfig
from zsl_lab.methods.wgan.losses import critic_terms
from zsl_lab.methods.wgan.networks import Critic, Generator


class ConditionalWGAN(ZeroShotMethod):
    """A generator of features from noise and semantics, trained against a critic.

    A step is a round: the critic is updated ``critic_steps`` times, each time on a batch of its
    own, then the generator once, with the classes of the last of these batches.

    Args:
        config: See :class:`WGANConfig`.
        feature_dim: D.
        classes: Semantics of all classes and which of them are seen.
    """

    config_class: ClassVar[type[WGANConfig]] = WGANConfig
    config: WGANConfig

    def __init__(self, config: WGANConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        semantic_dim = classes.semantics.shape[1]
        noise_dim = semantic_dim if config.noise_dim == "semantics" else config.noise_dim
        self.generator = Generator(noise_dim, semantic_dim, config.generator_hidden, feature_dim)
        self.critic = Critic(feature_dim, semantic_dim, config.critic_hidden)

    # ------------------------------------------------------------- what differs between methods

    @abstractmethod
    def synthesize(self, noise: Tensor, semantics: Tensor) -> Tensor:
        """Features as they are generated after training, ``[..., D]``.

        Args:
            noise: ``[..., Z]``.
            semantics: ``[..., Q]``; leading dimensions are broadcast.
        """

    @abstractmethod
    def _generated(self, features: Tensor, semantics: Tensor) -> Iterator[Tensor]:
        """Features that the critic is trained against, without gradient.

        Args:
            features: The batches of all critic steps, ``[n B, D]``.
            semantics: Of their classes, ``[n B, Q]``.

        Yields:
            ``[B, D]`` for each critic step.
        """

    @abstractmethod
    def generator_losses(
        self, features: Tensor, labels: Tensor, semantics: Tensor
    ) -> dict[str, Tensor]:
        """The loss of the generator, and of networks that are trained with it.

        Args:
            features: ``[B, D]``.
            labels: Class positions, ``[B]``.
            semantics: Of these classes, ``[B, Q]``.

        Returns:
            ``total`` and its terms; scalars.
        """

    @property
    def penalty_weight(self) -> float | Tensor:
        """Lambda, the weight of the gradient penalty."""
        return self.config.lambda_

    @property
    def critic_weight(self) -> float:
        """Factor of the critic's loss; Adam's updates hardly depend on it."""
        return 1.0

    # --------------------------------------------------------------------------------- training

    def batch_size_at(self, step: int) -> int:
        """A batch for each critic step."""
        return self.config.critic_steps * self.config.batch_size

    def train_on(self, batch: Batch) -> Mapping[str, Tensor]:
        """One round of critic steps and a generator step."""
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        semantics = self.semantics[batch.labels]
        of_critic = self._train_critic(batch.inputs, semantics, optimizers[1])
        last = slice(-self.config.batch_size, None)
        # the generator's gradient passes through the critic without changing it
        self.critic.requires_grad_(False)
        losses = self.generator_losses(batch.inputs[last], batch.labels[last], semantics[last])
        self.descend(losses["total"], optimizers[0])
        self.critic.requires_grad_(True)
        return {**losses, **of_critic}

    def _train_critic(
        self, features: Tensor, semantics: Tensor, optimizer: Any
    ) -> dict[str, Tensor]:
        """The critic steps of a round.

        Args:
            features: The batches of all of them, ``[n B, D]``.
            semantics: Of their classes, ``[n B, Q]``.
            optimizer: The critic's.

        Returns:
            ``distance`` and ``penalty`` (see :func:`critic_terms`), averaged over the steps.
        """
        found = []
        batches = (part.chunk(self.config.critic_steps) for part in (features, semantics))
        generated = self._generated(features, semantics)
        for real, of_real, fake in zip(*batches, generated, strict=True):
            distance, penalty = critic_terms(self.critic, real, fake, of_real)
            loss = self.critic_weight * (self.penalty_weight * penalty - distance)
            self.descend(loss, optimizer)
            found.append(torch.stack([distance.detach(), penalty.detach()]))
        distance, penalty = torch.stack(found).mean(0)
        return {"distance": distance, "penalty": penalty}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for all but the critic, another for the critic; the fused kernel updates alike."""
        betas = (self.config.beta1, 0.999)
        groups = [self._groups_beside_critic(), [{"params": list(self.critic.parameters())}]]
        return [
            torch.optim.Adam(group, lr=self.config.learning_rate, betas=betas, fused=True)
            for group in groups
        ]

    def _groups_beside_critic(self) -> list[dict[str, Any]]:
        """Parameters of the other networks, in groups of one learning rate each."""
        named = self.named_parameters()
        return [{"params": [p for name, p in named if not name.startswith("critic.")]}]

    def _noise(self, semantics: Tensor) -> Tensor:
        """Draw z ~ N(0, I), a row for each of the semantics."""
        return torch.randn(
            len(semantics),
            self.generator.noise_dim,
            dtype=semantics.dtype,
            device=semantics.device,
        )

    # ------------------------------------------------------------------ scores and generation

    def class_scores(self, features: Tensor) -> Tensor:
        """Cosine of features with each class's feature generated from z = 0, ``[B, C]``.

        A cheap substitute for the softmax that the papers train on generated features.
        """
        noise = self.semantics.new_zeros(len(self.semantics), self.generator.noise_dim)
        centres = self.synthesize(noise, self.semantics)
        return normalize(features, dim=-1) @ normalize(centres, dim=-1).T

    @torch.no_grad()
    def generate(self, semantics: Tensor, samples: int) -> Tensor:
        """Sample features of any classes from z ~ N(0, I)."""
        noise = torch.randn(
            len(semantics), samples, self.generator.noise_dim, device=semantics.device
        )
        return self.synthesize(noise, semantics[:, None])


def check_range(features: Tensor, name: str, low: float, high: float, why: str) -> None:
    """Check that training features lie where a generator's output can lie.

    Args:
        features: ``[N, D]``.
        name: The method's name.
        low: The smallest number allowed.
        high: The largest one.
        why: Reason for the range, a clause of the message.

    Raises:
        ConfigError: Features lie outside the range.
    """
    found = features.amin().item(), features.amax().item()
    # scaled numbers may exceed the range by rounding
    if found[0] < low - 1e-4 or found[1] > high + 1e-4:
        wanted = f"from {low:g} to {high:g}" if high < float("inf") else f"{low:g} or more"
        raise ConfigError(
            f"method={name}: the training features lie between {found[0]:.3g} and {found[1]:.3g}; "
            f"expected {wanted}, since {why}. Scale them with dataset.normalize=minmax, or "
            "minmax_sqrt."
        )
