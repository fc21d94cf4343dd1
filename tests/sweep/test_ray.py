"""Sweeps on a real Ray cluster of two nodes: a lost worker, a lost machine, an absent cluster."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Finished
from tests.helpers.forked import Forked, command_line
from tests.helpers.lost_workers import (
    LONG,
    PATIENCE,
    assert_as_whole,
    until,
    went_on,
    worker_in_the_middle,
)
from tests.sweep.test_sweep import Command, command, real_command, rows_of

__all__ = ["command", "real_command"]

ray = pytest.importorskip("ray")

#: the first job is short, so that it has ended when a worker is lost
JOBS = ["method=mmvae", *LONG[:-1], "method.steps=40,200"]


def add_node(cluster: Any, **arguments: Any) -> Any:
    """A node with as few other processes as Ray allows."""
    for attempt in range(3):
        try:
            return cluster.add_node(
                object_store_memory=80 * 2**20, include_log_monitor=False, **arguments
            )
        except Exception as error:
            if attempt == 2:
                cluster.shutdown()
                pytest.skip(f"Ray does not start here: {error}")
    raise AssertionError


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of two nodes: that of the command, and one that runs a job at a time.

    Its processes end with the module.
    """
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_raylet_start_wait_time_s", "120")  # 30 by itself
        patch.setenv("RAY_worker_niceness", "0")  # 15 by itself, which starves on a busy machine
        made: Any = Cluster()
        add_node(made, num_cpus=0, include_dashboard=False, no_monitor=True)
        add_node(made, num_cpus=1)
        yield made
        made.shutdown()


def on_ray(cluster: Any, *more: str) -> list[str]:
    address = f"hydra.launcher.ray.init.address='{cluster.address}'"
    quiet = "hydra.launcher.ray.init.log_to_driver=false"
    return ["-m", "hydra/launcher=ray", address, quiet, "hydra.sweep.dir=made", *JOBS, *more]


SHORT_JOB, LONG_JOB = Path("made/0_mmvae_digits"), Path("made/1_mmvae_digits")


def worker_to_lose(process: Forked) -> tuple[int, int]:
    """The worker of the long job, and the time of the short one's result."""
    until((SHORT_JOB / "result.json").exists, process)
    written = (SHORT_JOB / "result.json").stat().st_mtime_ns
    return worker_in_the_middle(LONG_JOB, process), written


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_whose_worker_is_killed_is_started_again_and_goes_on(
    cluster: Any, real_command: Command, finished: Finished
) -> None:
    process = Forked(command_line, on_ray(cluster))
    try:
        worker, written = worker_to_lose(process)
        os.kill(worker, signal.SIGKILL)
        _, err = process.communicate(PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert [row["outcome"] for row in rows_of(Path("made"))] == ["finished", "finished"]
    assert (SHORT_JOB / "result.json").stat().st_mtime_ns == written
    assert_as_whole(finished, {SHORT_JOB: 40, LONG_JOB: 200})
    assert went_on(LONG_JOB)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_after_the_loss_of_a_machine_resuming_finishes_the_jobs_that_were_given_up(
    cluster: Any, real_command: Command, finished: Finished
) -> None:
    process = Forked(command_line, on_ray(cluster, "hydra.launcher.ray.remote.max_retries=0"))
    try:
        worker, written = worker_to_lose(process)
        cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
        with suppress(ProcessLookupError):  # it ends with its node
            os.kill(worker, signal.SIGKILL)
        _, err = process.communicate(PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "job 1: Ray has given it up" in err
    assert "1_mmvae_digits (method.steps=200): it stopped without a message" in err
    code, out, err = real_command("-m", *JOBS, "hydra.sweep.dir=made", "sweep.resume=true")
    assert code == 0, err
    assert "Skipped, since they were finished: 0_mmvae_digits." in out
    assert (SHORT_JOB / "result.json").stat().st_mtime_ns == written
    assert_as_whole(finished, {SHORT_JOB: 40, LONG_JOB: 200})
    assert went_on(LONG_JOB)


def test_an_address_without_a_cluster_is_a_sentence(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**given: Any) -> None:
        raise ConnectionError(f"no cluster at {given['address']}")

    monkeypatch.setattr(ray, "init", refuse)
    code, _, err = command(
        "-m", "hydra/launcher=ray", "hydra.launcher.ray.init.address='1.2.3.4:5'", "seed=0,1"
    )
    assert code == 2
    assert "hydra.launcher.ray.init (address=1.2.3.4:5" in err
    assert "Ray says: no cluster at 1.2.3.4:5. Expected the address of a running cluster" in err
    assert command.begun == []
