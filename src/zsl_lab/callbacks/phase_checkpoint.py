"""When checkpoints are written: at every check the last state, and once the state that is reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from zsl_lab.methods.base import ZeroShotMethod


class PhaseCheckpoint(Checkpoint):
    """Writes ``last.ckpt`` at every check, and ``best.ckpt`` when the state is the one to report.

    Args:
        folder: Where checkpoints go.
        about: Written into every checkpoint under ``zsl_lab``: the run's configuration and phase, plain containers.
        is_best: Whether the state right after a check is the one to report.
    """

    def __init__(self, folder: Path, about: dict[str, Any], is_best: Callable[[ZeroShotMethod], bool]) -> None:
        self._folder = folder
        self._about = about
        self._is_best = is_best
        self._reporting = False

    @property
    def best_path(self) -> Path:
        """The reported state."""
        return self._folder / "best.ckpt"

    @property
    def last_path(self) -> Path:
        """The latest state, to resume from."""
        return self._folder / "last.ckpt"

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What training starts from may be the state to report (a network given by ``init_from``)."""
        if trainer.ckpt_path is None:  # a resumed run has written it already
            self._save_best(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """An epoch ends with a check: write what it calls for (each file is replaced at once or not at all)."""
        for logger in trainer.loggers:  # on the disk before the state that goes on from there
            logger.save()
        self._save_best(trainer, pl_module)
        trainer.save_checkpoint(self.last_path)

    def _save_best(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ZeroShotMethod)
        if self._is_best(pl_module):
            self._reporting = True
            trainer.save_checkpoint(self.best_path)
            self._reporting = False

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what this project needs to know of the run, and whether this is the state that is reported."""
        checkpoint["zsl_lab"] = {**self._about, "reported": self._reporting}
