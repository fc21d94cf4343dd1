"""Figures of a run, drawn off screen: nothing here touches pyplot's global state.

Every function writes one PNG, all of it or nothing, and raises ``OutputError`` if it cannot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
    save_png,
    styled,
    titled_legend,
)

#: what each phase is called, and what its checks look at
PHASES = {"select": ("Selection", "validation"), "refit": ("Final training", "test (oracle)")}
ACCURACIES = {
    "zsl_top1": ("zsl_top1", PALETTE[3]),
    "seen": ("seen", SEEN),
    "unseen": ("unseen", UNSEEN),
    "harmonic_mean": ("harmonic mean", HARMONIC),
}

#: bars in a column of :func:`per_class_recall`, columns in a row of it, bars in all
BARS_A_COLUMN, COLUMNS_A_ROW, MAX_BARS = 55, 7, 770
#: classes up to which the cells of :func:`confusion_matrix` carry their figures
MAX_ANNOTATED = 15
#: samples that :func:`latent_projection` shows at most
MAX_POINTS = 1000


# ------------------------------------------------------------------------------------------------
# training curves


@styled
def training_curves(
    rows: Sequence[Mapping[str, Any]], path: PathLike, selected: Mapping[str, int] | None = None
) -> None:
    """Losses and accuracies against the training step, one row of panels for each phase.

    Checks of the phase ``select`` look at validation classes, those of ``refit`` at test, and are
    labelled so.

    Args:
        rows: Rows of ``metrics.csv``: ``phase`` (``select`` or ``refit``), ``step``, and any of
            ``loss/<term>`` and of ``check/zsl_top1``, ``check/seen``, ``check/unseen``,
            ``check/harmonic_mean`` (percent). Values that are missing are left out.
        path: The PNG.
        selected: Step of the selected check by phase, marked in the panels of the phase.
    """
    phases = [phase for phase in PHASES if any(row["phase"] == phase for row in rows)]
    figure = new_figure(10.5, 3.2 * len(phases))
    for (losses, accuracies), phase in zip(
        figure.subplots(len(phases), 2, squeeze=False), phases, strict=True
    ):
        title, looked_at = PHASES[phase]
        own = [row for row in rows if row["phase"] == phase]
        last = max(1, *(int(row["step"]) for row in own))
        terms = list(dict.fromkeys(name for row in own for name in row if name.startswith("loss/")))
        # the sum first and black, its terms in colours
        terms.sort(key=lambda name: name != "loss/total")
        # past the last colour they begin again, dotted
        looks = iter(
            [
                (PALETTE[i % (len(PALETTE) - 1)], "-" if i < len(PALETTE) - 1 else ":")
                for i in range(len(terms))
            ]
        )
        for name in terms:
            total = name == "loss/total"
            steps, values = _series(own, name)
            colour, line = ("black", "-") if total else next(looks)
            losses.plot(
                steps,
                values,
                color=colour,
                linestyle=line,
                label=plain_text(name.removeprefix("loss/")),
            )
        _scale(losses)
        losses.set(title=f"{title}: losses", ylabel="loss, mean over the batch")
        for key, (label, colour) in ACCURACIES.items():
            steps, values = _series(own, f"check/{key}")
            if steps:
                accuracies.plot(steps, values, color=colour, label=label, marker="o", markersize=3)
        accuracies.set(
            title=f"{title}: accuracy on {looked_at}",
            ylabel="per-class accuracy (%)",
            ylim=(0, 100),
        )
        if not accuracies.get_lines():
            accuracies.text(
                0.5,
                0.5,
                "no checks in this phase",
                transform=accuracies.transAxes,
                ha="center",
                color=MUTED,
            )
        for axes in (losses, accuracies):
            axes.set(xlabel="step", xlim=(0, last))
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.grid()
            if selected is not None and phase in selected:
                axes.axvline(
                    selected[phase],
                    color=MUTED,
                    linestyle="--",
                    linewidth=1,
                    label=f"selected: {selected[phase]}",
                )
            if axes.get_legend_handles_labels()[0]:
                # beside the curves, where it never covers one
                axes.legend(
                    loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2, handlelength=1.4
                )
    save_png(figure, path)


def _series(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    found = [
        (int(row["step"]), float(row[name])) for row in rows if row.get(name) not in (None, "")
    ]
    found = [(step, value) for step, value in found if math.isfinite(value)]
    return [step for step, _ in found], [value for _, value in found]


def _scale(axes: Axes) -> None:
    """A logarithmic scale, since the terms of a loss differ by powers of ten; with a linear stretch where one is not positive."""
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


@styled
def per_class_recall(per_class: Mapping[str, Mapping[str, float]], path: PathLike) -> None:
    """Recall of each class as a bar: the unseen classes, then the seen ones, each from the best down.

    Classes without a test sample are left out. Of more classes than fit, every k-th of this order
    is shown.

    Args:
        per_class: ``unseen`` and ``seen``: recall in percent by class name, as in ``result.json``.
        path: The PNG.
    """
    bars = []
    for group, colour in (("unseen", UNSEEN), ("seen", SEEN)):
        recalls = {
            name: recall for name, recall in per_class[group].items() if not math.isnan(recall)
        }
        bars += [
            (name, recalls[name], colour)
            for name in sorted(recalls, key=lambda name: -recalls[name])
        ]
    count = len(bars)
    every = max(1, math.ceil(count / MAX_BARS))
    bars = bars[::every]
    num_columns = max(1, math.ceil(len(bars) / BARS_A_COLUMN))
    per_row = math.ceil(num_columns / math.ceil(num_columns / COLUMNS_A_ROW))
    num_rows = math.ceil(num_columns / per_row)
    # equally long columns look better than a last one with three bars
    length = max(1, math.ceil(len(bars) / num_columns))
    small = num_columns == 1 and length <= 25
    height = (0.27 if small else 0.15) * length + 0.3
    longest = max((len(name) for name, _, _ in bars), default=0)
    width = 6.5 if num_columns == 1 else 1.9 + 0.055 * longest
    figure = new_figure(width * per_row, max(2.2, height * num_rows + 0.9))
    panels = figure.subplots(num_rows, per_row, squeeze=False).ravel()
    for i, axes in enumerate(panels):
        part = bars[i * length : (i + 1) * length]
        if not part:
            axes.set_axis_off()
            continue
        places = np.arange(len(part))
        values = [recall for _, recall, _ in part]
        axes.barh(places, values, height=0.72, color=[colour for _, _, colour in part])
        size = 8.0 if small else 6.0
        for place, value in zip(places, values, strict=True):
            axes.text(
                value + 1.5,
                float(place),
                f"{value:.0f}",
                va="center",
                fontsize=size - 0.5,
                color=MUTED,
            )
        axes.set_yticks(places, [plain_text(name) for name, _, _ in part], fontsize=size)
        # room on the right for the figure beside a full bar; full height for every column, so that
        # bars are equally thick
        axes.set(xlim=(0, 112), ylim=(length - 0.4, -0.6))
        axes.set_xticks([0, 25, 50, 75, 100])
        horizontal(axes)
    figure.supxlabel("recall, prediction over all classes (%)", fontsize=9)
    title = (
        f"Per-class recall of {count} classes"
        if every == 1
        else f"Per-class recall of {len(bars)} of {count} classes"
    )
    titled_legend(
        figure, title, [Patch(color=UNSEEN, label="unseen"), Patch(color=SEEN, label="seen")]
    )
    save_png(figure, path)


# ------------------------------------------------------------------------------------------------
# confusion matrix


@styled
def confusion_matrix(names: Sequence[str], matrix: npt.NDArray[Any], path: PathLike) -> None:
    """Confusion matrix of the unseen classes, each row normalised to the samples of its class.

    Args:
        names: Names of the K classes.
        matrix: Counts ``[K, K]``; row: true class, column: predicted class.
        path: The PNG.
    """
    count = len(names)
    sums = matrix.sum(axis=1, keepdims=True)
    shares = 100 * matrix / np.maximum(sums, 1)
    labels = [plain_text(name) for name in names]
    longest = max(len(label) for label in labels)
    # square cells that a figure fits in while there are few, that a tick label fits beside while
    # there are many
    cell = 0.62 if count <= 5 else 0.46 if count <= MAX_ANNOTATED else 0.2 if count <= 60 else 0.12
    size = 8.5 if count <= MAX_ANNOTATED else 7.0 if count <= 60 else 5.0
    margin = 0.085 * longest * size / 10 + 0.6
    side = max(cell * count, 2.0)
    figure = new_figure(side + margin + 1.0, side + margin + 0.5)
    axes = figure.subplots()
    image = axes.imshow(shares, vmin=0, vmax=100, cmap="Blues")
    axes.set_xticks(
        range(count), labels, rotation=0 if count <= 5 and longest <= 8 else 90, fontsize=size
    )
    axes.set_yticks(range(count), labels, fontsize=size)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(
        xlabel="predicted class",
        ylabel="true class",
        title="Confusion among unseen classes\n(% of the true class)",
    )
    if count <= MAX_ANNOTATED:
        for row in range(count):
            for column in range(count):
                share = shares[row, column]
                if share < 0.5:
                    continue
                axes.text(
                    column,
                    row,
                    f"{share:.0f}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if share > 55 else "#333333",
                )
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02, ticks=[0, 25, 50, 75, 100])
    bar.outline.set_visible(False)
    save_png(figure, path)


# ------------------------------------------------------------------------------------------------
# latent projection


@styled
def latent_projection(
    latents: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    places: npt.NDArray[np.float32],
    names: Sequence[str],
    path: PathLike,
) -> None:
    """t-SNE of samples in the space a method compares them with classes in, coloured by class, the classes themselves as stars.

    As in Fig. 3 of the SGAL paper (Yu and Lee, "Zero-shot Learning via Simultaneous Generating and
    Learning", NeurIPS 2019). Principal components come first; the same input always gives the same
    picture.

    Args:
        latents: Samples, ``[M, Z]``.
        labels: Row of ``places`` that each sample belongs to, ``[M]``.
        places: Where the method places the K classes (means of priors, prototypes), ``[K, Z]``.
        names: Names of the K classes.
        path: The PNG.
    """
    if len(latents) > MAX_POINTS:
        kept = np.sort(np.random.default_rng(0).choice(len(latents), MAX_POINTS, replace=False))
        latents, labels = latents[kept], labels[kept]
    points = np.concatenate([latents, places]).astype(np.float64)
    dims = min(30, *points.shape)
    if dims < points.shape[1]:
        points = PCA(dims, random_state=0).fit_transform(points)
    # t-SNE wants fewer neighbours than there are points
    perplexity = min(30.0, max(1.0, (len(points) - 1) / 3))
    # one thread: several may add up in another order each time, and are slower on a busy machine
    with threadpool_limits(1):
        flat = TSNE(
            2, perplexity=perplexity, init="random" if dims < 2 else "pca", random_state=0
        ).fit_transform(points)
    samples, stars = flat[: len(latents)], flat[len(latents) :]

    count = len(names)
    few = count <= len(PALETTE)
    colours: list[Any] = (
        list(PALETTE[:count])
        if few
        else [matplotlib.colormaps["turbo"](0.03 + 0.94 * i / (count - 1)) for i in range(count)]
    )
    figure = new_figure(7.0 if few else 9.0, 5.2 if few else 7.6)
    axes = figure.subplots()
    axes.scatter(
        samples[:, 0],
        samples[:, 1],
        c=[colours[label] for label in labels],
        s=9 if few else 8,
        alpha=0.6,
        linewidths=0,
    )
    axes.scatter(
        stars[:, 0],
        stars[:, 1],
        c=colours,
        s=220 if few else 110,
        marker="*",
        edgecolors="black",
        linewidths=0.8,
        zorder=3,
    )
    axes.set(title="Unseen classes and their samples in latent space (t-SNE)")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    handles = [Line2D([], [], linestyle="", marker="o", color=MUTED, markersize=4, label="sample")]
    handles += [
        Line2D(
            [],
            [],
            linestyle="",
            marker="*",
            color="white",
            markeredgecolor="black",
            markersize=10,
            label="class",
        )
    ]
    labelled = [plain_text(name) for name in names]
    if few:
        handles += [
            Line2D([], [], linestyle="", marker="o", color=colour, label=name)
            for colour, name in zip(colours, labelled, strict=True)
        ]
    else:
        halo = [patheffects.withStroke(linewidth=1.8, foreground="white")]
        size = 7.0 if count <= 30 else 5.5
        for (x, y), name in zip(stars, labelled, strict=True):
            axes.annotate(
                name,
                (x, y),
                (4, 4),
                textcoords="offset points",
                fontsize=size,
                path_effects=halo,
                zorder=4,
            )
    figure.legend(
        handles=handles,
        loc="outside right upper" if few else "outside lower center",
        ncols=1 if few else 2,
    )
    save_png(figure, path)
