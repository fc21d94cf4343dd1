from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as pyplot
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from zsl_lab.errors import OutputError
from zsl_lab.plots import figures
from zsl_lab.plots.style import new_figure, plain_text

pytestmark = pytest.mark.slow

LONG = "great_crested_flycatcher_{}"


def made_by(module: Any, monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that a module makes from now on."""
    made: list[Figure] = []

    def keep(width: float, height: float) -> Figure:
        made.append(new_figure(width, height))
        return made[-1]

    monkeypatch.setattr(module, "new_figure", keep)
    return made


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were made."""
    return made_by(figures, monkeypatch)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Of a figure of more than so many classes no PDF is drawn: it takes as long as the PNG.

    Small figures are drawn by the same code, and so is the PDF of hostile names.
    """
    savefig = Figure.savefig

    def png(self: Figure, file: Any, **options: Any) -> None:
        if options["format"] == "png":
            savefig(self, file, **options)

    def large(classes: int) -> None:
        if classes > 10:
            monkeypatch.setattr(Figure, "savefig", png)

    return large


def check(path: Path, *, widest: int = 4500, highest: int = 4500) -> None:
    """A picture of sensible size with something in it, that reaches no edge."""
    picture = imread(path)[..., :3]
    height, width, _ = picture.shape
    assert 300 <= width <= widest
    assert 300 <= height <= highest
    ink = np.asarray((picture < 0.95).any(axis=2))
    assert 0.005 < ink.mean() < 0.9
    assert not ink[[0, -1]].any()
    assert not ink[:, [0, -1]].any()


def rows(phase: str, steps: int, *, sign: int = 1, checks: bool = True) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for step in range(50, steps + 1, 50):
        row: dict[str, Any] = {
            "phase": phase,
            "step": step,
            "loss/total": 1e3 / step,
            "loss/kl": sign * 1.0 / step,
        }
        if checks and step % 100 == 0:
            row |= {
                "check/zsl_top1": 50.0,
                "check/seen": 90.0,
                "check/unseen": step / steps * 60,
                "check/harmonic_mean": step / steps * 70,
                "check/ausuc": "",
            }
        found.append(row)
    return found


def texts(axes: Axes) -> set[str]:
    legend = axes.get_legend()
    return {text.get_text() for text in [*axes.texts, *(legend.get_texts() if legend else [])]}


def test_training_curves_of_two_phases(tmp_path: Path, drawn: list[Figure]) -> None:
    figures.training_curves(
        rows("select", 1000) + rows("refit", 600),
        tmp_path / "f.png",
        selected={"select": 700, "refit": 600},
    )
    check(tmp_path / "f.png")
    select_loss, select_accuracy, refit_loss, refit_accuracy = drawn[0].axes
    assert texts(select_loss) == {"total", "kl", "selected: 700"}
    assert texts(refit_loss) == {"total", "kl", "selected: 600\n(100 undone)"}
    assert texts(select_accuracy) == {
        "zsl_top1",
        "seen",
        "unseen",
        "harmonic mean",
        "selected: 700",
    }
    assert select_loss.get_yscale() == "log"
    assert "validation" in select_accuracy.get_title(loc="left")
    assert "test (oracle)" in refit_accuracy.get_title(loc="left")
    unseen = next(line for line in select_accuracy.get_lines() if line.get_label() == "unseen")
    np.testing.assert_allclose(
        np.asarray(unseen.get_xdata(), dtype=float), np.arange(100, 1001, 100)
    )


def test_training_curves_of_one_phase_without_checks(tmp_path: Path, drawn: list[Figure]) -> None:
    figures.training_curves(rows("refit", 300, sign=-1, checks=False), tmp_path / "f.png")
    check(tmp_path / "f.png")
    losses, accuracies = drawn[0].axes
    assert losses.get_yscale() == "symlog"
    assert texts(accuracies) == {"no checks in this phase"}


def test_training_curves_of_a_single_row(tmp_path: Path) -> None:
    figures.training_curves(
        [{"phase": "refit", "step": 0, "check/seen": 50.0, "loss/total": float("nan")}],
        tmp_path / "f.png",
    )
    check(tmp_path / "f.png")


@pytest.mark.parametrize(
    ("unseen", "seen"),
    [(1, 0), (3, 7), (20, 82), (50, 150)],
)
def test_per_class_recall(
    tmp_path: Path, drawn: list[Figure], large: Callable[[int], None], unseen: int, seen: int
) -> None:
    large(unseen + seen)
    recalls = {
        "unseen": {LONG.format(i): 100 * i / unseen for i in range(unseen)},
        "seen": {LONG.format(i + unseen): 100.0 for i in range(seen)},
    }
    figures.per_class_recall(recalls, tmp_path / "f.png")
    check(tmp_path / "f.png")
    names = [
        label.get_text()
        for axes in drawn[0].axes
        for label in axes.get_yticklabels()
        if axes.axison
    ]
    assert len(names) == unseen + seen
    assert names[0] == f"great crested flycatcher {unseen - 1}"


def test_per_class_recall_leaves_out_classes_without_samples(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    figures.per_class_recall(
        {"unseen": {"cat": float("nan"), "$\\dog": 50.0}, "seen": {"cow": 70.0}}, tmp_path / "f.png"
    )
    check(tmp_path / "f.png")
    assert [label.get_text() for label in drawn[0].axes[0].get_yticklabels()] == ["\\$\\dog", "cow"]
    assert "of 2 classes" in drawn[0].legends[0].get_title().get_text()


def test_per_class_recall_is_capped(
    tmp_path: Path,
    drawn: list[Figure],
    large: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large(45)
    monkeypatch.setattr(figures, "MAX_BARS", 20)
    figures.per_class_recall(
        {"unseen": {str(i): 50.0 for i in range(45)}, "seen": {}}, tmp_path / "f.png"
    )
    assert len(drawn[0].axes[0].patches) == 15
    assert "15 of 45 classes" in drawn[0].legends[0].get_title().get_text()


@pytest.mark.parametrize(
    "count",
    [1, 3, 10, 20, 72],
)
def test_confusion_matrix(
    tmp_path: Path, drawn: list[Figure], large: Callable[[int], None], count: int
) -> None:
    large(count)
    matrix = np.full((count, count), 1) + 9 * np.eye(count, dtype=int)
    matrix[-1] = 0
    figures.confusion_matrix([LONG.format(i) for i in range(count)], matrix, tmp_path / "f.png")
    check(tmp_path / "f.png")
    axes = drawn[0].axes[0]
    shares = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(shares.sum(axis=1), [100.0] * (count - 1) + [0.0])
    assert len(axes.texts) == (count * (count - 1) if count <= figures.MAX_ANNOTATED else 0)


@pytest.mark.parametrize(
    ("count", "samples", "dims"), [(3, 60, 16), (20, 100, 40), (2, 2, 1), (1, 1, 1)]
)
def test_latent_projection(
    tmp_path: Path, large: Callable[[int], None], count: int, samples: int, dims: int
) -> None:
    large(count)
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((samples, dims)).astype(np.float32)
    priors = rng.standard_normal((count, dims)).astype(np.float32)
    labels = np.arange(samples) % count
    names = [LONG.format(i) for i in range(count)]
    figures.latent_projection(latents, labels, priors, names, tmp_path / "f.png")
    check(tmp_path / "f.png")
    figures.latent_projection(latents, labels, priors, names, tmp_path / "again.png")
    assert (tmp_path / "f.png").read_bytes() == (tmp_path / "again.png").read_bytes()


def test_latent_projection_shows_a_part_of_many_samples(
    tmp_path: Path, drawn: list[Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "MAX_POINTS", 50)
    latents = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
    figures.latent_projection(
        latents, np.arange(300) % 2, latents[:2], ["a", "b"], tmp_path / "f.png"
    )
    samples, stars = drawn[0].axes[0].collections
    assert (len(np.asarray(samples.get_offsets())), len(np.asarray(stars.get_offsets()))) == (50, 2)


def test_nothing_global_is_left_behind(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    figures.confusion_matrix(["a", "b"], np.eye(2, dtype=int), tmp_path / "f.png")
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == []


def test_unwritable_figure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write"):
        figures.confusion_matrix(["a", "b"], np.eye(2, dtype=int), tmp_path / "file" / "f.png")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("great_auk", "great auk"),
        ("x" * 9000, f"{'x' * 30}...{'x' * 15}"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb", r"a\nb"),
        ("$x$", r"\$x\$"),
        ("naïve Ж", "naïve Ж"),
        ("\U0010fffd", "U+10FFFD"),  # no font has a character of private use
    ],
)
def test_a_name_is_short_and_of_characters_that_a_font_has(name: str, shown: str) -> None:
    assert plain_text(name) == shown


def test_figures_of_hostile_names_are_small(tmp_path: Path) -> None:
    names = ["x" * 8000, "e" + "\u0301" * 8000, "\x1b[2J", "\\frac{$", "\U000ffffd", "\ud800"]
    recalls = {"unseen": dict.fromkeys(names, 50.0), "seen": {}}
    with pytest.warns(UserWarning, match=r"code points \(U\+9CE5\) stand for them"):
        figures.per_class_recall(recalls, tmp_path / "a.png")
    figures.confusion_matrix(names, np.eye(len(names), dtype=int), tmp_path / "b.png")
    for path in (tmp_path / "a.png", tmp_path / "b.png"):
        check(path)


def test_a_confusion_matrix_of_1000_classes_has_a_bounded_size(
    tmp_path: Path, large: Callable[[int], None]
) -> None:
    large(1000)
    names = [f"class {i}" for i in range(1000)]
    figures.confusion_matrix(names, np.eye(1000, dtype=int), tmp_path / "a.png")
    check(tmp_path / "a.png", widest=8000, highest=8000)
