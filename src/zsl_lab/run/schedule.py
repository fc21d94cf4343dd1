"""The schedule of a phase: its last step, and the steps of its checkpoints and checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zsl_lab.console.messages import say
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.run.configuration import limits
from zsl_lab.run.configuration.schema import SelectionConfig

#: checks before the first step that can be selected; they only draw the training curve
CURVE_CHECKS = 10


@dataclass(frozen=True)
class Schedule:
    """The steps at which a phase ends, writes checkpoints, and is evaluated.

    Attributes:
        first: Training steps that the method starts with.
        last: The last training step.
        epochs: Training steps after ``first`` that end an epoch, where checkpoints are written.
        checks: The steps among ``epochs`` that also have a check, an evaluation of the method.
    """

    first: int
    last: int
    epochs: list[int]
    checks: frozenset[int]


def plan(
    method: ZeroShotMethod, selection: SelectionConfig, selected: int | None, *, evaluates: bool
) -> Schedule:
    """Plan a phase that starts with the method in its current state.

    An epoch ends every ``selection.check_every`` steps; or ``selection.checks`` of them end, evenly
    spaced, after the first candidate, the first step whose weights may be selected. From the first
    candidate on each of these steps has a check, but at most ``selection.max_checks`` of them do,
    evenly spaced, unless ``selection.checks`` is set. Of those before the first candidate
    :data:`CURVE_CHECKS` have a check. The method's milestones, the selected step and the last step
    always have one.

    Args:
        method: The method.
        selection: How the step is selected.
        selected: The step that was already selected; None if none was.
        evaluates: Whether the phase has checks at all.

    Raises:
        ConfigError: There are more steps than can be planned.
    """
    last = method.total_steps if evaluates or selected is None else selected
    every = _steps_between(method, selection)
    limits.check_steps(last, every)
    regular = range(every, last, every)
    special = {step for step in method.milestones if 0 < step < last}
    special |= {last} if selected is None else {last, selected}
    epochs = sorted(step for step in {*regular, *special} if step > method.step)
    if not evaluates:
        return Schedule(method.step, last, epochs, frozenset())
    before = max(0, method.first_candidate - 1) // every
    most = selection.max_checks if selection.checks is None else len(regular)
    checks = {
        *evenly_spaced(regular[:before], CURVE_CHECKS),
        *evenly_spaced(regular[before:], most),
        *special,
    }
    return Schedule(method.step, last, epochs, frozenset(checks))


def _steps_between(method: ZeroShotMethod, selection: SelectionConfig) -> int:
    if selection.checks is None:
        return selection.check_every
    return max(1, -(-(method.total_steps - method.first_candidate) // selection.checks))


def say_if_bounded(schedule: Schedule, selection: SelectionConfig, first_candidate: int) -> None:
    """Print a message if ``selection.max_checks`` leaves out checks that could be selected."""
    asked = sum(step >= first_candidate for step in schedule.epochs)
    made = sum(step >= first_candidate for step in schedule.checks)
    if schedule.checks and made < asked:
        say(
            f"selection.check_every={selection.check_every}: of {asked:,} checks, {made:,} evenly "
            f"spaced ones are made; selection.max_checks={asked} makes all."
        )


def evenly_spaced(steps: Sequence[int], most: int) -> Sequence[int]:
    """At most ``most`` of some steps at equal distances, the last among them."""
    count = len(steps)
    if count <= most:
        return steps
    return [steps[(i + 1) * count // most - 1] for i in range(most)]
