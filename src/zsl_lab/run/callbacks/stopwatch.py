"""Time spent in training steps and in checks."""

from __future__ import annotations

import math
import time
from typing import Any

import pytorch_lightning as pl
import torch


class Stopwatch(pl.Callback):
    """Measures the time spent in training steps and in checks, without writing checkpoints.

    A resumed run continues from its checkpoint's times; a shared pre-training counts with the times
    of the run that trained it.

    Attributes:
        seconds: Seconds in training steps so far.
        check_seconds: Seconds in checks so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.check_seconds = 0.0
        self._since: float | None = None
        self._check_began = 0.0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start, unless running."""
        if self._since is None:
            self._since = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop before an evaluation, which is timed by itself."""
        self._stop()
        self._check_began = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the time of an evaluation; its metrics were read, so that no GPU is computing."""
        self.check_seconds += time.perf_counter() - self._check_began

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
        return {"seconds": self.seconds, "check_seconds": self.check_seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from stored seconds.

        Raises:
            ValueError: They are not finite, or below 0.
        """
        # an older version did not measure checks
        seconds = [float(state_dict.get(name, 0.0)) for name in ("seconds", "check_seconds")]
        for found in seconds:
            if not 0 <= found < math.inf:
                raise ValueError(f"the stopwatch is at {found} seconds")
        self.seconds, self.check_seconds = seconds
