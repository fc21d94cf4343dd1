"""Jobs that are trained together have the results of single runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SHORT_SGAL
from tests.sweep.test_sweep import Command, command, real_command, rows_of

__all__ = ["command", "real_command"]

SWEEP = (
    *("-m", "method=sgal", *SHORT_SGAL, "selection.report_oracle=false", "method.steps=20"),
    *("method.fine_tune_steps=20", "selection.check_every=10", "method.learning_rate=0.001"),
    *("method.latent_dim=64", "method.encoder_hidden=[512]", "method.decoder_hidden=[512]"),
    *("method.kl_weight=3", "method.gamma=0.01", "method.fine_tune_batch_size=256"),
)
SWEPT = ("method.g=0.5,0.9", "method.fine_tune_learning_rate=0.0001,0.001", "seed=0,1")


def results(folder: Path) -> list[dict[str, Any]]:
    paths = sorted(
        folder.glob("*/result.json"), key=lambda path: int(path.parent.name.split("_")[0])
    )
    return [json.loads(path.read_text()) for path in paths]


@pytest.mark.long
def test_results_and_checkpoints_are_those_of_single_runs(real_command: Command) -> None:
    assert real_command(*SWEEP, *SWEPT, "hydra.sweep.dir=alone")[0] == 0
    code, _, err = real_command(*SWEEP, *SWEPT, "hydra.sweep.dir=both", "sweep.together=3")
    assert code == 0, err
    alone, both = results(Path("alone")), results(Path("both"))
    assert len(alone) == len(both) == 8
    for one, other in zip(alone, both, strict=True):
        assert other["metrics"] == pytest.approx(one["metrics"], abs=3.0)
        assert other["validation"]["step"] == one["validation"]["step"]
    for path in sorted(Path("alone").glob("*/checkpoints/last.ckpt")):
        joint = Path("both", *path.parts[1:])
        assert joint.stat().st_size < 1.1 * path.stat().st_size
    assert [row["outcome"] for row in rows_of(Path("both"))] == ["finished"] * 8


def test_a_run_that_fails_does_not_end_the_others(real_command: Command) -> None:
    rates = "method.learning_rate=0.001,1e30,0.0001"
    code, _, err = real_command(
        *("-m", "method=mmvae", "callbacks=none", "figures=false"),
        *("method.steps=10", "selection.check_every=5", "selection.checks=null", rates),
        *("sweep.together=3", "hydra.sweep.dir=made", "selection.report_oracle=false"),
    )
    assert code == 1
    assert "training diverged" in err
    assert [r["outcome"] for r in rows_of(Path("made"))] == ["finished", "failed", "finished"]


def test_a_method_that_cannot_is_trained_one_run_after_another(command: Command) -> None:
    code, out, _ = command("-m", "method=exem", "seed=0,1", "sweep.together=2")
    assert code == 0
    assert len(command.begun) == 2
    assert out.count("method=exem is trained one run after another") == 1


def test_another_launcher_is_refused(command: Command) -> None:
    code, _, err = command("-m", "hydra/launcher=joblib", "seed=0,1", "sweep.together=2")
    assert code == 2
    assert "neither hydra/launcher nor hydra/sweeper" in err
