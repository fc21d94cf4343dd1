"""The loss of the mmVAE as a function of batch, noise and weights, for one run or several."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zsl_lab.methods.joint import Update, dropout_layers, dropout_masks, layers_of
from zsl_lab.methods.mmvae.config import MMVAEConfig, Pairs
from zsl_lab.methods.mmvae.losses import latent_divergence, prior_separation
from zsl_lab.methods.mmvae.networks import MMVAENetworks
from zsl_lab.nn.gaussian import reparameterize
from zsl_lab.nn.losses import squared_error


def losses(
    networks: MMVAENetworks,
    features: Tensor,
    semantics: Tensor,
    labels: Tensor,
    noise: Tensor | None,
    *,
    kl_weight: float | Tensor,
    gamma: float | Tensor,
    d: float | Tensor,
    pairs: Pairs | None,
) -> dict[str, Tensor]:
    """The terms of the loss and their weighted sum (Eq. 2 as the usual ELBO, supplement Eq. 1).

    Args:
        networks: The networks.
        features: ``[B, D]``.
        semantics: Of each sample's class, ``[B, Q]``.
        labels: Class positions, ``[B]``.
        noise: Standard normal draws, ``[B, Z]``; None draws them.
        kl_weight: Weight of the divergence.
        gamma: Weight of the separation of prior means.
        d: Wanted distance of prior means, per latent dimension.
        pairs: The pairs that the separation is computed over; None for no separation.

    Returns:
        ``total``, ``reconstruction``, ``kl`` and, with separation, ``separation``; scalars.
    """
    mean, log_variance = networks.encode(features)
    prior_mean = networks.prior(semantics)
    latent = reparameterize(mean, log_variance, noise)
    terms = {
        "reconstruction": squared_error(features, networks.decoder(latent)),
        "kl": latent_divergence(mean, log_variance, prior_mean),
    }
    total = terms["reconstruction"] + kl_weight * terms["kl"]
    if pairs is not None:
        terms["separation"] = prior_separation(prior_mean, labels, d, pairs)
        total = total + gamma * terms["separation"]
    return {"total": total, **terms}


def pairs_of(config: MMVAEConfig) -> Pairs | None:
    """The pairs that the separation is computed over; None if its weight is 0."""
    return config.pairs if config.gamma > 0 else None


class Objective(nn.Module):
    """:func:`losses` as a module, whose networks can be replaced.

    Args:
        networks: The networks.
        pairs: As of :func:`losses`.
    """

    def __init__(self, networks: MMVAENetworks, pairs: Pairs | None) -> None:
        super().__init__()
        self.networks = networks
        self._pairs = pairs

    def forward(self, *inputs: Tensor, **scalars: Tensor) -> dict[str, Tensor]:
        """The losses of a batch."""
        features, semantics, labels, noise = inputs
        return losses(
            self.networks, features, semantics, labels, noise, pairs=self._pairs, **scalars
        )


def scalars(config: MMVAEConfig) -> dict[str, float]:
    """The keys of the loss that may differ between runs whose updates are computed together."""
    return {"kl_weight": config.kl_weight, "gamma": config.gamma, "d": config.d}


class JointRun:
    """A run whose updates are computed together with those of other runs.

    Args:
        networks: The networks, in training mode.
        config: The method's keys.
        optimizer: Adam over the parameters of the networks.
    """

    def __init__(
        self, networks: MMVAENetworks, config: MMVAEConfig, optimizer: torch.optim.Optimizer
    ) -> None:
        self.decoder_dropout = dropout_layers(networks.decoder)
        self._encoder_dropout = dropout_layers(networks.encoder)
        self._prior_dropout = dropout_layers(networks.prior)
        self._networks, self._optimizer = networks, optimizer
        self._latent_dim, self._pairs = config.latent_dim, pairs_of(config)
        self._scalars, self._layers = scalars(config), layers_of(networks)

    def update(self, features: Tensor, semantics: Tensor, labels: Tensor) -> Update:
        """The update on a batch, with its random numbers drawn already.

        Args:
            features: ``[B, D]``.
            semantics: Of each sample's class, ``[B, Q]``.
            labels: Class positions, ``[B]``.
        """
        encoder = dropout_masks(self._encoder_dropout, features)
        prior = dropout_masks(self._prior_dropout, features)
        noise = torch.randn(
            features.shape[0], self._latent_dim, dtype=features.dtype, device=features.device
        )
        decoder = dropout_masks(self.decoder_dropout, features)
        return Update(
            networks=self._networks,
            optimizer=self._optimizer,
            objective=lambda: Objective(self._networks, self._pairs),
            inputs=(features, semantics, labels, noise),
            scalars=self._scalars,
            masks=(*encoder, *prior, *decoder),
            layers=self._layers,
            form=("mmvae", self._pairs, len(encoder), len(prior), len(decoder)),
        )
