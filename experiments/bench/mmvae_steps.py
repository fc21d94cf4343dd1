"""Steps per second of ``experiment=bench_mmvae`` as a ratio to a raw PyTorch loop doing the same step in the same process.

Runs and raw loops alternate, so that a machine whose speed drifts treats both alike; medians are compared.

    python experiments/bench/mmvae_steps.py [ROUNDS] [KEY=VALUE ...]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from zsl_lab.config import parse
from zsl_lab.data.datamodule import FeatureDataModule
from zsl_lab.data.dataset import DataPaths
from zsl_lab.data.splits import test_split as full_split
from zsl_lab.methods.mmvae import MMVAE
from zsl_lab.methods.mmvae.method import MMVAEConfig
from zsl_lab.run import run


def raw_loop(config: MMVAEConfig, data: FeatureDataModule, device: torch.device) -> float:
    """Train without Lightning, logs or checkpoints; steps per second."""
    torch.manual_seed(0)
    method = MMVAE(config, data.feature_dim, data.classes).to(device).train()
    optimizer = torch.optim.Adam(method.networks.parameters(), lr=config.learning_rate, fused=True)
    samples = data.samples(data.split.train, device)
    steps, size = config.steps, config.batch_size
    order = torch.randperm(len(samples.labels), device=device)
    position = 0
    started = time.perf_counter()
    for _ in range(steps):
        if position + size > len(order):
            order, position = torch.randperm(len(samples.labels), device=device), 0
        rows = order[position : position + size]
        position += size
        loss = method.losses(samples.features[rows], samples.labels[rows])["total"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return steps / (time.perf_counter() - started)


def through_command(cfg: DictConfig, folder: Path) -> float:
    """The same through the framework, logging and progress line included; steps per second."""
    cfg.paths.run_dir = str(folder)
    return float(run(cfg).training["steps_per_second"])


def main() -> None:
    """Print the figures."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 7
    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        cfg = compose("config", ["experiment=bench_mmvae", *(a for a in sys.argv[1:] if "=" in a)])
    with tempfile.TemporaryDirectory() as folder:
        cfg.paths.run_dir = folder
        config = parse(cfg)
        benchmark = config.dataset.load(DataPaths(Path(folder), Path(folder)))
        data = config.dataset.data_module(benchmark, full_split(benchmark))
        assert isinstance(config.method, MMVAEConfig)
        device = torch.device("cuda" if config.trainer.accelerator == "gpu" else "cpu")
        raw, command = [], []
        for i in range(rounds):
            raw.append(raw_loop(config.method, data, device))
            command.append(through_command(cfg, Path(folder) / str(i)))
    a, b = statistics.median(raw), statistics.median(command)
    print(f"raw loop        {a:8.1f} steps/s   (median of {rounds}: {', '.join(f'{x:.1f}' for x in raw)})")
    print(f"python -m zsl_lab {b:6.1f} steps/s   (median of {rounds}: {', '.join(f'{x:.1f}' for x in command)})")
    how = f"{config.method.steps} steps, batch {config.method.batch_size}, {device}, {torch.get_num_threads()} threads"
    print(f"ratio           {b / a:8.3f}   ({how})")


if __name__ == "__main__":
    main()
