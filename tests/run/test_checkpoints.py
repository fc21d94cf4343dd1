from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from zsl_lab.errors import CheckpointError
from zsl_lab.run import checkpoints
from zsl_lab.run.checkpoints import RunState, Spent

STATE = RunState(
    config={"method": {"name": "mmvae"}},
    phase="refit",
    selected=60,
    calibration=0.5,
    validation={"harmonic_mean": 50.0, "step": 60},
    spent=Spent(100, 2.5),
    splits_sha256="ab" * 32,
    features_sha256="cd" * 32,
    selected_check=80,
    reported=True,
)


def content(**changes: Any) -> dict[str, Any]:
    return {
        "zsl_lab": {**STATE.to_plain(), **changes},
        "method_state": {"step": 60},
        "state_dict": {"weight": torch.ones(2)},
    }


def test_a_state_comes_back_from_the_file_as_it_was(tmp_path: Path) -> None:
    for state in (STATE, replace(STATE, pretraining={"seed": 0}, metrics=[{"phase": "select"}])):
        torch.save({**content(), "zsl_lab": state.to_plain()}, tmp_path / "x.ckpt")
        found = checkpoints.read(tmp_path / "x.ckpt", "ckpt")
        assert found.state == state
        assert (found.path, found.step) == (tmp_path / "x.ckpt", 60)
        assert torch.equal(found.weights["weight"], torch.ones(2))


def test_what_is_only_for_shared_pretraining_is_not_stored_in_other_checkpoints() -> None:
    assert not {"pretraining", "metrics"} & STATE.to_plain().keys()


def test_a_state_of_an_older_version_has_defaults_and_unknown_fields_are_ignored() -> None:
    plain = {**STATE.to_plain(), "newer": 1}
    for name in ("calibration", "validation", "selected_check"):
        del plain[name]
    expected = replace(STATE, calibration=0.0, validation=None, selected_check=None)
    assert RunState.from_plain(plain, "ckpt=x") == expected


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("phase", "test", "field 'phase' is 'test'; expected 'select' or 'refit'"),
        ("selected", "60", "field 'selected' is '60'; expected a whole number or None"),
        ("selected", True, "field 'selected' is True; expected a whole number or None"),
        ("calibration", [], r"field 'calibration' is \[\]; expected a number or None"),
        ("spent", {"steps": 1}, r"field 'spent\.seconds' is None; expected a number"),
        ("splits_sha256", 3, "field 'splits_sha256' is 3; expected a hash"),
        ("reported", 1, "field 'reported' is 1; expected true or false"),
        ("format", 2, r"field 'format' is 2; this version reads 1\."),
    ],
)
def test_a_field_of_another_type_is_refused_with_the_file_and_the_field(
    tmp_path: Path, name: str, value: Any, sentence: str
) -> None:
    torch.save(content(**{name: value}), tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match=rf"^ckpt=.*x\.ckpt: {sentence}"):
        checkpoints.read(tmp_path / "x.ckpt", "ckpt")


@pytest.mark.parametrize("name", ["config", "phase", "selected", "spent", "reported"])
def test_a_missing_field_is_refused_with_the_file_and_the_field(tmp_path: Path, name: str) -> None:
    damaged = content()
    del damaged["zsl_lab"][name]
    torch.save(damaged, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match=rf"^key=.*x\.ckpt: field '{name}' is missing;"):
        checkpoints.read(tmp_path / "x.ckpt", "key")


def test_a_checkpoint_without_a_step_is_refused(tmp_path: Path) -> None:
    torch.save({**content(), "method_state": {}}, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match=r"field 'method_state\.step' is None; expected a"):
        checkpoints.read(tmp_path / "x.ckpt", "ckpt")
