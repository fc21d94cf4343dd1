"""A progress line, drawn twice a second at most and from the training thread."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from zsl_lab.console.messages import console as make_console
from zsl_lab.methods.base import ZeroShotMethod

#: seconds between two updates of the bar
INTERVAL = 0.5
#: seconds between two lines where standard error is no terminal
LINE_INTERVAL = 10.0
#: columns of the bar, and of the spaces and the remaining time between it and the losses
_BAR, _TIME = 12, 10
#: columns of a terminal of unknown width, and the most that are used
_NARROW, _WIDE = 80, 140


class ProgressLine(pl.Callback):
    """Shows a title, steps, remaining time, losses and the last check; plain lines in a log file.

    Args:
        console: Where to draw; None for standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or make_console(stderr=True)
        self._bar: Progress | None = None
        self._due = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the title and the bar."""
        assert isinstance(pl_module, ZeroShotMethod)
        total = trainer.datamodule.last_step  # type: ignore[attr-defined]
        self._console.print(_title(trainer, pl_module, total), highlight=False, soft_wrap=True)
        if not self._console.is_terminal:
            self._due = time.monotonic() + LINE_INTERVAL
            return
        self._bar = Progress(
            BarColumn(bar_width=_BAR),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
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
        self._room = (
            max(_NARROW, min(self._console.width, _WIDE)) - _BAR - _TIME - 2 * len(str(total)) - 1
        )
        self._task = self._bar.add_task("", total=total, completed=pl_module.step, note="")

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
            self._console.print(
                f"  step {pl_module.step}: {note(pl_module)}", highlight=False, soft_wrap=True
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop updating; the finished bar stays on the screen."""
        self._close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Stop updating, so that the terminal shows the error."""
        self._close()

    def _draw(self, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ZeroShotMethod)
        assert self._bar is not None
        self._due = time.monotonic() + INTERVAL
        self._bar.update(self._task, completed=pl_module.step, note=note(pl_module, self._room))
        self._bar.refresh()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.refresh()
            self._bar.stop()
            self._bar = None


def _title(trainer: pl.Trainer, method: ZeroShotMethod, total: int) -> str:
    done = f", from step {method.step} on" if method.step else ""
    text = f"{method.config.name}: {method.phase}, {total} steps{done}"
    if trainer.limit_val_batches == 0:
        return text
    if method.phase == "select":
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
