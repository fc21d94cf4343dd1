from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.plots.test_figures import check, made_by
from zsl_lab.methods.n3 import plots
from zsl_lab.methods.n3.plots import TensorNorms


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were made."""
    return made_by(plots, monkeypatch)


def norms(count: int) -> list[TensorNorms]:
    made = [TensorNorms(f"layer{i}.conv.weight", "conv", 10.0 + i, 0.1 * i) for i in range(count)]
    return [*made, TensorNorms("classifier", "linear", 0.0, 7.0)]


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 57])
def test_adaptation_is_drawn_tensor_by_tensor_from_input_to_output(
    tmp_path: Path, drawn: list[Figure], count: int
) -> None:
    plots.adaptation_norms(norms(count), tmp_path / "f.png")
    check(tmp_path / "f.png")
    (axes,) = drawn[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        tensor.name for tensor in norms(count)
    ]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the input is on top
    given, generated = axes.containers
    assert [bar.get_width() for bar in given][:-1] == [10.0 + i for i in range(count)]
    # a logarithmic axis has no place for what is 0
    assert np.isnan(list(given)[-1].get_width())
    assert list(generated)[-1].get_width() == 7.0


@pytest.mark.slow
def test_adaptation_by_layer_type_shows_means(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.adaptation_by_layer_type(norms(3), tmp_path / "f.png")
    check(tmp_path / "f.png")
    (axes,) = drawn[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "conv (3 tensors)",
        "linear (1 tensor)",
    ]
    widths = [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]
    assert widths == pytest.approx([0.1, 7.0])


@pytest.mark.slow
def test_norms_of_features_before_and_after_share_their_bins(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    before, after = np.array([0.0, 1.0, 4.0]), np.array([4.0, 4.0, 0.0])
    plots.penultimate_norms(before, after, tmp_path / "f.png")
    check(tmp_path / "f.png")
    (axes,) = drawn[0].axes
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert [(bars[0], bars[10], bars[-1]) for bars in heights] == [(1, 1, 1), (1, 0, 2)]
