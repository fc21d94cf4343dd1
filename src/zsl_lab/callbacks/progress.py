"""A progress line that costs training nothing: drawn twice a second, never from a thread of its own."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from zsl_lab.methods.base import ZeroShotMethod

#: seconds between two drawings
INTERVAL = 0.5
#: seconds between two lines where there is no terminal
LINE_INTERVAL = 2.0


class ProgressLine(pl.Callback):
    """Phase, steps done, time left, the present loss and the last check; a few plain lines where there is no terminal."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._due = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar."""
        assert isinstance(pl_module, ZeroShotMethod)
        total = trainer.datamodule.last_step  # type: ignore[attr-defined]
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[note]}"),
                console=self._console,
                auto_refresh=False,
            )
            self._bar.start()
            self._task = self._bar.add_task(_title(trainer, pl_module), total=total, completed=pl_module.step, note="")
        else:
            self._console.print(f"{_title(trainer, pl_module)}, {total} steps", highlight=False)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Draw, if it is time to."""
        if self._bar is not None and time.monotonic() > self._due:
            self._draw(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show what the check found; where there is no terminal, not more often than anybody reads."""
        assert isinstance(pl_module, ZeroShotMethod)
        if self._bar is not None:
            self._draw(pl_module)
        elif time.monotonic() > self._due or pl_module.step == trainer.datamodule.last_step:  # type: ignore[attr-defined]
            self._due = time.monotonic() + LINE_INTERVAL
            self._console.print(f"  step {pl_module.step}: {_note(pl_module)}", highlight=False, soft_wrap=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the finished bar on the screen."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self._close()

    def _draw(self, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ZeroShotMethod)
        assert self._bar is not None
        self._due = time.monotonic() + INTERVAL
        self._bar.update(self._task, completed=pl_module.step, note=_note(pl_module))
        self._bar.refresh()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.refresh()
            self._bar.stop()
            self._bar = None


def _title(trainer: pl.Trainer, method: ZeroShotMethod) -> str:
    if trainer.limit_val_batches == 0:
        return f"{method.config.name}: {method.phase}"
    if method.phase == "select":
        return f"{method.config.name}: select (checks on validation classes)"
    use = "select" if method.steered_by_checks else "are shown only"
    return f"{method.config.name}: refit (checks on test {use})"


def _note(method: ZeroShotMethod) -> str:
    parts = [f"loss {method.last_losses['total']:.4g}"] if "total" in method.last_losses else []
    if method.checks:
        found = method.checks[-1].metrics
        parts.append(f"zsl {found['zsl_top1']:.1f} u {found['unseen']:.1f} s {found['seen']:.1f} H {found['harmonic_mean']:.1f}")
    return "  ".join(parts)
