"""What every method must do: those of the package, and those of somebody else's package."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from omegaconf import DictConfig

import zsl_lab
from tests.conftest import OF_IMAGES, REFIT_ALONE, composed
from tests.contract.conftest import (
    EVERY_CLASS,
    EVERY_METHOD,
    Overrides,
    ShortRun,
    of_dataset,
)
from tests.helpers.equal_runs import assert_resumed_equals_whole, weights
from zsl_lab.data.benchmark import Benchmark
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.scaling import Scaler
from zsl_lab.data.splits import test_split as final_split
from zsl_lab.errors import ConfigError
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.plots import figures
from zsl_lab.predict.predictor import Predictor
from zsl_lab.result import Result
from zsl_lab.run.config import RunConfig, parse
from zsl_lab.run.experiment import run
from zsl_lab.run.records import run_figures

Configure = Callable[..., DictConfig]
NOWHERE = DataPaths(Path("nowhere"), Path("nowhere"))

COMMON_FIGURES = ("training_curves", "per_class_recall", "confusion_matrix_unseen")

every_method = pytest.mark.parametrize("method", EVERY_METHOD)
every_class = pytest.mark.parametrize("method", EVERY_CLASS)


@pytest.fixture(scope="module")
def predictor(fitted: ShortRun) -> Callable[[str], Any]:
    """The predictor of a method's short run, loaded once."""
    loaded: dict[str, Predictor] = {}

    def predictor(method: str) -> Predictor:
        if method not in loaded:
            loaded[method] = zsl_lab.load(fitted(method))
        return loaded[method]

    return predictor


@cache
def digits(method: str) -> tuple[Benchmark, Any, Any]:
    """The digits as a method takes them: the benchmark, its samples, what describes each class."""
    dataset = parse(composed(Path("run"), *of_dataset(method))).dataset
    if method in OF_IMAGES:
        images = dataset.load_images(NOWHERE)
        return images, images.images, images.descriptions
    features = dataset.load(NOWHERE)
    return features, features.features, features.semantics


def steps_of(config: RunConfig) -> int:
    """How many steps a run takes."""
    benchmark, _, _ = digits(config.method.name)
    data = config.dataset.data_module(benchmark, final_split(benchmark))
    return config.method_class.build(config.method, data).total_steps


# --------------------------------------------------------------------------- training and testing


@every_method
def test_a_run_leaves_the_whole_run_folder(fitted: ShortRun, method: str) -> None:
    folder = fitted(method)
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {
        *("config.yaml", "metrics.csv", "predictions.csv", "result.json", "tradeoff.csv"),
        *("checkpoints/best.ckpt", "checkpoints/last.ckpt"),
    }
    stored = json.loads((folder / "result.json").read_text())
    assert list(stored) == [
        *("method", "dataset", "seed", "selection", "metrics", "oracle", "per_class", "training"),
        *("benchmark", "checkpoint", "versions", "git_commit", "model", "calibration", "extra"),
        *("validation", "findings", "metric", "tuned", "settings", "classifier"),
        "oracle_by_metric",
    ]
    assert stored["method"] == method
    assert stored["oracle"]["step"] > 0
    assert set(stored["oracle_by_metric"]) == {"zsl_top1", "harmonic_mean"}
    assert {"seen_per_sample", "unseen_top5"} <= set(stored["extra"])
    assert stored["benchmark"]["classes"] == 10


@pytest.mark.usefixtures("figures")
@every_class
def test_testing_a_checkpoint_gives_the_stored_metrics_and_draws_the_figures(
    configure: Configure,
    overrides: Overrides,
    fitted: ShortRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    # rendering and t-SNE are tested with the figures themselves
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **options: file.write(b"drawn"))
    monkeypatch.setattr(figures, "_tsne", lambda points: points[:, :2])
    draw, drawn = run_figures.draw_figures, []

    def spy(folder: Path, data: Any, network: ZeroShotMethod, *rest: Any) -> None:
        drawn.append(network)
        draw(folder, data, network, *rest)

    monkeypatch.setattr(run_figures, "draw_figures", spy)
    (tmp_path / "again").mkdir()
    shutil.copy(fitted(method) / "metrics.csv", tmp_path / "again")  # of the training curves
    again = configure(*overrides(method), "task=test", "overwrite=true", run_dir="again")
    again.ckpt = str(fitted(method) / "checkpoints" / "best.ckpt")
    tested, trained = run(again), Result.load(fitted(method))
    assert tested.metrics == pytest.approx(trained.metrics, abs=1e-6)
    assert tested.oracle == trained.oracle
    assert tested.oracle_by_metric == trained.oracle_by_metric
    assert tested.extra == pytest.approx(trained.extra, abs=1e-6, nan_ok=True)
    assert tested.training == trained.training
    (network,) = drawn  # the tested one, which may have more to show than a loaded one
    names = {Path(name).stem for name in network.plots()} | set(COMMON_FIGURES)
    if network.total_steps == 1:  # a closed form has no curves
        names.remove("training_curves")
    of_features, points = network.takes == "features", set()
    if of_features and type(network).latent_space is not ZeroShotMethod.latent_space:
        names.add("latent_projection")
        points.add("latent_projection.csv")
    found = {path.name for path in (tmp_path / "again" / "figures").iterdir()}
    assert found == points | {f"{name}.{ending}" for name in names for ending in ("png", "pdf")}


@every_class
def test_another_seed_gives_other_weights(
    configure: Configure,
    overrides: Overrides,
    fitted: ShortRun,
    predictor: Callable[[str], Any],
    tmp_path: Path,
    method: str,
) -> None:
    run(configure(*overrides(method), *REFIT_ALONE, "seed=1"))
    network = predictor(method).network
    draws = any(p.requires_grad for p in network.parameters())  # a closed form draws nothing
    last = "checkpoints/last.ckpt"  # of the whole refit, which selects nothing
    a, b = weights(fitted(method) / last), weights(tmp_path / "run" / last)
    assert draws != all(torch.equal(value, b[name]) for name, value in a.items())


@every_class
def test_training_in_mixed_precision(
    configure: Configure, overrides: Overrides, method: str
) -> None:
    result = run(configure(*overrides(method), *REFIT_ALONE, "trainer.precision=bf16-mixed"))
    assert result.training["precision"] == "bf16-mixed"
    assert 0 <= result.metrics["seen"] <= 100


@every_class
def test_a_run_that_crashed_late_in_each_phase_ends_in_the_same_weights_after_resuming(
    configure: Configure, overrides: Overrides, fitted: ShortRun, method: str
) -> None:
    """A method of one step cannot crash within a phase: its second run must be the same."""
    steps = steps_of(parse(configure(*overrides(method))))
    cuts = [(phase, steps * 4 // 5 + 1) for phase in ("select", "refit") if steps > 1]
    assert_resumed_equals_whole(configure, fitted(method), overrides(method), *cuts)


@every_method
def test_checkpoints_hold_no_objects(fitted: ShortRun, method: str) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        state = torch.load(fitted(method) / "checkpoints" / name, weights_only=True)
        assert state["zsl_lab"]["config"]["method"]["name"] == method
        assert not {"short", "bench"} & set(state["zsl_lab"]["config"]["method"])
        assert state["method_state"]["step"] > 0


# --------------------------------------------------------------------------- prediction


@every_method
def test_a_checkpoint_predicts_what_its_run_predicted(
    predictor: Callable[[str], Any], fitted: ShortRun, method: str
) -> None:
    with (fitted(method) / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    _, samples, _ = digits(method)
    x = samples[[int(row["index"]) for row in rows]]
    assert predictor(method).predict(x).predicted == [row["gzsl"] for row in rows]
    unseen = [i for i, row in enumerate(rows) if row["split"] == "test_unseen"]
    found = predictor(method).predict(x[unseen], among="unseen").predicted
    assert found == [rows[i]["zsl"] for i in unseen]


@every_method
def test_a_samples_scores_do_not_depend_on_the_others(
    predictor: Callable[[str], Any], method: str
) -> None:
    benchmark, samples, _ = digits(method)
    x = samples[benchmark.test_unseen[:6]]
    together = predictor(method).predict(x).scores
    alone = np.concatenate([predictor(method).predict(x[i : i + 1]).scores for i in range(len(x))])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)
    assert np.ptp(together, axis=0).max() > 0


@every_method
def test_new_classes_described_as_unseen_ones_get_their_scores(
    predictor: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    # of the method itself, where its yaml names a classifier: one may learn new classes anew
    monkeypatch.setattr(predictor(method).network, "classifier", None)
    benchmark, samples, told = digits(method)
    x = samples[benchmark.test_unseen[:50]]
    own = predictor(method).predict(x, among="unseen")
    new = predictor(method).predict(x, {f"new {name}": told[int(name)] for name in own.names})
    assert own.kinds == ("unseen",) * 3
    assert (new.names, new.kinds) == (tuple(f"new {n}" for n in own.names), ("new",) * 3)
    np.testing.assert_allclose(new.scores, own.scores, rtol=1e-4, atol=1e-5)
    assert float(own.scores.std()) > 0


# --------------------------------------------------------------------------- generation


@every_method
def test_a_method_generates_features_in_the_units_of_the_benchmark_or_says_that_it_does_not(
    predictor: Callable[[str], Any], method: str
) -> None:
    asked = predictor(method)
    if not type(asked.network).generates(asked.network.config):
        with pytest.raises(ConfigError, match="generate"):
            asked.generate("2", 6)
        return
    found = asked.generate("2", 6, seed=3)
    assert (found.shape, found.dtype) == ((6, 64), np.float32)
    checkpoint = torch.load(asked.checkpoint, weights_only=True)
    scaler = Scaler.from_state(checkpoint["FeatureDataModule"]["scaler"])
    torch.manual_seed(3)
    of_two = torch.as_tensor(asked._space.semantics[[2]])
    expected = asked.network.generate(of_two, 6)[0]
    torch.testing.assert_close(
        scaler.apply(torch.from_numpy(found)), expected, rtol=1e-4, atol=1e-5
    )
    _, _, told = digits(method)
    np.testing.assert_array_equal(asked.generate(told[2], 6, seed=3), found)
