"""The loss of a batch of real and generated samples, for several runs at once (Algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from zsl_lab.methods.joint import Update
from zsl_lab.methods.mmvae.networks import MMVAENetworks
from zsl_lab.methods.mmvae.objective import Objective, pairs_of
from zsl_lab.methods.sgal.config import SGALConfig


class MixedObjective(Objective):
    """The loss of the mmVAE after the last rows of the batch are replaced by generated samples.

    Args:
        networks: The networks.
        config: The method's keys.
    """

    def __init__(self, networks: MMVAENetworks, config: SGALConfig) -> None:
        super().__init__(networks, pairs_of(config))
        self._dropout = config.generate_with_dropout

    def forward(self, *inputs: Tensor, **scalars: Tensor) -> dict[str, Tensor]:
        """The losses of a batch, of which the first ``real`` rows are kept."""
        real = scalars.pop("real")
        features, semantics, labels, noise, noise_of_generated = inputs
        # in evaluation mode no row depends on another, and so all can be generated
        generated = self.networks.generate(
            semantics, decoder_dropout=self._dropout, noise=noise_of_generated
        )
        kept = torch.arange(len(features), device=features.device) < real
        mixed = torch.where(kept[:, None], features, generated)
        return super().forward(mixed, semantics, labels, noise, **scalars)


def mixed(
    update: Update, config: SGALConfig, real: int, noise: Tensor, masks: Sequence[Tensor]
) -> Update:
    """The update on a batch whose rows from ``real`` on are generated first.

    Args:
        update: The update on the batch, whose labels are those of the generated rows already.
        config: The method's keys.
        real: The number of real rows.
        noise: The draws of the generated rows, ``[B - real, Z]``.
        masks: The factors of the decoder's dropout while generating, each ``[B - real, width]``.
    """
    networks = update.networks
    assert isinstance(networks, MMVAENetworks)
    return replace(
        update,
        objective=lambda: MixedObjective(networks, config),
        inputs=(*update.inputs, _below(real, noise)),
        scalars={**update.scalars, "real": real},
        masks=(*(_below(real, mask) for mask in masks), *update.masks),
        form=("sgal", len(masks), update.form),
    )


def _below(rows: int, tensor: Tensor) -> Tensor:
    """A tensor below rows of zeros, which nothing depends on."""
    return torch.nn.functional.pad(tensor, (0, 0, rows, 0))
