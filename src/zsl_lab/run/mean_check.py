"""The check that is best on average over several draws of validation classes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from zsl_lab.methods.module import Check, rank


def best_on_average(draws: Sequence[Sequence[Check]], metric: str) -> Check | None:
    """The candidate with the best mean of a metric; AUSUC decides between equals.

    Args:
        draws: The candidate checks of each draw, at the same training steps.
        metric: The metric that decides.

    Returns:
        The mean check (:func:`mean_check`); the earliest of equal ones. None where no candidate has
        a value in every draw.
    """
    best, highest = None, (-math.inf, -math.inf)
    for checks in zip(*draws, strict=True):
        mean = mean_check(checks)
        if rank(mean, metric) > highest:
            best, highest = mean, rank(mean, metric)
    return best


def mean_check(checks: Sequence[Check]) -> Check:
    """Metrics, constant and effective step of checks at one training step, averaged.

    A metric is NaN where it is in a draw. Draws may have undone different numbers of steps: the
    effective step is rounded.
    """
    first = checks[0]
    return Check(
        first.step,
        round(statistics.fmean(check.effective_step for check in checks)),
        {name: statistics.fmean(check.metrics[name] for check in checks) for name in first.metrics},
        statistics.fmean(check.calibration for check in checks),
    )
