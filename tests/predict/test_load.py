"""From a checkpoint to a predictor."""

from __future__ import annotations

import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zsl_lab
from tests.conftest import SHORT_FIT, composed
from tests.helpers.predict import UNSEEN, Load, ShortRun, altered
from zsl_lab.data.benchmark import FeatureBenchmark
from zsl_lab.errors import CheckpointError
from zsl_lab.predict.classes import KnownClass
from zsl_lab.predict.features import FeaturePredictor
from zsl_lab.predict.images import ImagePredictor
from zsl_lab.run.config import parse


def test_a_predictor_says_what_it_knows(load: Load, short_run: ShortRun) -> None:
    sgal, n3 = load("sgal"), load("n3")
    assert isinstance(sgal, FeaturePredictor)
    assert isinstance(n3, ImagePredictor)
    assert (sgal.method, sgal.dataset, sgal.feature_dim, sgal.semantic_dim) == (
        "sgal",
        "digits",
        64,
        29,
    )
    assert (n3.method, n3.feature_dim) == ("n3", None)
    assert (
        sgal.classes
        == n3.classes
        == tuple(KnownClass(str(digit), str(digit) not in UNSEEN) for digit in range(10))
    )
    assert sgal.checkpoint == short_run("sgal") / "checkpoints" / "best.ckpt"
    assert not sgal.network.training


def test_a_checkpoint_file_is_as_good_as_the_runs_folder(
    load: Load, short_run: ShortRun, digits: FeatureBenchmark
) -> None:
    x = digits.features[:5]
    found = zsl_lab.load(str(short_run("sgal") / "checkpoints" / "best.ckpt")).predict(x)
    np.testing.assert_array_equal(found.scores, load("sgal").predict(x).scores)


def test_neither_the_data_nor_their_folder_need_be_there(
    short_run: ShortRun, digits: FeatureBenchmark, tmp_path: Path
) -> None:
    def move(checkpoint: dict[str, Any]) -> None:
        config = checkpoint["zsl_lab"]["config"]
        config["dataset"] |= {
            "_target_": "zsl_lab.data.datasets.xian.XianDataset",
            "features": "res101",
            "name": "AWA2",
        }
        config["paths"] |= {"data_dir": "/nowhere", "cache_dir": "/nowhere/cache"}
        xian = parse(composed(tmp_path / "x", "method=mmvae", "dataset=awa2")).plain["dataset"]
        config["dataset"] = xian

    predictor = zsl_lab.load(altered(short_run("mmvae"), tmp_path / "moved.ckpt", move))
    assert (predictor.dataset, predictor.predict(digits.features[:3]).scores.shape) == (
        "digits",
        (3, 10),
    )


def test_importing_the_package_brings_no_pytorch() -> None:
    code = "import sys, zsl_lab; print('torch' in sys.modules, 'load' in zsl_lab.__all__)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False True\n"


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_pickle_is_never_executed(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    exploded = tmp_path / "exploded"
    torch.save({"zsl_lab": Bomb(exploded)}, tmp_path / "zip.ckpt")
    torch.save(
        {"zsl_lab": Bomb(exploded)}, tmp_path / "legacy.ckpt", _use_new_zipfile_serialization=False
    )
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Bomb(exploded), protocol=2))
    (tmp_path / "recent.ckpt").write_bytes(pickle.dumps(Bomb(exploded)))
    for name in ("zip", "legacy", "plain", "recent"):
        with pytest.raises(
            CheckpointError,
            match=rf"{name}\.ckpt: this is not a readable checkpoint .* It was not unpickled "
            r"further",
        ):
            zsl_lab.load(tmp_path / f"{name}.ckpt")
    assert not exploded.exists()
    assert not recwarn.list  # torch would speak of the pickle's protocol
    pickle.loads((tmp_path / "plain.ckpt").read_bytes())
    assert exploded.exists()  # it would have been


def test_what_is_no_checkpoint_of_this_project_is_refused(
    short_run: ShortRun, tmp_path: Path
) -> None:
    (tmp_path / "page.ckpt").write_text("<html>")
    whole = (short_run("sgal") / "checkpoints" / "best.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(tmp_path / "zip.ckpt", "w") as archive:
        archive.writestr("x", "y")
    for name in ("page", "cut", "zip"):
        with pytest.raises(
            CheckpointError, match=rf"{name}\.ckpt: this is not a readable checkpoint"
        ):
            zsl_lab.load(tmp_path / f"{name}.ckpt")
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / "other.ckpt")
    with pytest.raises(
        CheckpointError,
        match=r"field 'zsl_lab' is missing; .*\. Give RUN/checkpoints/best\.ckpt .*, or train "
        r"anew\.$",
    ):
        zsl_lab.load(tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="there is no such file"):
        zsl_lab.load(tmp_path / "none.ckpt")
    with pytest.raises(
        CheckpointError,
        match=r"this folder has no checkpoints/best\.ckpt\. Give the folder of a finished run or "
        r"one that save_pretrained wrote, or a file",
    ):
        zsl_lab.load(tmp_path)


@pytest.mark.parametrize("ckpt", [None, 5, b"run"])
def test_what_is_no_path_is_no_checkpoint(ckpt: Any) -> None:
    with pytest.raises(
        CheckpointError,
        match=r"^ckpt=.*: expected a path\. Give the folder of a finished run, or a file",
    ):
        zsl_lab.load(ckpt)


def _without_classes(checkpoint: dict[str, Any]) -> None:
    state = checkpoint["FeatureDataModule"]
    checkpoint["FeatureDataModule"] = {"scaler": state["scaler"], "stream": state["stream"]}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda c: c["zsl_lab"].update(format=2),
            r"field 'format' is 2; this version reads 1\. Use the version of zsl_lab that wrote it",
        ),
        (lambda c: c["zsl_lab"].pop("format"), "field 'format' is None; this version reads 1"),
        (
            _without_classes,
            r"this checkpoint does not say which classes it knows; an older version of zsl_lab "
            r"wrote it\. task=test still evaluates it; to "
            r"predict, train anew with this version\.$",
        ),
        (
            lambda c: c["zsl_lab"].update(phase="select"),
            r"this state is from the selection phase .*Finish the run first .*, or give its",
        ),
        (
            lambda c: c["zsl_lab"].update(reported=False),
            r"it is not the selected one\. Give the run's best\.ckpt",
        ),
        (
            lambda c: c["zsl_lab"].pop("config"),
            r"field 'config' is missing; .* Give another checkpoint, or train anew",
        ),
        (lambda c: c.pop("state_dict"), r"field 'state_dict' is missing"),
        (
            lambda c: c["FeatureDataModule"]["classes"].pop("semantics_scaler"),
            r"field 'classes\.semantics_scaler' is None; expected a scaling",
        ),
        (
            lambda c: c["FeatureDataModule"]["classes"]["names"].pop(),
            r"field 'classes\.ids' is int64 \[10\]; expected int64 \[9\]",
        ),
        (
            lambda c: c["FeatureDataModule"]["scaler"].update(kind="log"),
            r"is damaged \(ValueError: the kind of scaling is 'log'",
        ),
        (
            lambda c: c["state_dict"].popitem(),
            r"its weights do not fit the configuration \(Missing key",
        ),
    ],
)
def test_checkpoints_that_cannot_predict_say_why(
    short_run: ShortRun, tmp_path: Path, change: Callable[[dict[str, Any]], Any], sentence: str
) -> None:
    path = altered(short_run("sgal"), tmp_path / "changed.ckpt", change)
    with pytest.raises(CheckpointError, match=rf"^ckpt=.*changed\.ckpt: .*{sentence}"):
        zsl_lab.load(path)


def test_a_checkpoint_without_classes_is_still_tested(short_run: ShortRun, tmp_path: Path) -> None:
    from zsl_lab.result import Result
    from zsl_lab.run.experiment import run

    cfg = composed(tmp_path / "again", "method=sgal", *SHORT_FIT["sgal"], "task=test")
    cfg.ckpt = str(altered(short_run("sgal"), tmp_path / "older.ckpt", _without_classes))
    assert run(cfg).metrics == Result.load(short_run("sgal")).metrics
