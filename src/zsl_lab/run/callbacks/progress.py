"""The progress of training: a bar in a terminal, plain lines in a log file."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
from rich.console import Console

from zsl_lab.console.messages import console as make_console
from zsl_lab.console.progress import Progress, Unit
from zsl_lab.methods.base import ZeroShotMethod

STEPS = Unit("steps")


class ProgressLine(pl.Callback):
    """Shows a title, steps, pace, time left, losses and the last check; plain lines in a log file.

    While a step is selected, the time left includes the training that follows.

    Args:
        console: Where to draw; None for standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or make_console(stderr=True)
        self._shown: Progress | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the title and the bar."""
        assert isinstance(pl_module, ZeroShotMethod)
        total = trainer.datamodule.last_step  # type: ignore[attr-defined]
        self._console.print(_title(trainer, pl_module, total), highlight=False, soft_wrap=True)
        self._total = total
        self._shown = Progress(STEPS, total, self._console)
        self._shown.start(pl_module.step)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Update the bar or print a line, if that is due."""
        if self._shown is not None and self._shown.is_due:
            self._show(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the check's metrics; without a terminal only if a line is due, or at the end."""
        assert isinstance(pl_module, ZeroShotMethod)
        if self._shown is not None:
            self._show(pl_module, force=self._shown.is_bar or pl_module.step == self._total)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the last step; the finished bar stays on the screen."""
        self._close(pl_module)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Stop updating, so that the terminal shows the error."""
        self._close(pl_module)

    def _show(self, pl_module: pl.LightningModule, *, force: bool = False) -> None:
        assert isinstance(pl_module, ZeroShotMethod)
        assert self._shown is not None
        method = pl_module
        step = "" if self._shown.is_bar else f"step {method.step}: "
        self._shown.update(
            method.step,
            left=steps_left(method, self._total),
            note=lambda room: step + note(method, room),
            force=force,
        )

    def _close(self, pl_module: pl.LightningModule) -> None:
        if self._shown is not None:
            if self._shown.is_bar:
                self._show(pl_module, force=True)
            self._shown.close()
            self._shown = None


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
        names = {"u": "unseen", "s": "seen", "H": "harmonic_mean"}
        if method.selection_metric not in names.values():
            names[method.selection_metric] = method.selection_metric
        found = method.checks[-1].metrics
        check = " ".join(f"{short} {_percent(found[name])}" for short, name in names.items())
    parts: list[str] = []
    for name, value in method.last_losses.items():
        part = f"{name} {value:.4g}"
        if parts and room is not None and len("  ".join([" ".join([*parts, part]), check])) > room:
            break
        parts.append(part)
    return "  ".join(part for part in (" ".join(parts), check) if part)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"
