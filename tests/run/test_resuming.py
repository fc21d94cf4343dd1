"""Going on from a damaged or absurd state: a sentence, or the checkpoint before; never a hang."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from tests.conftest import SHORT, composed, power_cut
from tests.helpers.hostile_checkpoints import sealed
from tests.helpers.runs import WriteRun
from zsl_lab.errors import CheckpointError, ZslLabError
from zsl_lab.methods.mmvae import MMVAE
from zsl_lab.result import Result
from zsl_lab.run import resuming
from zsl_lab.run.checkpoints import files as checkpoints
from zsl_lab.run.experiment import run

OVERRIDES = ("method=mmvae", *SHORT, "selection=last", "trainer.save_every_n_steps=7")


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that a power cut ended in the middle of its training."""
    folder = tmp_path_factory.mktemp("cut") / "run"
    with power_cut(MMVAE, 30):
        run(composed(folder, *OVERRIDES))
    return folder


def resumed(folder: Path, ckpt: Path) -> DictConfig:
    cfg = composed(folder, *OVERRIDES)
    cfg.ckpt = str(ckpt)
    return cfg


def _set(*keys: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        node: Any = content
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value

    return change


@pytest.mark.slow
@pytest.mark.parametrize(("value", "differs"), [(0.0, ""), (0.2, "is absent there, 0.2 here")])
def test_a_key_that_an_older_version_did_not_have_differs_by_its_value(
    tmp_path: Path, write_run: WriteRun, value: float, differs: str
) -> None:
    folder = write_run("a", 60)
    config = composed(tmp_path, "dataset=flo", f"dataset.test_seen_fraction={value}")
    stored = config.copy()
    del stored.dataset.test_seen_fraction, stored.method.short, stored.method.bench
    OmegaConf.save(stored, folder / "config.yaml", resolve=True)
    found = resuming.look(folder, resuming.configuration_of(config))
    assert found is not None
    key = "dataset.test_seen_fraction "
    assert found.differing == (key + differs if differs else "")


EPOCH = ("loops", "fit_loop", "epoch_progress", "current")


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        _set("optimizer_states", value=5),
        _set("optimizer_states", value=[{}]),
        _set("optimizer_states", 0, "state", 0, "exp_avg", value=torch.zeros(3)),
        _set("optimizer_states", 0, "param_groups", value=[]),
        _set("optimizer_states", 0, "param_groups", 0, "eps", value=[1, "x"]),
        _set("optimizer_states", 0, "param_groups", 0, "betas", value=(0.9,)),
        _set("optimizer_states", 0, "param_groups", 0, "lr", value=None),
        lambda content: content.pop("optimizer_states"),
        lambda content: content.pop("lr_schedulers"),
        _set("loops", value={}),
        _set("loops", value="text"),
        _set(*EPOCH, "completed", value="x"),
        _set(*EPOCH, "processed", value=10**9),
        _set(*EPOCH, value=None),
        _set("callbacks", value={"Stopwatch": {"seconds": "text"}}),
        _set("callbacks", value={"Stopwatch": {"seconds": float("nan")}}),
        _set("callbacks", value=5),
        _set("pytorch-lightning_version", value=5),
        _set("FeatureDataModule", "stream", "position", value=10**9),
        _set("FeatureDataModule", "stream", "position", value=-1),
        _set("FeatureDataModule", "stream", "pass_state", value=torch.zeros(5, dtype=torch.uint8)),
        _set("FeatureDataModule", "stream", value=None),
        _set("method_state", "step", value=999_999),
        _set("method_state", "step", value=0),
        _set("zsl_lab", "selected", value=999_999_999),
        lambda content: content["method_state"].pop("random"),
        lambda content: content["state_dict"].popitem(),
    ],
)
def test_training_does_not_go_on_from_an_absurd_state(
    cut: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    content = checkpoints.read(cut / "checkpoints" / "last.ckpt", "ckpt").content
    change(content)
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    path.write_bytes(sealed(content))
    with pytest.raises(ZslLabError, match=r"last\.ckpt: "):
        run(resumed(tmp_path / "run", path))


def test_lightning_trains_with_the_checkpoint_that_was_read_also_where_its_file_is_replaced(
    cut: Path, short_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(cut, folder)
    last, read = folder / "checkpoints" / "last.ckpt", checkpoints.read
    whole = run(composed(tmp_path / "whole", *OVERRIDES))

    def read_and_replace(path: Path, key: str) -> checkpoints.Checkpoint:
        found = read(path, key)
        if path == last:
            shutil.copy(short_run("mmvae") / "checkpoints" / "last.ckpt", last)
        return found

    monkeypatch.setattr(checkpoints, "read", read_and_replace)
    assert run(resumed(folder, last)).metrics == whole.metrics


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 torn"])
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one_to_the_same_end(
    cut: Path, tmp_path: Path, damage: bytes
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(cut, folder)
    last = folder / "checkpoints" / "last.ckpt"
    last.write_bytes(damage)
    (folder / "figures").mkdir(exist_ok=True)
    left = folder / "figures" / f".recall.png.{'b' * 32}.tmp"
    for path in (last.parent / f".last.ckpt.{'a' * 32}.tmp", left):
        path.write_bytes(b"torn")
    checkpoints._warn_once.cache_clear()
    with pytest.warns(UserWarning, match=r"goes on from \S*last-previous\.ckpt"):
        found = run(resumed(folder, last))
    whole = run(composed(tmp_path / "whole", *OVERRIDES))
    assert (found.metrics, found.per_class) == (whole.metrics, whole.per_class)
    assert sorted(os.listdir(last.parent)) == ["best.ckpt", "last.ckpt"]
    assert not left.exists()


def test_where_no_checkpoint_is_whole_a_run_begins_anew(
    cut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(cut, folder)
    now = resuming.configuration_of(composed(folder, *OVERRIDES))
    found = resuming.look(folder, now)
    assert found is not None
    assert found.state == folder / "checkpoints" / "last.ckpt"
    for path in (folder / "checkpoints").iterdir():
        path.write_bytes(b"")
    assert resuming.look(folder, now) is None
    assert "the file is empty" in capsys.readouterr().err


def test_the_newest_run_is_told_by_its_folders_name(tmp_path: Path) -> None:
    names = ["2026-01-01_00-00-00-000000", "2026-03-01_00-00-00-000000"]
    for position, name in enumerate(names):
        config = tmp_path / name / "config.yaml"
        config.parent.mkdir()
        config.touch()
        os.utime(config, (10**9 - position, 10**9 - position))  # as a copy has it
    older, newer = (resuming._begun(tmp_path / name / "config.yaml") for name in names)
    assert older < newer
    named = tmp_path / "mine" / "config.yaml"
    named.parent.mkdir()
    named.touch()
    os.utime(named, (10**9, 10**9))
    assert resuming._begun(named) == 10**9


def test_a_finished_run_is_not_resumed_from_its_reported_weights(
    short_run: Callable[..., Path], tmp_path: Path
) -> None:
    best = short_run("mmvae") / "checkpoints" / "best.ckpt"
    with pytest.raises(CheckpointError, match=r"best\.ckpt: .*Give last\.ckpt beside it"):
        run(resumed(tmp_path / "run", best))
    assert Result.load(short_run("mmvae"))
