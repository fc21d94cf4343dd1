"""Test metrics of a trained N3 whose generated deltas are multiplied by other factors.

A factor of 1 is the trained network, 0 the base network as it is (mu = 0) with the classifier that
was generated for the adapted one.

    python experiments/n3/switch_off.py RUN [FACTOR ...]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from zsl_lab.run.checkpoints import files as checkpoints
from zsl_lab.run.experiment import run


def scaled(checkpoint: Path, factor: float, to: Path) -> Path:
    """A copy of a checkpoint whose deltas are multiplied by a factor."""
    content = checkpoints.read(checkpoint, "ckpt").content
    content["state_dict"]["adapter.mu"] *= factor
    torch.save(content, to)
    return to


def main() -> None:
    """Print a line for each factor."""
    best = checkpoints.reported(Path(sys.argv[1]))
    factors = [float(argument) for argument in sys.argv[2:]] or [0.0, 0.5, 1.0]
    print("factor  zsl_top1  zsl_top5  unseen    seen       H")
    for factor in factors:
        with tempfile.TemporaryDirectory() as folder:
            cfg = OmegaConf.create(checkpoints.read(best, "ckpt").state.config)
            assert isinstance(cfg, DictConfig)
            cfg.task, cfg.ckpt, cfg.paths.run_dir = (
                "test",
                str(scaled(best, factor, Path(folder) / "scaled.ckpt")),
                folder,
            )
            result = run(cfg)
        found, extra = result.metrics, result.extra or {}
        values = (
            found["zsl_top1"],
            extra["zsl_top5"],
            found["unseen"],
            found["seen"],
            found["harmonic_mean"],
        )
        print(
            f"{factor:6.2f}"
            + "".join(
                f"{value:10.1f}" if i < 2 else f"{value:8.1f}" for i, value in enumerate(values)
            )
        )


if __name__ == "__main__":
    main()
