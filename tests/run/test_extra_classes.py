"""Runs whose benchmark has more unseen classes than its files (``data.extra_classes``)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig

import zsl_lab
from tests.conftest import SHORT_SGAL, Command
from zsl_lab.result import Result
from zsl_lab.run.config import parse
from zsl_lab.run.configuration.settings import Settings
from zsl_lab.run.resuming import configuration_of

Configure = Callable[..., DictConfig]


@pytest.fixture
def more(tmp_path: Path, configure: Configure) -> Path:
    """A table with a digit that nobody writes."""
    digits = parse(configure()).dataset.load(None)  # type: ignore[arg-type]
    file = tmp_path / "more.csv"
    header = ",".join(["class", *digits.recipe.attributes])
    numbers = ",".join(map(str, digits.semantics.mean(0).round(3).tolist()))
    file.write_text(f"{header}\nten,{numbers}\n")
    return file


def test_sgal_is_fine_tuned_for_them_from_another_run(
    command: Command, short_run: Callable[..., Path], more: Path, tmp_path: Path
) -> None:
    first = short_run("sgal")
    own = (f"data.extra_classes={more}", f"method.init_from={first}")
    assert command("method=sgal", *SHORT_SGAL, *own, "hydra.run.dir=second") == 0
    predictor = zsl_lab.load(tmp_path / "second")
    assert [c.name for c in predictor.classes if not c.seen] == ["2", "4", "5", "ten"]
    after = Result.load(tmp_path / "second")
    assert np.isnan(after.per_class["unseen"]["ten"])
    # the checkpoint brings the classes; the table may be elsewhere by then
    moved = more.rename(tmp_path / "moved.csv")
    test = ("task=test", "ckpt=second", "hydra.run.dir=third")
    assert command(*test) == 1
    assert command(*test, f"data.extra_classes={moved}") == 0
    assert Result.load(tmp_path / "third").metrics == after.metrics


def test_runs_with_and_without_them_are_of_different_settings(
    configure: Configure, more: Path
) -> None:
    def settings(*overrides: str) -> Settings:
        found = configuration_of(configure(*overrides))
        assert found is not None
        return found.settings()

    assert settings(f"data.extra_classes={more}") != settings()
    assert not any(key.startswith("data.") for key in settings("data.check=strict"))
