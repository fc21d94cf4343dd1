"""f-CLSWGAN as a zero-shot method (Xian et al., CVPR 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from zsl_lab.data.batches.base import ClassSpace, PhaseDataModule
from zsl_lab.data.batches.features import FeatureDataModule
from zsl_lab.methods.config import MethodConfig
from zsl_lab.methods.wgan.base import ConditionalWGAN, check_range
from zsl_lab.methods.wgan.config import FCLSWGANConfig


class FCLSWGAN(ConditionalWGAN):
    """A Wasserstein GAN whose generated features a softmax of the seen classes must recognise.

    Args:
        config: See :class:`FCLSWGANConfig`.
        feature_dim: D.
        classes: Semantics of all classes and which of them are seen.
    """

    config_class: ClassVar[type[FCLSWGANConfig]] = FCLSWGANConfig
    config: FCLSWGANConfig

    def __init__(self, config: FCLSWGANConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        seen = int(classes.seen_mask.sum())
        # trained before the first step; stored, so that a resumed run has the same
        self.register_buffer("softmax_weight", torch.zeros(seen, feature_dim))
        self.register_buffer("softmax_bias", torch.zeros(seen))
        self.softmax_weight: Tensor
        self.softmax_bias: Tensor
        row = torch.as_tensor(classes.seen_mask).cumsum(0) - 1
        self.register_buffer("_row_of_class", row, persistent=False)
        self._row_of_class: Tensor

    @classmethod
    def build(
        cls,
        config: MethodConfig,
        data: PhaseDataModule,
        *,
        cache_dir: Path | None = None,
        weights_follow: bool = False,
    ) -> FCLSWGAN:
        """Train the softmax of the seen classes on the training features.

        Raises:
            ConfigError: Features are negative, which the generator's ReLU cannot reach.
        """
        assert isinstance(config, FCLSWGANConfig)
        assert isinstance(data, FeatureDataModule)
        method = cls(config, data.feature_dim, data.classes)
        samples = data.samples(data.split.train)
        if config.output == "relu":
            why = "the generator ends in a ReLU (unless method.output=linear)"
            check_range(samples.inputs, config.name, 0, float("inf"), why)
        if config.classification_weight > 0 and not weights_follow:
            weight, bias = pretrained_softmax(
                samples.inputs, method._row_of_class[samples.labels], config
            )
            method.softmax_weight.copy_(weight)
            method.softmax_bias.copy_(bias)
        return method

    def synthesize(self, noise: Tensor, semantics: Tensor) -> Tensor:
        """See :meth:`ConditionalWGAN.synthesize`; the generator ends as ``output`` says."""
        features: Tensor = self.generator(noise, semantics)
        return features.relu() if self.config.output == "relu" else features

    def _generated(self, features: Tensor, semantics: Tensor) -> Iterator[Tensor]:
        with torch.no_grad():
            # the generator stays the same: the features of all critic steps in one pass
            generated = self.synthesize(self._noise(semantics), semantics)
        yield from generated.chunk(self.config.critic_steps)

    def generator_losses(
        self, features: Tensor, labels: Tensor, semantics: Tensor
    ) -> dict[str, Tensor]:
        """``adversarial`` and ``classification`` (Eq. 2 and 4); see :class:`ConditionalWGAN`."""
        weight = self.config.classification_weight
        generated = self.synthesize(self._noise(semantics), semantics)
        terms = {"adversarial": -self.critic(generated, semantics).mean()}
        total = terms["adversarial"]
        if weight > 0:
            logits = linear(generated, self.softmax_weight, self.softmax_bias)
            terms["classification"] = cross_entropy(logits, self._row_of_class[labels])
            total = total + weight * terms["classification"]
        return {"total": total, **terms}


@torch.enable_grad()
def pretrained_softmax(
    features: Tensor, labels: Tensor, config: FCLSWGANConfig
) -> tuple[Tensor, Tensor]:
    """A linear softmax of the seen classes, trained on shuffled passes over the features.

    Args:
        features: ``[N, D]``.
        labels: 0 to S - 1, ``[N]``.
        config: Epochs, batch size and learning rate.

    Returns:
        Weights ``[S, D]`` and biases ``[S]``.
    """
    weight = 0.02 * torch.randn(int(labels.max()) + 1, features.shape[1])
    bias = torch.zeros(len(weight))
    trained = [weight.requires_grad_(), bias.requires_grad_()]
    optimizer = torch.optim.Adam(
        trained, lr=config.softmax_learning_rate, betas=(config.beta1, 0.999), fused=True
    )
    for _ in range(config.softmax_epochs):
        for rows in torch.split(torch.randperm(len(labels)), config.softmax_batch_size):
            loss = cross_entropy(linear(features[rows], *trained), labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return weight.detach(), bias.detach()
