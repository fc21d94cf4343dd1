"""TensorBoard: event files in the run's folder, with the same names as in ``metrics.csv``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.image import imread
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from zsl_lab.errors import ConfigError
from zsl_lab.result import Result
from zsl_lab.run.loggers.base import RunFacts, RunLogger, metrics_of, replay

FOLDER = "tensorboard"


class TensorBoardRun(TensorBoardLogger, RunLogger):
    """Writes ``tensorboard/`` in the run's folder.

    A resumed run rewrites it from ``metrics.csv``, because event files keep rows that were logged
    after the checkpoint.
    """

    def __init__(self, facts: RunFacts) -> None:
        super().__init__(facts.folder, name=FOLDER, version="", default_hp_metric=False)
        self._facts = facts

    @classmethod
    def start(cls, facts: RunFacts, options: Mapping[str, Any]) -> TensorBoardRun:
        """Create the event files; there are no options."""
        import tensorboard  # noqa: F401  Lightning would fall back to another package

        if options:
            raise ConfigError(
                f"logger.tensorboard.{next(iter(options))}: there is no such key; this logger has "
                "none."
            )
        for old in (facts.folder / FOLDER).glob("events.out.tfevents.*"):
            old.unlink()
        logger = cls(facts)
        if facts.resumed:
            replay(logger, facts.folder)
        return logger

    def log_result(self, result: Result) -> None:
        """Log the final metrics with the configuration, and the run's figures."""
        self.log_hyperparams(self._facts.config, metrics_of(result))
        for path in sorted((self._facts.folder / "figures").glob("*.png")):
            self.experiment.add_image(f"figures/{path.stem}", imread(path), dataformats="HWC")

    @rank_zero_only
    def save(self) -> None:
        """Flush the event files; Lightning's copy of the configuration is not written."""
        self.experiment.flush()

    def finish(self, *, failed: bool) -> None:
        """Close the event files."""
        self.finalize("failed" if failed else "success")
