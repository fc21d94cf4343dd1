from __future__ import annotations

import csv
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from tests.conftest import SHORT, SHORT_FIT, SHORT_SGAL, Finished, power_cut
from tests.helpers import children
from tests.helpers.equal_runs import assert_resumed_equals_whole, assert_same_weights
from tests.helpers.forked import Forked
from zsl_lab.data.batches import features as features_module
from zsl_lab.data.batches.features import FeatureDataModule
from zsl_lab.errors import CheckpointError, ConfigError, DataError, OutputError
from zsl_lab.methods.mmvae.method import MMVAE
from zsl_lab.methods.module import Check, rank
from zsl_lab.methods.sgal.method import SGAL
from zsl_lab.result import Result
from zsl_lab.run import experiment as run_module
from zsl_lab.run.config import parse
from zsl_lab.run.experiment import run
from zsl_lab.run.records import metrics_csv, run_figures, tradeoff_csv

Configure = Callable[..., DictConfig]


def spied_data_modules(monkeypatch: pytest.MonkeyPatch) -> list[FeatureDataModule]:
    """Every data module that a run makes, in order, filled as it goes."""
    modules: list[FeatureDataModule] = []

    class Spy(FeatureDataModule):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            modules.append(self)

    monkeypatch.setattr(features_module, "FeatureDataModule", Spy)
    return modules


@pytest.mark.slow
def test_predictions_let_anyone_recompute_every_metric(finished: Finished) -> None:
    folder = finished("method=sgal", *SHORT_SGAL)
    result = Result.load(folder)
    with (folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))

    def mean_recall(split: str, column: str) -> float:
        mine = [row for row in rows if row["split"] == split]
        recalls = [
            np.mean([row[column] == row["label"] for row in mine if row["label"] == label])
            for label in {row["label"] for row in mine}
        ]
        return 100 * float(np.mean(recalls))

    u, s = mean_recall("test_unseen", "gzsl"), mean_recall("test_seen", "gzsl")
    assert result.metrics["unseen"] == pytest.approx(u)
    assert result.metrics["seen"] == pytest.approx(s)
    assert result.metrics["harmonic_mean"] == pytest.approx(2 * u * s / (u + s) if u + s else 0)
    assert result.metrics["zsl_top1"] == pytest.approx(mean_recall("test_unseen", "zsl"))
    assert {row["zsl"] for row in rows if row["split"] == "test_seen"} == {""}
    assert {row["zsl"] for row in rows if row["split"] == "test_unseen"} <= {"2", "4", "5"}


@pytest.mark.slow
def test_the_tradeoff_goes_through_the_calibrated_figures_and_encloses_ausuc(
    configure: Configure, tmp_path: Path
) -> None:
    result = run(configure("method=eszsl", *SHORT_FIT["eszsl"], "selection.calibrate=true"))
    assert result.calibration
    points = tradeoff_csv.read(tmp_path / "run")
    at = {f"{point.constant:.6g}": (point.seen, point.unseen) for point in points}
    assert at[f"{result.calibration:.6g}"] == pytest.approx(
        (result.metrics["seen"], result.metrics["unseen"]), abs=1e-3
    )
    assert at["0"][1] < result.metrics["unseen"]
    area = sum((b.unseen - a.unseen) * (a.seen + b.seen) / 200 for a, b in pairwise(points))
    assert area == pytest.approx(result.metrics["ausuc"], abs=0.1)


@pytest.mark.slow
def test_sgal_that_crashed_before_fine_tuning_ends_in_the_same_weights_after_resuming(
    configure: Configure, finished: Finished
) -> None:
    overrides, cuts = ("method=sgal", *SHORT_SGAL), (("select", 30), ("refit", 30))
    assert_resumed_equals_whole(configure, finished(*overrides), overrides, *cuts)


@pytest.mark.slow
def test_the_validation_phase_holds_no_test_sample_and_fits_its_scaler_on_its_own_training_samples(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = spied_data_modules(monkeypatch)
    run(configure("method=mmvae", *SHORT, "dataset.normalize=standard"))
    select, refit = modules[0], modules[1]
    assert (select.split.name, refit.split.name) == ("validation", "test")
    held = np.concatenate([select.split.train, select.split.eval_seen, select.split.eval_unseen])
    tested = np.concatenate([refit.split.eval_seen, refit.split.eval_unseen])
    assert not np.intersect1d(held, tested).size
    assert not np.isin(select.classes.ids, refit.split.unseen_classes).any()
    features = select._rows(select.split.train)
    torch.testing.assert_close(select.scaler.shift, torch.from_numpy(features).mean(0))
    assert not torch.equal(select.scaler.shift, refit.scaler.shift)


@pytest.mark.slow
def test_figures_are_drawn_of_the_method_in_evaluation_mode(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = []
    monkeypatch.setattr(
        run_figures,
        "draw_figures",
        lambda folder, data, method, *rest, **named: training.append(method.training),
    )
    run(configure("method=mmvae", *SHORT, "selection=last"))
    assert training == [False]


@pytest.mark.slow
def test_the_selected_check_is_the_best_one_also_where_later_steps_were_undone(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[dict[str, int]] = []
    monkeypatch.setattr(
        run_figures, "draw_figures", lambda *args, **named: drawn.append(dict(args[-1]))
    )
    # fine-tuning begins after step 40; the check at 45 is undone, the one at 50 is the best
    found = {40: 50.0, 45: 40.0, 50: 60.0}
    monkeypatch.setattr(
        SGAL, "own_metrics", lambda self: {"harmonic_mean": found.get(self.step, 0.0)}
    )
    rates: dict[str, list[float]] = {"select": [], "refit": []}
    take_step = SGAL.take_step

    def noted(self: SGAL, batch: Any) -> None:
        take_step(self, batch)
        rates[self.phase].append(self.trainer.optimizers[0].param_groups[0]["lr"])

    monkeypatch.setattr(SGAL, "take_step", noted)
    overrides = (
        *("method=sgal", *SHORT_SGAL, "selection.check_every=5"),
        "method.learning_rate_schedule=cosine",
    )
    result = run(configure(*overrides, "selection.report_oracle=false"))
    # each step of the refit has the learning rate that it had in the selection
    assert rates["refit"] == [*rates["select"][:40], *rates["select"][45:50]]
    assert result.validation is not None
    assert (result.validation["step"], result.validation["harmonic_mean"]) == (45, 60.0)
    assert drawn == [{"select": 50, "refit": 45}]


@pytest.mark.slow
@pytest.mark.parametrize("key", ["selection.calibrate=true", "selection.metric=zsl_top1"])
def test_one_validation_class_is_warned_of_where_accuracy_among_such_classes_selects(
    configure: Configure, key: str
) -> None:
    few = ("method=mmvae", *SHORT, "dataset.unseen=[0,1,2,3,6,8,9]")
    with pytest.warns(UserWarning, match=f"found one validation class, '7'.*several for {key}"):
        run(configure(*few, key, "selection.report_oracle=false"))


@pytest.mark.slow
def test_a_calibrated_run_keeps_the_constant_of_its_validation_classes(
    configure: Configure, tmp_path: Path
) -> None:
    # long enough to recognise something
    short = ("method=mmvae", *SHORT, "method.learning_rate=0.003", "selection.report_oracle=false")
    overrides = (
        *short,
        "method.steps=200",
        "selection.check_every=100",
        "selection.calibrate=true",
    )
    found = run(configure(*overrides))
    assert found.calibration
    stored = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)[
        "zsl_lab"
    ]
    assert stored["calibration"] == found.calibration
    again = configure(*overrides, "task=test", run_dir="again")
    again.ckpt = str(tmp_path / "run" / "checkpoints" / "best.ckpt")
    tested = run(again)
    assert (tested.metrics, tested.calibration) == (found.metrics, found.calibration)
    # what is restricted to unseen classes, or swept over all constants, does not depend on one
    same = run(
        configure(*short, f"method.steps={stored['selected']}", "selection=last", run_dir="same")
    )
    assert same.calibration is None
    for name in ("zsl_top1", "ausuc"):
        assert same.metrics[name] == pytest.approx(found.metrics[name])
    assert same.metrics["seen"] != found.metrics["seen"]


@pytest.mark.slow
def test_a_calibrated_run_resumes_exactly(configure: Configure, finished: Finished) -> None:
    overrides = ("method=mmvae", *SHORT, "selection.calibrate=true")
    cuts = (("select", 33), ("refit", 33))
    assert_resumed_equals_whole(configure, finished(*overrides), overrides, *cuts)


@pytest.mark.slow
def test_nothing_is_calibrated_where_there_are_no_validation_classes(
    configure: Configure, finished: Finished
) -> None:
    plain = Result.load(finished("method=mmvae", *SHORT, "selection=last"))
    found = run(configure("method=mmvae", *SHORT, "selection=last", "+selection.calibrate=true"))
    assert (found.metrics, found.calibration) == (plain.metrics, None)


@pytest.mark.slow
def test_last_reports_the_last_step_and_oracle_the_best_on_test(finished: Finished) -> None:
    folders = [finished("method=mmvae", *SHORT, f"selection={x}") for x in ("last", "oracle")]
    last, oracle = map(Result.load, folders)
    assert last.training["steps"] == 40
    assert oracle.oracle is not None
    assert {k: v for k, v in oracle.oracle.items() if k != "step"} == pytest.approx(oracle.metrics)
    assert oracle.metrics["harmonic_mean"] >= last.metrics["harmonic_mean"]
    assert "select" not in (folders[0] / "metrics.csv").read_text()


@pytest.mark.slow
def test_the_figures_on_validation_classes_at_the_chosen_step_stand_in_the_result_and_outlive_it(
    configure: Configure, finished: Finished
) -> None:
    folder, of_last = (
        finished("method=mmvae", *SHORT, *keys) for keys in ((), ("selection=last",))
    )
    result = Result.load(folder)
    rows = [
        row
        for row in metrics_csv.read_rows(folder)
        if row["phase"] == "select" and "check/harmonic_mean" in row
    ]
    best = max(rows, key=lambda row: (row["check/harmonic_mean"], row["check/ausuc"]))
    assert result.validation is not None
    assert result.validation["step"] == best["step"]
    assert result.validation["harmonic_mean"] == pytest.approx(best["check/harmonic_mean"])
    again = configure("method=mmvae", *SHORT, "task=test", run_dir="again")
    again.ckpt = str(folder / "checkpoints" / "best.ckpt")
    assert run(again).validation == result.validation
    assert Result.load(of_last).validation is None


@pytest.mark.slow
def test_without_the_oracle_nothing_is_checked_on_test_while_training(
    configure: Configure, tmp_path: Path
) -> None:
    result = run(configure("method=mmvae", *SHORT, "selection.report_oracle=false"))
    assert result.oracle is None
    assert "refit" not in (tmp_path / "run" / "metrics.csv").read_text()


@pytest.mark.slow
def test_whether_the_oracle_is_reported_does_not_change_the_result(
    configure: Configure, finished: Finished
) -> None:
    with_oracle = Result.load(finished("method=sgal", *SHORT_SGAL))
    without = run(configure("method=sgal", *SHORT_SGAL, "selection.report_oracle=false"))
    assert with_oracle.oracle is not None
    assert without.metrics == with_oracle.metrics


@pytest.mark.slow
def test_sgal_starts_from_a_trained_mmvae(
    configure: Configure, finished: Finished, tmp_path: Path
) -> None:
    mmvae = finished("method=mmvae", *SHORT, "selection=last")
    start = mmvae / "checkpoints" / "best.ckpt"
    overrides = ("method=sgal", *SHORT_SGAL, f"method.init_from={start}")
    result = run(configure(*overrides, "selection=last", run_dir="sgal"))
    assert result.training["steps"] == 40
    # a run's folder is its best checkpoint
    of_folder = ("method=sgal", *SHORT_SGAL, f"method.init_from={mmvae}")
    nothing = run(
        configure(*of_folder, "selection=last", "method.fine_tune_steps=0", run_dir="nothing")
    )
    assert nothing.training["steps"] == 0
    assert_same_weights(start, tmp_path / "nothing" / "checkpoints" / "best.ckpt")
    with pytest.raises(CheckpointError, match="other classes or samples"):
        run(configure(*overrides, "dataset.unseen=[1,2,3]", run_dir="other"))
    with pytest.raises(CheckpointError, match=r"dataset\.normalize=scale; this run has none"):
        run(configure(*overrides, "selection=last", "dataset.normalize=none", run_dir="scaled"))
    with pytest.raises(ConfigError, match="pre-trains one of its own"):
        run(configure(*overrides, "method.steps=0", run_dir="untrained"))
    with pytest.raises(CheckpointError, match=r"method\.init_from=.*no such file"):
        run(
            configure(
                "method=sgal", *SHORT_SGAL, "method.init_from=nowhere.ckpt", run_dir="missing"
            )
        )
    with pytest.raises(CheckpointError, match="another shape"):
        run(configure(*overrides, "selection=last", "method.latent_dim=9", run_dir="shape"))


@pytest.mark.slow
def test_what_sgal_starts_from_is_a_candidate_too(configure: Configure, tmp_path: Path) -> None:
    segments = "dataset.semantics=segments"
    run(configure("method=mmvae", *SHORT, segments, "selection=last", run_dir="mmvae"))
    start = tmp_path / "mmvae" / "checkpoints" / "best.ckpt"
    # fine-tuning that ruins what it starts from
    ruin = (
        "method.g=1",
        "method.p=0",
        "method.fine_tune_learning_rate=0.02",
        segments,
        "selection.metric=seen",
        f"method.init_from={start}",
    )
    run(configure("method=sgal", *SHORT_SGAL, *ruin, run_dir="sgal"))
    assert_same_weights(start, tmp_path / "sgal" / "checkpoints" / "best.ckpt")


@pytest.mark.slow
def test_what_was_selected_on_test_starts_only_an_oracle(
    configure: Configure, finished: Finished
) -> None:
    start = finished("method=mmvae", *SHORT, "selection=oracle") / "checkpoints" / "best.ckpt"
    overrides = ("method=sgal", *SHORT_SGAL, f"method.init_from={start}")
    with pytest.raises(CheckpointError, match="selected on test"):
        run(configure(*overrides, run_dir="validation"))
    run(configure(*overrides, "selection=oracle", run_dir="oracle"))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_what_is_no_checkpoint_is_refused(
    configure: Configure, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "x.ckpt"
    if content is not None:
        path.write_bytes(content)
    cfg = configure("method=mmvae", *SHORT, "task=test")
    cfg.ckpt = str(path)
    with pytest.raises(CheckpointError, match=r"x\.ckpt"):
        run(cfg)
    assert not (tmp_path / "run").exists()


def test_a_pickle_in_place_of_a_checkpoint_is_never_executed(
    configure: Configure, tmp_path: Path
) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "exploded",))

    torch.save({"zsl_lab": Bomb()}, tmp_path / "bomb.ckpt")
    cfg = configure("method=mmvae", *SHORT, "task=test")
    cfg.ckpt = str(tmp_path / "bomb.ckpt")
    with pytest.raises(CheckpointError, match="not unpickled further"):
        run(cfg)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.slow
def test_a_checkpoint_is_not_tested_on_other_classes_than_it_was_kept_from(
    configure: Configure, finished: Finished
) -> None:
    cfg = configure("method=mmvae", *SHORT, "task=test", "dataset.unseen=[0,1]", run_dir="other")
    trained = finished("method=mmvae", *SHORT, "selection=last")
    cfg.ckpt = str(trained / "checkpoints" / "best.ckpt")
    with pytest.raises(CheckpointError, match="trained on other data"):
        run(cfg)


@pytest.mark.slow
def test_a_state_of_the_selection_phase_is_not_tested(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Any, *args: Any) -> None:
        raise RuntimeError("stop")

    monkeypatch.setattr(run_module, "test_split", stop)
    with pytest.raises(RuntimeError, match="stop"):
        run(configure("method=mmvae", *SHORT))
    monkeypatch.undo()
    cfg = configure("method=mmvae", *SHORT, "task=test", run_dir="test")
    cfg.ckpt = str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    with pytest.raises(CheckpointError, match="selection phase"):
        run(cfg)


def test_an_output_folder_that_cannot_be_written_is_named(
    configure: Configure, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file.*paths\.output_dir"):
        run(configure("method=mmvae", *SHORT, run_dir="file/run"))


def test_a_diverging_loss_ends_the_run_with_the_term_and_the_step(configure: Configure) -> None:
    with pytest.raises(
        Exception, match=r"the loss '\w+' is .* at step \d+: training diverged"
    ) as caught:
        run(
            configure(
                "method=mmvae", *SHORT, "method.learning_rate=1e30", "trainer.log_every_n_steps=1"
            )
        )
    assert type(caught.value).__name__ == "TrainingError"


def test_among_checks_that_recognise_nothing_the_better_ausuc_is_best() -> None:
    found = [
        Check(0, 0, {"harmonic_mean": h, "ausuc": a})
        for h, a in ((0.0, 10.0), (0.0, 20.0), (0.0, 15.0), (5.0, 1.0))
    ]
    ranks = [rank(check, "harmonic_mean") for check in found]
    assert ranks == [(0.0, 10.0), (0.0, 20.0), (0.0, 15.0), (5.0, 1.0)]
    assert max(ranks) == ranks[3]
    unknown = Check(0, 0, {"harmonic_mean": float("nan"), "ausuc": 1.0})
    assert rank(unknown, "harmonic_mean") < ranks[0]


def test_the_speed_experiment_has_the_shape_it_claims(configure: Configure) -> None:
    cfg = parse(configure("experiment=bench", "method=mmvae"))
    method = cfg.method.model_dump()
    assert (
        method["encoder_hidden"],
        method["latent_dim"],
        method["batch_size"],
        method["learning_rate"],
    ) == ([512], 64, 64, 1e-4)
    dataset = cfg.dataset.model_dump()
    assert [dataset[key] for key in ("feature_dim", "semantic_dim", "classes", "unseen")] == [
        2048,
        85,
        50,
        10,
    ]


@pytest.mark.slow
def test_the_state_to_go_on_from_is_not_tested_in_place_of_the_selected_one(
    configure: Configure, finished: Finished
) -> None:
    cfg = configure("method=mmvae", *SHORT, "task=test", run_dir="test")
    cfg.ckpt = str(finished("method=mmvae", *SHORT) / "checkpoints" / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"best\.ckpt"):
        run(cfg)


@pytest.mark.slow
def test_metrics_are_on_the_disk_before_the_state_that_goes_on_from_there(
    configure: Configure, tmp_path: Path
) -> None:
    OmegaConf.save(configure("method=mmvae", *SHORT), tmp_path / "cfg.yaml")
    process = Forked(children.run_to_the_first_checkpoint, tmp_path / "cfg.yaml")
    process.communicate()
    assert process.returncode == 9
    lines = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert lines[1].startswith("select,20,")


@pytest.mark.slow
def test_a_disk_that_is_full_leaves_no_half_checkpoint(
    configure: Configure, tmp_path: Path
) -> None:
    OmegaConf.save(
        configure("method=mmvae", *SHORT, "method.encoder_hidden=[512]"), tmp_path / "cfg.yaml"
    )
    said, _ = Forked(children.run_on_a_full_disk, tmp_path / "cfg.yaml").communicate()
    assert "last.ckpt" in said
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


@pytest.mark.slow
def test_a_run_that_failed_before_training_leaves_nothing(
    configure: Configure, tmp_path: Path
) -> None:
    cfg = configure("method=mmvae", *SHORT, "dataset=awa2")
    cfg.paths.data_dir = str(tmp_path)
    with pytest.raises(DataError, match="AWA2"):
        run(cfg)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.slow
def test_zero_training_steps_are_refused(configure: Configure) -> None:
    with pytest.raises(ConfigError, match=r"method\.steps=0"):
        run(configure("method=mmvae", *SHORT, "method.steps=0"))


def test_a_gpu_that_is_not_there_is_a_sentence(configure: Configure) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="finds no GPU"):
        run(configure("method=mmvae", *SHORT, "hardware=gpu"))


@pytest.mark.slow
def test_what_another_run_left_in_the_folder_is_not_taken_for_this_one(
    configure: Configure, tmp_path: Path
) -> None:
    trained = run(configure("method=mmvae", *SHORT))
    folder = tmp_path / "run"
    # what cannot even begin leaves the earlier run alone
    with pytest.raises(DataError):
        run(
            configure(
                *("method=mmvae", *SHORT, "dataset=awa2", f"paths.data_dir={tmp_path}"),
                *("tuned=none", "overwrite=true"),
            )
        )
    # nor does a run that nobody said may replace it
    with pytest.raises(ConfigError, match="this folder holds a finished run"):
        run(configure("method=mmvae", *SHORT, "seed=1"))
    assert OmegaConf.load(folder / "config.yaml").dataset.name == "digits"
    assert (folder / "result.json").exists()
    # nor does a test write over what it reads
    again = configure("method=mmvae", *SHORT, "task=test", "overwrite=true")
    again.ckpt = str(folder / "checkpoints" / "best.ckpt")
    assert run(again) == trained
    assert (folder / "metrics.csv").exists()
    with pytest.raises(
        ConfigError, match="it lies in the folder of this run, which would write over it"
    ):
        run(
            configure(
                "method=sgal", *SHORT_SGAL, f"method.init_from={again.ckpt}", "overwrite=true"
            )
        )
    assert (folder / "checkpoints" / "best.ckpt").exists()
    with power_cut(MMVAE, 10):
        run(configure("method=mmvae", *SHORT, "seed=1", "overwrite=true"))
    left = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert left <= {"config.yaml", "metrics.csv"}
    assert OmegaConf.load(folder / "config.yaml").seed == 1


@pytest.mark.slow
def test_redrawn_splits_hold_the_same_number_of_other_unseen_classes(configure: Configure) -> None:
    found = [
        run(
            configure(
                "method=mmvae",
                *SHORT,
                "selection=last",
                "dataset.split=random",
                f"dataset.split_seed={k}",
                run_dir=str(k),
            )
        )
        for k in (0, 1)
    ]
    assert [len(result.per_class["unseen"]) for result in found] == [3, 3]
    assert found[0].benchmark["splits_sha256"] != found[1].benchmark["splits_sha256"]


@pytest.mark.slow
def test_on_real_flowers_the_validation_phase_never_touches_a_test_index(
    configure: Configure, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = spied_data_modules(monkeypatch)
    overrides = ("dataset=flo", "dataset.features=efficientnet_lite2", "dataset.normalize=standard")
    cfg = configure("method=mmvae", *overrides, *SHORT)
    cfg.paths.data_dir = str(shared / "data" / "xlsa17" / "data")
    run(cfg)
    select, refit = modules[:2]
    tested = np.concatenate([refit.split.eval_seen, refit.split.eval_unseen])
    for part in (select.split.train, select.split.eval_seen, select.split.eval_unseen):
        assert not np.intersect1d(part, tested).size
    assert len(select.split.unseen_classes) == 20
    features = torch.from_numpy(select._rows(select.split.train))
    torch.testing.assert_close(select.scaler.shift, features.mean(0))
    torch.testing.assert_close(select.scaler.scale, features.std(0, correction=0))
