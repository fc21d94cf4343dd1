"""CADA-VAE as a zero-shot method (Schoenfeld et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.methods.base import Comparison, ZeroShotMethod
from zsl_lab.methods.cada_vae.config import CADAVAEConfig
from zsl_lab.methods.cada_vae.losses import (
    absolute_errors,
    draw,
    kl_to_standard_normal,
    wasserstein_distance,
)
from zsl_lab.methods.cada_vae.networks import VAE
from zsl_lab.nn.gaussian import squared_distances


class CADAVAE(ZeroShotMethod):
    """Two VAEs, of features and of semantics, whose latent spaces are aligned.

    Each decodes what the other encoded (cross-alignment), and the Gaussians that both encode a
    sample to are drawn together (distribution alignment).

    Args:
        config: See :class:`CADAVAEConfig`.
        feature_dim: D.
        classes: Semantics of all classes and which of them are seen.
    """

    config_class: ClassVar[type[CADAVAEConfig]] = CADAVAEConfig
    config: CADAVAEConfig

    def __init__(self, config: CADAVAEConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(config, feature_dim, classes)
        self.features_vae = VAE(
            feature_dim, config.encoder_hidden, config.decoder_hidden, config.latent_dim
        )
        self.semantics_vae = VAE(
            classes.semantics.shape[1],
            config.semantic_encoder_hidden,
            config.semantic_decoder_hidden,
            config.latent_dim,
        )
        # computed once: indexing with a mask on a GPU waits for it
        self.register_buffer("_seen_semantics", self.semantics[self.seen_mask], persistent=False)
        self.register_buffer("_seen_position", self.seen_mask.cumsum(0) - 1, persistent=False)
        self._seen_semantics: Tensor
        self._seen_position: Tensor

    def class_scores(self, features: Tensor) -> Tensor:
        """Minus the squared 2-Wasserstein distance of q(z|x) and q(z|a_c), ``[B, C]``.

        The paper does not classify so: it trains a softmax on latent points (``classifier=``).
        """
        of_samples, of_classes = (
            torch.cat([mean, (0.5 * log_variance).exp()], 1)
            for mean, log_variance in (
                self.features_vae.encode(features),
                self.semantics_vae.encode(self.semantics),
            )
        )
        return -squared_distances(of_samples, of_classes)

    def losses(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The terms of the loss and their weighted sum at the present step (paper, Eq. 6).

        Args:
            features: ``[B, D]``.
            labels: Positions of seen classes, ``[B]``.

        Returns:
            ``total``, ``reconstruction`` and ``kl``, and ``cross`` and ``distance`` where their
            weights are above 0; scalars.
        """
        beta, gamma, delta = self.weights_at(self.step)
        semantics = self.semantics[labels]
        of_features = self.features_vae.encode(features)
        of_semantics = self._encode_classes(labels)
        mean, log_variance = (torch.cat(p) for p in zip(of_features, of_semantics, strict=True))
        latent = self._draw(mean, log_variance)
        # the two modalities one after the other, so that each network is called once
        of_one, of_other = latent.chunk(2)
        if gamma > 0:
            own, cross = absolute_errors(features, self.features_vae.decode(latent))
            other_cross, other_own = absolute_errors(semantics, self.semantics_vae.decode(latent))
        else:
            (own,) = absolute_errors(features, self.features_vae.decode(of_one))
            (other_own,) = absolute_errors(semantics, self.semantics_vae.decode(of_other))
        # times 2: the terms sum over both modalities of a sample
        terms = {
            "reconstruction": own + other_own,
            "kl": 2 * kl_to_standard_normal(mean, log_variance),
        }
        total = terms["reconstruction"] + beta * terms["kl"]
        if gamma > 0:
            terms["cross"] = cross + other_cross
            total = total + gamma * terms["cross"]
        if delta > 0:
            terms["distance"] = wasserstein_distance(*of_features, *of_semantics)
            total = total + delta * terms["distance"]
        return {"total": total, **terms}

    def loss(self, batch: Batch) -> Mapping[str, Tensor]:
        """The loss of a batch of seen samples."""
        return self.losses(batch.inputs, batch.labels)

    def weights_at(self, step: int) -> tuple[float, float, float]:
        """Weights of KL, cross reconstruction and distance at a step (the first is 0)."""
        config, share = self.config, step / max(1, self.total_steps)
        return config.beta.at(share), config.gamma.at(share), config.delta.at(share)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam in its AMSGrad variant; the fused kernel computes the same update."""
        return torch.optim.Adam(
            self.parameters(), lr=self.config.learning_rate, amsgrad=True, fused=True
        )

    def _encode_classes(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|a) of the samples' classes, each ``[B, Z]``.

        Where there are fewer seen classes than samples, each class is encoded only once.
        """
        if len(self._seen_semantics) >= len(labels):
            return self.semantics_vae.encode(self.semantics[labels])
        rows = self._seen_position[labels]
        mean, log_variance = self.semantics_vae.encode(self._seen_semantics)
        return mean[rows], log_variance[rows]

    def _draw(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        return draw(mean, log_variance, by_dimension=self.config.noise == "dimension")

    # ------------------------------------------------------------------------------- generation

    @torch.no_grad()
    def generate(self, semantics: Tensor, samples: int) -> Tensor:
        """Sample z ~ q(z|a) and decode it to features."""
        points = self.generate_points(semantics, samples)
        features = self.features_vae.decode(points.flatten(0, 1)).view(*points.shape[:2], -1)
        return features.clamp(min=0) if self.config.nonnegative else features

    @torch.no_grad()
    def generate_points(self, semantics: Tensor, samples: int) -> Tensor:
        """Sample z ~ q(z|a), ``[K, n, Z]``."""
        mean, log_variance = (
            rows.repeat_interleave(samples, 0) for rows in self.semantics_vae.encode(semantics)
        )
        return self._draw(mean, log_variance).view(len(semantics), samples, -1)

    def draw_points(self, features: Tensor) -> Tensor:
        """Sample z ~ q(z|x), ``[B, Z]``."""
        return self._draw(*self.features_vae.encode(features))

    def embed(self, features: Tensor) -> Tensor:
        """Means of q(z|x), ``[B, Z]``."""
        return self.features_vae.encode(features)[0]

    def prototypes(self, semantics: Tensor) -> Tensor:
        """Means of q(z|a), ``[K, Z]``."""
        return self.semantics_vae.encode(semantics)[0]

    @property
    def comparison(self) -> Comparison:
        """Distance: the alignment minimises it."""
        return "distance"

    @torch.no_grad()
    def latent_space(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Means of q(z|x), and of q(z|a) of all classes, ``([B, Z], [C, Z])``."""
        return self.embed(features), self.prototypes(self.semantics)
