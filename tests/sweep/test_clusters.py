"""Jobs that a cluster starts again, after a time-out or a lost worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.core_plugins import basic_launcher
from hydra.core import utils
from hydra.core.utils import JobReturn

from tests.conftest import Finished
from tests.helpers.forked import Forked
from tests.helpers.forked_jobs import sweep_with_submitit
from tests.helpers.lost_workers import (
    LONG,
    PATIENCE,
    assert_as_whole,
    has_begun,
    until,
    went_on,
    worker_in_the_middle,
)
from tests.sweep.test_sweep import Command, command, real_command, rows_of
from zsl_lab.cli.overrides import wait_for_jobs

__all__ = ["command", "real_command"]


def test_a_job_that_is_started_again_goes_on_from_its_checkpoint(command: Command) -> None:
    run_job = utils.run_job

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


def test_a_job_that_is_started_again_waits_for_its_folder(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first worker may still be ending."""
    Path("made/0_mmvae_digits").mkdir(parents=True)
    record = '{"outcome": "started", "number": 0, "overrides": []}'

    def held_at_first(**kwargs: Any) -> JobReturn:
        Path("made/0_mmvae_digits/job.json").write_text(record)
        holder = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        return run_job(**kwargs)

    run_job = utils.run_job
    monkeypatch.setattr(basic_launcher, "run_job", held_at_first)
    code, _, err = command("-m", "method=mmvae", "seed=0", "hydra.sweep.dir=made")
    assert code == 0, err


HOLD = """
import time
from filelock import FileLock
with FileLock("made/0_mmvae_digits/.lock"):
    print("held", flush=True)
    time.sleep(1)
"""


def test_the_other_jobs_of_a_launcher_that_failed_are_waited_for() -> None:
    waited = []

    class Job:
        def wait(self) -> None:
            waited.append(self)
            raise RuntimeError("this one was lost")

    def launch() -> None:
        jobs = [Job(), Job()]
        raise RuntimeError(f"{len(jobs)} jobs")

    with pytest.raises(RuntimeError) as found:
        launch()
    wait_for_jobs(found.value.__traceback__)
    assert len(waited) == 2


def test_without_ray_its_launcher_names_the_extra(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    code, out, err = command("-m", "hydra/launcher=ray", "seed=0,1")
    assert (code, out) == (2, "")
    assert err == 'hydra/launcher=ray needs more packages: pip install "zsl-lab[ray]".\n'
    assert not Path("outputs").exists()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_submitit_starts_a_preempted_job_again_and_a_killed_one_is_resumed(
    real_command: Command, finished: Finished
) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    jobs = ["method=mmvae", *LONG[:-1], "method.steps=200,201,40"]
    killed, preempted, short = (Path("made") / f"{n}_mmvae_digits" for n in range(3))
    process = Forked(
        sweep_with_submitit, ["-m", "hydra/launcher=submitit_local", "hydra.sweep.dir=made", *jobs]
    )
    # Slurm sends the former before a job's time is up; submitit then starts the job again
    signals = {preempted: signal.SIGUSR2, killed: signal.SIGKILL}
    try:
        while signals:  # whichever comes first
            job = until(lambda: next(filter(has_begun, signals), None), process)
            os.kill(worker_in_the_middle(job, process), signals.pop(job))
        until((short / "result.json").exists, process)
        written = (short / "result.json").stat().st_mtime_ns
        _, err = process.communicate(PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "submitit: a job ended without a result" in err
    assert "Traceback" not in err
    assert "1 of 3 jobs without a result:\n  0_mmvae_digits (method.steps=200)" in err
    assert [row["outcome"] for row in rows_of(Path("made"))] == ["started", "finished", "finished"]
    assert went_on(preempted)
    code, out, err = real_command("-m", *jobs, "hydra.sweep.dir=made", "sweep.resume=true")
    assert code == 0, err
    assert "Skipped, since they were finished: 1_mmvae_digits, 2_mmvae_digits." in out
    assert (short / "result.json").stat().st_mtime_ns == written
    assert went_on(killed)
    assert_as_whole(finished, {killed: 200, preempted: 201, short: 40})
