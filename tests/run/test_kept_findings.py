"""A run on a sealed file takes the findings of an earlier one, and checks what its keys changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import DictConfig

from tests.helpers.sound_data import sound
from zsl_lab.data import cache
from zsl_lab.data.checks import kept
from zsl_lab.data.checks.findings import Finding
from zsl_lab.errors import DataError
from zsl_lab.run.config import parse
from zsl_lab.run.context import load_checked

Load = Callable[..., tuple[Finding, ...]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A benchmark with a copy of a trained sample in test_seen."""
    benchmark = sound()
    features = benchmark.features.copy()
    features[benchmark.test_seen[0]] = features[benchmark.trainval[5]]
    path = tmp_path / "odd.h5"
    cache.save(replace(benchmark, features=features), path)
    return path


@pytest.fixture
def found(configure: Callable[..., DictConfig], file: Path) -> Load:
    """What a run with some overrides finds in it."""

    def load(*overrides: str) -> tuple[Finding, ...]:
        config = parse(configure("dataset=own", f"dataset.path={file}", *overrides))
        return load_checked(config)[1]

    return load


@pytest.mark.slow
def test_data_are_checked_once(found: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(UserWarning, match="equal to samples of trainval"):
        first = found()
    monkeypatch.setattr(kept, "check", None)  # a call would fail
    assert found() == first
    with pytest.raises(DataError, match="2 problems"):
        found("data.check=strict")


def test_another_split_of_them_is_checked(found: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(UserWarning, match="equal to samples of trainval"):
        found()
    monkeypatch.setattr(kept, "check", lambda benchmark: [])
    assert found("dataset.split=random") == ()
