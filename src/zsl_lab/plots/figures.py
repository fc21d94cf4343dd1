"""Figures of a run, drawn without pyplot, so that no global state changes.

Each function writes a PNG and, beside it, a PDF, both atomically; it raises ``OutputError`` if one
cannot be written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from zsl_lab.plots.latent_space import LatentSpace
from zsl_lab.plots.style import (
    HARMONIC,
    MUTED,
    PALETTE,
    SEEN,
    UNSEEN,
    PathLike,
    horizontal,
    new_figure,
    plain_text,
    points,
    save_png,
    styled,
    titled_legend,
)

#: title of each phase, and the data of its checks
PHASES = {"select": ("Selection", "validation"), "refit": ("Final training", "test (oracle)")}
ACCURACIES = {
    "zsl_top1": ("zsl_top1", PALETTE[3]),
    "seen": ("seen", SEEN),
    "unseen": ("unseen", UNSEEN),
    "harmonic_mean": ("harmonic mean", HARMONIC),
}

#: limits of :func:`per_class_recall`: bars in a column, columns in a row, bars in total
MAX_BARS_PER_COLUMN, MAX_COLUMNS_PER_ROW, MAX_BARS = 55, 7, 770
#: :func:`confusion_matrix` prints the percentages of up to this many classes
MAX_ANNOTATED = 15
#: largest height and width of the confusion matrix in inches
MAX_SIDE = 36.0
#: with more unseen classes than the first, the confusion matrix shows as many as the second; the
#: latent projection shows at most as many as the third
MAX_CONFUSED, MAX_CONFUSED_SHOWN, MAX_PROJECTED = 1000, 100, 200
#: maximum number of samples in :func:`latent_projection`
MAX_POINTS = 1000

Row = Mapping[str, Any]


# ------------------------------------------------------------------------------------------------
# training curves


@styled
def training_curves(
    rows: Sequence[Row], path: PathLike, selected: Mapping[str, int] | None = None
) -> None:
    """Plot losses and accuracies against the training step, one row of panels per phase.

    Checks of the phase ``select`` use validation classes, those of ``refit`` use test data; the
    titles say so.

    Args:
        rows: Rows of ``metrics.csv``: ``phase`` (``select``, ``refit``, or ``select_2`` for a
            second draw of validation classes), ``step``, and any of
            ``loss/<term>``, ``check/zsl_top1``, ``check/seen``, ``check/unseen`` and
            ``check/harmonic_mean`` (percent). Missing values are skipped.
        path: The PNG; the PDF has the same name.
        selected: Step of the selected check by phase, marked in the panels of the phase. If that
            of ``refit`` is smaller than that of ``select``, the method undid the difference, and
            the label says so.
    """
    selected = selected or {}
    phases = list(dict.fromkeys(str(row["phase"]) for row in rows))
    figure = new_figure(10.5, 3.2 * len(phases))
    panels = figure.subplots(len(phases), 2, squeeze=False)
    for (losses, accuracies), phase in zip(panels, phases, strict=True):
        kind, _, draw = phase.partition("_")
        title, data = PHASES[kind]
        title += f" {draw}" if draw else ""
        own = [row for row in rows if row["phase"] == phase]
        _plot_losses(losses, own)
        losses.set(title=f"{title}: losses", ylabel="loss of single batches")
        _plot_accuracies(accuracies, own)
        accuracies.set(
            title=f"{title}: accuracy on {data}", ylabel="per-class accuracy (%)", ylim=(0, 100)
        )
        last = max(1, *(int(row["step"]) for row in own))
        step = selected.get(phase)
        # of several draws the number of steps is a mean
        drawn = "select_2" in phases
        undone = selected.get("select", 0) - (step or 0) if phase == "refit" and not drawn else 0
        label = f"selected: {step}" + (f"\n({undone} undone)" if undone > 0 else "")
        for axes in (losses, accuracies):
            _finish_step_axis(axes, last, step, label)
    save_png(figure, path)


def _plot_losses(axes: Axes, rows: Sequence[Row]) -> None:
    terms = list(dict.fromkeys(name for row in rows for name in row if name.startswith("loss/")))
    # the total first and in black, its terms in colours; with too few colours they repeat, dotted
    terms.sort(key=lambda name: name != "loss/total")
    colours = len(PALETTE) - 1
    number = 0
    for name in terms:
        colour, line = "black", "-"
        if name != "loss/total":
            colour, line = PALETTE[number % colours], "-" if number < colours else ":"
            number += 1
        steps, values = _series(rows, name)
        label = plain_text(name.removeprefix("loss/"))
        axes.plot(steps, values, color=colour, linestyle=line, label=label)
    _set_loss_scale(axes)


def _plot_accuracies(axes: Axes, rows: Sequence[Row]) -> None:
    for key, (label, colour) in ACCURACIES.items():
        steps, values = _series(rows, f"check/{key}")
        if steps:
            axes.plot(steps, values, color=colour, label=label, marker="o", markersize=3)
    if not axes.get_lines():
        text = "no checks in this phase"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=MUTED)


def _finish_step_axis(axes: Axes, last: int, selected: int | None, label: str) -> None:
    axes.set(xlabel="step", xlim=(0, last))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid()
    if selected is not None:
        axes.axvline(selected, color=MUTED, linestyle="--", linewidth=1, label=label)
    if axes.get_legend_handles_labels()[0]:
        # next to the curves, so that it covers none
        axes.legend(
            loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2, handlelength=1.4
        )


def _series(rows: Sequence[Row], name: str) -> tuple[list[int], list[float]]:
    found = [
        (int(row["step"]), float(row[name])) for row in rows if row.get(name) not in (None, "")
    ]
    found = [(step, value) for step, value in found if math.isfinite(value)]
    return [step for step, _ in found], [value for _, value in found]


def _set_loss_scale(axes: Axes) -> None:
    """Logarithmic, as loss terms differ by orders of magnitude; symlog if a value is <= 0."""
    values = np.concatenate(
        [np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()] or [np.zeros(0)]
    )
    if len(values) == 0:
        return
    if values.min() > 0:
        axes.set_yscale("log")
    else:
        sizes = np.abs(values[values != 0])
        axes.set_yscale("symlog", linthresh=float(np.quantile(sizes, 0.1)) if len(sizes) else 1.0)


# ------------------------------------------------------------------------------------------------
# per-class recall


@dataclass(frozen=True)
class _BarLayout:
    """How bars are distributed over panels.

    Attributes:
        num_rows: Rows of panels.
        per_row: Panels in a row.
        length: Bars in a panel.
        size: ``(width, height)`` of the figure in inches.
        font: Font size of the class names.
    """

    num_rows: int
    per_row: int
    length: int
    size: tuple[float, float]
    font: float

    @classmethod
    def of(cls, count: int, longest: int) -> _BarLayout:
        """The layout for ``count`` bars with names of at most ``longest`` characters."""
        num_columns = max(1, math.ceil(count / MAX_BARS_PER_COLUMN))
        per_row = math.ceil(num_columns / math.ceil(num_columns / MAX_COLUMNS_PER_ROW))
        num_rows = math.ceil(num_columns / per_row)
        # columns of equal length look better than a last one with three bars
        length = max(1, math.ceil(count / num_columns))
        small = num_columns == 1 and length <= 25
        height = (0.27 if small else 0.15) * length + 0.3
        width = 6.5 if num_columns == 1 else 1.9 + 0.055 * longest
        size = width * per_row, max(2.2, height * num_rows + 0.9)
        return cls(num_rows, per_row, length, size, 8.0 if small else 6.0)


@styled
def per_class_recall(per_class: Mapping[str, Mapping[str, float]], path: PathLike) -> None:
    """Plot the recall of each class as a bar: unseen classes, then seen ones, best first.

    Classes without test samples are omitted. If there are more classes than fit, every k-th is
    shown.

    Args:
        per_class: ``unseen`` and ``seen``: recall in percent by class name, as in ``result.json``.
        path: The PNG; the PDF has the same name.
    """
    bars = []
    for group, colour in (("unseen", UNSEEN), ("seen", SEEN)):
        known = [pair for pair in per_class[group].items() if not math.isnan(pair[1])]
        bars += [
            (name, recall, colour) for name, recall in sorted(known, key=lambda pair: -pair[1])
        ]
    count = len(bars)
    step = max(1, math.ceil(count / MAX_BARS))
    bars = [(plain_text(name), recall, colour) for name, recall, colour in bars[::step]]
    layout = _BarLayout.of(len(bars), max((len(name) for name, _, _ in bars), default=0))
    figure = new_figure(*layout.size)
    panels = figure.subplots(layout.num_rows, layout.per_row, squeeze=False).ravel()
    for i, axes in enumerate(panels):
        part = bars[i * layout.length : (i + 1) * layout.length]
        if part:
            _plot_bars(axes, part, layout)
        else:
            axes.set_axis_off()
    figure.supxlabel("recall, prediction over all classes (%)", fontsize=points(9))
    shown = f"{count}" if len(bars) == count else f"{len(bars)} of {count}"
    legend = [Patch(color=UNSEEN, label="unseen"), Patch(color=SEEN, label="seen")]
    titled_legend(figure, f"Per-class recall of {shown} classes", legend)
    save_png(figure, path)


def _plot_bars(axes: Axes, bars: Sequence[tuple[str, float, str]], layout: _BarLayout) -> None:
    positions = np.arange(len(bars))
    values = [recall for _, recall, _ in bars]
    axes.barh(positions, values, height=0.72, color=[colour for _, _, colour in bars])
    for position, value in zip(positions, values, strict=True):
        axes.text(
            value + 1.5,
            float(position),
            f"{value:.0f}",
            va="center",
            fontsize=points(layout.font - 0.5),
            color=MUTED,
        )
    axes.set_yticks(positions, [name for name, _, _ in bars], fontsize=points(layout.font))
    # space on the right for the number next to a full bar; equal limits, so that bars are equally
    # thick in every column
    axes.set(xlim=(0, 112), ylim=(layout.length - 0.4, -0.6))
    axes.set_xticks([0, 25, 50, 75, 100])
    horizontal(axes)


# ------------------------------------------------------------------------------------------------
# confusion matrix


@styled
def confusion_matrix(
    names: Sequence[str],
    matrix: npt.NDArray[Any],
    path: PathLike,
    samples: npt.NDArray[Any] | None = None,
    of: int | None = None,
) -> None:
    """Plot the confusion matrix of the unseen classes, each row normalised to 100 %.

    Args:
        names: Names of the K classes.
        matrix: Counts ``[K, K]``; rows are true classes, columns predicted classes.
        path: The PNG; the PDF has the same name.
        samples: Number of samples of each class, ``[K]``, if samples that were predicted as other
            classes are not in the matrix; None for the sums of its rows.
        of: Number of unseen classes; None for K.
    """
    count = len(names)
    sums = matrix.sum(axis=1, keepdims=True) if samples is None else samples[:, None]
    shares = 100 * matrix / np.maximum(sums, 1)
    labels = [plain_text(name) for name in names]
    longest = max(len(label) for label in labels)
    # with few classes a number must fit into a cell, with many a tick label next to it
    cell = 0.62 if count <= 5 else 0.46 if count <= MAX_ANNOTATED else 0.2 if count <= 60 else 0.12
    size = 8.5 if count <= MAX_ANNOTATED else 7.0 if count <= 60 else 5.0
    margin = 0.085 * longest * size / 10 + 0.6
    side = min(max(cell * count, 2.0), MAX_SIDE)
    named = cell * count <= MAX_SIDE
    figure = new_figure(side + margin + 1.0, side + margin + 0.5)
    axes = figure.subplots()
    image = axes.imshow(shares, vmin=0, vmax=100, cmap="Blues")
    rotation = 0 if count <= 5 and longest <= 8 else 90
    chosen = "" if of in (None, count) else f"{count} of {of} with the most errors; "
    # of more classes names would cover each other
    shown = labels if named else []
    axes.set_xticks(range(len(shown)), shown, rotation=rotation, fontsize=points(size))
    axes.set_yticks(range(len(shown)), shown, fontsize=points(size))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(
        xlabel="predicted class",
        ylabel="true class",
        title=f"Confusion among unseen classes\n({chosen}% of the true class)",
    )
    if count <= MAX_ANNOTATED:
        _annotate(axes, shares)
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02, ticks=[0, 25, 50, 75, 100])
    bar.outline.set_visible(False)
    save_png(figure, path)


def _annotate(axes: Axes, shares: npt.NDArray[Any]) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.5:
            colour = "white" if share > 55 else "#333333"
            text = f"{share:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=points(8), color=colour)


# ------------------------------------------------------------------------------------------------
# latent projection


@styled
def latent_projection(
    latents: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    prototypes: npt.NDArray[np.float32],
    names: Sequence[str],
    path: PathLike,
    of: int | None = None,
) -> None:
    """Plot a t-SNE of samples and class prototypes in a method's latent space.

    Samples are points coloured by class, prototypes are stars, as in Fig. 3 of the SGAL paper (Yu
    and Lee, "Zero-shot Learning via Simultaneous Generating and Learning", NeurIPS 2019). PCA to 30
    dimensions precedes t-SNE. Deterministic.

    Args:
        latents: Samples, ``[M, Z]``.
        labels: Class of each sample as a row of ``prototypes``, ``[M]``.
        prototypes: Positions of the K classes (e.g. means of priors), ``[K, Z]``.
        names: Names of the K classes.
        path: The PNG; a PDF and a CSV of the positions have the same name.
        of: Number of unseen classes; None for K.
    """
    if len(latents) > MAX_POINTS:
        kept = np.sort(np.random.default_rng(0).choice(len(latents), MAX_POINTS, replace=False))
        latents, labels = latents[kept], labels[kept]
    flat = _tsne(np.concatenate([latents, prototypes]).astype(np.float64))
    space = LatentSpace(flat[: len(latents)], labels, flat[len(latents) :], names)
    space.save(Path(path).with_suffix(".csv"))
    few = len(names) <= len(PALETTE)
    figure = new_figure(7.0 if few else 9.0, 5.2 if few else 7.6)
    axes = figure.subplots()
    scatter_classes(axes, space)
    shown = "Unseen classes" if of in (None, len(names)) else f"{len(names)} of {of} unseen classes"
    axes.set(title=f"{shown} and their samples in latent space (t-SNE)")
    if few:
        figure.legend(handles=class_handles(names), loc="outside right upper", ncols=1)
    else:
        name_points(axes, space.classes, [plain_text(name) for name in names])
        figure.legend(handles=_marker_handles(), loc="outside lower center", ncols=2)
    save_png(figure, path)


def scatter_classes(axes: Axes, space: LatentSpace) -> None:
    """Samples as points and classes as stars in their colours, on axes without numbers."""
    few = len(space.names) <= len(PALETTE)
    colours = _class_colours(len(space.names))
    axes.scatter(
        space.samples[:, 0],
        space.samples[:, 1],
        c=[colours[label] for label in space.labels],
        s=9 if few else 8,
        alpha=0.6,
        linewidths=0,
    )
    axes.scatter(
        space.classes[:, 0],
        space.classes[:, 1],
        c=colours,
        s=220 if few else 110,
        marker="*",
        edgecolors="black",
        linewidths=0.8,
        zorder=3,
    )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def class_handles(names: Sequence[str]) -> list[Line2D]:
    """A legend of :func:`scatter_classes`: the markers, and the colour of each class."""
    return _marker_handles() + [
        Line2D([], [], linestyle="", marker="o", color=colour, label=plain_text(name))
        for colour, name in zip(_class_colours(len(names)), names, strict=True)
    ]


def _tsne(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Points ``[P, Z]`` in two dimensions, ``[P, 2]``."""
    dims = min(30, *points.shape)
    if dims < points.shape[1]:
        points = PCA(dims, random_state=0).fit_transform(points)
    # t-SNE requires a perplexity below the number of points
    perplexity = min(30.0, max(1.0, (len(points) - 1) / 3))
    init = "random" if dims < 2 else "pca"
    # one thread: the order of sums, and so the result, would vary with several
    with threadpool_limits(1):
        tsne = TSNE(2, perplexity=perplexity, init=init, max_iter=500, random_state=0)
        return np.asarray(tsne.fit_transform(points))


def _class_colours(count: int) -> list[Any]:
    if count <= len(PALETTE):
        return list(PALETTE[:count])
    return [matplotlib.colormaps["turbo"](0.03 + 0.94 * i / (count - 1)) for i in range(count)]


def _marker_handles() -> list[Line2D]:
    sample = Line2D([], [], linestyle="", marker="o", color=MUTED, markersize=4, label="sample")
    prototype = Line2D(
        [],
        [],
        linestyle="",
        marker="*",
        color="white",
        markeredgecolor="black",
        markersize=10,
        label="class",
    )
    return [sample, prototype]


def name_points(axes: Axes, places: npt.NDArray[np.float64], names: Sequence[str]) -> None:
    """Write the name of each class beside its place ``[K, 2]``."""
    halo = [patheffects.withStroke(linewidth=1.8, foreground="white")]
    size = 7.0 if len(names) <= 30 else 5.5
    for (x, y), name in zip(places, names, strict=True):
        axes.annotate(
            name,
            (x, y),
            (4, 4),
            textcoords="offset points",
            fontsize=points(size),
            path_effects=halo,
            zorder=4,
        )
