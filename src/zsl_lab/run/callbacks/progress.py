"""A progress line, drawn twice a second at most and from the training thread."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column

from zsl_lab.console.messages import console as make_console
from zsl_lab.console.messages import duration
from zsl_lab.methods.base import ZeroShotMethod

#: seconds between two updates of the bar
INTERVAL = 0.5
#: seconds between two lines where standard error is no terminal
LINE_INTERVAL = 10.0
#: columns of the bar in a narrow terminal and in a wide one, and those of the pace with its spaces
_BAR, _WIDE_BAR, _PACE = 12, 30, 25
#: columns of a terminal of unknown width, and the most that are used
_NARROW, _WIDE = 80, 160


class ProgressLine(pl.Callback):
    """Shows a title, steps, pace, time left, losses and the last check; plain lines in a log file.

    While a step is selected, the time left includes the training that follows.

    Args:
        console: Where to draw; None for standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or make_console(stderr=True)
        self._bar: Progress | None = None
        self._due = 0.0
        self._first = 0
        self._began = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the title and the bar."""
        assert isinstance(pl_module, ZeroShotMethod)
        total = trainer.datamodule.last_step  # type: ignore[attr-defined]
        self._first, self._began = pl_module.step, time.monotonic()
        self._console.print(_title(trainer, pl_module, total), highlight=False, soft_wrap=True)
        if not self._console.is_terminal:
            self._due = time.monotonic() + LINE_INTERVAL
            return
        width = max(_NARROW, min(self._console.width, _WIDE))
        bar = _BAR + min(_WIDE_BAR - _BAR, max(0, (width - 100) // 2))
        self._bar = Progress(
            BarColumn(bar_width=bar),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}", table_column=Column(no_wrap=True), markup=False),
            TextColumn(
                "{task.fields[note]}",
                table_column=Column(no_wrap=True, overflow="crop"),
                markup=False,
            ),
            console=self._console,
            auto_refresh=False,
        )
        self._bar.start()
        # columns left for the losses and the last check
        self._room = width - bar - _PACE - 2 * len(str(total)) - 1
        self._task = self._bar.add_task("", total=total, completed=pl_module.step, note="", pace="")

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Update the bar, if an update is due."""
        if self._bar is not None and time.monotonic() > self._due:
            self._draw(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the metrics of the check; without a terminal every ``LINE_INTERVAL`` seconds."""
        assert isinstance(pl_module, ZeroShotMethod)
        if self._bar is not None:
            self._draw(pl_module)
        elif time.monotonic() > self._due or pl_module.step == trainer.datamodule.last_step:  # type: ignore[attr-defined]
            self._due = time.monotonic() + LINE_INTERVAL
            pace = self._pace(pl_module, trainer.datamodule.last_step)  # type: ignore[attr-defined]
            self._console.print(
                f"  step {pl_module.step}: {note(pl_module)}{f'  ({pace})' if pace else ''}",
                highlight=False,
                soft_wrap=True,
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the last step; the finished bar stays on the screen."""
        self._close(pl_module)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Stop updating, so that the terminal shows the error."""
        self._close(pl_module)

    def _draw(self, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ZeroShotMethod)
        assert self._bar is not None
        self._due = time.monotonic() + INTERVAL
        total = int(self._bar.tasks[self._task].total or 0)
        self._bar.update(
            self._task,
            completed=pl_module.step,
            pace=self._pace(pl_module, total),
            note=note(pl_module, self._room),
        )
        self._bar.refresh()

    def _pace(self, method: ZeroShotMethod, total: int) -> str:
        """Steps a second since the phase began, and the time left in the run."""
        done, seconds = method.step - self._first, time.monotonic() - self._began
        if done <= 0 or seconds <= 0:
            return ""
        return pace(done / seconds, steps_left(method, total))

    def _close(self, pl_module: pl.LightningModule) -> None:
        if self._bar is not None:
            self._draw(pl_module)
            self._bar.stop()
            self._bar = None


def pace(rate: float, left: int) -> str:
    """A pace and the time left: ``512 steps/s, 3 min left``.

    Args:
        rate: Steps a second.
        left: Steps that are left.
    """
    shown = f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"
    return f"{shown} steps/s, {duration(left / rate)} left" if left else f"{shown} steps/s"


def steps_left(method: ZeroShotMethod, total: int) -> int:
    """Steps of the run that are left; while a step is selected, including those of the refit.

    Args:
        method: The method in training.
        total: Steps of the phase.
    """
    left = max(0, total - method.step)
    if not method.phase.startswith("select"):
        return left
    # the refit takes as many steps as are selected, so far
    return left + (method.best.effective_step if method.best else total)


def _title(trainer: pl.Trainer, method: ZeroShotMethod, total: int) -> str:
    done = f", from step {method.step} on" if method.step else ""
    text = f"{method.config.name}: {method.phase}, {total} steps{done}"
    if trainer.limit_val_batches == 0:
        return text
    if method.phase.startswith("select"):
        return f"{text} (checks on validation classes)"
    return f"{text} (checks on test {'select' if method.steered_by_checks else 'are shown only'})"


def note(method: ZeroShotMethod, room: int | None = None) -> str:
    """The last logged losses and the metrics of the last check.

    Args:
        method: The method in training.
        room: Available columns; losses that do not fit are left out, the total never. None for no
            limit.
    """
    check = ""
    if method.checks:
        found = method.checks[-1].metrics
        check = f"u {found['unseen']:.1f} s {found['seen']:.1f} H {found['harmonic_mean']:.1f}"
        if method.selection_metric not in ("unseen", "seen", "harmonic_mean"):
            check += f" {method.selection_metric} {found[method.selection_metric]:.1f}"
    parts: list[str] = []
    for name, value in method.last_losses.items():
        part = f"{name} {value:.4g}"
        if parts and room is not None and len("  ".join([" ".join([*parts, part]), check])) > room:
            break
        parts.append(part)
    return "  ".join(part for part in (" ".join(parts), check) if part)
