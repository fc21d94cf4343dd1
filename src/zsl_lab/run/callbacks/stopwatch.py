"""Time spent in training steps."""

from __future__ import annotations

import math
import time
from typing import Any

import pytorch_lightning as pl
import torch


class Stopwatch(pl.Callback):
    """Measures the time spent in training steps, without evaluation and writing checkpoints.

    A resumed run continues from its checkpoint's time; shared pre-training counts with the time of
    the run that did it.

    Attributes:
        seconds: Seconds so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since: float | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start, unless running."""
        if self._since is None:
            self._since = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop before an evaluation."""
        self._stop()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop at a check without evaluation."""
        self._stop()

    def _stop(self) -> None:
        if self._since is not None:
            if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # a GPU may still be computing
                torch.cuda.synchronize()
            self.seconds += time.perf_counter() - self._since
            self._since = None

    def state_dict(self) -> dict[str, Any]:
        """The seconds so far; the next step starts the watch again."""
        self._stop()
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from stored seconds.

        Raises:
            ValueError: They are not finite, or below 0.
        """
        seconds = float(state_dict["seconds"])
        if not 0 <= seconds < math.inf:
            raise ValueError(f"the stopwatch is at {seconds} seconds")
        self.seconds = seconds
