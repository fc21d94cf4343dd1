"""How long training itself took."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
import torch


class Stopwatch(pl.Callback):
    """Counts the seconds spent in training steps; evaluation and writing checkpoints are left out.

    Goes on where a resumed run stopped, and counts shared pre-training with what it took the run
    that did it.

    Attributes:
        seconds: Seconds counted so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since: float | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start, if not running."""
        if self._since is None:
            self._since = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop for the evaluation."""
        self._stop()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop, where no evaluation did."""
        self._stop()

    def _stop(self) -> None:
        if self._since is not None:
            if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # the device may still be at work
                torch.cuda.synchronize()
            self.seconds += time.perf_counter() - self._since
            self._since = None

    def state_dict(self) -> dict[str, Any]:
        """The seconds counted so far; the next step starts again."""
        self._stop()
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.seconds = state_dict["seconds"]
