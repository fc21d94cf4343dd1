"""When checkpoints are written: to resume from, to report, and to share with other runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from zsl_lab.classifiers.base import Classifier
from zsl_lab.errors import TerminationError
from zsl_lab.files.cache import FileStamp, file_stamp
from zsl_lab.hardware import distributed
from zsl_lab.hardware.processes import how_to_go_on
from zsl_lab.hardware.stopping import StopRequest
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.run import together
from zsl_lab.run.checkpoints.content import CLASSIFIER
from zsl_lab.run.checkpoints.files import keep_previous
from zsl_lab.run.checkpoints.places import LAST
from zsl_lab.run.checkpoints.state import SECTION, RunState, brief
from zsl_lab.run.pretraining import SharedPretraining
from zsl_lab.run.records.metrics_csv import read_rows

#: fewest seconds between two checks that write ``last.ckpt``; quick checks would cost less than it
SECONDS_BETWEEN = 5.0


class PhaseCheckpoint(Checkpoint):
    """Writes ``last.ckpt`` regularly, and ``best.ckpt`` when the weights are those to report.

    Each file is replaced atomically, and never by weights that are not finite. The previous
    ``last.ckpt`` is kept as ``last-previous.ckpt``. A check writes ``last.ckpt`` if
    :data:`SECONDS_BETWEEN` have passed since it was written, as many times as runs take turns in
    the process, or if the phase ends; with ``every``, or with several processes, whose clocks
    differ, every check does.

    Args:
        folder: The run's folder.
        state: Written into every checkpoint.
        is_best: Whether the weights right after a check are the best so far to report.
        last_step: The step that the phase ends after.
        every: Steps between two checkpoints to resume from, besides those at checks; None for none.
        resumed: Whether the phase resumes from its own checkpoint; the weights that it starts with
            are then not reported.
        writes: Whether files are written; otherwise weights are only checked.

    Attributes:
        started: Whether the first step has begun, so that all states are restored.
    """

    def __init__(
        self,
        folder: Path,
        state: RunState,
        is_best: Callable[[ZeroShotMethod], bool],
        last_step: int,
        *,
        every: int | None = None,
        resumed: bool = False,
        writes: bool = True,
    ) -> None:
        self._folder = folder
        self._state = state
        self._is_best = is_best
        self._last_step = last_step
        self._every = every
        self._resumed = resumed
        self._writes = writes
        self._reporting = False
        self._shared: SharedPretraining | None = None
        self._sharing = False
        self._repeat_check = False
        self._stop = StopRequest()
        self._written: FileStamp = ()
        self._since = time.monotonic()
        self.started = False

    @property
    def best_path(self) -> Path:
        """The checkpoint of the weights that the run reports."""
        return self._folder / "checkpoints" / "best.ckpt"

    @property
    def last_path(self) -> Path:
        """The newest checkpoint, to resume from."""
        return self._folder / "checkpoints" / LAST

    @property
    def stop(self) -> StopRequest:
        """Says whether SIGTERM asked the run to end; a context manager around the training."""
        return self._stop

    def share(self, pretraining: SharedPretraining) -> None:
        """Also write a checkpoint at the end of pre-training, for other runs."""
        self._shared = pretraining

    def repeat_check(self) -> None:
        """Repeat the last check of a shared pre-training before training goes on."""
        self._repeat_check = True

    def how_to_go_on(self, happened: str) -> str:
        """See :func:`zsl_lab.hardware.processes.how_to_go_on`."""
        return how_to_go_on(self._folder, happened)

    @property
    def last_good(self) -> str:
        """A sentence that names the last checkpoint before training diverged."""
        return f"Last good checkpoint: {self.last_path if self.last_path.exists() else 'none yet'}."

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the initial weights if they are the best so far.

        They can be if they are those of ``init_from`` or of a shared pre-training.
        """
        if self._repeat_check:
            assert isinstance(pl_module, ZeroShotMethod)
            pl_module.repeat_check()
        if not self._resumed:
            self._save_best(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Check once that the optimisers' states fit the weights, before the first step.

        Raises:
            ValueError: A state has another shape than its parameter, or a setting another type
                than its default.
        """
        if self.started:
            return
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                for name, default in optimizer.defaults.items():
                    if name in group and not _is_like(group[name], default):
                        raise ValueError(f"the optimiser's {name} is {brief(group[name])}")
            for parameter, state in optimizer.state.items():
                for name, value in state.items():
                    if torch.is_tensor(value) and value.ndim and value.shape != parameter.shape:
                        raise ValueError(
                            f"the optimiser's {name} is {list(value.shape)}, its parameter "
                            f"{list(parameter.shape)}"
                        )
        self.started = True

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Between checks, write ``last.ckpt`` every ``every`` steps and on SIGTERM."""
        assert isinstance(pl_module, ZeroShotMethod)
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return  # on_train_epoch_end writes it
        stop = self._stop.agreed(pl_module.device)
        if stop or (self._every and pl_module.step % self._every == 0):
            self._save_last(trainer, pl_module)
        if stop:
            raise TerminationError(self.how_to_go_on("Terminated"))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """After a check, which ends an epoch, write every checkpoint that is due."""
        assert isinstance(pl_module, ZeroShotMethod)
        self._save_best(trainer, pl_module)
        stop = self._stop.agreed(pl_module.device, last=True)
        if stop or self._is_due(pl_module):
            self._save_last(trainer, pl_module)
        else:
            self._look(trainer, pl_module)
        if self._shared is not None and pl_module.step == self._shared.steps:
            self._sharing = True
            trainer.save_checkpoint(self._shared.path)
            self._sharing = False
            self._shared.release()
        if stop:
            raise TerminationError(self.how_to_go_on("Terminated"))

    def stop_if_asked(self, pl_module: pl.LightningModule) -> None:
        """Raise TerminationError where a process of the run was asked to end; all must call it."""
        if self._stop.agreed(pl_module.device, last=True):
            raise TerminationError(self.how_to_go_on("Terminated"))

    def save_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write both checkpoints of a phase without steps to train, for which no hook is called."""
        self._save_best(trainer, pl_module)
        self._save_last(trainer, pl_module)

    def _is_due(self, pl_module: ZeroShotMethod) -> bool:
        """Whether a check writes ``last.ckpt``, the same in all processes."""
        return (
            pl_module.step == self._last_step
            or self._every is not None
            or distributed.world_size() > 1
            or time.monotonic() - self._since >= SECONDS_BETWEEN * together.runs()
        )

    def _save_last(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._look(trainer, pl_module)
        if not self._writes:
            return
        if distributed.is_main():
            keep_previous(self.last_path, self._written)
        trainer.save_checkpoint(self.last_path)
        self._written = file_stamp([self.last_path])
        self._since = time.monotonic()

    def _look(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise if weights are not finite; write the metrics before a checkpoint is written."""
        assert isinstance(pl_module, ZeroShotMethod)
        pl_module.check_finite()
        if self._writes:
            for logger in trainer.loggers:
                logger.save()

    def _save_best(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ZeroShotMethod)
        if self._writes and self._is_best(pl_module):
            pl_module.check_finite()
            pl_module.fit_classifier()
            self._reporting = True
            trainer.save_checkpoint(self.best_path)
            self._reporting = False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the state of the run to Lightning's checkpoint."""
        assert isinstance(pl_module, ZeroShotMethod)
        state = replace(self._state, reported=self._reporting)
        if self._reporting and isinstance(pl_module.classifier, Classifier):
            checkpoint[CLASSIFIER] = pl_module.classifier.state()
        if self._sharing and self._shared is not None:
            rows = read_rows(self._folder) if distributed.is_main() else []
            own = [row for row in rows if row["phase"] == state.label]
            state = replace(state, pretraining=self._shared.facts, metrics=own)
        checkpoint[SECTION] = state.to_plain()


def _is_like(value: Any, default: Any) -> bool:
    """Whether an optimiser's setting is of a type that its default may have."""
    if isinstance(default, tuple | list):
        return (
            isinstance(value, tuple | list)
            and len(value) == len(default)
            and all(map(_is_like, value, default))
        )
    if default is None or isinstance(default, bool):
        return value is None or isinstance(value, bool)
    if not isinstance(default, int | float) or torch.is_tensor(value):
        return True
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)
