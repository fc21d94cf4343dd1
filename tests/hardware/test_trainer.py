"""What a configuration asks for, compared with what the machine has."""

from __future__ import annotations

from typing import Any

import pytest

from zsl_lab.errors import ConfigError
from zsl_lab.hardware import trainer as hardware
from zsl_lab.hardware.trainer import (
    Hardware,
    TrainerConfig,
    check_hardware,
    check_processes,
    check_started,
    find_hardware,
    processes_to_start,
)


@pytest.fixture(autouse=True)
def _by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)


def has_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(hardware, "_gpus", lambda: count)


def trainer(**keys: Any) -> TrainerConfig:
    usual = {
        "accelerator": "auto",
        "devices": 1,
        "num_nodes": 1,
        "launch": "local",
        "precision": "32-true",
        "log_every_n_steps": 50,
    }
    return TrainerConfig.model_validate(usual | keys)


@pytest.mark.parametrize(
    ("gpus", "keys", "found"),
    [
        (0, {}, Hardware("cpu", 1, 1)),
        (2, {}, Hardware("gpu", 1, 1)),
        (2, {"accelerator": "cpu"}, Hardware("cpu", 1, 1)),
        (0, {"devices": 2}, Hardware("cpu", 2, 1)),
        (4, {"devices": 2}, Hardware("gpu", 2, 1)),
        (4, {"devices": "all", "accelerator": "gpu"}, Hardware("gpu", 4, 1)),
        (2, {"devices": 2, "num_nodes": 3}, Hardware("gpu", 2, 3)),
    ],
)
def test_auto_takes_gpus_where_there_are_some(
    monkeypatch: pytest.MonkeyPatch, gpus: int, keys: dict[str, Any], found: Hardware
) -> None:
    has_gpus(monkeypatch, gpus)
    assert find_hardware(trainer(**keys)) == found
    assert found.processes == found.devices * found.nodes


def test_gpus_are_asked_for_only_where_something_may_be_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def gpus() -> int:
        asked.append(True)
        return 0

    monkeypatch.setattr(hardware, "_gpus", gpus)
    check_hardware(trainer())
    assert not asked
    for keys in ({"accelerator": "gpu"}, {"precision": "16-mixed"}, {"devices": 1000}):
        with pytest.raises(ConfigError):
            check_hardware(trainer(**keys))
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("gpus", "keys", "sentence"),
    [
        (0, {"accelerator": "gpu"}, "PyTorch finds no GPU on this machine. Use hardware=cpu"),
        (
            1,
            {"devices": 2},
            "trainer.devices=2: this machine has 1 GPU. Set trainer.devices=1, or use processes on "
            "the CPU: hardware=cpu_ddp",
        ),
        (
            0,
            {"precision": "16-mixed"},
            "half precision needs a GPU, and this run is on the CPU. Use",
        ),
    ],
)
def test_what_the_machine_lacks_is_a_sentence_with_the_alternatives(
    monkeypatch: pytest.MonkeyPatch, gpus: int, keys: dict[str, Any], sentence: str
) -> None:
    has_gpus(monkeypatch, gpus)
    with pytest.raises(ConfigError) as caught:
        find_hardware(trainer(**keys))
    assert sentence in str(caught.value)


def test_two_processes_on_the_cpu_in_place_of_gpus_are_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    has_gpus(monkeypatch, 0)
    assert processes_to_start(trainer(devices=2)) == 2
    assert capsys.readouterr().err == "No GPU here: training in 2 processes on the CPU.\n"
    assert processes_to_start(trainer(devices=2, accelerator="cpu")) == 2
    assert capsys.readouterr().err == ""


def test_nothing_is_started_for_one_device_nor_by_a_process_that_was_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    has_gpus(monkeypatch, 0)
    assert processes_to_start(trainer()) == 0
    assert processes_to_start(trainer(devices=2, launch="slurm")) == 0
    monkeypatch.setenv("RANK", "1")
    assert processes_to_start(trainer(devices=2)) == 0


def test_processes_that_nobody_started_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="2 processes are needed, and this is a single one"):
        check_processes(trainer(devices=2), Hardware("cpu", 2, 1))
    with pytest.raises(ConfigError, match="this is not a step of a Slurm job"):
        check_started(trainer(launch="slurm"))
    check_processes(trainer(), Hardware("cpu", 1, 1))


@pytest.mark.parametrize(
    ("launch", "rank", "count", "right"),
    [("local", "RANK", "LOCAL_WORLD_SIZE", 2), ("slurm", "SLURM_PROCID", "SLURM_NTASKS", 4)],
)
def test_another_number_of_processes_than_configured_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, launch: str, rank: str, count: str, right: int
) -> None:
    monkeypatch.setenv(rank, "0")
    monkeypatch.setenv(count, str(right))
    check_processes(trainer(devices=2, num_nodes=2, launch=launch), Hardware("gpu", 2, 2))
    monkeypatch.setenv(count, "3")
    with pytest.raises(ConfigError, match=f"{count}=3: .*Start 4 processes, 2 on each machine"):
        check_processes(trainer(devices=2, num_nodes=2, launch=launch), Hardware("gpu", 2, 2))
