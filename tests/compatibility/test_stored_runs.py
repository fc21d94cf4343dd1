"""Runs that version 0.1.0 stored: they load, test, predict, resume and are reported."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import get_class
from omegaconf import OmegaConf

import zsl_lab
from tests.conftest import Command
from tests.helpers.runs import Reported
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.datasets.digits import DigitsDataset
from zsl_lab.predict.features import FeaturePredictor
from zsl_lab.predict.images import ImagePredictor
from zsl_lab.result import Result
from zsl_lab.run.checkpoints import files as checkpoints
from zsl_lab.run.configuration.old_names import current_target
from zsl_lab.run.records import metrics_csv

DATA = Path(__file__).parent / "data"
FINISHED = ("mmvae", "sgal", "eszsl", "aspn", "n3")
#: the settings of the run ``sgal``
SGAL = (
    *("method=sgal", "method.fine_tune_steps=20", "method.steps=20", "method.batch_size=32"),
    *("method.latent_dim=4", "method.encoder_hidden=[4]", "method.decoder_hidden=[]"),
    *("method.prior_hidden=[4]", "selection.check_every=10", "trainer.accelerator=cpu"),
    "trainer.log_every_n_steps=10",
)

#: values that the former defaults had
FORMER = ("method.kl_weight=3.0", "~dataset.semantics")

OldRun = Callable[[str], Path]


@pytest.fixture
def old_run(tmp_path: Path) -> OldRun:
    """A copy of a stored run's folder, its checkpoints uncompressed."""

    def old_run(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(DATA / name, folder)
        for path in folder.glob("checkpoints/*.gz"):
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
        return folder

    return old_run


@pytest.fixture
def digits(tmp_path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Unscaled features of the digits, ``[N, D]``."""
    dataset = DigitsDataset(
        name="digits",
        unseen=[2, 4, 5],
        normalize="none",
        normalize_semantics="none",
        split="proposed",
        split_seed=0,
    )
    return dataset.load(DataPaths(tmp_path, tmp_path)).features


@pytest.mark.parametrize("name", ["mmvae", "sgal", "eszsl", "aspn"])
def test_a_finished_run_predicts_feature_vectors(
    command: Command,
    old_run: OldRun,
    tmp_path: Path,
    digits: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    name: str,
) -> None:
    folder = old_run(name)
    predictor = zsl_lab.load(folder)
    assert isinstance(predictor, FeaturePredictor)
    classes = [known.name for known in predictor.classes]
    assert len(classes) == 10
    predicted = predictor.predict(digits[:50])
    np.save(tmp_path / "digits.npy", digits[:50])
    arguments = ("task=predict", f"ckpt={folder}", "features=digits.npy", "hydra.run.dir=found")
    assert command(*arguments) == 0
    lines = (tmp_path / "found" / "predictions.csv").read_text().splitlines()
    assert len(lines) == 51
    assert all(label in line for label, line in zip(predicted.predicted, lines[1:], strict=True))


def test_attention_among_the_batch_predicts_what_it_predicted(
    command: Command, old_run: OldRun, tmp_path: Path
) -> None:
    folder = old_run("aspn")
    stored = Result.load(folder)
    ckpt = f"ckpt={folder / 'checkpoints' / 'best.ckpt'}"
    assert command("task=test", ckpt, "hydra.run.dir=again") == 0
    tested = Result.load(tmp_path / "again")
    assert tested.metrics == pytest.approx(stored.metrics, abs=1e-6)
    assert tested.per_class == stored.per_class


def test_a_finished_run_of_images_loads_with_its_stored_weights(old_run: OldRun) -> None:
    folder = old_run("n3")
    predictor = zsl_lab.load(folder)
    assert isinstance(predictor, ImagePredictor)
    stored = checkpoints.read(folder / "checkpoints" / "best.ckpt", "ckpt").weights
    loaded = predictor.network.state_dict()
    assert loaded.keys() == stored.keys()
    assert all(torch.equal(loaded[key].cpu(), value) for key, value in stored.items())


@pytest.mark.parametrize("phase", ["select", "refit"])
def test_an_interrupted_run_resumes_and_ends_as_the_old_version_ended(
    command: Command, old_run: OldRun, phase: str
) -> None:
    folder = old_run(f"cut_{phase}")
    state = checkpoints.read(folder / "checkpoints" / "last.ckpt", "ckpt").state
    assert (state.phase, state.reported, state.selected_check) == (phase, False, None)
    assert command(f"ckpt={folder / 'checkpoints' / 'last.ckpt'}") == 0
    whole, resumed = Result.load(DATA / "sgal"), Result.load(folder)
    assert resumed.metrics == pytest.approx(whole.metrics, abs=1.0)
    assert resumed.training["steps"] == whole.training["steps"]
    assert resumed.validation == pytest.approx(whole.validation, abs=1.0)
    rows = [metrics_csv.read_rows(place) for place in (DATA / "sgal", folder)]
    assert [(row["phase"], row["step"]) for row in rows[0]] == [
        (row["phase"], row["step"]) for row in rows[1]
    ]
    losses = [[float(row["loss/total"]) for row in found if "loss/total" in row] for found in rows]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_resume_auto_recognises_a_finished_run_of_the_same_settings(
    command: Command, old_run: OldRun, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = old_run("sgal")
    assert command("resume=auto", f"hydra.run.dir={folder}", *SGAL, *FORMER) == 0
    assert f"this run is finished, in {folder}" in capsys.readouterr().out
    assert command("resume=auto", f"hydra.run.dir={folder}", *SGAL, *FORMER, "method.g=0.5") == 2
    assert "method.g is 0.9 there, 0.5 here" in capsys.readouterr().err


def test_finished_runs_are_reported_with_their_metrics(
    reported: Reported, old_run: OldRun, tmp_path: Path
) -> None:
    for name in (*FINISHED, "cut_select"):
        old_run(name)
    code, out, _ = reported(tmp_path)
    assert code == 0
    for name in FINISHED:
        metrics = json.loads((DATA / name / "result.json").read_text())["metrics"]
        (line,) = (line for line in out.splitlines() if line.split()[:1] == [name])
        assert f"{metrics['ausuc']:.1f}" in line


@pytest.mark.parametrize("name", [*FINISHED, "cut_select", "cut_refit"])
def test_every_class_that_a_stored_configuration_names_is_found(name: str) -> None:
    config = OmegaConf.to_container(OmegaConf.load(DATA / name / "config.yaml"))
    assert isinstance(config, dict)
    nodes = [config["method"], config["dataset"], *config["callbacks"].values()]
    old = [node["_target_"] for node in nodes]
    assert "zsl_lab.data.digits.DigitsDataset" in old
    for path in old:
        found = get_class(current_target(path))
        assert found.__name__ == path.rpartition(".")[2]
