"""Runs of one process that take turns, so that their updates are computed together.

Each run has a thread, of which one works at a time. A run that asks for updates gives up its turn
until every other run has asked, waits for a file, or has ended; then updates are computed together
(:mod:`zsl_lab.run.together.training`), one of each run at a time, until a run has had all of its.
Each run has its own state of the random numbers, and so draws what it would draw alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from zsl_lab.errors import InterruptionError
from zsl_lab.methods.joint import JointUpdates, Losses, Update, Updates
from zsl_lab.run.together.training import JointTraining

#: what a run does: it has work to do, has the turn, asks for updates, waits for a file, has ended
State = Literal["ready", "working", "asking", "waiting", "ended"]


class _Draws:
    """The state of the random numbers of a run: of the CPU, and of its GPU if it uses one."""

    def __init__(self) -> None:
        self._sources = [torch.default_generator]
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            self._sources.append(torch.cuda.default_generators[torch.cuda.current_device()])
        self._states: list[Tensor] = []
        self.keep()

    def keep(self) -> None:
        """Take the present state."""
        self._states = [source.get_state() for source in self._sources]

    def restore(self) -> None:
        """Make the state that was kept the present one."""
        for source, state in zip(self._sources, self._states, strict=True):
            source.set_state(state)


@dataclass
class _Asked:
    """What a run asked for.

    Attributes:
        updates: Gives its updates.
        draws: The run's state of the random numbers.
        update: The one to be computed next, if it is known already.
        losses: Of the last update; None before the first.
        error: What ended the updates early.
    """

    updates: Updates
    draws: _Draws
    update: Update | None = None
    losses: Losses | None = None
    error: BaseException | None = None

    def advance(self) -> bool:
        """Find the next update; False after the last, and after an error."""
        if self.update is not None:
            return True
        self.draws.restore()
        try:
            if self.losses is None:
                self.update = next(self.updates)
            else:
                self.update = self.updates.send(self.losses)
        except StopIteration:
            return False
        except Exception as error:
            self.error = error
            return False
        finally:
            self.draws.keep()
        return True


class Turns:
    """Runs that take turns.

    Args:
        runs: What each run does; an exception ends that run alone.
    """

    def __init__(self, runs: Sequence[Callable[[], None]]) -> None:
        self._runs = list(runs)
        self._states: list[State] = ["ready"] * len(runs)
        self._changed = threading.Condition()
        self._go = [threading.Semaphore(0) for _ in runs]
        self._asked: dict[int, _Asked] = {}
        self._training: dict[Hashable, JointTraining] = {}
        self._interrupted = False
        self._errors: list[BaseException | None] = [None] * len(runs)

    @property
    def count(self) -> int:
        """How many runs there are."""
        return len(self._runs)

    def run(self) -> list[BaseException | None]:
        """Run all to their ends.

        Returns:
            The exception that ended each run; None where it finished.

        Raises:
            KeyboardInterrupt: After each run has ended; one that asks for updates at once.
        """
        threads = [
            threading.Thread(target=self._thread, args=(number,), daemon=True)
            for number in range(len(self._runs))
        ]
        for thread in threads:
            thread.start()
        before, stopped = torch.get_rng_state(), None
        while any(state != "ended" for state in self._states):
            try:
                self._next()
            except KeyboardInterrupt as error:
                self._interrupted, stopped = True, error
        torch.set_rng_state(before)
        if stopped is not None:
            raise stopped
        return self._errors

    def _next(self) -> None:
        """Give the turn to a run; where each asks for updates, compute updates."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    (
                        "working" not in self._states
                        and any(state in ("ready", "asking") for state in self._states)
                    )
                    or all(state == "ended" for state in self._states)
                )
            )
            if "ready" in self._states:
                number = self._states.index("ready")
                self._states[number] = "working"
                self._go[number].release()
                return
        done: set[int] = set()
        # a run that waited may be ready
        while self._asked and not done and "ready" not in self._states:
            done = self._round()
        with self._changed:
            for number in done:
                self._states[number] = "ready"

    def _round(self) -> set[int]:
        """Compute an update of each run that asks, unless some have no more; returns those."""
        if self._interrupted:
            for asked in self._asked.values():
                asked.error = InterruptionError("Interrupted.")
            return set(self._asked)
        done = {number for number, asked in self._asked.items() if not asked.advance()}
        if done:  # they may have further updates to compute together with the others
            return done
        groups: dict[Hashable, dict[int, Update]] = {}
        for number, asked in sorted(self._asked.items()):
            assert asked.update is not None
            groups.setdefault(asked.update.key, {})[number] = asked.update
            asked.update = None
        for updates in groups.values():
            first = next(iter(updates.values()))
            try:
                if first.layers not in self._training:
                    self._training[first.layers] = JointTraining(first, len(self._runs))
                for number, losses in self._training[first.layers](updates).items():
                    self._asked[number].losses = losses
            except Exception as error:
                for number in updates:
                    self._asked[number].error = error
                done |= set(updates)
        return done

    # ------------------------------------------------------------------- in the thread of a run

    def _thread(self, number: int) -> None:
        _member.set((self, number))
        self._go[number].acquire()
        try:
            self._runs[number]()
        except BaseException as error:
            self._errors[number] = error
        self._set(number, "ended")

    def _set(self, number: int, state: State) -> None:
        with self._changed:
            self._states[number] = state
            self._changed.notify()

    def ask(self, number: int, updates: Updates) -> None:
        """Wait until updates are computed; other runs have the turn meanwhile.

        Args:
            number: The run.
            updates: Its updates.
        """
        asked = self._asked[number] = _Asked(updates, _Draws())
        try:
            self._set(number, "asking")
            self._go[number].acquire()
        finally:
            del self._asked[number]
            updates.close()
            asked.draws.restore()
        if asked.error is not None:
            raise asked.error

    @contextmanager
    def waiting(self, number: int) -> Iterator[None]:
        """Let other runs have the turn within the context."""
        draws = _Draws()
        self._set(number, "waiting")
        try:
            yield
        finally:
            self._set(number, "ready")
            self._go[number].acquire()
            draws.restore()


_member: ContextVar[tuple[Turns, int] | None] = ContextVar("member", default=None)


def joint_updates() -> JointUpdates | None:
    """The joint computation for the run of this thread; None for a run that is trained alone."""
    member = _member.get()
    if member is None:
        return None
    turns, number = member
    return lambda updates: turns.ask(number, updates)


def runs() -> int:
    """How many runs take turns with the run of this thread, itself included."""
    member = _member.get()
    return 1 if member is None else member[0].count


@contextmanager
def waiting() -> Iterator[None]:
    """Let the other runs of the process go on while this one waits for a file."""
    member = _member.get()
    if member is None:
        yield
        return
    turns, number = member
    with turns.waiting(number):
        yield
