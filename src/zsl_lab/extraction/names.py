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
#: precedes the names of timm's networks where those of torchvision stand alone
TIMM_PREFIX = "timm:"
