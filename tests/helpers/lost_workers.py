"""Sweeps whose workers are lost in the middle: what tests of clusters have in common."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers.forked import Forked

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


def worker_in_the_middle(job: Path, process: Forked) -> int:
    """The process that runs a job, once the job has a checkpoint to go on from."""

    def worker() -> int:
        try:
            return int(json.loads((job / ".lock").read_text())["pid"])
        except (OSError, ValueError, KeyError):
            return 0

    until((job / "checkpoints" / "last.ckpt").exists, process)
    found: int = until(worker, process)
    assert not (job / "result.json").exists()
    return found


def metrics_of(sweep: Path) -> dict[str, Any]:
    """Metrics of each finished job of a sweep."""
    found = {}
    for path in sweep.glob("*/result.json"):
        result = json.loads(path.read_text())
        found[path.parent.name] = (result["metrics"], result["validation"])
    return found


def went_on(job: Path) -> bool:
    """Whether a job that was started twice went on: else its first checks are there twice."""
    checks = [tuple(row.split(",")[:2]) for row in (job / "metrics.csv").read_text().splitlines()]
    return len(set(checks)) == len(checks) > 1
