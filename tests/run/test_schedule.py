from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from tests.conftest import SHORT, SHORT_SGAL, SHORTER_SGAL, power_cut
from zsl_lab.methods.sgal import SGAL
from zsl_lab.run import schedule
from zsl_lab.run.callbacks import phase_checkpoint
from zsl_lab.run.checkpoints.files import AtomicCheckpointIO
from zsl_lab.run.configuration.schema import SelectionConfig
from zsl_lab.run.experiment import run
from zsl_lab.run.records.metrics_csv import read_rows
from zsl_lab.run.schedule import evenly_spaced, plan

Configure = Callable[..., DictConfig]


class Method:
    """What a schedule asks of a method."""

    def __init__(
        self, total: int, first: int = 0, milestones: tuple[int, ...] = (), step: int = 0
    ) -> None:
        self.total_steps, self.first_candidate = total, first
        self.milestones, self.step = milestones, step


def planned(
    method: Method, every: int, selected: int | None = None, *, evaluates: bool = True, **keys: Any
) -> schedule.Schedule:
    selection = SelectionConfig(
        name="validation", metric="harmonic_mean", check_every=every, report_oracle=True, **keys
    )
    return plan(method, selection, selected, evaluates=evaluates)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [
        (3, 5, [1, 2, 3]),
        (5, 5, [1, 2, 3, 4, 5]),
        (6, 3, [2, 4, 6]),
        (7, 3, [2, 4, 7]),
        (7, 1, [7]),
        (0, 3, []),
    ],
)
def test_of_too_many_steps_evenly_spaced_ones_are_taken_the_last_among_them(
    count: int, most: int, expected: list[int]
) -> None:
    assert list(evenly_spaced(range(1, count + 1), most)) == expected


def test_every_step_that_can_be_selected_is_checked_and_ten_of_those_before() -> None:
    # SGAL tuned on FLO: 1,500 steps of the mmVAE, then 400
    found = planned(Method(1900, first=1500, milestones=(1500,)), 50)
    assert found.epochs == list(range(50, 1901, 50))
    candidates = set(range(1500, 1901, 50))
    assert candidates <= found.checks
    assert len(found.checks - candidates) == 10


def test_the_published_schedule_of_sun_has_few_checks() -> None:
    found = planned(Method(1_451_500, first=1_450_000, milestones=(1_450_000,)), 100)
    assert len(found.epochs) == 14_515
    assert len(found.checks) == 10 + 16


def test_where_any_step_can_be_selected_the_number_of_checks_is_bounded() -> None:
    found = planned(Method(170_000), 100)
    steps = sorted(found.checks)
    assert len(steps) == 101  # the last one is checked in any case
    assert {b - a for a, b in pairwise(steps[:-1])} == {1700}
    assert len(planned(Method(170_000), 100, max_checks=2000).checks) == 1700


def test_milestones_the_selected_step_and_the_last_are_checked_in_any_case() -> None:
    found = planned(Method(1000, milestones=(7, 9)), 10, 333, max_checks=1)
    assert found.checks == {7, 9, 333, 990, 1000}


def test_a_phase_without_evaluation_only_writes_checkpoints() -> None:
    found = planned(Method(1000, milestones=(7,)), 100, 250, evaluates=False)
    assert (found.last, found.epochs, found.checks) == (250, [7, 100, 200, 250], frozenset())


def test_epochs_begin_where_the_method_starts() -> None:
    found = planned(Method(100, first=60, milestones=(60,), step=60), 20)
    assert (found.first, found.epochs) == (60, [80, 100])


# ------------------------------------------------------------------------------- runs


def checked(folder: Path, phase: str) -> list[int]:
    """Steps whose checks ``metrics.csv`` has."""
    rows = read_rows(folder)
    return [
        int(row["step"]) for row in rows if row["phase"] == phase and "check/harmonic_mean" in row
    ]


def weights(folder: Path) -> Any:
    return torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
@pytest.mark.parametrize("selection", ["validation", "oracle"])
def test_checks_that_cannot_be_selected_change_no_result(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, selection: str
) -> None:
    overrides = ("method=sgal", *SHORTER_SGAL, f"selection={selection}", "selection.check_every=1")
    few = run(configure(*overrides, run_dir="few"))
    monkeypatch.setattr(schedule, "CURVE_CHECKS", 1000)
    all_ = run(configure(*overrides, run_dir="all"))
    phase = "select" if selection == "validation" else "refit"
    assert len(checked(tmp_path / "all", phase)) > len(checked(tmp_path / "few", phase))
    for name in ("metrics", "oracle", "oracle_by_metric", "validation"):
        assert getattr(few, name) == getattr(all_, name)
    few_weights, all_weights = weights(tmp_path / "few"), weights(tmp_path / "all")
    assert all(torch.equal(value, all_weights[key]) for key, value in few_weights.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seconds", "multiples"), [(0, range(5, 81, 5)), (1000, range(80, 81))], ids=["due", "not due"]
)
def test_checkpoints_are_written_at_the_end_of_a_phase_and_at_multiples_that_are_due(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: int,
    multiples: range,
) -> None:
    saved: list[tuple[str, int]] = []
    save = AtomicCheckpointIO.save_checkpoint

    def spy(
        self: AtomicCheckpointIO, checkpoint: dict[str, Any], path: Any, **options: Any
    ) -> None:
        if Path(path).name == "last.ckpt":
            saved.append((checkpoint["zsl_lab"]["phase"], checkpoint["method_state"]["step"]))
        save(self, checkpoint, path, **options)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", spy)
    monkeypatch.setattr(schedule, "CURVE_CHECKS", 2)
    monkeypatch.setattr(phase_checkpoint, "SECONDS_BETWEEN", seconds)
    run(configure("method=sgal", *SHORT_SGAL, "selection.check_every=5"))
    assert saved == [(phase, step) for phase in ("select", "refit") for step in multiples]
    # fine-tuning begins after step 40
    assert checked(tmp_path / "run", "select") == [15, 35, *range(40, 81, 5)]


@pytest.mark.slow
def test_a_run_cut_between_checks_makes_those_that_are_left(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "CURVE_CHECKS", 2)
    overrides = ("method=sgal", *SHORTER_SGAL, "selection.check_every=5")
    overrides += ("trainer.save_every_n_steps=3",)
    whole = run(configure(*overrides, run_dir="whole"))
    cfg = configure(*overrides, run_dir="cut")
    for step in (7, 14, 19, 28):
        with power_cut(SGAL, step, "select"):
            run(cfg)
        cfg = configure(*overrides, run_dir="cut")
        cfg.ckpt = str(tmp_path / "cut" / "checkpoints" / "last.ckpt")
    assert run(cfg).metrics == whole.metrics
    for phase in ("select", "refit"):
        assert checked(tmp_path / "cut", phase) == checked(tmp_path / "whole", phase)


@pytest.mark.slow
def test_a_run_with_fewer_checks_than_asked_for_says_so_once(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ("method=mmvae", *SHORT, "selection.check_every=4")
    run(configure(*overrides, run_dir="all"))
    assert "max_checks" not in capsys.readouterr().err
    run(configure(*overrides, "selection.max_checks=3", run_dir="few"))
    said = [line for line in capsys.readouterr().err.splitlines() if "max_checks" in line]
    assert said == [
        "selection.check_every=4: of 10 checks, 4 evenly spaced ones are made; "
        "selection.max_checks=10 makes all."
    ]


@pytest.mark.slow
def test_the_oracle_has_each_metric_at_its_own_best_step(
    configure: Configure, tmp_path: Path
) -> None:
    found = run(configure("method=mmvae", *SHORT, "selection.check_every=2"))
    rows = [row for row in read_rows(tmp_path / "run") if row["phase"] == "refit"]
    assert found.oracle_by_metric is not None
    assert found.oracle_by_metric["harmonic_mean"] == found.oracle
    for metric, stored in found.oracle_by_metric.items():
        best = max(
            (row for row in rows if f"check/{metric}" in row),
            key=lambda row, m=metric: (row[f"check/{m}"], row["check/ausuc"]),  # type: ignore[misc]
        )
        assert stored["step"] == best["step"]
        assert stored[metric] == pytest.approx(best[f"check/{metric}"])


@pytest.mark.slow
def test_the_time_of_checks_is_in_the_result(configure: Configure) -> None:
    overrides = ("method=mmvae", *SHORT, "selection=last")
    assert run(configure(*overrides, run_dir="checks")).training["check_seconds"] > 0
    without = run(configure(*overrides, "selection.report_oracle=false", run_dir="none"))
    assert without.training["check_seconds"] == 0
