"""The names of backbones; this module imports neither torch nor torchvision."""

from __future__ import annotations

#: the networks of torchvision that need no prefix
TORCHVISION_NETWORKS = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "squeezenet1_1",
    "googlenet",
    "efficientnet_b0",
)
#: value of ``weights`` for the published ones
IMAGENET = "imagenet"
#: value of ``weights`` for random ones, to try a command without a download
RANDOM = "random"
#: prefixes of the names of networks that bring their own preprocessing of images
TORCHVISION_PREFIX, TIMM_PREFIX, OPEN_CLIP_PREFIX, HF_PREFIX = PREFIXES = (
    "torchvision:",
    "timm:",
    "open_clip:",
    "hf:",
)
#: prefixes of models that may have a text tower
IMAGE_TEXT_PREFIXES = (OPEN_CLIP_PREFIX, HF_PREFIX)


def prefix_of(name: str) -> str:
    """The prefix of a network's name, with its colon; empty if it has no known prefix."""
    return next((prefix for prefix in PREFIXES if name.startswith(prefix)), "")
