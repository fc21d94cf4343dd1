"""Pre-training that runs share: its state, in a file named by a hash of all that affects it.

A run that finds the file continues from it as from its own checkpoint, and ends with the same
weights as a run that has pre-trained by itself. The files may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from zsl_lab.console.messages import say
from zsl_lab.data.benchmark import Benchmark, VectorBenchmark
from zsl_lab.errors import CheckpointError
from zsl_lab.files.atomic import remove_leftovers
from zsl_lab.files.hashing import sha256_arrays, sha256_file
from zsl_lab.hardware.trainer import Hardware
from zsl_lab.keys import AfterPretraining, Irrelevant, marked, without
from zsl_lab.result import versions
from zsl_lab.run import together
from zsl_lab.run.checkpoints import files as checkpoints
from zsl_lab.run.checkpoints.files import Checkpoint
from zsl_lab.run.checkpoints.state import FORMAT
from zsl_lab.run.config import RunConfig
from zsl_lab.run.configuration.schema import RunKeys
from zsl_lab.run.records.metrics_csv import Row

#: seconds after which a waiting run prints a message
PATIENCE = 1.0
#: the key of the folder of shared pre-trainings
KEY = "paths.pretrained_dir"


class SharedPretraining:
    """A pre-training that all runs with the same settings for it share.

    Args:
        folder: The folder of shared pre-trainings.
        steps: Training steps of the pre-training.
        facts: Everything that affects it, in plain containers.

    Attributes:
        path: Its file, which need not exist.
        steps: Training steps of the pre-training.
        facts: Everything that affects it.
        claimed: Whether this run is to write the file.
        found: The file's content, in the process that looked for it; None if there is no file.
    """

    def __init__(self, folder: Path, steps: int, facts: dict[str, Any]) -> None:
        self.steps = steps
        self.facts = facts
        self.claimed = False
        self.found: Checkpoint | None = None
        name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
        self.path = folder.expanduser().absolute() / f"{name}.ckpt"
        # the system releases it if its holder dies
        self._lock = FileLock(str(self.path.with_name(f".{name}.lock")))

    def find_or_claim(self, *, wait: bool) -> list[Row] | None:
        """Look for the file; if it does not exist, lock it for this run to write (``claimed``).

        Args:
            wait: Whether to wait while another run writes it.

        Returns:
            The rows that were logged in the pre-training; None if there is no file.
        """
        rows = self._read()
        if rows is not None:
            return rows
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with together.waiting():
                try:
                    self._lock.acquire(timeout=PATIENCE if wait else 0)
                except Timeout:
                    if not wait:
                        return None
                    say("Another job is doing the same pre-training; this one waits for it.")
                    self._lock.acquire()
        except (OSError, NotImplementedError) as error:
            warnings.warn(
                f"{self.path.parent}: pre-training cannot be shared there ({error}); each run does "
                "its own.",
                stacklevel=2,
            )
            return None
        rows = self._read()
        if rows is not None:
            self._lock.release()
        self.claimed = rows is None
        if self.claimed:
            remove_leftovers(self.path.parent, self.path.name)
        return rows

    def _read(self) -> list[Row] | None:
        if not self.path.is_file():
            return None
        try:
            found = checkpoints.read(self.path, KEY)
            if (found.state.pretraining, found.step) != (self.facts, self.steps):
                raise CheckpointError(f"{KEY}={self.path}: it holds another pre-training.")
        except CheckpointError as error:
            warnings.warn(f"{error} The pre-training is repeated.", stacklevel=3)
            return None
        self.found = found
        return found.state.metrics or []

    def release(self) -> None:
        """Unlock the file for other runs."""
        self.claimed = False
        self._lock.release()


def facts(
    config: RunConfig,
    benchmark: Benchmark,
    phase: str,
    calibration: float | None,
    hardware: Hardware,
    *,
    evaluates: bool,
    classifies: bool,
) -> dict[str, Any]:
    """Everything that affects the weights after the pre-training of a phase, and its logged rows.

    With equal facts the weights are bit-equal on the same kind of processor.

    Args:
        config: The run; its method has a pre-training.
        benchmark: The data that it trains on.
        phase: ``select`` or ``refit``.
        calibration: Constant added to the scores of unseen classes; None if each check chooses its
            own.
        hardware: The devices of the run.
        evaluates: Whether checks compute metrics.
        classifies: Whether checks before its end depend on the classifier; the check at its end is
            repeated by runs with another classifier.
    """
    assert config.method.pretraining is not None
    kind = type(config.method)
    no_effect = {*marked(kind, AfterPretraining), *marked(kind, Irrelevant)}
    callbacks = without({"callbacks": config.callbacks}, marked(RunKeys, Irrelevant))
    hashes = {
        "splits": benchmark.provenance.splits_sha256,
        "features": benchmark.provenance.features_sha256,
    }
    if isinstance(benchmark, VectorBenchmark):  # they may come from a third file
        hashes["semantics"] = sha256_arrays(benchmark.semantics)
    selection, trainer = config.selection, config.trainer
    on_gpu = hardware.accelerator == "gpu"
    device = (
        torch.cuda.get_device_name()
        if on_gpu
        else f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    )
    return {
        "class": f"{config.method_class.__module__}.{config.method_class.__qualname__}",
        **callbacks,
        "method": without(config.method.model_dump(mode="json"), no_effect),
        "dataset": without(config.plain["dataset"], marked(type(config.dataset), Irrelevant)),
        "hashes": hashes,
        "phase": phase,
        "seed": config.seed,
        "selection": selection.model_dump(mode="json"),
        "classifier": config.plain["classifier"] if evaluates and classifies else None,
        # affects only metrics
        "calibration": calibration if evaluates else None,
        "trainer": {
            "device": device,
            "processes": hardware.processes,
            "precision": trainer.precision,
            "deterministic": config.deterministic,
            "log_every_n_steps": trainer.log_every_n_steps,
        },
        "versions": versions(),
        "source": _source(config.method_class, type(config.dataset)),
        "format": FORMAT,
    }


def _source(*classes: type[Any]) -> str:
    """SHA-256 of this package's code, and of the modules that define the given classes."""
    own = {
        str(getattr(sys.modules[base.__module__], "__file__", ""))
        for cls in classes
        for base in cls.__mro__
    }
    package = Path(__file__).resolve().parents[1]
    others = sorted(
        file for file in own if file.endswith(".py") and package not in Path(file).resolve().parents
    )
    return _sha256_files((*sorted(str(path) for path in package.rglob("*.py")), *others))


@cache  # files may be edited later, but a process runs what it has imported
def _sha256_files(files: Iterable[str]) -> str:
    return hashlib.sha256("".join(sha256_file(Path(file)) for file in files).encode()).hexdigest()
