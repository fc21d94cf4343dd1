from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.hostile_checkpoints import sealed
from zsl_lab.errors import CheckpointError
from zsl_lab.files import seal
from zsl_lab.files.cache import file_stamp
from zsl_lab.run.checkpoints import files as checkpoints
from zsl_lab.run.checkpoints.places import PREVIOUS
from zsl_lab.run.checkpoints.state import RunState, Spent

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
    selected_spans=[(0, 40), (60, 80)],
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
    for name in ("calibration", "validation", "selected_check", "selected_spans"):
        del plain[name]
    expected = replace(
        STATE, calibration=0.0, validation=None, selected_check=None, selected_spans=[]
    )
    assert RunState.from_plain(plain, "ckpt=x") == expected


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("phase", "test", "field 'phase' is 'test'; expected 'select' or 'refit'"),
        ("selected", "60", "field 'selected' is '60'; expected a whole number or None"),
        ("selected", True, "field 'selected' is True; expected a whole number or None"),
        ("calibration", [], r"field 'calibration' is \[\]; expected a number or None"),
        ("spent", {"steps": 1}, r"field 'spent.seconds' is missing"),
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
    with pytest.raises(CheckpointError, match=r"field 'method_state\.step' is missing"):
        checkpoints.read(tmp_path / "x.ckpt", "ckpt")


# --------------------------------------------------------------------------- absurd files

#: values of wrong types, and absurd ones, which no field may have
ABSURD: tuple[Any, ...] = (
    *("text", "\x1b[31m", b"bytes", -1, 2.5, 10**9, 10**5000, float("nan"), float("inf"), True),
    *([1, "x"], {"a": [None]}, torch.ones(3), torch.ones(()), object),
)
#: fields that read() checks, and the absurd values that are right there
FIELDS: dict[str, tuple[int, ...]] = {
    "zsl_lab.phase": (),
    "zsl_lab.selected": (),
    "zsl_lab.selected_check": (),
    "zsl_lab.selected_spans": (),
    "zsl_lab.calibration": (3, 4, 5),
    "zsl_lab.validation": (),
    "zsl_lab.spent": (),
    "zsl_lab.spent.steps": (),
    "zsl_lab.spent.seconds": (4, 5),
    "zsl_lab.splits_sha256": (),
    "zsl_lab.features_sha256": (),
    "zsl_lab.reported": (9,),
    "zsl_lab.config": (11,),
    "method_state": (),
    "method_state.step": (),
    "method_state.checks": (),
    "method_state.best": (),
    "method_state.random": (),
    "method_state.random.cpu": (),
    "method_state.extra": (11,),
    "state_dict": (),
    "FeatureDataModule.classes.names": (),
    "FeatureDataModule.classes.ids": (),
    "FeatureDataModule.classes.seen": (),
    "FeatureDataModule.classes.semantics": (),
    "FeatureDataModule.classes.semantics_scaler": (),
    "FeatureDataModule.classes.descriptions": (),
    "FeatureDataModule.scaler": (),
    "FeatureDataModule.scaler.shift": (),
    "FeatureDataModule.scaler.scale": (),
    "FeatureDataModule.feature_dim": (),
    "FeatureDataModule.stream.step": (),
}


@pytest.fixture(scope="module")
def whole(short_run: Callable[..., Path]) -> bytes:
    """The last checkpoint of a short run."""
    return (short_run("eszsl") / "checkpoints" / "last.ckpt").read_bytes()


@cache
def loaded(whole: bytes) -> dict[str, Any]:
    """The content of a checkpoint, read once; do not change it."""
    content: dict[str, Any] = torch.load(io.BytesIO(whole), weights_only=True)
    return content


def changed(whole: bytes, key: str, value: Any) -> dict[str, Any]:
    """The content of a checkpoint with another value; without the field for ``object``."""
    *sections, last = key.split(".")
    content = node = dict(loaded(whole))
    for section in sections:
        node[section] = node = dict(node[section])
    if value is object:
        del node[last]
    else:
        node[last] = value
    return content


@pytest.mark.parametrize("key", FIELDS)
def test_no_absurd_value_of_a_field_is_accepted(whole: bytes, tmp_path: Path, key: str) -> None:
    path = tmp_path / "x.ckpt"
    optional = ("selected_check", "selected_spans", "calibration", "validation", "descriptions")
    of_resuming = ("checks", "best", "random", "extra", "stream.step")
    for number, value in enumerate(ABSURD):
        left_out = value is object and key.endswith((*optional, *of_resuming))
        if number in FIELDS[key] or left_out:
            continue
        path.write_bytes(sealed(changed(whole, key, value)))
        with pytest.raises(CheckpointError, match=r"^ckpt=\S*x\.ckpt: [^\n\x1b]*\.$"):
            checkpoints.read(path, "ckpt")


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("FeatureDataModule.classes.names", ["a"] * 10, "has 'a' more than once"),
        ("FeatureDataModule.classes.ids", torch.zeros(10, dtype=torch.int64), "does not increase"),
        ("method_state.random.cpu", torch.zeros(9, dtype=torch.uint8), r"uint8 \[9\]; expected a"),
        ("state_dict.x", torch.tensor([float("nan")]), "holds numbers that are not finite"),
        ("state_dict.x", torch.zeros(1).expand(10**12), "is larger than the file"),
        ("zsl_lab.config.paths", "${oc.env:HOME}", "stored values are literal"),
        ("FeatureDataModule.stream.step", 3, "field 'stream.step' is 3; expected"),
    ],
)
def test_what_is_wrong_is_said(
    whole: bytes, tmp_path: Path, key: str, value: Any, sentence: str
) -> None:
    (tmp_path / "x.ckpt").write_bytes(sealed(changed(whole, key, value)))
    with pytest.raises(CheckpointError, match=sentence):
        checkpoints.read(tmp_path / "x.ckpt", "ckpt")


def test_a_tensor_is_no_format(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").write_bytes(sealed(changed(whole, "zsl_lab.format", torch.ones(3))))
    with pytest.raises(CheckpointError, match="field 'format' is "):
        checkpoints.read(tmp_path / "x.ckpt", "ckpt")


def test_a_calibrated_run_has_its_constant(whole: bytes, tmp_path: Path) -> None:
    content = changed(whole, "zsl_lab.calibration", object)
    (tmp_path / "x.ckpt").write_bytes(sealed(content))
    assert (
        checkpoints.read(tmp_path / "x.ckpt", "ckpt").state.calibration == 0.0
    )  # an older version
    section = content["zsl_lab"]
    selection = {**section["config"]["selection"], "calibrate": True}
    section["config"] = {**section["config"], "selection": selection}
    (tmp_path / "x.ckpt").write_bytes(sealed(content))
    with pytest.raises(CheckpointError, match="field 'calibration' is missing"):
        checkpoints.read(tmp_path / "x.ckpt", "ckpt")


# --------------------------------------------------------------------------- the one before


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(
    whole: bytes, tmp_path: Path
) -> None:
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    last.write_bytes(whole)
    checkpoints.keep_previous(last)
    for damaged in (b"", whole[:-100], b"\0" * len(whole), None):
        last.unlink()
        if damaged is not None:
            last.write_bytes(damaged)
            checkpoints.keep_previous(last)  # a damaged one replaces no whole one
        checkpoints._warn_once.cache_clear()
        with pytest.warns(UserWarning, match=r"^ckpt=.*last\.ckpt: .*goes on from .*previous"):
            found = checkpoints.read_to_resume(last, "ckpt")
        assert found.path.name == PREVIOUS
        last.write_bytes(whole)
    assert checkpoints.read_to_resume(last, "ckpt").path == last
    (last.parent / PREVIOUS).write_bytes(b"")
    last.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"last\.ckpt: .*the file is empty"):
        checkpoints.read_to_resume(last, "ckpt")


def test_a_file_that_this_process_wrote_is_not_read_again_unless_it_was_changed(
    whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[bytes] = []
    check = seal.check

    def spy(data: bytes) -> None:
        checked.append(data)
        check(data)

    monkeypatch.setattr(seal, "check", spy)
    last = tmp_path / "last.ckpt"
    last.write_bytes(whole)
    stamp = file_stamp([last])
    checkpoints.keep_previous(last, stamp)
    assert checked == []
    assert (tmp_path / PREVIOUS).read_bytes() == whole
    last.unlink()
    last.write_bytes(whole[:-100])
    checkpoints.keep_previous(last, stamp)
    assert checked == [whole[:-100]]
    assert (tmp_path / PREVIOUS).read_bytes() == whole


def test_the_one_before_is_kept_where_the_file_system_has_no_links(
    whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*args: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", no_link)
    (tmp_path / "last.ckpt").write_bytes(whole)
    checkpoints.keep_previous(tmp_path / "last.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == [PREVIOUS]


def test_the_reported_checkpoint_has_no_optimisers_and_training_does_not_go_on_from_it(
    short_run: Callable[..., Path],
) -> None:
    folder = short_run("mmvae") / "checkpoints"
    best, last = (checkpoints.read(folder / name, "ckpt") for name in ("best.ckpt", "last.ckpt"))
    last.check_resumable()
    with pytest.raises(CheckpointError, match=r"best\.ckpt: .*no states of optimisers.*last\.ckpt"):
        best.check_resumable()
    assert not (folder / PREVIOUS).exists()  # the run is finished


def test_a_model_that_is_saved_into_its_run_does_not_stand_for_the_run(tmp_path: Path) -> None:
    for name in ("model.safetensors", "config.json"):
        (tmp_path / name).touch()
    assert checkpoints.reported(tmp_path) == tmp_path / "model.safetensors"
    best = tmp_path / "checkpoints" / "best.ckpt"
    best.parent.mkdir()
    best.touch()
    assert checkpoints.reported(tmp_path) == best
