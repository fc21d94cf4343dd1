"""The networks of CADA-VAE: an encoder and a decoder of features, and the same of semantics."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zsl_lab.nn.blocks import mlp


class VAE(nn.Module):
    """Encoder q(z|x) and decoder of one modality: dense layers with ReLU.

    Args:
        dim: Dimension of the input, D.
        encoder: Hidden widths of the encoder.
        decoder: Hidden widths of the decoder.
        latent_dim: Z.
    """

    def __init__(
        self, dim: int, encoder: Sequence[int], decoder: Sequence[int], latent_dim: int
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = (
            mlp(widths, dropout=0.0, batch_norm=False, slope=0.0)
            for widths in ([dim, *encoder, 2 * latent_dim], [latent_dim, *decoder, dim])
        )
        for module in (*self.encoder, *self.decoder):
            if isinstance(module, nn.Linear):
                # mean and log-variance are two layers of the paper's
                parts = module.weight.chunk(2) if module is self.encoder[-1] else [module.weight]
                for weight in parts:
                    nn.init.xavier_uniform_(weight, gain=0.5)
                nn.init.zeros_(module.bias)

    def encode(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each ``[B, Z]``, for rows ``[B, D]``."""
        encoded = self.encoder(rows)
        # exponentials need more than half precision
        encoded = encoded.to(torch.promote_types(encoded.dtype, torch.float32))
        mean, log_variance = encoded.chunk(2, dim=-1)
        return mean, log_variance

    def decode(self, latent: Tensor) -> Tensor:
        """Rows ``[B, D]`` for z ``[B, Z]``."""
        rows: Tensor = self.decoder(latent)
        return rows
