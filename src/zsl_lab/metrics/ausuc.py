"""Area under the seen-unseen accuracy curve, exact, and the per-sample bookkeeping it needs.

Adding a constant to the scores of the unseen classes (calibrated stacking) never changes which seen
class and which unseen class stand highest, only which of the two wins. All accuracies at all
constants therefore follow from three facts per sample: its class, the margin (best seen score minus
best unseen score), and whether the best class of its own group (seen or unseen) is the right one.

Source: Chao, Changpinyo, Gong and Sha, "An Empirical Study and Analysis of Generalized Zero-Shot
Learning for Object Recognition in the Wild", ECCV 2016, section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from zsl_lab.metrics.per_class import on_device


def best_of_groups(
    scores: Tensor, seen_ids: Tensor, unseen_ids: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Best seen class, best unseen class and the margin between them.

    Equal scores within a group go to the lowest class id.

    Args:
        scores: Class scores, higher is likelier, any floating type, ``[B, C]``.
        seen_ids: Ids of the seen classes, ascending, int64, at least one.
        unseen_ids: Ids of the unseen classes, ascending, int64.

    Returns:
        Class ids of the best seen and of the best unseen class, int64 ``[B]`` each, -1 where the
        scores hold a NaN; and the margin, best seen score minus best unseen score, float32 ``[B]``:
        finite, 0 where the scores hold a NaN.
    """
    seen_score, seen_at = scores.index_select(1, seen_ids).max(dim=1)
    unseen_score, unseen_at = scores.index_select(1, unseen_ids).max(dim=1)
    # subtracted in float32 or better: in bfloat16 many different margins would round to the same
    # one
    precision = torch.promote_types(scores.dtype, torch.float32)
    margin = (seen_score.to(precision) - unseen_score.to(precision)).float()
    # max() hands a NaN on, and so does the difference
    broken = margin.isnan()
    return (
        seen_ids[seen_at].masked_fill(broken, -1),
        unseen_ids[unseen_at].masked_fill(broken, -1),
        margin.nan_to_num(),
    )


def best_among(scores: Tensor, ids: Tensor) -> Tensor:
    """The class of the highest score among some, the lowest id of equal scores.

    Args:
        scores: Class scores, ``[B, C]``.
        ids: Class ids, ascending, int64; may be empty.

    Returns:
        Class ids, int64 ``[B]``; -1 where the scores hold a NaN, or where ``ids`` is empty.
    """
    if not len(ids):
        return torch.full((len(scores),), -1, device=scores.device)
    score, at = scores.index_select(1, ids).max(dim=1)
    return ids[at].masked_fill(score.isnan(), -1)


def seen_unseen_curve(
    margins: Tensor, target: Tensor, right: Tensor, seen_mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The seen-unseen accuracy curve of calibrated stacking, all its points.

    Args:
        margins: Best seen score minus best unseen score of each sample, finite, ``[N]``.
        target: True class ids, int64 ``[N]``.
        right: Whether the best class of the sample's own group is the true one, bool ``[N]``.
        seen_mask: True for seen classes, bool ``[C]``.

    Returns:
        ``(constants, unseen, seen)``, float64 ``[K + 1]`` each for K different margins, in the
        order of rising constants; accuracies per class in [0, 1]. The first point is the constant
        -inf (everything is called seen), the last is +inf, and every other constant lies half-way
        between two neighbouring margins. Samples of equal margin flip together. ``unseen`` or
        ``seen`` is NaN throughout when that group has no sample.
    """
    # on the CPU: this runs once per evaluation, and CUDA's cumsum is not deterministic
    margins, target, right, seen_mask = (
        margins.cpu().double(),
        target.cpu(),
        right.cpu(),
        seen_mask.cpu(),
    )
    levels, level_of = torch.unique(margins, return_inverse=True)
    total = torch.bincount(target, minlength=len(seen_mask))
    steps = []
    for group in (~seen_mask, seen_mask):
        present = group & (total > 0)
        # what one right sample contributes to its group's mean recall
        share = present.double() / (total * present.sum()).clamp(min=1)
        step = torch.zeros(len(levels), dtype=torch.float64).index_add(
            0, level_of, share[target] * right
        )
        steps.append((step, bool(present.any())))
    (rise, any_unseen), (fall, any_seen) = steps
    zero, infinity = (
        torch.zeros(1, dtype=torch.float64),
        torch.full((1,), torch.inf, dtype=torch.float64),
    )
    unseen = torch.cat([zero, rise]).cumsum(0)
    # summed from the far end, so that the curve ends in exactly 0
    seen = torch.cat([fall, zero]).flip(0).cumsum(0).flip(0)
    if not any_unseen:
        unseen = unseen.fill_(torch.nan)
    if not any_seen:
        seen = seen.fill_(torch.nan)
    constants = torch.cat([-infinity, (levels[:-1] + levels[1:]) / 2, infinity])
    return constants[: len(unseen)], unseen, seen


def area_under(unseen: Tensor, seen: Tensor) -> Tensor:
    """Area under the curve of seen over unseen accuracy, by the trapezoid rule.

    It is NaN where a group has no sample.
    """
    # a curve of one point has no trapezoid to carry its NaN
    return torch.trapezoid(seen, unseen) if len(seen) > 1 else seen[0] * unseen[0]


def thinned(unseen: Tensor, seen: Tensor, most: int) -> Tensor:
    """Select points that keep the shape of a curve.

    Args:
        unseen: Unseen accuracy at each point, rising, ``[K]``.
        seen: Seen accuracy, falling, ``[K]``.
        most: How many points to keep at most, at least 2.

    Returns:
        Their places in ascending order, int64 ``[P]``: every point where an accuracy changes if
        these are not too many, else as many at equal steps along the curve; the first and the last
        are always among them.
    """
    along = unseen - seen
    changes = torch.cat([torch.ones(1, dtype=torch.bool), along.diff() > 0])
    changes[-1] = True
    places = changes.nonzero().squeeze(1)
    if len(places) <= most:
        return places
    grid = torch.linspace(0, 1, most, dtype=along.dtype) * (along[-1] - along[0]) + along[0]
    chosen = torch.searchsorted(along[places].contiguous(), grid).clamp(max=len(places) - 1)
    chosen[-1] = len(places) - 1  # the end of the grid may be rounded
    return places[torch.unique(chosen)]


class MarginMetric(Metric):
    """A metric whose state is each sample's class, margin and correctness (see the module's text).

    An unseen class without samples is a candidate wherever seen and unseen classes compete. Only
    zero-shot classification among unseen classes leaves it out: its candidates are the tested ones.

    Args:
        seen_mask: True for the ids of seen classes, bool ``[C]``.
        tested_mask: True for the ids of classes with samples, bool ``[C]``; None for all.

    Raises:
        ValueError: If there is no seen or no unseen class, or if an update's scores have not one
            column per class.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    seen_mask: Tensor
    seen_ids: Tensor
    unseen_ids: Tensor
    margins: list[Tensor]
    zsl_ids: Tensor
    outcomes: list[Tensor]

    def __init__(self, seen_mask: Tensor, tested_mask: Tensor | None = None) -> None:
        super().__init__()
        seen_mask = seen_mask.bool()
        if seen_mask.ndim != 1 or not seen_mask.any() or seen_mask.all():
            raise ValueError(
                f"seen_mask: found {seen_mask.tolist()}; expected one bool per class, at least one "
                "True and one False."
            )
        # known from the data, so no part of a checkpoint
        self.register_buffer("seen_mask", seen_mask, persistent=False)
        self.register_buffer("seen_ids", seen_mask.nonzero().squeeze(1), persistent=False)
        self.register_buffer("unseen_ids", (~seen_mask).nonzero().squeeze(1), persistent=False)
        tested = ~seen_mask if tested_mask is None else ~seen_mask & tested_mask.bool()
        self.register_buffer("zsl_ids", tested.nonzero().squeeze(1), persistent=False)
        self.add_state("margins", [], dist_reduce_fx="cat")
        self.add_state("outcomes", [], dist_reduce_fx="cat")

    def update(self, scores: Tensor, target: Tensor) -> None:
        """Take in a batch; it may hold seen samples only, unseen samples only, or none.

        Args:
            scores: Class scores over all classes, higher is likelier, any floating type, ``[B,
                C]``. A sample with a NaN among its scores counts as wrongly classified, whatever
                the constant.
            target: True class ids, int64 ``[B]``.
        """
        if scores.ndim != 2 or scores.shape[1] != len(self.seen_mask):
            raise ValueError(
                f"scores: found shape {list(scores.shape)}; expected [samples, "
                f"{len(self.seen_mask)}]."
            )
        best_seen, best_unseen, margin = best_of_groups(
            scores.detach(), self.seen_ids, self.unseen_ids
        )
        right = torch.where(self.seen_mask[target], best_seen, best_unseen) == target
        zsl_right = right
        if len(self.zsl_ids) < len(self.unseen_ids):
            best_tested = best_among(scores.detach(), self.zsl_ids)
            zsl_right = torch.where(self.seen_mask[target], best_seen, best_tested) == target
        self.margins.append(margin)
        # class and rightness in one number, one tensor less to gather: the id where right, C more
        # where right among the tested classes, the complement of that where wrong
        code = target + len(self.seen_mask) * zsl_right
        self.outcomes.append(torch.where(right, code, ~code))

    def sync(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any | None = None,
        should_sync: bool = True,
        distributed_available: Callable[..., Any] | None = None,
    ) -> None:
        """Gather the samples of all ranks, see :meth:`torchmetrics.Metric.sync`."""
        if not len(self.margins):
            # a rank without samples must still take part, with tensors of the types that the others
            # send
            self.margins.append(torch.zeros(0, device=self.device))
            self.outcomes.append(torch.zeros(0, device=self.device, dtype=torch.int64))
        super().sync(dist_sync_fn, process_group, should_sync, distributed_available)

    def samples(self) -> tuple[Tensor, Tensor, Tensor]:
        """All samples so far, on the CPU, each ``[N]``: margins, true class ids, correctness."""
        if not len(self.margins):
            return (
                torch.zeros(0),
                torch.zeros(0, dtype=torch.int64),
                torch.zeros(0, dtype=torch.bool),
            )
        margins, outcomes = dim_zero_cat(self.margins).cpu(), dim_zero_cat(self.outcomes).cpu()
        right = outcomes >= 0
        return margins, torch.where(right, outcomes, ~outcomes) % len(self.seen_mask), right

    def zsl_right(self) -> Tensor:
        """Whether the best *tested* class of each sample's group is right, on the CPU, ``[N]``."""
        if not len(self.outcomes):
            return torch.zeros(0, dtype=torch.bool)
        outcomes = dim_zero_cat(self.outcomes).cpu()
        return torch.where(outcomes >= 0, outcomes, ~outcomes) >= len(self.seen_mask)


class AUSUC(MarginMetric):
    """Area under the seen-unseen accuracy curve over constants added to unseen classes' scores.

    Both accuracies are per class and predictions are made over all classes. The curve has one point
    for each interval between neighbouring margins, so nothing depends on a grid; the area is that
    of the trapezoids between its points, from (unseen accuracy 0, everything called seen) to (seen
    accuracy 0, everything called unseen). Samples of equal margin flip together, which the
    trapezoid counts as if they flipped in random order.

    Args:
        seen_mask: True for the ids of seen classes, bool ``[C]``.
    """

    def compute(self) -> Tensor:
        """Area in [0, 1], 0-dim float64; NaN if the seen or the unseen classes have no sample."""
        _, unseen, seen = seen_unseen_curve(*self.samples(), self.seen_mask)
        return on_device(area_under(unseen, seen), self.device)

    def curve(self) -> tuple[Tensor, Tensor, Tensor]:
        """``(constants, unseen, seen)`` as :func:`seen_unseen_curve` describes them, on the CPU.

        In a distributed run every rank must call it, as with ``compute``.
        """
        with self.sync_context():
            return seen_unseen_curve(*self.samples(), self.seen_mask)
