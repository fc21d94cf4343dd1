"""Evaluation of settings on validation classes, without a test and without writing files."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl

from zsl_lab.data.splits import validation_split
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.methods.module import Check, Spans, rank
from zsl_lab.run.context import RunContext
from zsl_lab.run.phase import Phase, Selected, train

#: called after each check of a candidate: the draw, the share of its training that is done, and the
#: best check of the draw so far; it may raise to end the training
OnCheck = Callable[[int, float, Check], None]


class _Watch(pl.Callback):
    """Reports the best check of a draw after each check, and how long the training took."""

    def __init__(self, draw: int, on_check: OnCheck, on_end: Callable[[float], None]) -> None:
        self._draw, self._on_check, self._on_end = draw, on_check, on_end
        self._begun = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begun = time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._on_end(time.perf_counter() - self._begun)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._on_end(time.perf_counter() - self._begun)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ZeroShotMethod)
        if pl_module.best is not None:
            last: Any = trainer.datamodule.last_step  # type: ignore[attr-defined]
            self._on_check(self._draw, pl_module.step / last, pl_module.best)


def validate(
    context: RunContext, on_check: OnCheck, on_end: Callable[[float], None]
) -> Check | None:
    """Train on each draw of validation classes and return the check that is best on average.

    This is what the selection phases of a run do. Only samples of ``trainval`` are used, and
    nothing is written.

    Args:
        context: The run; without loggers.
        on_check: See :data:`OnCheck`.
        on_end: Called with the seconds of each training, its checks included.

    Returns:
        The mean check (:func:`mean_check`); None if the selection metric is NaN for all candidates.
    """
    selection = context.config.selection
    draws: list[tuple[Check, ...]] = []
    for draw in range(selection.draws):
        phase = Phase(
            "select",
            validation_split(context.benchmark, selection.validation_seed, draw),
            Selected(calibration=None if selection.calibrate else 0.0),
            draw=draw,
        )
        outcome = train(context, phase, [_Watch(draw, on_check, on_end)], writes=False)
        draws.append(outcome.candidates)
    return best_on_average(draws, selection.metric)


def best_on_average(draws: Sequence[Sequence[Check]], metric: str) -> Check | None:
    """The candidate with the best mean of a metric; AUSUC decides between equals.

    Args:
        draws: The candidate checks of each draw, at the same training steps.
        metric: The metric that decides.

    Returns:
        The mean check (:func:`mean_check`); the earliest of equal ones. None if the metric of every
        candidate is NaN in some draw.
    """
    best, highest = None, (-math.inf, -math.inf)
    for checks in zip(*draws, strict=True):
        mean = mean_check(checks)
        if rank(mean, metric) > highest:
            best, highest = mean, rank(mean, metric)
    return best


def retraced(checks: Sequence[Check], step: int, metric: str) -> Spans:
    """The steps that shaped the weights of a check, without those that were undone before it.

    After a check that did not improve, a method may go back to the weights of the best one.

    Args:
        checks: The candidate checks of a phase.
        step: The training step of one of them.
        metric: The metric that decided which was the best.

    Returns:
        Spans of steps, first and last (exclusive), in their order.
    """
    place = next(number for number, check in enumerate(checks) if check.step == step)
    backwards: list[tuple[int, int]] = []
    while place > 0:
        check, before = checks[place], checks[place - 1]
        backwards.append((before.step, check.step))
        if check.effective_step - (check.step - before.step) == before.effective_step:
            place -= 1
        else:
            ranks = [rank(other, metric) for other in checks[:place]]
            place = ranks.index(max(ranks))
    spans = [(0, checks[0].step)]
    for start, end in reversed(backwards):
        if start == spans[-1][1]:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return tuple(spans)


def mean_check(checks: Sequence[Check]) -> Check:
    """Metrics, constant and effective step of checks at one training step, averaged.

    A metric is NaN if it is NaN in one draw. The effective step is rounded, since draws may have
    undone different numbers of steps.
    """
    first = checks[0]
    return Check(
        first.step,
        round(statistics.fmean(check.effective_step for check in checks)),
        {name: statistics.fmean(check.metrics[name] for check in checks) for name in first.metrics},
        statistics.fmean(check.calibration for check in checks),
    )
