"""Opening and closing the loggers of a run: ``metrics.csv``, and those of the group ``logger``."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf
from pytorch_lightning.loggers import Logger

from zsl_lab.errors import ConfigError, ZslLabError
from zsl_lab.hardware.distributed import is_main
from zsl_lab.result import Result
from zsl_lab.run.records import job_file
from zsl_lab.run.records.metrics_csv import MetricsCSV, Row, read_rows

#: groups of metrics in a result, which prefix their logged names; ``oracle`` is selected on test
METRIC_GROUPS = ("metrics", "validation", "oracle", "extra")
#: packages that a logger needs beyond the base install → the extra that installs them
EXTRAS = {"tensorboard": "tensorboard"}


@dataclass(frozen=True)
class RunFacts:
    """What a logger knows about the run.

    Attributes:
        folder: The run's folder.
        config: The resolved configuration, plain containers.
        resumed: Whether the run resumes from a checkpoint in this folder.
    """

    folder: Path
    config: dict[str, Any]
    resumed: bool

    @property
    def sweep(self) -> str | None:
        """The name of the sweep's folder that the run is a job of; None for a single run."""
        record = self.folder / ".hydra" / "hydra.yaml"
        if not record.is_file():
            return None
        # not resolved: the folder may be a stranger's
        found: Any = OmegaConf.to_container(OmegaConf.load(record))
        mode = found["hydra"]["mode"] if isinstance(found, dict) else None
        return self.folder.absolute().parent.name if str(mode).endswith("MULTIRUN") else None

    @property
    def job(self) -> str | None:
        """Which job of a sweep the run is, ``[3/8] g=0.9 seed=0``; None for a single run."""
        return job_file.label(self.folder) if self.sweep else None


class RunLogger(Logger):
    """A logger that records the run's configuration, result and end.

    Other Lightning loggers, which the group ``logger`` may name too, get the result as metrics.
    """

    @classmethod
    @abstractmethod
    def start(cls, facts: RunFacts, options: Mapping[str, Any]) -> RunLogger:
        """Start to record a run.

        Args:
            facts: The run.
            options: The logger's own keys.
        """

    @abstractmethod
    def log_result(self, result: Result) -> None:
        """Record the result; all other files of the run are written by then."""

    @abstractmethod
    def finish(self, *, failed: bool) -> None:
        """Close the record; nothing is logged after it."""


@contextmanager
def opened(facts: RunFacts, chosen: Mapping[str, Any]) -> Iterator[list[Logger]]:
    """The loggers of a run, closed however it ends; none in processes other than the first.

    Args:
        facts: The run.
        chosen: The section ``logger`` of the configuration.

    Raises:
        ConfigError: A logger does not exist, lacks a package or cannot start.
        OutputError: The run's folder cannot be written.
    """
    found: list[Logger] = []
    failed = True
    try:
        if is_main():
            found.append(MetricsCSV(str(facts.folder)))
            for name, node in chosen.items():
                found += _made(facts, name, node)
        yield found
        failed = False
    finally:
        for logger in found:
            _finish(logger, failed=failed)


def _made(facts: RunFacts, name: str, node: Any) -> list[Logger]:
    path = node.get("_target_") if isinstance(node, dict) else None
    try:
        target = get_class(str(path))
        if issubclass(target, MetricsCSV):  # older versions listed it in this group
            return []
        if issubclass(target, RunLogger):
            return [
                target.start(
                    facts, {key: value for key, value in node.items() if key != "_target_"}
                )
            ]
        if not issubclass(target, Logger):
            raise TypeError("it is not a logger")
        return [instantiate(node)]
    except ZslLabError:
        raise
    except ModuleNotFoundError as error:
        package = str(error.name or error)
        extra = EXTRAS.get(package.partition(".")[0])
        install = f'pip install "zsl-lab[{extra}]"' if extra else f"pip install {package}"
        raise ConfigError(
            f"logger={name}: this needs the package {package}. Install it ({install}), or choose "
            "another logger."
        ) from error
    except Exception as error:
        raise ConfigError(
            f"logger.{name}._target_={path}: this logger cannot be created ({error}). Expected the "
            "import path of a Lightning logger and its arguments, or one of the choices of logger."
        ) from error


def _finish(logger: Logger, *, failed: bool) -> None:
    try:
        if isinstance(logger, RunLogger):
            logger.finish(failed=failed)
    except Exception as error:
        _warn(logger, f"its record could not be closed ({error}); the run's own files are complete")


def log_result(loggers: Sequence[Logger], result: Result) -> None:
    """Log a result; a logger that fails causes a warning, since the run's files are complete."""
    for logger in loggers:
        try:
            if isinstance(logger, RunLogger):
                logger.log_result(result)
            elif not isinstance(logger, MetricsCSV):
                logger.log_metrics(metrics_of(result))
        except Exception as error:
            _warn(logger, f"the result could not be recorded ({error}); it is in result.json")


def metrics_of(result: Result) -> dict[str, float]:
    """Every metric of a result by its path in ``result.json``: ``metrics/harmonic_mean``, ..."""
    groups = {name: getattr(result, name) or {} for name in METRIC_GROUPS}
    for metric, group in (result.oracle_by_metric or {}).items():
        groups[f"oracle_by_metric/{metric}"] = group
    return {
        f"{name}/{key}": float(value)
        for name, group in groups.items()
        for key, value in group.items()
    }


def number(value: float) -> float | None:
    """The value, or None for NaN."""
    return None if math.isnan(value) else value


def replay(logger: Logger, folder: Path) -> None:
    """Log the rows of the run's ``metrics.csv`` so far."""
    log_rows(logger, read_rows(folder))


def log_rows(logger: Logger, rows: Sequence[Row]) -> None:
    """Log rows of a ``metrics.csv``."""
    for row in rows:
        values = {
            f"{row['phase']}/{name}": float(value)
            for name, value in row.items()
            if name not in ("phase", "step")
        }
        logger.log_metrics(values, step=int(row["step"]))


def _warn(logger: Logger, what: str) -> None:
    warnings.warn(f"{type(logger).__name__}: {what}.", stacklevel=2)
