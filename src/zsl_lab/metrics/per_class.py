"""Per-class accuracy, the mean recall of the classes with samples (Xian et al., 2017)."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


def class_recalls(correct: Tensor, total: Tensor) -> Tensor:
    """Recall of each class.

    Args:
        correct: Rightly classified samples of each class, int64 ``[C]``.
        total: Samples of each class, int64 ``[C]``.

    Returns:
        Fractions in [0, 1], float64 ``[C]`` on the CPU; NaN for a class without a sample.
    """
    # 0 / 0 is NaN, which is what a class without a sample shall have
    return correct.cpu().double() / total.cpu().double()


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """``values`` on ``device``, in float64 where the device has it (Apple's does not)."""
    return values.to(device=device, dtype=torch.float32 if device.type == "mps" else torch.float64)


class PerClassAccuracy(Metric):
    """Mean recall over the classes that have at least one sample ("average per-class top-1").

    A class that is only ever predicted does not enter the mean; a macro average over all classes
    would count it as 0. Source: Xian, Schiele and Akata, "Zero-Shot Learning -- The Good, the Bad
    and the Ugly", CVPR 2017, section 3.2.

    Args:
        num_classes: C, the number of classes; class ids are 0 to C - 1 and need not all occur.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    correct: Tensor
    total: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.add_state("correct", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count a batch.

        Args:
            preds: Predicted class ids, ``[B]``; an id that is no class (-1) is a wrong prediction.
            target: True class ids, int64 ``[B]``.
        """
        # index_add and not bincount: bincount waits for the GPU to learn the largest id
        self.total = self.total.index_add(0, target, torch.ones_like(target))
        self.correct = self.correct.index_add(0, target, (preds == target).to(target.dtype))

    def compute(self) -> Tensor:
        """Mean recall in [0, 1], a 0-dim float64 tensor; NaN when no class has a sample."""
        return on_device(class_recalls(self.correct, self.total).nanmean(), self.device)

    def per_sample(self) -> Tensor:
        """Share of all samples that are right, in [0, 1], 0-dim float64; NaN without a sample.

        In a distributed run every rank must call it, as with ``compute``.
        """
        with self.sync_context():
            return on_device(class_recalls(self.correct.sum(), self.total.sum()), self.device)

    def recalls(self) -> Tensor:
        """Recall of each class in [0, 1], float64 ``[C]``; NaN for a class without a sample.

        In a distributed run every rank must call it, as with ``compute``.
        """
        with self.sync_context():
            return on_device(class_recalls(self.correct, self.total), self.device)
