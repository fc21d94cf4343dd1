"""Runs whose features stay on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from tests.conftest import SHORT_FIT, SHORTER_SGAL, power_cut
from tests.data.datasets.test_own import PATHS
from tests.helpers.benchmark_files import BASE
from zsl_lab.data.batches import stored
from zsl_lab.data.benchmark import StoredBenchmark
from zsl_lab.data.datasets.digits import DigitsDataset
from zsl_lab.data.files import benchmark_file as hdf5
from zsl_lab.methods.sgal import SGAL
from zsl_lab.run.checkpoints.files import read
from zsl_lab.run.config import parse
from zsl_lab.run.context import load_checked
from zsl_lab.run.experiment import run

Configure = Callable[..., DictConfig]

pytestmark = pytest.mark.slow


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Overrides for the digits in a file; blocks of 16 rows, windows of 16 blocks."""
    monkeypatch.setattr(stored, "_BLOCK_BYTES", 16 * 64 * 4)
    monkeypatch.setattr(stored, "_WINDOW_BYTES", 256 * 64 * 4)
    keys = {**BASE, "name": "digits", "unseen": [2, 4, 5], "semantics": "strokes"}
    b = DigitsDataset.model_validate(keys).load(PATHS)
    names = ("features", "labels", "class_names", "trainval", "test_seen", "test_unseen")
    known = {name: getattr(b, name) for name in names}
    content = hdf5.BenchmarkFile(name="digits", semantics={"att": b.semantics}, **known)
    hdf5.write(content, tmp_path / "digits.h5")
    return "dataset=own", f"dataset.path={tmp_path / 'digits.h5'}"


def test_a_run_from_disk_that_was_cut_short_ends_in_the_same_weights_after_resuming(
    configure: Configure, digits: tuple[str, str], tmp_path: Path
) -> None:
    keys = ("method=sgal", *SHORTER_SGAL, *digits, "dataset.storage=disk", "selection=last")
    last = parse(configure(*keys)).method.model_dump()["steps"] + 9
    run(configure(*keys, run_dir="whole"))
    with power_cut(SGAL, last):
        run(configure(*keys, "trainer.save_every_n_steps=5"))
    ckpt = tmp_path / "run" / "checkpoints" / "last.ckpt"
    run(configure(*keys, "trainer.save_every_n_steps=5", f"ckpt={ckpt}"))
    weights = [read(tmp_path / name / "checkpoints" / "best.ckpt", "") for name in ("whole", "run")]
    for one, other in zip(*(found.weights.values() for found in weights), strict=True):
        assert torch.equal(one, other)


def test_a_checkpoint_is_evaluated_alike_from_memory_and_from_disk(
    configure: Configure, digits: tuple[str, str], tmp_path: Path
) -> None:
    keys = ("method=sgal", *SHORTER_SGAL, *digits)
    trained = run(configure(*keys, "dataset.storage=disk", "selection=last"))
    ckpt = tmp_path / "run" / "checkpoints" / "best.ckpt"
    for storage in ("memory", "disk"):
        test = ("task=test", f"ckpt={ckpt}", f"dataset.storage={storage}")
        assert run(configure(*keys, *test, run_dir=storage)).metrics == trained.metrics


@pytest.mark.parametrize("method", ["exem", "eszsl", "aspn"])
def test_methods_that_need_all_samples_train_from_disk(
    configure: Configure, digits: tuple[str, str], method: str
) -> None:
    keys = (f"method={method}", *SHORT_FIT[method], *digits)
    disk = run(configure(*keys, "dataset.storage=disk", run_dir="disk"))
    if method == "aspn":  # draws batches, in another order
        assert disk.metrics["zsl_top1"] > 30
    else:
        memory = run(configure(*keys, "dataset.storage=memory", run_dir="memory"))
        assert disk.metrics == pytest.approx(memory.metrics, abs=0.5)


def test_loading_and_keeping_a_benchmark_reads_no_features_at_once(
    configure: Configure, digits: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_all(self: StoredBenchmark) -> None:
        raise AssertionError("all features were read into memory")

    monkeypatch.setattr(StoredBenchmark, "features", property(read_all))
    found, _ = load_checked(parse(configure("method=sgal", *digits, "dataset.storage=disk")))
    assert isinstance(found, StoredBenchmark)
