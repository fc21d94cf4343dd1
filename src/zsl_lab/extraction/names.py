"""The names of backbones; importing them brings neither torch nor torchvision."""

from __future__ import annotations

#: the networks of torchvision
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
#: the choice of published weights
IMAGENET = "imagenet"
#: the choice of random weights, to try a command without a download
RANDOM = "random"
#: precede the names of networks with their own preprocessing; the networks of torchvision above
#: stand alone
TORCHVISION_PREFIX, TIMM_PREFIX, OPEN_CLIP_PREFIX, HF_PREFIX = PREFIXES = (
    "torchvision:",
    "timm:",
    "open_clip:",
    "hf:",
)
#: of models that may have a text tower
IMAGE_TEXT_PREFIXES = (OPEN_CLIP_PREFIX, HF_PREFIX)


def prefix_of(name: str) -> str:
    """The prefix of a network's name with its colon; empty where it has none that is known."""
    return next((prefix for prefix in PREFIXES if name.startswith(prefix)), "")
