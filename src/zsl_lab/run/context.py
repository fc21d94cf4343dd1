"""What the phases of a run share: configuration, benchmark, folder, hardware and loggers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
from hydra.errors import HydraException
from hydra.utils import get_class, instantiate
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.utilities import registry
from pytorch_lightning.loggers import Logger

from zsl_lab.classifiers.base import Classifier
from zsl_lab.console.messages import say
from zsl_lab.data.batches.base import ClassSpace, PhaseDataModule
from zsl_lab.data.benchmark import Benchmark, StoredBenchmark, VectorBenchmark
from zsl_lab.data.checks.check import check
from zsl_lab.data.checks.findings import Finding, by_level, refuse, warn, with_reader_findings
from zsl_lab.data.checks.kept import checked_once
from zsl_lab.data.checks.semantics import unknown_finding
from zsl_lab.data.checks.unknown import fill_unknown
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.splits import Split
from zsl_lab.data.storage.choice import announcement
from zsl_lab.errors import ConfigError
from zsl_lab.extraction.extra_classes import with_extra_classes
from zsl_lab.files.cache import LRUCache, file_stamp
from zsl_lab.hardware import distributed
from zsl_lab.hardware.precision import SinglePrecision
from zsl_lab.hardware.trainer import Hardware
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.run.checkpoints import files as checkpoints
from zsl_lab.run.config import RunConfig

# each trainer would look through all installed packages for callbacks
registry.entry_points = cache(registry.entry_points)  # type: ignore[assignment, attr-defined]


@dataclass(frozen=True)
class RunContext:
    """What the phases of a run share.

    Attributes:
        config: The validated configuration.
        benchmark: The benchmark, with the split that the configuration asks for.
        folder: The run's folder.
        hardware: Devices and processes.
        loggers: Open loggers; none while a checkpoint is only tested.
        findings: What the data check found.
    """

    config: RunConfig
    benchmark: Benchmark
    folder: Path
    hardware: Hardware
    loggers: Sequence[Logger] = ()
    findings: Sequence[Finding] = ()

    def data_module(self, split: Split) -> PhaseDataModule:
        """Batches of a split of the benchmark, scaled as the configuration says."""
        return self.config.dataset.data_module(self.benchmark, split)


def check_classifier(config: RunConfig) -> None:
    """Check that the method gives what the classifier needs.

    Raises:
        ConfigError: The method does not.
    """
    config.classifier_class.check(config.classifier, config.method_class, config.method)


def set_classifier(method: ZeroShotMethod, config: RunConfig, classes: ClassSpace) -> Classifier:
    """Give a method the classifier of the configuration, not fitted.

    Args:
        method: A newly built method.
        config: The configuration.
        classes: The classes that it is trained with.
    """
    classifier = config.classifier_class(config.classifier, classes, config.seed)
    method.classifier = classifier
    return classifier


def make_trainer(
    context: RunContext,
    callbacks: Sequence[pl.Callback] = (),
    *,
    epochs: int = 0,
    validate: bool = True,
    checkpoint_io: checkpoints.AtomicCheckpointIO | None = None,
) -> pl.Trainer:
    """A Lightning trainer for a phase of training, or for a test.

    Args:
        context: The run.
        callbacks: Callbacks beside those of the configuration.
        epochs: Epochs, each of which ends with a check; 0 for a test, which has neither loggers nor
            the callbacks of the configuration.
        validate: Whether checks evaluate anything.
        checkpoint_io: Reads and writes checkpoints; None makes a new one.
    """
    config, hardware = context.config, context.hardware
    timeout = config.trainer.seconds_to_answer
    single = config.trainer.precision == "32-true"
    trainer = pl.Trainer(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        strategy=distributed.GradientAveraging(timeout) if hardware.processes > 1 else "auto",
        use_distributed_sampler=False,  # the data modules give each process its share
        precision=None if single else config.trainer.precision,
        deterministic=config.deterministic,
        log_every_n_steps=config.trainer.log_every_n_steps,
        max_epochs=epochs,
        limit_val_batches=None if validate else 0,
        num_sanity_val_steps=0,
        logger=list(context.loggers) if epochs else False,
        callbacks=[*(_configured_callbacks(config) if epochs else ()), *callbacks],
        enable_checkpointing=True,
        plugins=[
            checkpoint_io or checkpoints.AtomicCheckpointIO(),
            *_cluster_environment(config, hardware),
            *([SinglePrecision()] if single else ()),
        ],
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(context.folder),
    )
    # Lightning's handler of SIGTERM exchanges messages; zsl_lab.hardware.stopping handles it
    trainer._signal_connector.register_signal_handlers = _no_handlers  # type: ignore[method-assign]
    return trainer


def _no_handlers() -> None:
    pass


def _configured_callbacks(config: RunConfig) -> list[pl.Callback]:
    if not distributed.is_main():
        return []
    return [_callback(f"callbacks.{name}", node) for name, node in config.callbacks.items()]


def _callback(key: str, node: Any) -> pl.Callback:
    target = node.get("_target_") if isinstance(node, dict) else None
    try:
        # the class is looked up first: a function would be called
        known = isinstance(target, str) and issubclass(get_class(target), pl.Callback)
    except (ImportError, ValueError, TypeError, HydraException) as error:
        raise ConfigError(
            f"{key}._target_={target}: no such class ({str(error).splitlines()[0]}). Expected the "
            f"import path of a Lightning callback; leave it out with ~{key}."
        ) from error
    if not known:
        raise ConfigError(
            f"{key}: found {node!r:.100}; expected a section whose _target_ is the import path of "
            f"a Lightning callback. Leave it out with ~{key}."
        )
    try:
        made = instantiate(node)
    except HydraException as error:
        raise ConfigError(
            f"{key}: it cannot be made: {str(error).splitlines()[0]}. Correct its arguments, or "
            f"leave it out with ~{key}."
        ) from error
    assert isinstance(made, pl.Callback)
    return made


def _cluster_environment(config: RunConfig, hardware: Hardware) -> list[Any]:
    if config.trainer.launch == "slurm":
        # resume=auto resumes after a requeue; Lightning's own way would load the state of another
        # phase
        return [SLURMEnvironment(auto_requeue=False)]
    return [LightningEnvironment()] if hardware.nodes == 1 else []


# ------------------------------------------------------------------------------- the benchmark


@dataclass(frozen=True)
class Loaded:
    """A benchmark prepared for runs, and the findings about it.

    Attributes:
        benchmark: The benchmark, in which unknown values are filled in.
        findings: Findings from reading the benchmark and filling in unknown values.
    """

    benchmark: Benchmark
    findings: tuple[Finding, ...]


def load_benchmark(config: RunConfig) -> Benchmark:
    """The benchmark of a configuration, without the data check; see :func:`load_checked`."""
    return load_checked(config, checked=False)[0]


def load_checked(
    config: RunConfig, given: Benchmark | None = None, *, checked: bool = True
) -> tuple[Benchmark, tuple[Finding, ...]]:
    """The benchmark of a configuration, and what the data check finds in it.

    It is read once for all runs of this process that share it. Marks of unknown values in class
    semantics are replaced by the mean of their column over the seen classes. Then the classes of
    ``data.extra_classes`` are added.

    Args:
        config: The configuration.
        given: A benchmark in memory, in place of the one that ``config.dataset`` reads.
        checked: Whether the check is made.

    Returns:
        The benchmark, whose arrays are read-only where they are shared, and the findings.

    Raises:
        DataError: A file is missing, damaged or inconsistent; or something was found and
            ``data.check=strict``.
    """
    dataset = config.dataset
    paths = DataPaths(Path(config.paths.data_dir).expanduser(), config.paths.cache_folder)
    load = dataset.load_images if config.method_class.takes == "images" else dataset.load
    sources = dataset.sources(paths)
    if given is not None:
        in_memory = given
        loaded = _prepared(lambda: in_memory)
    elif sources is None:
        loaded = _prepared(lambda: load(paths))
    else:
        key = (
            type(dataset),
            config.method_class.takes,
            dataset.model_dump_json(exclude=dataset.applied_later),
            (paths.data_dir.absolute(), paths.cache_dir.absolute()),
            file_stamp(sources),
        )
        loaded = benchmarks.get(key, lambda: _prepared(lambda: _read_only(load(paths))))
    benchmark = dataset.with_split(loaded.benchmark, paths)
    if isinstance(benchmark, StoredBenchmark) and distributed.is_main():
        say(announcement(getattr(dataset, "storage", "disk"), *benchmark.source.shape))
    if config.data.extra_classes is not None:
        extra = Path(config.data.extra_classes).expanduser()
        benchmark = with_extra_classes(benchmark, extra, config.paths.cache_folder)
    if not checked:
        return benchmark, loaded.findings
    found = check(benchmark) if given is not None else checked_once(benchmark, paths.cache_dir)
    findings = tuple(by_level([*loaded.findings, *found]))
    if config.data.check == "strict":
        refuse(findings, benchmark.name)
    if distributed.is_main():
        warn(findings)
    return benchmark, findings


def _prepared(load: Callable[[], Benchmark]) -> Loaded:
    """Load a benchmark, turn its reader's warnings into findings, and fill in unknown values."""
    benchmark, findings = with_reader_findings(load)
    if not isinstance(benchmark, VectorBenchmark):
        return Loaded(benchmark, findings)
    filled, marks = fill_unknown(benchmark)
    if filled is benchmark:
        return Loaded(benchmark, findings)
    return Loaded(_read_only(filled), (*findings, unknown_finding(benchmark, marks)))


def _arrays(benchmark: Benchmark) -> list[npt.NDArray[Any]]:
    # fields alone: features that stay on disk are a property, which would read them
    found = (vars(benchmark).get(name) for name in ("features", "semantics", "images", "labels"))
    return [array for array in found if array is not None]


def _size(loaded: Loaded) -> int:
    arrays = _arrays(loaded.benchmark)
    return sum(array.nbytes for array in arrays if not isinstance(array, np.memmap))


def _read_only(benchmark: Benchmark) -> Benchmark:
    for array in _arrays(benchmark):
        array.flags.writeable = False
    return benchmark


#: benchmarks for the next runs of this process, up to 1 GiB
benchmarks: LRUCache[Loaded] = LRUCache(2**30, _size)
