"""Further accuracies: per sample instead of per class, and the right class among the best k."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics import Metric

from zsl_lab.metrics.generalized import harmonic_mean
from zsl_lab.metrics.per_class import class_recalls

#: k of the top-k accuracies
_TOP = (1, 5)
#: k of the top-k accuracies with at least this many classes, as in papers on ImageNet
_TOP_OF_MANY, _MANY_CLASSES = (1, 2, 5, 10, 20), 1000


class ExtraAccuracies(Metric):
    """Accuracies beside those of :class:`~zsl_lab.metrics.evaluation.ZeroShotMetrics`, in percent.

    - ``zsl_top1_per_sample``, ``unseen_per_sample``, ``seen_per_sample`` and
      ``harmonic_mean_per_sample``: the metrics of these names with the share of all samples that
      are classified correctly instead of the mean over classes, as the authors of SGAL count.
    - ``zsl_top5``, ``unseen_top5``, ``seen_top5``: per class, with the right class among the five
      of the highest scores.
    - with 1,000 classes or more also ``top2``, ``top10`` and ``top20`` of the same kind, and all of
      them with ``_per_sample``: ``zsl_top5_per_sample`` is the flat hit@5 of Frome et al. (NeurIPS
      2013), ``zsl_top5`` the same averaged over classes, of Xian et al. (PAMI 2018).

    Of equal scores the seen class ranks higher, and within the seen or the unseen classes the
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
        self._many = classes >= _MANY_CLASSES
        self._top = _TOP_OF_MANY if self._many else _TOP
        self.add_state("total", torch.zeros(classes, dtype=torch.int64), dist_reduce_fx="sum")
        # by the right class: top-k for each k among all classes, then among those of zsl_ids
        counts = torch.zeros(2 * len(self._top), classes, dtype=torch.int64)
        self.add_state("correct", counts, dist_reduce_fx="sum")

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
            [usable & (ranks < k) for ranks in (among_all, among_unseen) for k in self._top]
        )
        self.total = self.total.index_add(0, target, torch.ones_like(target))
        self.correct = self.correct.index_add(1, target, right.to(torch.int64))

    def _above(self, scores: Tensor, target: Tensor) -> Tensor:
        """Which classes are ranked above the true one, bool ``[B, C]``."""
        own = scores.gather(1, target[:, None])
        before = self.order < self.order[target][:, None]
        return (scores > own) | ((scores == own) & before)

    def compute(self) -> dict[str, float]:
        """The metrics by name, in percent; NaN without samples, or with no more than k candidates.

        Like ``unseen``, the metrics on samples of unseen classes among all classes are NaN without
        a sample of a seen class.
        """
        seen, total = self.seen_mask.cpu(), self.total.cpu()
        among_all, among_unseen = (
            dict(zip(self._top, counts, strict=True)) for counts in self.correct.cpu().chunk(2)
        )
        candidates = len(self.zsl_ids)
        kinds = {
            "zsl": (among_unseen, ~seen, candidates),
            "unseen": (among_all, ~seen, len(seen)),
            "seen": (among_all, seen, len(seen)),
        }

        def per_sample(correct: Tensor, group: Tensor) -> Tensor:
            return class_recalls(correct[group].sum(), total[group].sum())

        found: dict[str, Tensor | float] = {}
        for kind, (correct, group, competing) in kinds.items():
            name = "zsl_top1_per_sample" if kind == "zsl" else f"{kind}_per_sample"
            found[name] = per_sample(correct[1], group) if competing > 1 else math.nan
        found["harmonic_mean_per_sample"] = harmonic_mean(
            per_sample(among_all[1], ~seen), per_sample(among_all[1], seen)
        )
        for k in self._top[1:]:
            for kind, (correct, group, competing) in kinds.items():
                defined = competing > k
                recalls = class_recalls(correct[k], total)[group]
                found[f"{kind}_top{k}"] = recalls.nanmean() if defined else math.nan
                if self._many:
                    share = per_sample(correct[k], group) if defined else math.nan
                    found[f"{kind}_top{k}_per_sample"] = share
        without_seen = not total[seen].any()
        percent = {name: 100 * float(value) for name, value in found.items()}
        # always the same NaN, so that equal results compare equal
        return {
            name: math.nan
            if math.isnan(value) or (without_seen and name.startswith("unseen"))
            else value
            for name, value in percent.items()
        }
