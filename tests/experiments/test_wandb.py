"""``experiments/wandb``: sweep files with our commands, a dashboard of metrics that runs log."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from tests.conftest import REPOSITORY
from zsl_lab.result import Result
from zsl_lab.run.config import parse
from zsl_lab.run.loggers import base as loggers

FOLDER = REPOSITORY / "experiments" / "wandb"
SWEEPS = sorted(FOLDER.glob("*.yaml"))
METRICS = dict.fromkeys(("zsl_top1", "unseen", "seen", "harmonic_mean", "ausuc"), 50.0)


def logged() -> set[str]:
    """The figures that every run with selection=validation logs."""
    result = Result(
        "sgal",
        "digits",
        0,
        "validation",
        METRICS,
        None,
        {},
        {},
        {},
        None,
        {},
        None,
        validation={**METRICS, "step": 1},
    )
    return set(loggers.metrics_of(result))


@pytest.fixture(scope="module")
def dashboard() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dashboard", FOLDER / "dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def choices(parameter: dict[str, Any]) -> list[Any]:
    return parameter["values"] if "values" in parameter else [parameter["min"], parameter["max"]]


@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_point_of_a_sweep_is_a_command_of_ours(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "given_by_the_agent")
    content: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert content["command"][:4] == ["${env}", "${interpreter}", "-m", "${program}"]
    assert content["program"] == "zsl_lab"
    assert content["command"][-1] == "${args_no_hyphens}"
    keys = list(content["parameters"])
    for point in itertools.product(*(choices(content["parameters"][key]) for key in keys)):
        # what an agent makes of ${args_no_hyphens}
        arguments = [
            *content["command"][4:-1],
            *(f"{key}={value}" for key, value in zip(keys, point, strict=True)),
        ]
        with initialize_config_module("zsl_lab.conf", version_base="1.3"):
            cfg = compose("config", arguments)
        cfg.paths.run_dir = str(tmp_path)
        config = parse(cfg)
        assert tuple(OmegaConf.select(cfg, key) for key in keys) == point
        assert config.loggers["wandb"]["project"] == "given_by_the_agent"


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_maximises_a_figure_of_validation_classes_that_runs_log(path: Path) -> None:
    metric = OmegaConf.to_container(OmegaConf.load(path).metric)
    assert metric == {"name": "validation/harmonic_mean", "goal": "maximize"}
    assert "validation/harmonic_mean" in logged()


@pytest.mark.slow
def test_the_dashboard_shows_what_runs_log(dashboard: ModuleType) -> None:
    import wandb_workspaces.reports.v2 as wr

    report = dashboard.build("me", "zsl_lab", group="my_sweep", keys=["method.g", "method.p"])
    assert (report.entity, report.project) == ("me", "zsl_lab")
    grids = {
        heading.text: grid
        for heading, grid in itertools.pairwise(report.blocks)
        if isinstance(heading, wr.H2)
    }
    assert all(
        grid.runsets[0].filters == "Metric(\"Group\") == 'my_sweep'" for grid in grids.values()
    )

    by_method = grids["Harmonic mean by method and dataset"]
    assert by_method.runsets[0].groupby == ["config.dataset.name", "config.method.name"]
    assert by_method.panels[0].metrics == ["metrics/harmonic_mean"]
    coordinates, *scatters = grids["Swept keys"].panels
    assert [column.display_name for column in coordinates.columns] == [
        *("method.g", "method.p", "validation/harmonic_mean", "metrics/harmonic_mean")
    ]
    assert [(scatter.x, scatter.y) for scatter in scatters] == [
        (wr.Config(key), wr.SummaryMetric("validation/harmonic_mean"))
        for key in ("method.g", "method.p")
    ]
    (trade_off,) = grids["Seen against unseen classes"].panels
    assert (trade_off.x, trade_off.y) == (
        wr.SummaryMetric("metrics/seen"),
        wr.SummaryMetric("metrics/unseen"),
    )
    assert grids["Recall of each class"].panels[0].table_name == "per_class"
    named = {
        figure.name
        for panel in (*scatters, trade_off)
        for figure in (panel.x, panel.y)
        if isinstance(figure, wr.SummaryMetric)
    }
    assert named | {column.metric.name for column in coordinates.columns[2:]} <= logged()
    for grid in grids.values():
        for panel in grid.panels:
            assert panel._to_model() is not None  # what is sent


@pytest.mark.slow
def test_a_dry_run_lists_the_panels_without_network() -> None:
    command = [
        sys.executable,
        str(FOLDER / "dashboard.py"),
        "--entity",
        "me",
        "--keys",
        "method.d",
        "--dry-run",
    ]
    offline = {"WANDB_BASE_URL": "http://127.0.0.1:9", "HOME": "/nonexistent"}
    done = subprocess.run(
        command, env=offline, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "zsl_lab: zsl_lab (me/zsl_lab)"
    for line in (
        "BarPlot: H on test",
        "ScatterPlot: validation/harmonic_mean against method.d",
        "WeavePanelSummaryTable: per_class",
    ):
        assert f"    {line}" in done.stdout.splitlines()
