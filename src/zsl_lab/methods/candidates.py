"""The base of methods in closed form, whose steps are candidates for their constants."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from zsl_lab.methods.base import ZeroShotMethod


class CandidateMethod(ZeroShotMethod):
    """Step k leaves the solution for the k-th candidate, so that the selection chooses constants.

    A subclass defines :attr:`candidates`, and :meth:`train_on`, which solves for the candidate of
    the present step. Nothing should be drawn: the solution then depends on the training samples
    alone, not on the seed.
    """

    #: ``metrics.csv`` names the constants of each
    logs_every_step: ClassVar[bool] = True

    @property
    @abstractmethod
    def candidates(self) -> Sequence[Any]:
        """The constants of each step, in order; of candidates that are equal the first is taken."""

    @property
    def total_steps(self) -> int:
        """The number of candidates."""
        return len(self.candidates)

    def batch_size_at(self, step: int) -> int | None:
        """All training samples, each time."""

    @property
    def milestones(self) -> tuple[int, ...]:
        """Every step: each leaves another solution."""
        return tuple(range(1, self.total_steps + 1))
