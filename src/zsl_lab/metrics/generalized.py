"""The harmonic mean of seen and unseen accuracy of generalised zero-shot learning."""

from __future__ import annotations

import torch
from torch import Tensor

from zsl_lab.metrics.per_class import PerClassAccuracy, class_recalls, on_device


def harmonic_mean(unseen: Tensor, seen: Tensor) -> Tensor:
    """H = 2us / (u + s), in the unit of its arguments.

    Source: Xian, Schiele and Akata, "Zero-Shot Learning -- The Good, the Bad and the Ugly", CVPR
    2017, Eq. 6.

    Args:
        unseen: Accuracy u on samples of unseen classes, not negative, any shape.
        seen: Accuracy s on samples of seen classes, same unit and shape.

    Returns:
        H in the shape of the arguments: 0 where u + s = 0, NaN where u or s is NaN (there was no
        such sample).
    """
    total = unseen + seen
    return 2 * unseen * seen / torch.where(total == 0, torch.ones_like(total), total)


class HarmonicMean(PerClassAccuracy):
    """Harmonic mean of the per-class accuracies of the seen and of the unseen classes.

    Predictions must be made over all classes, seen and unseen.

    Args:
        seen_mask: True for the ids of seen classes, bool ``[C]``.
    """

    seen_mask: Tensor

    def __init__(self, seen_mask: Tensor) -> None:
        super().__init__(num_classes=len(seen_mask))
        self.register_buffer("seen_mask", seen_mask.bool(), persistent=False)

    def compute(self) -> Tensor:
        """H in [0, 1], 0-dim float64; NaN if the seen or the unseen classes have no sample."""
        recalls, seen = class_recalls(self.correct, self.total), self.seen_mask.cpu()
        return on_device(
            harmonic_mean(recalls[~seen].nanmean(), recalls[seen].nanmean()), self.device
        )
