"""Further accuracies: per sample instead of per class, and with the right class among five."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics import Metric

from zsl_lab.metrics.generalized import harmonic_mean
from zsl_lab.metrics.per_class import class_recalls

#: a class is found if fewer than so many classes stand above it
_TOP = 5


class ExtraAccuracies(Metric):
    """Accuracies beside those of :class:`~zsl_lab.metrics.evaluation.ZeroShotMetrics`, in percent.

    - ``zsl_top1_per_sample``, ``unseen_per_sample``, ``seen_per_sample`` and
      ``harmonic_mean_per_sample``: the metrics of these names with the share of all samples that
      are classified rightly instead of the mean over classes, as the authors of SGAL count.
    - ``zsl_top5``, ``unseen_top5``, ``seen_top5``: per class, with the right class among the five
      of the highest scores.

    Of equal scores the seen class stands higher, and within the seen or the unseen classes the
    lowest id, as in :func:`~zsl_lab.metrics.evaluation.predict`.

    torchmetrics' ``MulticlassAccuracy`` gives the same per sample; per class it also averages over
    classes that are only ever predicted, and without samples it gives 0.

    Args:
        seen_mask: True for the ids of seen classes, bool ``[C]``.
        tested_mask: True for the ids of classes with samples, bool ``[C]``; None for all.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    seen_mask: Tensor
    zsl_ids: Tensor
    order: Tensor
    total: Tensor
    correct: Tensor

    def __init__(self, seen_mask: Tensor, tested_mask: Tensor | None = None) -> None:
        super().__init__()
        seen_mask = seen_mask.bool()
        classes = len(seen_mask)
        tested = torch.ones_like(seen_mask) if tested_mask is None else tested_mask.bool()
        self.register_buffer("seen_mask", seen_mask, persistent=False)
        zsl_ids = (~seen_mask & tested).nonzero().squeeze(1)
        self.register_buffer("zsl_ids", zsl_ids, persistent=False)
        # of equal scores the class with the lowest number stands highest
        order = torch.arange(classes, device=seen_mask.device) + classes * ~seen_mask
        self.register_buffer("order", order, persistent=False)
        self.add_state("total", torch.zeros(classes, dtype=torch.int64), dist_reduce_fx="sum")
        # by the right class: top-1 and top-5 among all classes, then among those of zsl_ids
        self.add_state("correct", torch.zeros(4, classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, scores: Tensor, target: Tensor) -> None:
        """Count a batch.

        Args:
            scores: Class scores over all classes, higher is likelier, ``[B, C]``. A sample with a
                NaN among its scores counts as wrongly classified.
            target: True class ids, int64 ``[B]``.
        """
        scores = scores.detach()
        above = self._above(scores, target)
        among_all, among_unseen = above.sum(1), above[:, self.zsl_ids].sum(1)
        usable = ~scores.isnan().any(1)
        right = torch.stack(
            [usable & (ranks < k) for ranks in (among_all, among_unseen) for k in (1, _TOP)]
        )
        self.total = self.total.index_add(0, target, torch.ones_like(target))
        self.correct = self.correct.index_add(1, target, right.to(torch.int64))

    def _above(self, scores: Tensor, target: Tensor) -> Tensor:
        """Which classes stand above the true one, bool ``[B, C]``."""
        own = scores.gather(1, target[:, None])
        before = self.order < self.order[target][:, None]
        return (scores > own) | ((scores == own) & before)

    def compute(self) -> dict[str, float]:
        """The metrics by name, in percent; NaN without samples, or where every prediction is right.

        As ``unseen``, the metrics on samples of unseen classes among all classes are NaN without a
        sample of a seen class.
        """
        seen, total = self.seen_mask.cpu(), self.total.cpu()
        top1, top5, zsl_top1, zsl_top5 = self.correct.cpu()
        candidates = len(self.zsl_ids)

        def per_sample(correct: Tensor, group: Tensor) -> Tensor:
            return class_recalls(correct[group].sum(), total[group].sum())

        def per_class(correct: Tensor, group: Tensor) -> Tensor:
            return class_recalls(correct, total)[group].nanmean()

        unseen, of_seen = per_sample(top1, ~seen), per_sample(top1, seen)
        found = {
            "zsl_top1_per_sample": per_sample(zsl_top1, ~seen) if candidates > 1 else math.nan,
            "unseen_per_sample": unseen,
            "seen_per_sample": of_seen,
            "harmonic_mean_per_sample": harmonic_mean(unseen, of_seen),
            "zsl_top5": per_class(zsl_top5, ~seen) if candidates > _TOP else math.nan,
            "unseen_top5": per_class(top5, ~seen),
            "seen_top5": per_class(top5, seen),
        }
        undefined = set() if total[seen].any() else {"unseen_per_sample", "unseen_top5"}
        if len(seen) <= _TOP:
            undefined |= {"unseen_top5", "seen_top5"}
        percent = {name: 100 * float(value) for name, value in found.items()}
        # always the same NaN, so that equal results compare equal
        return {
            name: math.nan if name in undefined or math.isnan(value) else value
            for name, value in percent.items()
        }
