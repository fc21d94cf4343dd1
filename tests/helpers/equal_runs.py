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
    configure: Configure, whole: Path, overrides: tuple[str, ...], *cuts: tuple[str, int]
) -> Path:
    """Crash a run once or several times, resume it each time, compare it with a whole run.

    Args:
        configure: Composes a configuration.
        whole: The folder of the finished run.
        overrides: Its overrides.
        cuts: The phase and the number of steps after which each crash happens.

    Returns:
        The folder of the resumed run.
    """
    method_class = parse(configure(*overrides)).method_class
    cfg = configure(*overrides, run_dir="cut")
    folder = Path(cfg.paths.run_dir)
    for phase, step in cuts:
        with power_cut(method_class, step, phase):
            run(cfg)
        cfg = configure(*overrides, run_dir="cut")
        cfg.ckpt = str(folder / "checkpoints" / "last.ckpt")
    run(cfg)
    assert_same_run(whole, folder)
    return folder


def assert_same_run(a: Path, b: Path) -> None:
    """Two runs must end with equal weights, metrics and logged metrics, bit for bit."""
    for name in ("best.ckpt", "last.ckpt"):
        assert_same_weights(a / "checkpoints" / name, b / "checkpoints" / name)
    first, second = (json.loads((folder / "result.json").read_text()) for folder in (a, b))
    for key in ("metrics", "oracle"):
        assert first[key] == second[key]
    assert first["training"]["steps"] == second["training"]["steps"]
    assert (a / "metrics.csv").read_text() == (b / "metrics.csv").read_text()
