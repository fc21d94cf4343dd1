"""Base class of closed-form methods, whose training steps try candidate constants."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from zsl_lab.methods.base import ZeroShotMethod


class CandidateMethod(ZeroShotMethod):
    """Computes the solution for one candidate a step; selecting a step selects its constants.

    A subclass defines :attr:`candidates`, and :meth:`train_on`, which solves for the candidate of
    the current step. It should draw nothing at random, so that the solution depends on the training
    samples alone, not on the seed.
    """

    #: ``metrics.csv`` lists the constants of each step
    logs_every_step: ClassVar[bool] = True

    @property
    @abstractmethod
    def candidates(self) -> Sequence[Any]:
        """The constants of each step, in order; among equally good ones the first is selected."""

    @property
    def total_steps(self) -> int:
        """The number of candidates."""
        return len(self.candidates)

    def batch_size_at(self, step: int) -> int | None:
        """None: all training samples at every step."""

    @property
    def milestones(self) -> tuple[int, ...]:
        """Every step, since each has another solution."""
        return tuple(range(1, self.total_steps + 1))
