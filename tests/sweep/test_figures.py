from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from tests.plots.test_figures import check, made_by
from zsl_lab.report.groups import Summary
from zsl_lab.sweep import figures as sweep_figures
from zsl_lab.sweep.figures import Setting, draw

NONE = Summary(math.nan, None)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Drawing]:
    """The figures that were made."""
    return made_by(sweep_figures, monkeypatch)


def setting(
    *values: str, validation: float | None = None, test: float = 40.0, sd: float | None = None
) -> Setting:
    return Setting(
        values, NONE if validation is None else Summary(validation, sd), Summary(test, sd)
    )


def names(folder: Path) -> set[str]:
    """The figures in a folder, each as PNG and as PDF."""
    pictures = {path.name for path in folder.iterdir() if path.suffix == ".png"}
    for name in pictures:
        check(folder / name)
        assert (folder / name).with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    return pictures


def line(axes: Axes, place: int) -> tuple[list[float], list[float]]:
    found = axes.containers[place].lines[0]  # type: ignore[attr-defined]
    return list(found.get_xdata()), list(found.get_ydata())


@pytest.mark.slow
def test_one_key_of_numbers_is_two_lines_by_size_with_the_spread_of_seeds(
    tmp_path: Path, drawn: list[Drawing]
) -> None:
    settings = [
        setting("0.9", validation=50.0, test=45.0, sd=2.0),
        setting("0.5", validation=30.0, test=35.0, sd=1.0),
    ]
    draw(settings, ["method.g"], tmp_path / "figures")
    assert names(tmp_path / "figures") == {"h_by_method.g.png"}
    (axes,) = drawn[0].axes
    assert line(axes, 0) == ([0.5, 0.9], [30.0, 50.0])
    assert line(axes, 1) == ([0.5, 0.9], [35.0, 45.0])
    (bars,) = axes.containers[0].lines[2]  # type: ignore[attr-defined]
    assert [list(segment[:, 1]) for segment in bars.get_segments()] == [[29.0, 31.0], [48.0, 52.0]]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["validation classes", "test"]


@pytest.mark.slow
def test_without_validation_classes_only_test_is_drawn(
    tmp_path: Path, drawn: list[Drawing]
) -> None:
    draw([setting("0.01"), setting("10")], ["method.gamma"], tmp_path)
    (axes,) = drawn[0].axes
    assert len(axes.containers) == 1
    assert axes.get_xscale() == "log"


@pytest.mark.slow
def test_two_keys_of_numbers_are_lines_and_a_map(tmp_path: Path, drawn: list[Drawing]) -> None:
    settings = [
        setting(g, p, validation=10 * float(g) + float(p))
        for p in ("10", "2")
        for g in ("0.9", "0.5")
    ]
    draw(settings[:-1], ["method.g", "method.p"], tmp_path)
    assert names(tmp_path) == {
        "h_by_method.g.png",
        "h_by_method.p.png",
        "h_by_method.g_and_method.p.png",
    }
    by_g, _, map_ = drawn
    assert [text.get_text() for text in by_g.legends[0].get_texts()] == [
        "2",
        "10",
    ]  # by size, not by letters
    assert line(by_g.axes[0], 1) == ([0.5, 0.9], [15.0, 19.0])
    validation = np.ma.filled(map_.axes[0].images[0].get_array().astype(float), np.nan)  # type: ignore[union-attr]
    np.testing.assert_allclose(validation, [[np.nan, 11.0], [15.0, 19.0]])
    assert [text.get_text() for text in map_.axes[0].texts] == ["-", "11.0", "15.0", "19.0"]


@pytest.mark.slow
def test_choices_are_bars_the_best_on_top(tmp_path: Path, drawn: list[Drawing]) -> None:
    settings = [
        setting("mmvae", validation=30.0, sd=1.0),
        setting("sgal", validation=50.0),
        Setting(("eszsl",), NONE, Summary(13.0, None)),
    ]
    draw(settings, ["method"], tmp_path)
    assert names(tmp_path) == {"h_by_method.png"}
    (axes,) = drawn[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["sgal", "mmvae", "eszsl"]
    assert "none" in {text.get_text() for text in axes.texts}


@pytest.mark.slow
def test_of_many_settings_each_is_a_point_and_bars_are_means(
    tmp_path: Path, drawn: list[Drawing]
) -> None:
    values = [
        (m, g, p)
        for m in ("sgal", "mmvae")
        for g in ("0.1", "0.5", "0.9", "1")
        for p in ("0.2", "0.4")
    ]
    draw(
        [setting(*value, validation=30.0 + i) for i, value in enumerate(values)],
        ["method", "method.g", "method.p"],
        tmp_path,
    )
    assert len(names(tmp_path)) == 3
    bars, by_g, by_p = drawn
    assert "33.5" in {text.get_text() for text in bars.axes[0].texts}  # sgal: 30 to 37
    assert len(by_g.axes[0].containers) == 4
    (points,) = by_p.axes[0].collections
    assert len(np.asarray(points.get_offsets())) == 16
    (mean,) = by_p.axes[0].get_lines()
    np.testing.assert_allclose(np.asarray(mean.get_ydata(), dtype=float), [37.0, 38.0])


@pytest.mark.slow
def test_numbers_that_a_sweeper_drew_are_points(tmp_path: Path, drawn: list[Drawing]) -> None:
    rng = np.random.default_rng(0)
    settings = [
        setting(str(g), str(10**e), validation=100 * g)
        for g, e in rng.uniform([0.5, -3], [0.9, 0], (20, 2))
    ]
    draw(settings, ["method.g", "method.gamma"], tmp_path)
    assert len(names(tmp_path)) == 3
    map_ = drawn[2].axes[0]
    (points,) = map_.collections
    assert len(np.asarray(points.get_offsets())) == 20
    assert map_.get_yscale() == "log"


@pytest.mark.slow
def test_a_single_setting_is_drawn(tmp_path: Path) -> None:
    draw([setting("0.9", "l2", validation=10.0)], ["method.g", "dataset.normalize"], tmp_path)
    assert len(names(tmp_path)) == 3


def test_nothing_is_drawn_where_no_setting_has_a_harmonic_mean(tmp_path: Path) -> None:
    settings = [setting(value, test=math.nan) for value in ("flo", "sun")]
    draw(settings, ["dataset"], tmp_path / "figures")
    assert not (tmp_path / "figures").exists()
