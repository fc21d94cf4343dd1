"""Steps per second of each method relative to a raw PyTorch loop in the same process.

Every method whose yaml has a ``bench`` block, with the overrides of that block on
``experiment=bench`` (the shape of AwA2). Runs and raw loops alternate, and each run is compared
with the mean of the loops before and after it, so that a machine whose speed drifts affects both
alike; the ratio is the median of the rounds.

    python experiments/bench/steps.py [METHOD ...] [KEY=VALUE ...]
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig
from torch import Tensor

from zsl_lab.data.batches.base import Batch, PhaseDataModule
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.splits import test_split as full_split
from zsl_lab.methods import catalogue
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.run.config import RunConfig, parse
from zsl_lab.run.experiment import run

#: overrides of each method that is measured
METHODS = {
    entry.name: entry.overrides("bench")
    for entry in catalogue.entries()
    if entry.overrides("bench")
}
ROUNDS = 5


class _Raw(ZeroShotMethod):
    """Mixin: the steps of a method without Lightning, with plain optimisers."""

    bare: list[torch.optim.Optimizer]

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        return self.bare[0] if len(self.bare) == 1 else self.bare

    def descend(self, loss: Tensor, optimizer: Any) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def raw_loop(config: RunConfig, data: PhaseDataModule, device: torch.device) -> float:
    """Train without Lightning, logs or checkpoints; steps per second."""
    torch.manual_seed(0)
    raw: Any = type("Raw", (_Raw, config.method_class), {})
    method = raw.build(config.method, data).to(device).train()
    found = method.configure_optimizers()
    method.bare = list(found) if isinstance(found, (list, tuple)) else [found]
    samples = data.samples(data.split.train, device)
    order = torch.randperm(len(samples.labels), device=device)
    position = 0
    started = time.perf_counter()
    for _ in range(method.total_steps):
        size = method.batch_size_at(method.step)
        if position + size > len(order):
            order, position = torch.randperm(len(samples.labels), device=device), 0
        rows = order[position : position + size]
        position += size
        method.train_on(Batch(*(part[rows] for part in samples[:3])))
        method.step += 1
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return float(method.total_steps / (time.perf_counter() - started))


def through_command(cfg: DictConfig, folder: Path) -> float:
    """The same through the framework, logging and progress line included; steps per second."""
    cfg.paths.run_dir = str(folder)
    return float(run(cfg).training["steps_per_second"])


def measure(name: str, overrides: list[str], folder: Path) -> str:
    """One row of the table."""
    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        cfg = compose(
            "config",
            [
                "experiment=bench",
                f"method={name}",
                "figures=false",
                *METHODS.get(name, ()),
                *overrides,
            ],
        )
    cfg.paths.run_dir = str(folder)
    config = parse(cfg)
    benchmark = config.dataset.load(DataPaths(folder, folder))
    data = config.dataset.data_module(benchmark, full_split(benchmark))
    device = torch.device("cuda" if config.trainer.accelerator == "gpu" else "cpu")
    raw, command = [raw_loop(config, data, device)], []
    for i in range(ROUNDS):
        command.append(through_command(cfg, folder / str(i)))
        raw.append(raw_loop(config, data, device))
    ratios = [
        done / statistics.fmean(loops)
        for done, loops in zip(command, itertools.pairwise(raw), strict=True)
    ]
    a, b, ratio = (statistics.median(numbers) for numbers in (raw, command, ratios))
    spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
    return f"{name:<22}{a:10.1f}{b:12.1f}{ratio:8.3f}   {spread}"


def main() -> None:
    """Print the table."""
    overrides = [argument for argument in sys.argv[1:] if "=" in argument]
    names = [argument for argument in sys.argv[1:] if "=" not in argument] or list(METHODS)
    print(f"steps per second, median of {ROUNDS} rounds, {torch.get_num_threads()} threads")
    print(f"{'method':<22}{'raw loop':>10}{'zsl_lab':>12}{'ratio':>8}   range of the ratio")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            # the runs' own lines go to standard error
            with contextlib.redirect_stdout(sys.stderr):
                row = measure(name, overrides, Path(folder))
            print(row, flush=True)


if __name__ == "__main__":
    main()
