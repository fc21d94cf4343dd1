"""Sweeps on Ray and submitit: what a lost worker had begun goes on, what was finished stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.core_plugins import basic_launcher
from hydra.core.utils import JobReturn

from tests.conftest import SHORT
from tests.sweep.test_sweep import Command, command, real_command, rows_of

__all__ = ["command", "real_command"]

#: seconds that a cluster and its jobs may take on a busy machine
PATIENCE = 400


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A Ray cluster of two nodes, each of which runs a job at a time."""
    pytest.importorskip("ray")
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    from ray.cluster_utils import Cluster

    node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    for _ in range(3):  # Ray gives a node 30 seconds to start, which a busy machine may need
        cluster = Cluster()
        try:
            cluster.add_node(include_dashboard=False, **node)
            cluster.add_node(**node)
        except Exception as error:
            cluster.shutdown()
            failed = str(error)
            continue
        yield cluster.address
        cluster.shutdown()
        return
    pytest.skip(f"Ray does not start here: {failed}")


def worker_of(job: Path) -> int | None:
    """The process that runs a job."""
    try:
        return int(json.loads((job / ".lock").read_text())["pid"])
    except (OSError, ValueError, KeyError):
        return None


@pytest.mark.slow
def test_a_sweep_on_ray_survives_the_loss_of_a_worker(tmp_path: Path, address: str) -> None:
    arguments = [
        *("-m", "hydra/launcher=ray", f"hydra.launcher.ray.init.address='{address}'"),
        *("+hydra.launcher.ray.init.log_to_driver=false", "hydra.sweep.dir=made"),
        *("method=mmvae", *SHORT, "figures=false", "method.steps=600", "seed=0,1,2"),
        *("selection.check_every=50", "selection.report_oracle=false"),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "zsl_lab", *arguments],
        cwd=tmp_path,
        env={**os.environ, "ZSL_LAB_CACHE": str(tmp_path / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    finished, killed, steps = {}, None, 0
    try:
        deadline = time.monotonic() + PATIENCE
        while killed is None and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
            results = {
                path: path.stat().st_mtime_ns for path in tmp_path.glob("made/*/result.json")
            }
            running = [
                path.parent.parent
                for path in tmp_path.glob("made/*/checkpoints/last.ckpt")
                if path.parent.parent / "result.json" not in results
            ]
            if results and running and (worker := worker_of(running[0])):
                finished, killed = results, running[0]
                os.kill(worker, signal.SIGKILL)
        assert killed is not None
        _, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert [row["outcome"] for row in rows_of(tmp_path / "made")] == ["finished"] * 3
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    # it went on from its checkpoint: the rows of a new run would begin with the first check twice
    steps = [line.split(",")[:2] for line in (killed / "metrics.csv").read_text().splitlines()]
    assert len({tuple(step) for step in steps}) == len(steps)


def test_a_job_that_is_started_again_goes_on_from_its_checkpoint(command: Command) -> None:
    run_job = basic_launcher.run_job

    def twice(**kwargs: Any) -> JobReturn:
        """As submitit does after a time-out: the same call again."""
        try:
            return run_job(**kwargs)
        except TimeOutError:
            return run_job(**kwargs)

    class TimeOutError(BaseException):
        """What ends a process at its time limit."""

    command.events[0] = TimeOutError()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(basic_launcher, "run_job", twice)
        code, _, err = command("-m", "method=mmvae", "seed=0", "hydra.sweep.dir=made")
    assert code == 0, err
    assert command.resumed == [
        None,
        str(Path("made/0_mmvae_digits/checkpoints/last.ckpt").absolute()),
    ]
