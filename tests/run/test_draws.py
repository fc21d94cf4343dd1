"""A step that is chosen on the mean of several draws of validation classes."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from tests.conftest import SHORT, SHORT_SGAL, Finished, power_cut
from tests.helpers.equal_runs import assert_resumed_equals_whole, assert_same_run
from zsl_lab.errors import CheckpointError
from zsl_lab.methods.mmvae.method import MMVAE
from zsl_lab.methods.module import Check
from zsl_lab.plots.figures import training_curves
from zsl_lab.result import Result
from zsl_lab.run.checkpoints import files as checkpoints
from zsl_lab.run.checkpoints.state import RunState
from zsl_lab.run.config import parse
from zsl_lab.run.context import RunContext, load_benchmark
from zsl_lab.run.experiment import run
from zsl_lab.run.records.metrics_csv import read_rows
from zsl_lab.run.validation import best_on_average, mean_check, retraced, validate

Configure = Callable[..., DictConfig]
DRAWS = ("method=mmvae", *SHORT, "selection.draws=3", "selection.report_oracle=false")


def check(
    step: int, value: float, ausuc: float = 0.0, undone: int = 0, constant: float = 0.0
) -> Check:
    metrics = {"harmonic_mean": value, "ausuc": ausuc}
    return Check(step, step - undone, metrics, constant)


def test_the_best_mean_is_chosen_and_not_the_best_of_a_draw() -> None:
    draws = [
        [check(10, 50.0), check(20, 40.0), check(30, 0.0)],
        [check(10, 10.0), check(20, 40.0), check(30, 70.0)],
    ]
    best = best_on_average(draws, "harmonic_mean")
    assert best is not None
    assert (best.step, best.metrics["harmonic_mean"]) == (20, 40.0)


def test_ausuc_decides_between_equals_and_then_the_earliest() -> None:
    equal = [check(10, 5.0, 1.0), check(20, 5.0, 2.0), check(30, 5.0, 2.0)]
    best = best_on_average([equal], "harmonic_mean")
    assert best is not None
    assert best.step == 20


def test_steps_that_were_undone_are_not_retraced() -> None:
    # 40 is the end of pre-training; 50 is undone; 60 is better than 40; 70 and 80 are undone; 90
    checks = [
        check(40, 10.0),
        check(50, 9.0),
        check(60, 20.0, undone=10),
        check(70, 19.0, undone=10),
        check(80, 18.0, undone=20),
        check(90, 30.0, undone=30),
        check(100, 31.0, undone=30),
    ]
    expected = {
        40: ((0, 40),),
        50: ((0, 50),),
        60: ((0, 40), (50, 60)),
        70: ((0, 40), (50, 70)),
        90: ((0, 40), (50, 60), (80, 90)),
        100: ((0, 40), (50, 60), (80, 100)),
    }
    for step, spans in expected.items():
        found = retraced(checks, step, "harmonic_mean")
        assert found == spans
        effective = next(c.effective_step for c in checks if c.step == step)
        assert sum(end - start for start, end in found) == effective


def test_steps_of_a_method_that_undoes_none_are_all_retraced() -> None:
    checks = [check(10, 5.0), check(20, 4.0), check(30, 6.0)]
    assert retraced(checks, 30, "harmonic_mean") == ((0, 30),)


def test_a_candidate_without_the_metric_in_a_draw_is_none() -> None:
    draws = [[check(10, math.nan), check(20, 1.0)], [check(10, 99.0), check(20, 2.0)]]
    best = best_on_average(draws, "harmonic_mean")
    assert best is not None
    assert best.step == 20
    assert best_on_average([[check(10, math.nan, math.nan)]], "harmonic_mean") is None


def test_constants_and_effective_steps_are_averaged() -> None:
    mean = mean_check([check(30, 1.0, undone=10, constant=1.0), check(30, 2.0, constant=4.0)])
    assert (mean.step, mean.effective_step, mean.calibration) == (30, 25, 2.5)


@pytest.mark.slow
def test_a_run_selects_by_the_mean_of_its_draws(finished: Finished) -> None:
    result = Result.load(finished(*DRAWS))
    rows = read_rows(finished(*DRAWS))
    by_step: dict[int, list[float]] = {}
    for row in rows:
        if str(row["phase"]).startswith("select") and "check/harmonic_mean" in row:
            by_step.setdefault(int(row["step"]), []).append(float(row["check/harmonic_mean"]))
    assert {len(values) for values in by_step.values()} == {3}
    means = {step: statistics.fmean(values) for step, values in by_step.items()}
    assert result.validation is not None
    assert result.validation["harmonic_mean"] == pytest.approx(max(means.values()))
    assert means[result.validation["step"]] == pytest.approx(max(means.values()))
    phases = list(dict.fromkeys(row["phase"] for row in rows))
    assert phases[:3] == ["select", "select_2", "select_3"]
    assert result.training["steps"] == 3 * 40 + result.validation["step"]


@pytest.mark.slow
def test_one_draw_is_what_a_run_without_the_key_does(
    configure: Configure, finished: Finished, tmp_path: Path
) -> None:
    run(configure("method=mmvae", *SHORT, "selection.draws=1", run_dir="one"))
    assert_same_run(finished("method=mmvae", *SHORT), tmp_path / "one")
    state = torch.load(tmp_path / "one/checkpoints/last.ckpt", weights_only=True)["zsl_lab"]
    assert not {"draw", "earlier"} & set(state)


@pytest.mark.slow
def test_a_run_that_was_cut_in_draws_goes_on_in_them(
    configure: Configure, finished: Finished
) -> None:
    overrides = (*DRAWS, "trainer.save_every_n_steps=5", "trainer.log_every_n_steps=5")
    cuts = (("select_2", 5), ("select_3", 30))
    assert_resumed_equals_whole(configure, finished(*overrides), overrides, *cuts)


@pytest.mark.slow
def test_sgal_which_undoes_steps_takes_several_draws(configure: Configure) -> None:
    result = run(configure(*SHORT_SGAL, "selection.draws=2", "selection.calibrate=true"))
    assert result.validation is not None
    assert 40 <= result.validation["step"] <= 80
    assert result.calibration is not None


@pytest.mark.slow
def test_damaged_checks_of_earlier_draws_are_refused(configure: Configure, tmp_path: Path) -> None:
    with power_cut(MMVAE, 30, "select_2"):
        run(configure(*DRAWS))
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    state = checkpoints.read(path, "ckpt").state
    assert (state.draw, [len(checks) for checks in state.earlier]) == (1, [2])
    plain = {**state.to_plain(), "reported": False, "earlier": [[{"step": "x"}]]}
    with pytest.raises(CheckpointError, match=r"field 'earlier\.0\.0.*the file is damaged"):
        RunState.from_plain(plain, "ckpt=it")


@pytest.mark.slow
def test_the_figure_has_the_curves_of_every_draw(finished: Finished, tmp_path: Path) -> None:
    rows = read_rows(finished(*DRAWS))
    assert {"select", "select_2", "select_3"} <= {row["phase"] for row in rows}
    training_curves(rows, tmp_path / "curves.png", {"select": 20, "refit": 20})
    assert (tmp_path / "curves.png").stat().st_size > 0


@pytest.mark.slow
def test_a_validation_alone_is_the_selection_of_a_run(
    configure: Configure, finished: Finished, tmp_path: Path
) -> None:
    result = Result.load(finished(*DRAWS))
    config = parse(configure(*DRAWS, run_dir="alone"))
    benchmark = load_benchmark(config)
    from zsl_lab.hardware.trainer import find_hardware

    context = RunContext(config, benchmark, tmp_path / "alone", find_hardware(config.trainer))
    shares: list[tuple[int, float]] = []
    best = validate(context, lambda draw, share, _: shares.append((draw, share)), lambda _: None)
    assert best is not None
    assert {**best.metrics, "step": best.effective_step} == result.validation
    assert shares == [(draw, share) for draw in range(3) for share in (0.5, 1.0)]
    assert not (tmp_path / "alone").exists()


def test_configurations_of_older_versions_are_equal_to_one_draw(tmp_path: Path) -> None:
    from zsl_lab.run.configuration.schema import run_marks
    from zsl_lab.run.configuration.settings import Configuration

    old = {"selection": {"name": "validation"}, "method": {"g": 1}}
    new = {
        "selection": {"name": "validation", "draws": 1},
        "method": {"g": 1},
    }
    assert Configuration(old, run_marks()).settings() == Configuration(new, run_marks()).settings()
    several = json.loads(json.dumps(new))
    several["selection"]["draws"] = 2
    found = Configuration(several, run_marks()).settings()
    assert found["selection.draws"] == 2
