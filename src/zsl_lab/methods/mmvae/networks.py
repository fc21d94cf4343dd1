"""The three networks of the mmVAE (SGAL paper, section 3.2 and supplement)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from zsl_lab.nn.blocks import geometric_widths, mlp, set_dropout
from zsl_lab.nn.many_classes import FEW_CLASSES


@dataclass(frozen=True)
class Widths:
    """Hidden widths of the three networks; see the configuration keys of the same names."""

    latent: int
    encoder: Sequence[int]
    decoder: Sequence[int]
    prior: Sequence[int] | Literal["geometric"]


#: dense layers of the published prior network (SGAL supplement, "maximum 6 blocks")
PRIOR_LAYERS = 6


class MMVAENetworks(nn.Module):
    """Encoder q(z|x), decoder p(x|z) and prior network p(z|a) = N(f(a), I).

    Args:
        feature_dim: D.
        semantic_dim: Q.
        widths: Hidden widths.
        encoder_dropout: Dropout of the encoder's hidden layers.
        decoder_dropout: Dropout of the decoder's hidden layers.
        prior_dropout: Dropout of the prior network's hidden layers.
        batch_norm: Whether hidden layers of encoder and decoder are batch-normalised.
        prior_batch_norm: Whether hidden layers of the prior network are.
    """

    def __init__(
        self,
        feature_dim: int,
        semantic_dim: int,
        widths: Widths,
        *,
        encoder_dropout: float,
        decoder_dropout: float,
        prior_dropout: float,
        batch_norm: bool,
        prior_batch_norm: bool,
    ) -> None:
        super().__init__()
        latent = widths.latent
        prior = (
            geometric_widths(semantic_dim, latent, PRIOR_LAYERS)
            if widths.prior == "geometric"
            else widths.prior
        )
        self.encoder = mlp(
            [feature_dim, *widths.encoder, 2 * latent],
            dropout=encoder_dropout,
            batch_norm=batch_norm,
        )
        self.decoder = mlp(
            [latent, *widths.decoder, feature_dim], dropout=decoder_dropout, batch_norm=batch_norm
        )
        self.prior = mlp(
            [semantic_dim, *prior, latent], dropout=prior_dropout, batch_norm=prior_batch_norm
        )

    def encode(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each ``[B, Z]``, for features ``[B, D]``."""
        mean, log_variance = self.encoder(features).chunk(2, dim=-1)
        return mean, log_variance

    def generate(
        self,
        semantics: Tensor,
        rows: Tensor | None = None,
        *,
        samples: int = 1,
        decoder_dropout: bool = False,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Sample features of classes: z ~ N(f(a), I), x = decoder(z) (Eq. 4; Eq. 9 with dropout).

        The networks run in evaluation mode; their mode is restored afterwards.

        Args:
            semantics: One row per class, ``[K, Q]``.
            rows: The class of each draw of z, a row of ``semantics``, ``[B]``; None for one draw
                of each.
            samples: How many features are decoded from each z; more than one differ only with
                ``decoder_dropout``.
            decoder_dropout: Whether the decoder's dropout is active, which samples its weights (Eq.
                9).
            noise: Standard normal draws, ``[B, Z]``; None draws them.

        Returns:
            Features without gradient, ``[samples * B, D]``; row ``s * B + b`` belongs to row ``b``.
        """
        was_training = self.training
        self.eval()
        try:
            if decoder_dropout:
                set_dropout(self.decoder, active=True)
            with torch.no_grad():
                if rows is not None and len(semantics) > FEW_CLASSES:
                    # in evaluation mode a class's mean depends on no other
                    classes, row = torch.unique(rows, return_inverse=True)
                    mean = self.prior(semantics[classes])[row]
                else:
                    mean = self.prior(semantics)
                    mean = mean if rows is None else mean[rows]
                latent = mean + (torch.randn_like(mean) if noise is None else noise)
                features: Tensor = self.decoder(latent.repeat(samples, 1))
        finally:
            self.train(was_training)
        return features
