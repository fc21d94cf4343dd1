"""Figures that compare runs, drawn from files in the runs' folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.test_result import METRICS, RESULT
from zsl_lab.errors import DataError
from zsl_lab.plots.latent_space import LatentSpace
from zsl_lab.report.groups import Run
from zsl_lab.sweep import panels

NAMES = ["ant", "bee"]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, in place of files."""
    saved: list[Figure] = []
    monkeypatch.setattr(panels, "save_png", lambda figure, path: saved.append(figure))
    return saved


def run(folder: Path, method: str, dataset: str = "AWA1", names: Sequence[str] = NAMES) -> Run:
    """A run with a latent space and four predictions: one ant of two is taken for a bee."""
    place = folder / f"{method}_{dataset}"
    (place / "figures").mkdir(parents=True)
    space = LatentSpace(
        np.array([[0.0, 1.0], [2.0, 3.0]]),
        np.array([1, 0]),
        np.array([[0.0, 0.0], [1.0, 1.0]]),
        names,
    )
    space.save(place / panels.LATENT)
    (place / panels.PREDICTIONS).write_text(
        "split,index,label,gzsl,zsl\n"
        "test_unseen,0,3,1,3\ntest_unseen,1,3,1,7\ntest_unseen,2,7,7,7\ntest_seen,3,1,1,\n"
    )
    result = replace(
        RESULT,
        method=method,
        dataset=dataset,
        metrics={**METRICS, "zsl_top1": 75.0, "harmonic_mean": 41.25},
        per_class={"unseen": dict.fromkeys(names, 50.0), "seen": {}},
    )
    return Run(place, result, None)


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes]


def test_a_latent_space_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = LatentSpace.load(run(tmp_path, "sgal").folder / panels.LATENT)
    assert found.samples.tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert found.labels.tolist() == [1, 0]
    assert found.classes.tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert found.names == NAMES


def test_a_damaged_latent_space_is_named(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("kind,class\nsample,ant\n")
    with pytest.raises(DataError, match=r"f\.csv: found no positions of a latent space"):
        LatentSpace.load(path)


def test_each_latent_space_has_a_panel(tmp_path: Path, drawn: list[Figure]) -> None:
    runs = [run(tmp_path, method) for method in ("mmvae", "sgal", "vzsl")]
    panels.latent_spaces(runs, tmp_path / "f.png")
    assert titles(drawn[0])[:3] == [
        "(a) mmvae on AWA1, H 41.2",
        "(b) sgal on AWA1, H 41.2",
        "(c) vzsl on AWA1, H 41.2",
    ]


def test_repetitions_with_other_seeds_have_no_panel_of_their_own(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    first, second = (run(tmp_path / str(seed), "sgal") for seed in (0, 1))
    runs = [
        replace(one, result=replace(one.result, seed=seed), settings={"method.name": "sgal"})
        for seed, one in enumerate((first, second))
    ]
    for draw in (panels.latent_spaces, panels.confusion_matrices):
        draw(runs, tmp_path / "f.png")
        assert len([title for title in titles(drawn[-1]) if title]) == 1


def test_without_a_latent_space_the_file_is_named(tmp_path: Path) -> None:
    lacking = run(tmp_path, "sgal")
    (lacking.folder / panels.LATENT).unlink()
    with pytest.raises(DataError, match="latent_projection"):
        panels.latent_spaces([lacking], tmp_path / "f.png")


def test_bars_are_the_metrics_of_each_method_on_each_dataset(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    runs = [run(tmp_path, "aspn"), run(tmp_path, "aspn_spn"), run(tmp_path, "aspn", "CUB")]
    panels.metric_bars(runs, tmp_path / "f.png")
    left, right = drawn[0].axes
    assert titles(drawn[0]) == ["AWA1", "CUB"]
    assert [label.get_text() for label in left.get_yticklabels()] == ["aspn", "aspn spn"]
    assert [label.get_text() for label in right.get_yticklabels()] == ["aspn"]
    metrics = runs[0].result.metrics
    wanted = [metrics[key] for key in ("zsl_top1", "seen", "unseen", "harmonic_mean")]
    assert [bar.get_width() for bar in right.patches] == pytest.approx(wanted)  # type: ignore[attr-defined]


def test_confusion_is_of_the_unseen_classes_of_the_first_dataset(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    runs = [run(tmp_path, "aspn"), run(tmp_path, "aspn", "CUB")]
    panels.confusion_matrices(runs, tmp_path / "f.png")
    matrix = drawn[0].axes[0].images[0].get_array()
    assert matrix is not None
    assert matrix.tolist() == [[50.0, 50.0], [0.0, 100.0]]
    assert not drawn[0].axes[1].images


@pytest.mark.parametrize("draw", [panels.latent_spaces, panels.metric_bars])
def test_no_run_is_no_figure(draw: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no run has a result"):
        draw([], tmp_path / "f.png")  # type: ignore[operator]
