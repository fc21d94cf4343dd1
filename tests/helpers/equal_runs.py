"""Comparisons of runs: equal weights, and a run that was cut and resumed against a whole one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from omegaconf import DictConfig

from tests.conftest import power_cut
from zsl_lab.run.config import parse
from zsl_lab.run.experiment import run

Configure = Callable[..., DictConfig]


def weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint."""
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def assert_same_weights(first: Path, second: Path) -> None:
    """Two checkpoints must hold equal bits."""
    a, b = weights(first), weights(second)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def assert_resumed_equals_whole(
    configure: Configure, folder: Path, overrides: tuple[str, ...], phase: str, step: int
) -> None:
    """Crash a run after ``step`` steps of a phase, resume it, compare it with a whole run."""
    run(configure(*overrides, run_dir="whole"))
    with power_cut(parse(configure(*overrides)).method_class, step, phase):
        run(configure(*overrides, run_dir="cut"))
    resumed = configure(*overrides, run_dir="cut")
    resumed.ckpt = str(folder / "cut" / "checkpoints" / "last.ckpt")
    run(resumed)
    for name in ("best.ckpt", "last.ckpt"):
        assert_same_weights(
            folder / "whole" / "checkpoints" / name, folder / "cut" / "checkpoints" / name
        )
    whole, cut = (
        json.loads((folder / name / "result.json").read_text()) for name in ("whole", "cut")
    )
    assert whole["metrics"] == cut["metrics"]
    assert whole["oracle"] == cut["oracle"]
    assert whole["training"]["steps"] == cut["training"]["steps"]
    assert (folder / "whole" / "metrics.csv").read_text() == (
        folder / "cut" / "metrics.csv"
    ).read_text()
