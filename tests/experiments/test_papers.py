"""``experiments/papers``: what ``make reproduce`` says of an experiment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

REPRODUCE = REPOSITORY / "experiments" / "papers" / "reproduce.py"


@pytest.mark.slow
def test_an_experiment_without_data_and_stand_in_is_whole_if_it_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, REPRODUCE, tmp_path, tmp_path / "out", "vzsl_imagenet"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [
        "vzsl_imagenet",
        "no",
        "jobs",
        done.stdout.split()[3],
        "s",
        "whole",
    ]
