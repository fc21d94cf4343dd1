"""What processes do that tests fork (:mod:`tests.helpers.forked`)."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf

from zsl_lab.errors import InterruptionError, OutputError, TrainingError
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.methods.sgal import SGAL
from zsl_lab.run.experiment import run


def run_and_signal(config: Path, number: int, phase: str, step: int) -> None:
    """Run SGAL; this process sends a signal to itself in the middle of a step."""
    train_on = SGAL.train_on

    def hit(self: SGAL, batch: Any) -> Any:
        if (self.phase, self.step) == (phase, step):
            os.kill(os.getpid(), number)
        return train_on(self, batch)

    SGAL.train_on = hit  # type: ignore[method-assign]
    try:
        run(_loaded(config))
    except InterruptionError as error:
        print(error)
        sys.exit(error.exit_code)


def run_and_count(config: Path) -> None:
    """Run SGAL and print the number of its steps of pre-training."""
    train_on, taken = SGAL.train_on, []

    def spy(self: SGAL, batch: Any) -> Any:
        taken.append(self.step < self.config.steps)
        return train_on(self, batch)

    SGAL.train_on = spy  # type: ignore[method-assign]
    run(_loaded(config))
    print(sum(taken))


def run_to_the_first_checkpoint(config: Path) -> None:
    """Run, and end without any clean-up as soon as a checkpoint is written."""
    trainer: Any = pl.Trainer
    save = trainer.save_checkpoint

    def save_and_die(self: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        save(self, path, *args, **kwargs)
        os._exit(9)

    trainer.save_checkpoint = save_and_die
    run(_loaded(config))


def run_on_a_full_disk(config: Path) -> None:
    """Run where no file can be larger than 100 kB; print the error."""
    cfg = _loaded(config)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        run(cfg)
    except OutputError as error:
        print(error)


def tune(arguments: Sequence[str]) -> None:
    """``python -m zsl_lab.tune``."""
    from zsl_lab.cli import tune as command

    sys.exit(command.main(list(arguments)))


def print_imported(names: Sequence[str]) -> None:
    """Print which of some modules are imported in a process that can train, test and predict."""
    print([name for name in names if name in sys.modules])


def print_wandb_mode() -> None:
    """Print whether a run would be recorded online."""
    from zsl_lab.run.loggers.wandb_run import _mode

    print(_mode()[0])


def train(folder: Path, configs: Mapping[str, Any], crash_at: int | None) -> None:
    """Train methods as one of several processes, to the end or to a step of the refit.

    Each stores the samples and random numbers of the refit's first step, and its weights.
    """
    seen: dict[str, Any] = {}
    take_step, on_train_end = ZeroShotMethod.take_step, ZeroShotMethod.on_train_end

    def note_first(self: ZeroShotMethod, batch: Any) -> None:
        if self.step == 0:
            state = torch.get_rng_state()
            seen.update(rows=batch.rows.clone(), drawn=torch.rand(8))
            torch.set_rng_state(state)
        if self.step == crash_at and self.phase == "refit":
            raise RuntimeError("power cut")
        take_step(self, batch)

    def note_last(self: ZeroShotMethod) -> None:
        on_train_end(self)
        seen["weights"] = {name: value.clone() for name, value in self.state_dict().items()}

    base: Any = ZeroShotMethod
    base.take_step, base.on_train_end = note_first, note_last
    for method, cfg in configs.items():
        try:
            run(cfg)
        except RuntimeError as error:
            if str(error) != "power cut":
                raise
            continue
        torch.save(seen, folder / f"{method}{os.environ['RANK']}.pt")


def share_gradients(folder: Path) -> None:
    """Store what two processes make of their gradients, statistics and random numbers."""
    import torch.distributed as dist

    from zsl_lab.hardware import distributed

    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(0)
    network, norm = torch.nn.Linear(3, 1), torch.nn.BatchNorm1d(3, momentum=1.0)
    share = torch.arange(12.0).view(4, 3)[rank::2]
    network(share).square().mean().backward()
    norm(share)
    running_mean, gradient = norm.running_mean, network.weight.grad
    assert running_mean is not None
    assert gradient is not None
    distributed.average([gradient, running_mean])
    found: dict[str, Any] = {
        "gradient": gradient,
        "running_mean": running_mean,
        "untouched": norm.weight.grad,
        "gathered": distributed.gather({"rank": rank}),
        "common": distributed.derived_seed(3, 4),
        "complaints": [],
    }
    for weight in (torch.ones(3), torch.ones(3) * (1 + rank)):
        try:
            distributed.check_agreement([torch.zeros(()), weight])
        except TrainingError as error:
            found["complaints"].append(str(error).partition(".")[0])
    torch.save(found, folder / f"gradients{rank}.pt")
    distributed.disconnect()


def _loaded(config: Path) -> Any:
    return OmegaConf.load(config)
