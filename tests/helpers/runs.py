"""Fixtures: write run folders by hand, and report them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.test_result import RESULT
from zsl_lab.report.command import main

METRICS = ("zsl_top1", "unseen", "seen", "harmonic_mean", "ausuc")
WriteRun = Callable[..., Path]
Reported = Callable[..., tuple[int, str, str]]


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """Write a finished run with all metrics ``h``, oracle ``h`` + 1; no file if config is None.

    ``facts`` are further ones of its benchmark.
    """

    def write_run(
        name: str,
        h: float = 50.0,
        *,
        config: dict[str, Any] | None = {},  # noqa: B006
        splits: str = "ab" * 32,
        features: str = "cd" * 32,
        facts: dict[str, Any] = {},  # noqa: B006
        **fields: Any,
    ) -> Path:
        folder = tmp_path / "runs" / name
        metrics = dict.fromkeys(METRICS, h)
        given: dict[str, Any] = {
            "metrics": metrics,
            "oracle": {**dict.fromkeys(METRICS, h + 1), "step": 5},
            "model": None,
            "calibration": None,
            **fields,
        }
        result = replace(
            RESULT,
            benchmark={
                **RESULT.benchmark,
                "splits_sha256": splits,
                "features_sha256": features,
                **facts,
            },
            **given,
        )
        result.save(folder)
        if config is not None:
            sections: dict[str, Any] = {
                "seed": result.seed,
                "paths": {"run_dir": str(folder)},
                "method": {"name": result.method, "g": 0.9},
                "dataset": {"name": result.dataset},
                "selection": {"name": result.selection},
                "logger": {"csv": {"folder": str(folder)}},
            }
            made = OmegaConf.create(sections)
            for key, value in config.items():
                OmegaConf.update(made, key, value, force_add=True)
            OmegaConf.save(made, folder / "config.yaml")
        return folder

    return write_run


@pytest.fixture
def reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Reported:
    """Run the command in this process: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def reported(*arguments: str | Path, columns: int = 200) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return reported
