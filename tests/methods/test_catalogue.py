"""The methods found in folders of yamls."""

from __future__ import annotations

from pathlib import Path

import pytest

from zsl_lab.methods import catalogue


def found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setattr(catalogue, "_folders", lambda: [folder])
    return {entry.name: entry.settings.get("gamma") for entry in catalogue.entries()}


def test_a_yaml_that_is_written_or_changed_later_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "first.yaml").write_text("_target_: a.First\ngamma: 1\n")
    assert found(tmp_path, monkeypatch) == {"first": 1}
    (tmp_path / "second.yaml").write_text("defaults: [first, _self_]\n")
    assert found(tmp_path, monkeypatch) == {"first": 1, "second": 1}
    (tmp_path / "first.yaml").write_text("_target_: a.First\ngamma: 20\n")
    assert found(tmp_path, monkeypatch) == {"first": 20, "second": 20}
    (tmp_path / "second.yaml").unlink()
    assert found(tmp_path, monkeypatch) == {"first": 20}
