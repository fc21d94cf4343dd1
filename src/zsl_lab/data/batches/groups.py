"""Several training steps per iteration of Lightning's loop, which costs as much as a small step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Generic, Protocol, TypeVar

BatchT = TypeVar("BatchT", covariant=True)

#: maximum number of batches of a group
_MOST = 64
#: seconds per group and run below which groups become larger, and above which they become smaller:
#: the progress line and other callbacks wait for the end of a group
_SHORT, _LONG = 0.1, 0.4


class Counted(Protocol[BatchT]):
    """Batches up to the next check; ``step`` is the number of batches given so far."""

    step: int

    def __iter__(self) -> Iterator[BatchT]: ...


class StepGroups(Generic[BatchT]):
    """The batches of a stream up to the next check, in groups.

    A batch is drawn when its step begins, so that the stream is never ahead of the training. The
    size of the groups does not affect the result of training.

    Args:
        stream: Gives the batches.
        check_steps: Increasing steps at which an epoch ends; the same as the stream's.
        pause_every: A group also ends at every multiple of so many steps; None for no such steps.
        stopped: Returns whether training is to end now; the present group then gives no further
            batch.
        alone: Whether this is the only training process. Several processes have groups of one
            batch: they measure different times, and agree on whether to stop after each group.
        runs: How many runs take turns in this process; a group lasts as long as those of all.
    """

    def __init__(
        self,
        stream: Counted[BatchT],
        check_steps: Sequence[int],
        pause_every: int | None,
        stopped: Callable[[], bool],
        *,
        alone: bool,
        runs: int = 1,
    ) -> None:
        self._stream = stream
        self._check_steps = list(check_steps)
        self._pause_every = pause_every
        self._stopped = stopped
        self._most = _MOST if alone else 1
        self._size = 1
        self._short, self._long = _SHORT * runs, _LONG * runs

    def __iter__(self) -> Iterator[Iterator[BatchT]]:
        """Yield the groups up to the next check; none after the last."""
        step = self._stream.step
        end = next((check for check in self._check_steps if check > step), step)
        batches = iter(self._stream)
        while step < end:
            # the last batch is a group of its own: if an earlier group is stopped, Lightning then
            # knows that the epoch has not ended
            count = min(self._size, max(end - step - 1, 1))
            if self._pause_every is not None:
                count = min(count, self._pause_every - step % self._pause_every)
            given = time.perf_counter()
            yield self._group(batches, count)
            step += count
            taken = time.perf_counter() - given
            if taken < self._short:
                self._size = min(2 * self._size, self._most)
            elif taken > self._long:
                self._size = max(self._size // 2, 1)

    def _group(self, batches: Iterator[BatchT], count: int) -> Iterator[BatchT]:
        for batch in islice(batches, count):
            yield batch
            if self._stopped():
                return
