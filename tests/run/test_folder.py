"""Folders of runs: what is refused, what is removed, who excludes whom."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from zsl_lab.errors import ConfigError
from zsl_lab.keys import Marks
from zsl_lab.run import folder
from zsl_lab.run.folder import RESULTS, check_free, claim, claimed, held, release_all

OURS = Marks().header() + "method: {}\n"


@pytest.fixture(autouse=True)
def _released() -> Iterator[None]:
    yield
    release_all()


def files(place: Path) -> dict[str, bytes]:
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def write(place: Path, *names: str, text: str = "x") -> None:
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("name", RESULTS)
def test_a_folder_with_a_run_is_refused_and_stays_as_it_is(tmp_path: Path, name: str) -> None:
    write(tmp_path, "config.yaml", text=OURS)
    write(tmp_path, name, "notes.txt")
    before = files(tmp_path)
    with pytest.raises(ConfigError, match=f"{tmp_path}.*found {name}.*overwrite=true"):
        claim(tmp_path)
    assert files(tmp_path) == before
    assert not (tmp_path / ".lock").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.yaml", "mine: true"),
        ("config.yaml", ""),
        ("metrics.csv", "a,b"),
        (".hydra/hydra.yaml", "hydra:\n  job:\n    name: their_app\n"),
    ],
)
def test_a_file_of_the_users_that_a_run_would_replace_is_refused(
    tmp_path: Path, name: str, text: str
) -> None:
    write(tmp_path, name, text=text)
    with pytest.raises(ConfigError, match="is not a file of a run and would be replaced"):
        claim(tmp_path)
    assert files(tmp_path) == {name: text.encode()}


@pytest.mark.parametrize("name", ["notes.txt", "checkpoints/mine.ckpt", "figures/a.png", ".git/x"])
def test_other_files_do_not_matter(tmp_path: Path, name: str) -> None:
    write(tmp_path, name)
    claim(tmp_path)


def test_a_run_that_ended_before_its_first_checkpoint_may_be_replaced(tmp_path: Path) -> None:
    write(tmp_path, "config.yaml", text=OURS)
    write(tmp_path, "metrics.csv")
    write(tmp_path, ".hydra/hydra.yaml", text="hydra:\n  job:\n    name: zsl_lab\n")
    claim(tmp_path)


@pytest.mark.parametrize("keys", [{"overwrite": True}, {"goes_on": True}])
def test_what_was_asked_for_is_not_refused(tmp_path: Path, keys: dict[str, bool]) -> None:
    write(tmp_path, "result.json")
    assert claim(tmp_path, **keys).folder == tmp_path


def test_an_unfinished_run_is_answered_with_the_command_that_goes_on(tmp_path: Path) -> None:
    write(tmp_path, "checkpoints/last.ckpt")
    with pytest.raises(ConfigError, match=rf"go on with it \(ckpt={tmp_path}/checkpoints/last"):
        check_free(tmp_path)


# --------------------------------------------------------------------------- what is removed


def record(place: Path) -> None:
    for name in folder.RECORD_FILES:
        write(place, f".hydra/{name}")


def test_a_failed_command_removes_the_folders_that_it_made_and_no_others(tmp_path: Path) -> None:
    mine = tmp_path / "mine/empty"
    mine.mkdir(parents=True)
    found = claim(mine / "sgal_digits/2025")
    record(found.folder)
    found.discard()
    assert mine.is_dir()
    assert list(mine.iterdir()) == []


def test_an_empty_folder_of_the_users_stays(tmp_path: Path) -> None:
    found = claim(tmp_path / "made")
    found.discard()
    assert not (tmp_path / "made").exists()
    (tmp_path / "own").mkdir()
    found = claim(tmp_path / "own")
    record(found.folder)
    found.discard()
    assert list((tmp_path / "own").iterdir()) == []


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    write(tmp_path, ".hydra/overrides.yaml", "notes.txt")
    found = claim(tmp_path)
    record(found.folder)
    before = files(tmp_path)
    found.discard()
    assert files(tmp_path) == before


def test_a_folder_with_other_files_by_now_stays(tmp_path: Path) -> None:
    found = claim(tmp_path / "a/b")
    record(found.folder)
    write(found.folder, "metrics.csv")
    found.discard()
    assert (tmp_path / "a/b/.hydra/hydra.yaml").exists()


def test_a_folder_that_is_gone_is_no_error(tmp_path: Path) -> None:
    found = claim(tmp_path / "a/b")
    (found.folder / ".lock").unlink()
    found.folder.rmdir()
    found.discard()
    assert not (tmp_path / "a").exists()


# --------------------------------------------------------------------------- the lock

HOLD = """
import sys, time
from pathlib import Path
from zsl_lab.run.folder import claim
claim(Path(sys.argv[1]), goes_on=True)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("keys", [{}, {"overwrite": True}, {"goes_on": True}])
def test_a_folder_in_use_is_refused_with_the_process_that_uses_it(
    tmp_path: Path, holder: subprocess.Popen[str], keys: dict[str, bool]
) -> None:
    for _ in range(3):  # an attempt does not make the holder unknown
        with pytest.raises(ConfigError, match=f"process {holder.pid} on .* is using this folder"):
            claim(tmp_path, **keys)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_dead_process_is_free(
    tmp_path: Path, holder: subprocess.Popen[str], number: int
) -> None:
    os.kill(holder.pid, number)
    holder.wait()
    assert (tmp_path / ".lock").exists()
    claim(tmp_path)


def test_a_lock_file_of_a_process_that_does_not_hold_it_is_free(tmp_path: Path) -> None:
    write(tmp_path, ".lock", text='{"pid": 1, "host": "elsewhere"}')
    claim(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1}', "\x1b[2J"])
def test_a_damaged_lock_file_is_no_error(tmp_path: Path, text: str) -> None:
    write(tmp_path, ".lock", text=text)
    claim(tmp_path).release()
    assert not (tmp_path / ".lock").exists()


@pytest.mark.slow
def test_of_many_processes_one_gets_the_folder(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom zsl_lab.errors import ConfigError\n"
        "from zsl_lab.run.folder import claim\n"
        "while not Path(sys.argv[1], 'go').exists(): time.sleep(0.01)\n"
        "try: claim(Path(sys.argv[1], 'run'))\n"
        "except ConfigError: sys.exit(3)\n"
        "time.sleep(float(sys.argv[2]))\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), "20"]) for _ in range(4)
    ]
    time.sleep(1)
    (tmp_path / "go").touch()
    ended: set[int] = set()
    until = time.monotonic() + 120
    while len(ended) < 3 and time.monotonic() < until:
        ended = {process.pid for process in processes if process.poll() is not None}
        time.sleep(0.05)
    codes = sorted(process.poll() or 0 for process in processes)
    for process in processes:
        process.kill()
        process.wait()
    assert codes == [0, 3, 3, 3]


def test_a_claim_is_shared_within_the_command_and_ends_with_the_context(tmp_path: Path) -> None:
    with held(tmp_path) as first:
        with held(tmp_path) as second:
            assert second is first
        assert claimed(tmp_path) is first
    assert claimed(tmp_path) is None
    assert not (tmp_path / ".lock").exists()


def test_a_folder_is_claimed_under_each_of_its_names(tmp_path: Path) -> None:
    """Hydra's folder may have .. in its name, and the run's not."""
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    found = claim(tmp_path / "here" / ".." / "run")
    assert claimed(tmp_path / "run") is found
    assert claim(tmp_path / "link" / ".." / "run") is found
