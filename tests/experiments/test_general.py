"""The search for general settings: what it prints and stores."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "experiments" / "general" / "search.py"
SPACE = "method.latent_dim: {low: 8, high: 128}\nmethod.encoder_hidden: [[1024], [16]]\n"


@pytest.mark.slow
def test_a_trial_is_the_geometric_mean_of_two_benchmarks_and_given_settings_come_first(
    tmp_path: Path,
) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    first = {"method.latent_dim": 9, "method.encoder_hidden": [16]}
    (tmp_path / "first.json").write_text(json.dumps([first]))
    told = [
        *("--space", str(tmp_path / "space.yaml"), "--first", str(tmp_path / "first.json")),
        *("--benchmarks", "digits,synthetic", "--draws", "1", "--trials", "2"),
    ]
    overrides = ["method=mmvae", "method.epochs=1", "selection.checks=1", "trainer.accelerator=cpu"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "study"), *overrides, *told],
        capture_output=True,
        text=True,
        check=True,
    )
    with (tmp_path / "study" / "trials.csv").open() as file:
        present, given = list(csv.DictReader(file))
    assert (present["method.latent_dim"], present["method.encoder_hidden"]) == ("43", "[1024]")
    assert (given["method.latent_dim"], given["method.encoder_hidden"]) == ("9", "[16]")
    line = next(line for line in done.stdout.splitlines() if line.startswith("trial 1:"))
    values = json.loads(line[line.index("{") :])
    product = values["digits"] * values["synthetic"]
    assert float(given["value"]) == pytest.approx(product**0.5, abs=0.1)
