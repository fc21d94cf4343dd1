"""Devices and processes: what conf/hardware asks for, checked against this machine."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from zsl_lab.errors import ConfigError
from zsl_lab.keys import Irrelevant, Section

#: environment variable with a process's rank: of zsl_lab.hardware.processes and torchrun, of srun
RANK_VARIABLES = {"local": "RANK", "slurm": "SLURM_PROCID"}

#: seconds that ``trainer.timeout=null`` stands for, on one machine and on several
_TIMEOUT, _TIMEOUT_OF_NODES = 60.0, 1800.0
#: processes that any machine may start on its CPU
_MIN_PROCESSES = 8


class TrainerConfig(Section):
    """Hardware of a run; set by conf/hardware, overridden by an explicit ``trainer.x=``."""

    accelerator: Literal["auto", "cpu", "gpu"]
    devices: Annotated[int, Field(ge=1)] | Literal["all"]
    num_nodes: int = Field(ge=1)
    launch: Literal["local", "slurm"]
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    log_every_n_steps: Annotated[int, Irrelevant()] = Field(ge=1)
    save_every_n_steps: Annotated[int | None, Irrelevant()] = Field(default=None, ge=1)
    timeout: Annotated[float | None, Irrelevant()] = Field(default=None, gt=0, le=1e6)
    max_processes: Annotated[int | None, Irrelevant()] = Field(default=None, ge=1)

    @property
    def seconds_to_answer(self) -> float:
        """Seconds after which a process that does not answer ends the run."""
        return self.timeout or (_TIMEOUT if self.num_nodes == 1 else _TIMEOUT_OF_NODES)


@dataclass(frozen=True)
class Hardware:
    """Hardware that a run uses.

    Attributes:
        accelerator: ``cpu`` or ``gpu``.
        devices: Processes on each node, one device each.
        nodes: Machines.
    """

    accelerator: Literal["cpu", "gpu"]
    devices: int
    nodes: int

    @property
    def processes(self) -> int:
        """Number of processes on all nodes."""
        return self.devices * self.nodes


def find_hardware(trainer: TrainerConfig) -> Hardware:
    """The hardware that a configuration asks for.

    Raises:
        ConfigError: This machine has no such devices, or they lack the wanted precision.
    """
    gpus = _gpus() if trainer.accelerator != "cpu" else 0
    if trainer.accelerator == "gpu" and gpus == 0:
        raise ConfigError(
            "trainer.accelerator=gpu: PyTorch finds no GPU on this machine. Use hardware=cpu "
            "(several processes: hardware=cpu_ddp), or install a PyTorch build with CUDA where "
            "there is one."
        )
    accelerator: Literal["cpu", "gpu"] = "gpu" if gpus else "cpu"
    devices = (gpus or os.cpu_count() or 1) if trainer.devices == "all" else trainer.devices
    if accelerator == "gpu" and devices > gpus:
        raise ConfigError(
            f"trainer.devices={devices}: this machine has {gpus} GPU{'s' if gpus > 1 else ''}. Set "
            f"trainer.devices={gpus}, or use processes on the CPU: hardware=cpu_ddp "
            f"trainer.devices={devices}."
        )
    most = trainer.max_processes or max(os.cpu_count() or 1, _MIN_PROCESSES)
    if accelerator == "cpu" and devices > most:
        raise ConfigError(
            f"trainer.devices={devices}: more processes than the {os.cpu_count()} cores of this "
            f"machine can run; expected at most {most}. Set trainer.devices={most} or less, or "
            "allow more: trainer.max_processes=N."
        )
    if accelerator == "cpu" and trainer.precision == "16-mixed":
        raise ConfigError(
            "trainer.precision=16-mixed: half precision needs a GPU, and this run is on the CPU. "
            "Use trainer.precision=bf16-mixed, or 32-true."
        )
    return Hardware(accelerator, devices, trainer.num_nodes)


def check_hardware(trainer: TrainerConfig) -> None:
    """Check that this machine has what a configuration asks for.

    Imports torch only where that depends on the GPUs.

    Raises:
        ConfigError: See :func:`find_hardware`.
    """
    one_of_any = trainer.accelerator == "auto" and trainer.devices == 1
    if not one_of_any or trainer.precision == "16-mixed":
        find_hardware(trainer)


def device_name(hardware: Hardware) -> str:
    """Devices as ``result.json`` names them: ``2 x NVIDIA A100``, ``cpu (model, 4 threads)``."""
    import torch

    if hardware.accelerator == "gpu":
        name = torch.cuda.get_device_name()
    else:
        threads = torch.get_num_threads()
        name = f"cpu ({processor()}, {threads} thread{'s' if threads > 1 else ''})"
    return f"{hardware.processes} x {name}" if hardware.processes > 1 else name


def processor() -> str:
    """The model name of the CPU, or its architecture (``x86_64``) where the name is unknown."""
    with suppress(OSError):
        for line in (
            Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        ):
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return " ".join(value.split())
    return platform.processor() or platform.machine() or "unknown"


def _gpus() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def is_one_of_several(trainer: TrainerConfig) -> bool:
    """Whether this process was started as one of several of a run."""
    return RANK_VARIABLES[trainer.launch] in os.environ


def rank_from_outside(launch: object) -> int:
    """The rank of this process where srun or torchrun started it; else 0.

    Args:
        launch: ``trainer.launch``.
    """
    variable = RANK_VARIABLES["slurm" if launch == "slurm" else "local"]
    value = os.environ.get(variable, "0")
    return int(value) if value.isdecimal() else 0


def processes_to_start(trainer: TrainerConfig) -> int:
    """Number of processes to start for a run; 0 where the run takes place in this process.

    Raises:
        ConfigError: See :func:`find_hardware`.
    """
    if (
        trainer.devices == 1
        or trainer.num_nodes > 1
        or trainer.launch != "local"
        or is_one_of_several(trainer)
    ):
        return 0
    hardware = find_hardware(trainer)
    if hardware.accelerator == "cpu" and trainer.accelerator == "auto":
        print(f"No GPU here: training in {hardware.devices} processes on the CPU.", file=sys.stderr)  # noqa: T201
    return hardware.devices if hardware.devices > 1 else 0


def check_started(trainer: TrainerConfig) -> None:
    """Raise ConfigError if Slurm should have started this process and has not."""
    if trainer.launch == "slurm" and not is_one_of_several(trainer):
        raise ConfigError(
            "trainer.launch=slurm: this is not a step of a Slurm job (SLURM_PROCID is not set). "
            "Start it with srun, one task per device, in an sbatch job; or choose "
            "hardware=multi_gpu, which needs no Slurm."
        )


def check_processes(trainer: TrainerConfig, hardware: Hardware) -> None:
    """Compare the number of started processes with the configuration.

    Raises:
        ConfigError: They differ.
    """
    if not is_one_of_several(trainer):
        if hardware.processes > 1:
            raise ConfigError(
                f"trainer.devices={hardware.devices}, trainer.num_nodes={hardware.nodes}: "
                f"{hardware.processes} processes are needed, and this is a single one. `python -m "
                "zsl_lab` starts those of one machine; on several, use srun (hardware=slurm) or "
                "torchrun."
            )
        return
    # Lightning deletes WORLD_SIZE after each fit, and this is not the only one of a run
    variable, wanted = (
        ("SLURM_NTASKS", hardware.processes)
        if trainer.launch == "slurm"
        else ("LOCAL_WORLD_SIZE", hardware.devices)
    )
    started = int(os.environ.get(variable, "1"))
    if started != wanted:
        raise ConfigError(
            f"{variable}={started}: the configuration has trainer.devices={hardware.devices} and "
            f"trainer.num_nodes={hardware.nodes}. Start {hardware.processes} processes, "
            f"{hardware.devices} on each machine, or set these keys to what was started."
        )
