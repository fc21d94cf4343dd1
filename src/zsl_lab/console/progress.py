"""Progress of a long task, with rate and time left: a bar in a terminal, else a line at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zsl_lab.console.messages import console as make_console
from zsl_lab.console.messages import duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress

#: seconds between two updates of the bar
INTERVAL = 0.5
#: seconds between two lines where standard error is no terminal
LINE_INTERVAL = 10.0
#: columns of the bar in a narrow terminal and in a wide one, and those of the rate with its spaces
_BAR, _WIDE_BAR, _RATE = 12, 30, 25
#: columns of a terminal of unknown width, and the most that are used
_NARROW, _WIDE = 80, 160


@dataclass(frozen=True)
class Unit:
    """The unit in which the progress of a task is counted.

    Attributes:
        name: As shown, such as ``steps``.
        size: Counts per unit, such as 10^6 where bytes are counted and MB are shown.
    """

    name: str
    size: int = 1

    def amount(self, count: float) -> str:
        """A count without the unit's name, rounded: ``1,200``."""
        return f"{count / self.size:,.0f}"

    def rate(self, count: float) -> str:
        """A count per second: ``512 steps/s``, ``0.25 steps/s``."""
        value = count / self.size
        return f"{value:,.0f} {self.name}/s" if value >= 10 else f"{value:.2g} {self.name}/s"

    def pace(self, rate: float, left: float | None) -> str:
        """A rate and the time left: ``512 steps/s, 3 min left``.

        Args:
            rate: Count per second.
            left: The count that is left; None where it is not known.
        """
        return self.rate(rate) + (f", {duration(left / rate)} left" if left and rate else "")


class Progress:
    """Shows how much of a task is done, the rate since it began, and the time left.

    A bar in a terminal, redrawn every ``INTERVAL`` seconds at most; elsewhere a line every
    ``LINE_INTERVAL`` seconds. It is drawn by the thread that calls :meth:`update`. As a context
    manager it closes itself.

    Args:
        unit: What is counted.
        total: The count of the whole task; None where it is not known.
        console: Where to draw; None for standard error.
    """

    def __init__(
        self, unit: Unit, total: int | None = None, console: Console | None = None
    ) -> None:
        self._unit = unit
        self._total = total
        self._console = console or make_console(stderr=True)
        self._bar: RichProgress | None = None
        self._first: int | None = None
        self._began = self._due = 0.0
        self._done = 0

    def __enter__(self) -> Progress:
        """The display itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the display."""
        self.close()

    @property
    def is_bar(self) -> bool:
        """Whether a bar is drawn."""
        return self._console.is_terminal

    @property
    def is_due(self) -> bool:
        """Whether the next update will be shown."""
        return time.monotonic() > self._due

    def start(self, done: int = 0) -> None:
        """Begin to measure the rate; without this call, the first update does.

        Args:
            done: The count that was done before, which the rate leaves out.
        """
        self._first = self._done = done
        self._began = time.monotonic()
        self._due = self._began + (0.0 if self.is_bar else LINE_INTERVAL)
        if self.is_bar and self._bar is None:
            self._start_bar()

    def update(
        self,
        done: int,
        total: int | None = None,
        *,
        left: float | None = None,
        note: Callable[[int | None], str] | None = None,
        force: bool = False,
    ) -> None:
        """Show the state of the task, if an update is due.

        Args:
            done: The count so far; a smaller one than before starts the measurement again.
            total: The count of the whole task, where it was not known before.
            left: The count that is left, where it is not ``total - done``.
            note: Returns a text to show beside the counts, given the number of columns that it may
                take (None for no limit).
            force: Show it even if no update is due.
        """
        self._total = total or self._total
        if self._first is None or done < self._done:
            self.start(done)
        self._done = done
        if not (force or self.is_due):
            return
        self._due = time.monotonic() + (INTERVAL if self.is_bar else LINE_INTERVAL)
        if self._bar is None:
            self._print_line(self.pace(left), note(None) if note else "")
        else:
            self._draw(self._bar, pace=self.pace(left), note=note(self._room()) if note else "")

    def pace(self, left: float | None = None) -> str:
        """The rate since the start and the time left; empty before anything was done.

        Args:
            left: The count that is left; None for what is left of the total.
        """
        if self._first is None:
            return ""
        done, seconds = self._done - self._first, time.monotonic() - self._began
        if done <= 0 or seconds <= 0:
            return ""
        if left is None and self._total is not None:
            left = self._total - self._done
        return self._unit.pace(done / seconds, left)

    def close(self) -> None:
        """Stop drawing; the bar stays on the screen as it is at the end."""
        if self._bar is not None:
            self._draw(self._bar, pace=self.pace())
            self._bar.stop()
            self._bar = None

    def _draw(self, bar: RichProgress, **fields: Any) -> None:
        bar.update(
            self._task, total=self._total, completed=self._done, counts=self._counts(), **fields
        )
        bar.refresh()

    def _print_line(self, pace: str, note: str) -> None:
        if note:
            text = f"{note}{f'  ({pace})' if pace else ''}"
        else:
            of = "" if self._total is None else f" of {self._unit.amount(self._total)}"
            amount = f"{self._unit.amount(self._done)}{of} {self._unit.name}"
            text = ", ".join(part for part in (amount, pace) if part)
        self._console.print(f"  {text}", highlight=False, soft_wrap=True)

    def _counts(self) -> str:
        total = "?" if self._total is None else f"{self._total // self._unit.size}"
        done = f"{self._done // self._unit.size}".rjust(len(total))
        return f"{done}/{total}" + (f" {self._unit.name}" if self._unit.size > 1 else "")

    def _width(self) -> int:
        return max(_NARROW, min(self._console.width, _WIDE))

    def _bar_width(self) -> int:
        return _BAR + min(_WIDE_BAR - _BAR, max(0, (self._width() - 100) // 2))

    def _room(self) -> int:
        """Columns left for a note."""
        return self._width() - self._bar_width() - _RATE - len(self._counts())

    def _start_bar(self) -> None:
        from rich.progress import BarColumn, TextColumn  # takes a tenth of a second to import
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        def text(field: str, **column: str) -> TextColumn:
            shape = Column(no_wrap=True, **column)  # type: ignore[arg-type]
            return TextColumn(f"{{task.fields[{field}]}}", table_column=shape, markup=False)

        self._bar = RichProgress(
            BarColumn(bar_width=self._bar_width()),
            text("counts"),
            text("pace"),
            text("note", overflow="crop"),
            console=self._console,
            auto_refresh=False,
        )
        self._bar.start()
        self._task = self._bar.add_task(
            "", total=self._total, completed=self._done, counts=self._counts(), pace="", note=""
        )
