"""When checkpoints are written: the last state to go on from, once the state that is reported, and once what other runs share."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from zsl_lab.errors import TerminationError
from zsl_lab.hardware import distributed
from zsl_lab.hardware.processes import how_to_go_on
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.run.pretraining import SharedPretraining
from zsl_lab.run.records.metrics_csv import read_rows


class PhaseCheckpoint(Checkpoint):
    """Writes ``last.ckpt`` at every check and between checks, and ``best.ckpt`` when the state is the one to report.

    Each file is replaced at once or not at all, and never by a state with weights that are not
    finite.

    Args:
        folder: The run's folder.
        about: Written into every checkpoint under ``zsl_lab``: the run's configuration and phase,
            plain containers.
        is_best: Whether the state right after a check is the one to report.
        every: Steps between two states to go on from, besides those at checks; None for none.
        resumed: Whether the phase goes on from a state of its own, which knew already what to
            report.
    """

    def __init__(
        self,
        folder: Path,
        about: dict[str, Any],
        is_best: Callable[[ZeroShotMethod], bool],
        *,
        every: int | None = None,
        resumed: bool = False,
    ) -> None:
        self._folder = folder
        self._about = about
        self._is_best = is_best
        self._every = every
        self._resumed = resumed
        self._reporting = False
        self._shared: SharedPretraining | None = None
        self._sharing = False
        self._terminated = False

    @property
    def best_path(self) -> Path:
        """The reported state."""
        return self._folder / "checkpoints" / "best.ckpt"

    @property
    def last_path(self) -> Path:
        """The latest state, to resume from."""
        return self._folder / "checkpoints" / "last.ckpt"

    def share(self, pretraining: SharedPretraining) -> None:
        """Leave the state at the end of pre-training for other runs."""
        self._shared = pretraining

    def how_to_go_on(self, happened: str) -> str:
        """See :func:`zsl_lab.hardware.processes.how_to_go_on`."""
        return how_to_go_on(self._folder, happened)

    @property
    def last_good(self) -> str:
        """A sentence that names the state before training diverged."""
        return f"Last good checkpoint: {self.last_path if self.last_path.exists() else 'none yet'}."

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What training starts from may be the state to report: a network given by ``init_from``, or shared pre-training."""
        if not self._resumed:
            self._save_best(trainer, pl_module)
        if (
            trainer.world_size == 1
        ):  # several processes stop together: zsl_lab.hardware.processes, or Lightning's own way
            with suppress(ValueError):  # only the main thread may, and another need not
                signal.signal(
                    signal.SIGTERM, self._on_sigterm
                )  # Lightning puts back what was there before the fit

    def _on_sigterm(self, signum: int, frame: FrameType | None) -> None:
        self._terminated = True

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Between checks, write the state to go on from where it is due or the run is to end; at a check its end does."""
        assert isinstance(pl_module, ZeroShotMethod)
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return
        if self._terminated or (self._every and pl_module.step % self._every == 0):
            self._save_last(trainer, pl_module)
        self._stop_if_terminated()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """An epoch ends with a check: write what it calls for."""
        assert isinstance(pl_module, ZeroShotMethod)
        self._save_best(trainer, pl_module)
        self._save_last(trainer, pl_module)
        if self._shared is not None and pl_module.step == self._shared.steps:
            self._sharing = True
            trainer.save_checkpoint(self._shared.path)
            self._sharing = False
            self._shared.release()
        self._stop_if_terminated()

    def save_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write both states of a phase that had nothing left to train, for which no hook is called."""
        self._save_best(trainer, pl_module)
        self._save_last(trainer, pl_module)

    def _stop_if_terminated(self) -> None:
        if self._terminated:
            raise TerminationError(self.how_to_go_on("Terminated"))

    def _save_last(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ZeroShotMethod)
        pl_module.check_finite()
        for logger in trainer.loggers:  # on the disk before the state that goes on from there
            logger.save()
        trainer.save_checkpoint(self.last_path)

    def _save_best(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ZeroShotMethod)
        if self._is_best(pl_module):
            pl_module.check_finite()
            self._reporting = True
            trainer.save_checkpoint(self.best_path)
            self._reporting = False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what this project needs to know of the run, and whether this is the state that is reported."""
        checkpoint["zsl_lab"] = {**self._about, "reported": self._reporting}
        if self._sharing and self._shared is not None:
            rows = (
                [row for row in read_rows(self._folder) if row["phase"] == self._about["phase"]]
                if distributed.is_main()
                else []
            )
            checkpoint["zsl_lab"] |= {"pretraining": self._shared.facts, "metrics": rows}
