"""Decides which epochs end with a check, an evaluation of the method in training."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytorch_lightning as pl

from zsl_lab.methods.base import ZeroShotMethod


class ChecksAt(pl.Callback):
    """Lets Lightning evaluate the method after some epochs only.

    Args:
        steps: Training steps after which it is evaluated, if they end an epoch.
    """

    def __init__(self, steps: Collection[int]) -> None:
        self._steps = steps

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Set ``limit_val_batches``, which Lightning reads at the end of an epoch."""
        assert isinstance(pl_module, ZeroShotMethod)
        # not in on_train_epoch_start, which is not called when training resumes within an epoch
        trainer.limit_val_batches = 1.0 if pl_module.step in self._steps else 0
