"""Starting and stopping the processes of a run; they import nothing, so that tests are quick."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from zsl_lab.errors import ConfigError, InterruptionError, TerminationError, TrainingError
from zsl_lab.hardware import processes as launch_module
from zsl_lab.hardware.processes import launch

Start = Callable[..., None]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Launch processes that run given lines, which may use ``rank``, ``overrides``, ``folder``."""
    for name in ("OMP_NUM_THREADS", "RANK", "LOCAL_RANK", launch_module.REPORT):
        monkeypatch.delenv(name, raising=False)

    def start(lines: str, processes: int = 2, overrides: tuple[str, ...] = ()) -> None:
        script = tmp_path / "process.py"
        head = (
            "import json, os, sys, time\nfrom pathlib import Path\n"
            f"rank, folder = int(os.environ['RANK']), Path({str(tmp_path)!r})\n"
        )
        tail = "(folder / f'pid{rank}').write_text(str(os.getpid()))\noverrides = sys.argv[1:]\n"
        script.write_text(head + tail + textwrap.dedent(lines))
        monkeypatch.setattr(launch_module, "COMMAND", (sys.executable, str(script)))
        launch(overrides, tmp_path / "run", processes)

    return start


#: lines of a process that follows its launcher, with more beats a second than by itself
BEATING = (
    "from zsl_lab.hardware import processes\nprocesses.BEAT = 0.1\nprocesses.follow_launcher()\n"
)


def alive(folder: Path, rank: int) -> bool:
    try:
        os.kill(int((folder / f"pid{rank}").read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def test_every_process_gets_the_job_and_its_place_among_the_others(
    start: Start, tmp_path: Path
) -> None:
    start(
        "(folder / f'seen{rank}').write_text(json.dumps([overrides, dict(os.environ)]))",
        processes=3,
        overrides=("seed=1", "method=sgal"),
    )
    seen = [json.loads((tmp_path / f"seen{rank}").read_text()) for rank in range(3)]
    for rank, (overrides, environment) in enumerate(seen):
        assert overrides == [
            "seed=1",
            "method=sgal",
            f"hydra.run.dir='{tmp_path / 'run'}'",
            "hydra.output_subdir=null",
            "hydra.mode=RUN",
        ]
        assert (environment["RANK"], environment["LOCAL_RANK"], environment["WORLD_SIZE"]) == (
            str(rank),
            str(rank),
            "3",
        )
        assert int(environment["OMP_NUM_THREADS"]) == max(1, (os.cpu_count() or 1) // 3)
    assert len({environment["MASTER_PORT"] for _, environment in seen}) == 1


def test_threads_that_the_user_asked_for_stay(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    start("(folder / f'threads{rank}').write_text(os.environ['OMP_NUM_THREADS'])")
    assert (tmp_path / "threads1").read_text() == "7"


def test_only_the_first_process_prints(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    start("print(f'process {rank}')")
    assert capfd.readouterr().out == "process 0\n"


def test_the_sentence_of_a_user_s_mistake_is_handed_on(start: Start) -> None:
    with pytest.raises(ConfigError, match=r"^method\.steps=0: no\.$"):
        start("Path(os.environ['ZSL_LAB_REPORT']).write_text('method.steps=0: no.'); sys.exit(2)")


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_fails_ends_the_others_and_is_the_one_that_speaks(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    monkeypatch.setattr(launch_module, "PATIENCE", 0.5)
    began = time.monotonic()
    with pytest.raises(TrainingError, match=r"^the loss is nan\.$"):
        start(
            f"""
            if rank == {rank}:
                Path(os.environ["ZSL_LAB_REPORT"]).write_text("the loss is nan.")
                sys.exit(1)
            time.sleep(60)
            """
        )
    assert time.monotonic() - began < 30
    assert not alive(tmp_path, 0)
    assert not alive(tmp_path, 1)


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them_whatever_it_died_of(tmp_path: Path) -> None:
    child = (
        f"import os, sys, time\nfrom pathlib import Path\n{BEATING}"
        f"Path({str(tmp_path)!r}, 'pid' + "
        "os.environ['RANK']).write_text(str(os.getpid()))\ntime.sleep(120)\n"
    )
    (tmp_path / "child.py").write_text(child)
    parent = (
        "import sys\nfrom pathlib import Path\nfrom zsl_lab.hardware import processes\n"
        f"processes.COMMAND = (sys.executable, {str(tmp_path / 'child.py')!r})\n"
        f"processes.launch([], Path({str(tmp_path)!r}), 2)\n"
    )
    launcher = subprocess.Popen([sys.executable, "-c", parent])
    ready = [tmp_path / f"pid{rank}" for rank in range(2)]
    try:
        while not all(file.exists() and file.read_text() for file in ready):
            assert launcher.poll() is None
            time.sleep(0.05)
    finally:
        launcher.kill()
        launcher.wait()
    until = time.monotonic() + 20
    while any(alive(tmp_path, rank) for rank in range(2)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not alive(tmp_path, 0)
    assert not alive(tmp_path, 1)


def test_a_process_that_was_killed_is_named(start: Start) -> None:
    with pytest.raises(TrainingError, match=r"^Process 1 of the run was ended by SIGKILL"):
        start("if rank == 1: os.kill(os.getpid(), 9)")


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGINT, "Interrupted"), (signal.SIGTERM, "Terminated")]
)
@pytest.mark.parametrize("saved", [True, False])
def test_an_interruption_ends_all_processes_and_says_how_to_go_on(
    start: Start, tmp_path: Path, number: signal.Signals, word: str, saved: bool
) -> None:
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    if saved:
        last.parent.mkdir(parents=True)
        last.touch()

    def interrupt() -> None:
        while not all((tmp_path / f"ready{rank}").exists() for rank in range(2)):
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    before = signal.getsignal(signal.SIGTERM)
    waiting = threading.Thread(target=interrupt)
    waiting.start()
    with pytest.raises(InterruptionError) as caught:
        start("(folder / f'ready{rank}').touch()\ntime.sleep(60)")
    waiting.join()
    assert str(caught.value).startswith(word)
    assert caught.value.exit_code == 128 + number
    assert (f"ckpt={last}" in str(caught.value)) == saved
    assert signal.getsignal(signal.SIGTERM) == before
    assert not alive(tmp_path, 0)
    assert not alive(tmp_path, 1)


# --------------------------------------------------------------------------- a process that stops


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_stopped_ends_the_run_within_the_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    script = tmp_path / "process.py"
    stop = f"if int(os.environ['RANK']) == {rank}: time.sleep(0.5); os.kill(os.getpid(), 19)\n"
    name = "Path(sys.argv[1], 'pid' + os.environ['RANK']).write_text(str(os.getpid()))\n"
    head = "import os, sys, time\nfrom pathlib import Path\n"
    script.write_text(head + name + BEATING + stop + "time.sleep(120)\n")
    monkeypatch.setattr(launch_module, "COMMAND", (sys.executable, str(script), str(tmp_path)))
    began = time.monotonic()
    with pytest.raises(TrainingError, match=rf"^Process {rank} .* gave no sign of life for \d+ s"):
        launch([], tmp_path / "run", 2, timeout=1.5)
    assert time.monotonic() - began < 60
    assert not alive(tmp_path, 0)
    assert not alive(tmp_path, 1)


@pytest.mark.slow
def test_a_process_that_is_busy_is_not_taken_for_a_stopped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "process.py"
    script.write_text(f"import time\n{BEATING}time.sleep(2.5)\n")
    monkeypatch.setattr(launch_module, "COMMAND", (sys.executable, str(script)))
    launch([], tmp_path / "run", 1, timeout=1.5)


@pytest.mark.slow
def test_a_process_that_sigterm_ended_ends_the_run_as_sigterm_does(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch_module, "PATIENCE", 0.5)
    with pytest.raises(TerminationError) as caught:
        start("if rank == 1: os.kill(os.getpid(), 15)\ntime.sleep(60)")
    assert caught.value.exit_code == 143
    assert not alive(tmp_path, 0)


@pytest.mark.slow
def test_the_error_that_caused_the_others_is_reported(start: Start) -> None:
    with pytest.raises(TrainingError, match=r"^Process 1 of the run was ended by SIGKILL"):
        start(
            """
            if rank == 1:
                time.sleep(1)
                os.kill(os.getpid(), 9)
            time.sleep(1)
            Path(os.environ["ZSL_LAB_REPORT"]).write_text("Connection closed by peer.")
            sys.exit(1)
            """
        )


def test_time_in_which_the_launcher_did_not_run_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("zsl_lab.hardware.processes.time.monotonic", lambda: now[0])
    (tmp_path / "0.alive").touch()
    silence = launch_module._Silence(tmp_path, 1)
    silence.longest([True])
    now[0] = 1000.0  # suspended
    found = silence.longest([True])
    assert found is not None
    assert found.silent <= 1.0
    for _ in range(100):
        now[0] += 0.1
        found = silence.longest([True])
    assert found is not None
    assert found.silent == pytest.approx(11.0)
    assert silence.longest([False]) is None
