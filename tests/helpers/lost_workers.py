"""Sweeps whose workers are lost in the middle: what tests of clusters have in common."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.conftest import SHORT, Finished
from tests.helpers.forked import Forked

#: of mmvae, long enough to be lost in the middle
LONG = (
    *SHORT,
    "selection.report_oracle=false",
    "trainer.save_every_n_steps=20",
    "method.steps=200",
)
#: seconds that each step may take on a busy machine
PATIENCE = 400


def until(found: Callable[[], Any], process: Forked) -> Any:
    """What ``found`` returns, as soon as that is something, while a command runs."""
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def has_begun(job: Path) -> bool:
    """Whether a job has a checkpoint to go on from."""
    return (job / "checkpoints" / "last.ckpt").exists()


def worker_in_the_middle(job: Path, process: Forked) -> int:
    """The process that runs a job, once the job has a checkpoint to go on from."""

    def worker() -> int:
        try:
            return int(json.loads((job / ".lock").read_text())["pid"])
        except (OSError, ValueError, KeyError):
            return 0

    until(lambda: has_begun(job), process)
    found: int = until(worker, process)
    assert not (job / "result.json").exists()
    return found


def assert_as_whole(finished: Finished, jobs: Mapping[Path, int]) -> None:
    """Jobs, each with its steps, have the metrics of runs that were never interrupted."""
    for job, steps in jobs.items():
        whole = finished("method=mmvae", *LONG[:-1], f"method.steps={steps}")
        assert _metrics(job) == _metrics(whole), job


def _metrics(job: Path) -> tuple[Any, Any]:
    result = json.loads((job / "result.json").read_text())
    return result["metrics"], result["validation"]


def went_on(job: Path) -> bool:
    """Whether a job that was started twice went on: else its first checks are there twice."""
    checks = [tuple(row.split(",")[:2]) for row in (job / "metrics.csv").read_text().splitlines()]
    return len(set(checks)) == len(checks) > 1
