"""Training steps are grouped between two turns of Lightning's loop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from zsl_lab.data.batches.groups import StepGroups


class Counter:
    """Gives the numbers of the steps; an epoch ends at each check."""

    def __init__(self, checks: list[int]) -> None:
        self.checks = checks
        self.step = 0

    def __iter__(self) -> Iterator[int]:
        end = next((check for check in self.checks if check > self.step), self.step)
        while self.step < end:
            self.step += 1
            yield self.step


def never() -> bool:
    return False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The present time, which only the test moves."""
    now = [0.0]
    monkeypatch.setattr("zsl_lab.data.batches.groups.time.perf_counter", lambda: now[0])
    return now


def epochs(
    checks: list[int], pause_every: int | None, *, alone: bool = True
) -> list[list[list[int]]]:
    stream = Counter(checks)
    grouped = StepGroups(stream, checks, pause_every, never, alone=alone)
    return [[list(group) for group in grouped] for _ in checks]


def test_groups_give_every_batch_once_and_end_at_checks(clock: list[float]) -> None:
    found = epochs([5, 7, 300], None)
    assert [[len(group) for group in epoch] for epoch in found] == [
        [1, 2, 1, 1],
        [1, 1],
        [64, 64, 64, 64, 36, 1],
    ]
    assert [step for epoch in found for group in epoch for step in group] == list(range(1, 301))


def test_a_group_ends_at_every_multiple_of_the_steps_between_checkpoints(
    clock: list[float],
) -> None:
    ends = [group[-1] for epoch in epochs([50], 12) for group in epoch]
    assert {12, 24, 36, 48, 50} <= set(ends)


def test_processes_that_train_together_take_single_steps(clock: list[float]) -> None:
    assert epochs([3], None, alone=False) == [[[1], [2], [3]]]


def test_slow_steps_are_taken_one_by_one_again(clock: list[float]) -> None:
    stream = Counter([100])
    sizes = []
    for number, group in enumerate(StepGroups(stream, [100], None, never, alone=True)):
        steps = list(group)
        sizes.append(len(steps))
        clock[0] += 0.01 if number < 3 else 0.2 * len(steps)
    assert sizes[:4] == [1, 2, 4, 8]
    assert set(sizes[-5:]) <= {1, 2}


def test_runs_that_take_turns_have_groups_as_long_as_the_time_of_all(clock: list[float]) -> None:
    def size_in_the_end(runs: int) -> int:
        grouped = StepGroups(Counter([300]), [300], None, never, alone=True, runs=runs)
        sizes = []
        for group in grouped:
            sizes.append(len(list(group)))
            clock[0] += 0.05 * sizes[-1]
        return sizes[-3]

    assert size_in_the_end(1) < 8 <= size_in_the_end(4)


def test_no_batch_is_drawn_before_its_step(clock: list[float]) -> None:
    stream = Counter([20])
    for group in StepGroups(stream, [20], None, never, alone=True):
        before = stream.step
        for step in group:
            assert step == stream.step == before + 1
            before = step


def test_a_group_ends_with_the_step_after_which_training_is_to_end(clock: list[float]) -> None:
    stream = Counter([50])
    grouped = iter(StepGroups(stream, [50], None, lambda: stream.step >= 5, alone=True))
    assert [list(next(grouped)) for _ in range(3)] == [[1], [2, 3], [4, 5]]
    assert stream.step == 5
