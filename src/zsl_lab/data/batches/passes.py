"""Shuffled passes over training samples, divided into epochs that each end at a check."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from zsl_lab.data.batches.base import WHOLE, Batch, BatchSize, Shard


class PassStream(ABC):
    """Training batches drawn from passes over all training samples.

    A pass is a permutation; a batch may span two passes, so that every batch has its full size and
    every sample is drawn equally often. The state (of the generator, the position in the pass and
    the step) is restored exactly.

    Args:
        count: Number of training samples.
        batch_size: Batch size at a step.
        check_steps: Increasing steps at which an epoch ends; the last ends the training.
        seed: Seed of the permutations.
        shard: This process's place among those that train together; all draw the same sequence,
            and each takes its own part of every batch.
    """

    def __init__(
        self,
        count: int,
        batch_size: BatchSize,
        check_steps: Sequence[int],
        seed: int,
        shard: Shard = WHOLE,
    ) -> None:
        self._count = count
        self._shard = shard
        self._batch_size = batch_size
        self._check_steps = list(check_steps)
        self._generator = torch.Generator().manual_seed(seed)
        self.step = 0
        self._begin_pass()
        self._one_before = self._state()

    @abstractmethod
    def _permutation(self, generator: torch.Generator) -> Tensor:
        """The order of the samples in the next pass, ``[count]``."""

    @abstractmethod
    def _take(self, rows: Tensor) -> Batch:
        """The training samples at the positions ``rows`` ``[B]``, from 0 to ``count - 1``."""

    @abstractmethod
    def _all(self) -> Batch:
        """All training samples, in their order."""

    def _begin_pass(self) -> None:
        self._pass_state = self._generator.get_state()
        self._order = self._permutation(self._generator)
        self._position = 0

    def _draw(self, wanted: int) -> Tensor:
        parts = []
        while wanted:
            if self._position == len(self._order):
                self._begin_pass()
            part = self._order[self._position : self._position + wanted]
            self._position += len(part)
            wanted -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches up to the next check; none after the last."""
        end = next((step for step in self._check_steps if step > self.step), self.step)
        while self.step < end:
            wanted = self._batch_size(self.step)
            self._one_before = self._state()
            self.step += 1
            if wanted is None:
                yield self._all()
            else:
                rows = self._draw(wanted * self._shard.count)
                number = self._shard.number
                yield self._take(rows[wanted * number : wanted * (number + 1)])

    @property
    def layout(self) -> dict[str, int] | None:
        """Further numbers that the order of samples depends on; None for none."""
        return None

    def _state(self) -> dict[str, Any]:
        state = {"step": self.step, "position": self._position, "pass_state": self._pass_state}
        return state if self.layout is None else {**state, "blocks": self.layout}

    def state_after(self, step: int) -> dict[str, Any]:
        """The position after ``step`` batches, where ``step`` is the present step or one less."""
        state = self._state() if step == self.step else self._one_before
        assert state["step"] == step
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a position from :meth:`state_after`.

        Raises:
            ValueError: If the position lies outside a pass over these samples, or the samples were
                drawn in another order.
        """
        if state.get("blocks") != self.layout:
            raise ValueError(_other_storage(state.get("blocks"), self.layout))
        position = state["position"]
        if type(position) is not int or not 0 <= position <= self._count:
            raise ValueError(
                f"the position in the training samples is {position!r:.60}; expected 0 to "
                f"{self._count}"
            )
        self._generator.set_state(state["pass_state"])
        self._begin_pass()
        self.step, self._position = state["step"], position


def _other_storage(found: Any, expected: dict[str, int] | None) -> str:
    """The sentence for a state of a stream that draws in another order."""
    if found and expected:
        return f"it drew features in blocks of {found!r:.80}; expected {expected}"
    kept, now = ("on disk", "in memory") if found else ("in memory", "on disk")
    return (
        f"it drew from features {kept}, and now they are {now}: the order differs; expected "
        f"dataset.storage={'disk' if found else 'memory'}"
    )
