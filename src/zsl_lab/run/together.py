"""Runs of one process that take turns, so that their updates are computed together.

Each run has a thread, of which one works at a time. A run that asks for an update gives up its turn
until every other run has asked, waits for a file, or has ended; then the updates are computed
together (:mod:`zsl_lab.methods.joint`). Each run has its own state of the random numbers, and so
draws what it would draw alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import torch
from torch import Tensor

from zsl_lab.errors import InterruptionError
from zsl_lab.methods.joint import JointTraining, JointUpdates, Update

#: what a run does: it has work to do, has the turn, asks for an update, waits for a file, has ended
State = Literal["ready", "working", "asking", "waiting", "ended"]


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
        self._asked: dict[int, Update] = {}
        self._answers: dict[int, Mapping[str, Tensor] | BaseException] = {}
        self._training: dict[Hashable, JointTraining] = {}
        self._interrupted = False
        self._errors: list[BaseException | None] = [None] * len(runs)

    def run(self) -> list[BaseException | None]:
        """Run all to their ends.

        Returns:
            The exception that ended each run; None where it finished.

        Raises:
            KeyboardInterrupt: After each run has ended, at its next update.
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
        """Give the turn to a run; where each waits for an update, compute the updates."""
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
        self._answer()
        with self._changed:
            self._states = ["ready" if s == "asking" else s for s in self._states]

    def _answer(self) -> None:
        groups: dict[Hashable, dict[int, Update]] = {}
        for number, update in sorted(self._asked.items()):
            groups.setdefault(update.key, {})[number] = update
        self._asked.clear()
        for updates in groups.values():
            if self._interrupted:
                self._answers.update(dict.fromkeys(updates, InterruptionError("Interrupted.")))
                continue
            first = next(iter(updates.values()))
            try:
                if first.kind not in self._training:
                    self._training[first.kind] = JointTraining(first, len(self._runs))
                self._answers.update(self._training[first.kind](updates))
            except Exception as error:
                self._answers.update(dict.fromkeys(updates, error))

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

    def ask(self, number: int, update: Update) -> Mapping[str, Tensor]:
        """Wait until an update is computed; other runs have the turn meanwhile.

        Args:
            number: The run.
            update: Its update.

        Returns:
            The named losses of the run.
        """
        self._asked[number] = update
        with self._kept_draws():
            self._set(number, "asking")
            self._go[number].acquire()
        answer = self._answers.pop(number)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    @contextmanager
    def waiting(self, number: int) -> Iterator[None]:
        """Let other runs have the turn within the context."""
        with self._kept_draws():
            self._set(number, "waiting")
            try:
                yield
            finally:
                self._set(number, "ready")
                self._go[number].acquire()

    @contextmanager
    def _kept_draws(self) -> Iterator[None]:
        """Restore the state of the random numbers, which other runs change meanwhile."""
        on_cpu = torch.get_rng_state()
        used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        on_gpu = torch.cuda.get_rng_state() if used else None
        try:
            yield
        finally:
            torch.set_rng_state(on_cpu)
            if on_gpu is not None:
                torch.cuda.set_rng_state(on_gpu)


_member: ContextVar[tuple[Turns, int] | None] = ContextVar("member", default=None)


def joint_updates() -> JointUpdates | None:
    """The joint computation for the run of this thread; None for a run that is trained alone."""
    member = _member.get()
    if member is None:
        return None
    turns, number = member
    return lambda update: turns.ask(number, update)


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
