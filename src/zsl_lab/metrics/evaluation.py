"""The evaluation of every method: all metrics of a result in one pass over the scores."""

from __future__ import annotations

import torch
from torch import Tensor

from zsl_lab.metrics.ausuc import (
    MarginMetric,
    area_under,
    best_among,
    best_of_groups,
    seen_unseen_curve,
    thinned,
)
from zsl_lab.metrics.generalized import harmonic_mean
from zsl_lab.metrics.per_class import class_recalls, on_device

METRIC_NAMES = ("zsl_top1", "unseen", "seen", "harmonic_mean", "ausuc")


def predict(
    scores: Tensor, seen_mask: Tensor, zsl_ids: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Predicted classes, generalised and restricted to the unseen classes.

    Of equal scores the seen class wins, and within the seen or the unseen classes the lowest id,
    as in :class:`ZeroShotMetrics`.

    Args:
        scores: Class scores, higher is likelier, ``[B, C]``.
        seen_mask: True for the ids of seen classes, bool ``[C]``, at least one of each kind.
        zsl_ids: Ids of the unseen classes with samples, ascending; None for all unseen classes.

    Returns:
        ``(gzsl, zsl)``: best class of all and best of ``zsl_ids``, int64 ``[B]`` each; -1 where the
        scores hold a NaN, or where there is no such class.
    """
    seen_ids, unseen_ids = seen_mask.nonzero().squeeze(1), (~seen_mask).nonzero().squeeze(1)
    best_seen, best_unseen, margin = best_of_groups(scores, seen_ids, unseen_ids)
    gzsl = torch.where(margin < 0, best_unseen, best_seen)
    if zsl_ids is None or len(zsl_ids) == len(unseen_ids):
        return gzsl, best_unseen
    return gzsl, best_among(scores, zsl_ids)


class ZeroShotMetrics(MarginMetric):
    """The metrics of zero-shot and generalised zero-shot classification, per class, in percent.

    - ``zsl_top1``: samples of unseen classes, prediction restricted to the unseen classes that have
      samples.
    - ``unseen``: samples of unseen classes, prediction among all classes (u).
    - ``seen``: samples of seen classes, prediction among all classes (s).
    - ``harmonic_mean``: 2us / (u + s), 0 where u + s = 0.
    - ``ausuc``: area under the seen-unseen curve, see :class:`~zsl_lab.metrics.ausuc.AUSUC`.

    Except for ``zsl_top1``, an unseen class without samples is a candidate; it enters no mean.

    Definitions: Xian, Schiele and Akata (CVPR 2017), Chao et al. (ECCV 2016). Equal scores: see
    :func:`predict`.

    Args:
        seen_mask: True for the ids of seen classes, bool ``[C]``.
        tested_mask: True for the ids of classes with samples, bool ``[C]``; None for all.
    """

    def compute(self) -> dict[str, Tensor]:
        """The five metrics in percent, 0-dim float64 tensors.

        A metric that needs samples of unseen (or seen) classes is NaN when there is none;
        ``harmonic_mean`` and ``ausuc`` need both.
        """
        margins, target, right = self.samples()
        seen = self.seen_mask.cpu()
        recalls = self._recalls(margins, target, right)
        unseen_accuracy, seen_accuracy = recalls[~seen].nanmean(), recalls[seen].nanmean()
        zsl_recalls = _recalls(self.zsl_right(), target, len(seen))
        _, unseen_curve, seen_curve = seen_unseen_curve(margins, target, right, seen)
        values = torch.stack(
            [
                zsl_recalls[~seen].nanmean(),
                unseen_accuracy,
                seen_accuracy,
                harmonic_mean(unseen_accuracy, seen_accuracy),
                area_under(unseen_curve, seen_curve),
            ]
        )
        return dict(zip(METRIC_NAMES, on_device(100 * values, self.device).unbind(), strict=True))

    def calibrated(self) -> tuple[float, dict[str, Tensor]]:
        """The constant of calibrated stacking with the best harmonic mean, and the metrics with it.

        Returns:
            The constant to add to the scores of the unseen classes: of equally good ones that with
            the smallest absolute value, 0 if every harmonic mean is 0; and the metrics of
            :meth:`compute` at that constant. On test samples these are oracle metrics. In a
            distributed run every rank must call it, as with ``compute``.
        """
        with self.sync_context():
            constants, unseen, seen = seen_unseen_curve(*self.samples(), self.seen_mask.cpu())
        means = harmonic_mean(unseen, seen)
        if not means.max() > 0:
            return 0.0, self.compute()
        best = (means == means.max()).nonzero().squeeze(1)
        at = best[constants[best].abs().argmin()]
        chosen = on_device(100 * torch.stack([unseen[at], seen[at], means[at]]), self.device)
        return float(constants[at]), {
            **self.compute(),
            **dict(zip(("unseen", "seen", "harmonic_mean"), chosen.unbind(), strict=True)),
        }

    def tradeoff(self, added: float = 0.0, most: int = 200) -> list[tuple[float, float, float]]:
        """The seen-unseen curve of ``ausuc``, thinned (:func:`~zsl_lab.metrics.ausuc.thinned`).

        Args:
            added: The constant that the scores of unseen classes hold already.
            most: How many points of the curve to keep at most.

        Returns:
            ``(constant, seen, unseen)``, accuracies in percent, by rising constant, from -inf to
            inf; the constant is all that is added to a method's own scores. The points at 0 and at
            ``added`` are always among them. [] where the test has no seen, or no unseen sample. In
            a distributed run every rank must call it, as with ``compute``.
        """
        with self.sync_context():
            margins, target, right = self.samples()
        constants, unseen, seen = seen_unseen_curve(margins, target, right, self.seen_mask.cpu())
        if unseen.isnan().any() or seen.isnan().any():
            return []
        kept = thinned(unseen, seen, most)
        levels = torch.unique(margins.double())
        wanted = torch.tensor(sorted({-added, 0.0}), dtype=torch.float64)
        # a sample flips where its margin is below the constant: a tie goes to the seen class
        at = torch.cat([kept, torch.searchsorted(levels, wanted)])
        points = torch.stack(
            [torch.cat([constants[kept], wanted]) + added, 100 * seen[at], 100 * unseen[at]], dim=1
        )
        return sorted((constant, s, u) for constant, s, u in points.tolist())

    def recalls(self) -> Tensor:
        """Recall of each class in percent, among all classes, ``[C]``; NaN without samples.

        In a distributed run every rank must call it, as with ``compute``.
        """
        with self.sync_context():
            return on_device(100 * self._recalls(*self.samples()), self.device)

    def _recalls(self, margins: Tensor, target: Tensor, right: Tensor) -> Tensor:
        seen = self.seen_mask.cpu()
        # the best class of the sample's own group wins over all classes if that group wins
        return _recalls(right & ((margins >= 0) == seen[target]), target, len(seen))


def _recalls(right: Tensor, target: Tensor, num_classes: int) -> Tensor:
    return class_recalls(
        torch.bincount(target[right], minlength=num_classes),
        torch.bincount(target, minlength=num_classes),
    )
