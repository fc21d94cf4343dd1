"""Figures that compare the runs of an experiment; ``sweep.figures`` names these functions.

Each takes the finished runs, in the order of their jobs, and the path of a PNG; it draws from the
files in the runs' folders, without torch.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from zsl_lab.errors import DataError
from zsl_lab.files.bounded import read_bounded
from zsl_lab.plots.figures import ACCURACIES, class_handles, name_points, scatter_classes
from zsl_lab.plots.latent_space import LatentSpace
from zsl_lab.plots.style import (
    MUTED,
    PALETTE,
    PathLike,
    horizontal,
    new_figure,
    plain_text,
    points,
    save_png,
    styled,
    titled_legend,
)
from zsl_lab.report.groups import Run, group_runs

#: in a run's folder: positions in its latent space, and predictions of all test samples
LATENT, PREDICTIONS = "figures/latent_projection.csv", "predictions.csv"
#: predictions have about 30 bytes a sample
_MAX_BYTES = 2**30
#: classes up to which a confusion matrix names them
_MAX_NAMED = 20
#: panels beside each other
_PANELS = 2


@styled
def latent_spaces(runs: Sequence[Run], path: PathLike) -> None:
    """The latent spaces of runs, two beside each other (SGAL paper, Fig. 3).

    Args:
        runs: Runs of methods with a latent space; of repetitions with other seeds one is shown.
        path: The PNG; the PDF has the same name.

    Raises:
        DataError: A run has no figure of its latent space, or there is no run.
    """
    _check(runs)
    runs = _without_repetitions(runs)
    spaces = [LatentSpace.load(run.folder / LATENT) for run in runs]
    rows = -(-len(spaces) // _PANELS)
    figure = new_figure(9.0, 4.2 * rows)
    panels = figure.subplots(rows, _PANELS, squeeze=False).ravel()
    names = spaces[0].names
    shared = len(names) <= len(PALETTE) and all(space.names == names for space in spaces)
    for number, (run, space) in enumerate(zip(runs, spaces, strict=True)):
        axes, letter = panels[number], chr(ord("a") + number)
        scatter_classes(axes, space)
        harmonic = run.result.metrics["harmonic_mean"]
        axes.set(title=f"({letter}) {_title(run)}, H {harmonic:.1f}")
        if not shared:
            name_points(axes, space.classes, [plain_text(name) for name in space.names])
    for axes in panels[len(spaces) :]:
        axes.set_axis_off()
    handles = class_handles(names if shared else [])
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    save_png(figure, path)


@styled
def metric_bars(runs: Sequence[Run], path: PathLike) -> None:
    """Accuracies of each method as bars, a panel for each dataset (ASPN paper, Fig. 3a and b).

    Args:
        runs: Runs of several methods; of repetitions with other seeds the first counts.
        path: The PNG; the PDF has the same name.

    Raises:
        DataError: There is no run.
    """
    _check(runs)
    datasets = list(dict.fromkeys(run.result.dataset for run in runs))
    figure = new_figure(5.2 * len(datasets), 1.4 + 0.75 * len(runs) / len(datasets))
    panels = figure.subplots(1, len(datasets), squeeze=False)[0]
    for axes, dataset in zip(panels, datasets, strict=True):
        own = {run.result.method: run for run in reversed(runs) if run.result.dataset == dataset}
        _bars(axes, list(reversed(own.values())))
        axes.set(title=plain_text(dataset))
    colours = [Patch(color=colour, label=label) for label, colour in ACCURACIES.values()]
    titled_legend(figure, "Accuracy on test, per class", colours)
    save_png(figure, path)


def _bars(axes: Axes, runs: Sequence[Run]) -> None:
    height = 0.8 / len(ACCURACIES)
    for row, run in enumerate(runs):
        for i, (key, (_, colour)) in enumerate(ACCURACIES.items()):
            value = run.result.metrics[key]
            place = row + (i - (len(ACCURACIES) - 1) / 2) * height
            axes.barh(place, 0.0 if np.isnan(value) else value, height=0.9 * height, color=colour)
            text = "none" if np.isnan(value) else f"{value:.1f}"
            axes.text(
                (0.0 if np.isnan(value) else value) + 1.5,
                place,
                text,
                va="center",
                fontsize=points(7),
                color=MUTED,
            )
    axes.set_yticks(range(len(runs)), [plain_text(run.result.method) for run in runs])
    axes.set(xlabel="%", xlim=(0, 112), ylim=(len(runs) - 0.4, -0.6))
    axes.set_xticks([0, 25, 50, 75, 100])
    horizontal(axes)


@styled
def confusion_matrices(runs: Sequence[Run], path: PathLike) -> None:
    """Confusion among the unseen classes of the first dataset, a panel for each method.

    As in the ASPN paper, Fig. 3c and d. Predictions are restricted to the unseen classes.

    Args:
        runs: Runs of several methods; those on other datasets than the first are left out, and of
            repetitions with other seeds one is shown.
        path: The PNG; the PDF has the same name.

    Raises:
        DataError: A run's predictions are missing or damaged, or there is no run.
    """
    _check(runs)
    first = runs[0].result.dataset
    own = [run for run in _without_repetitions(runs) if run.result.dataset == first]
    names = list(own[0].result.per_class["unseen"])
    rows = -(-len(own) // _PANELS)
    figure = new_figure(9.6, 4.6 * rows)
    panels = figure.subplots(rows, _PANELS, squeeze=False).ravel()
    for axes, run in zip(panels[: len(own)], own, strict=True):
        matrix = _confusion(run)
        image = axes.imshow(matrix, vmin=0, vmax=100, cmap="Blues")
        axes.set(title=f"{_title(run)}, zsl_top1 {run.result.metrics['zsl_top1']:.1f}")
        shown = (
            [plain_text(name) for name in names] if len(matrix) == len(names) <= _MAX_NAMED else []
        )
        axes.set_xticks(range(len(shown)), shown, rotation=90, fontsize=points(7))
        axes.set_yticks(range(len(shown)), shown, fontsize=points(7))
        axes.tick_params(length=0)
        axes.set(xlabel="predicted class", ylabel="true class")
        axes.spines[:].set_visible(False)
    for axes in panels[len(own) :]:
        axes.set_axis_off()
    bar = figure.colorbar(image, ax=list(panels), fraction=0.03, pad=0.02, ticks=[0, 50, 100])
    bar.set_label("% of the true class")
    bar.outline.set_visible(False)
    save_png(figure, path)


def _confusion(run: Run) -> npt.NDArray[np.float64]:
    """Percent of each unseen class with test samples predicted as each, ``[K, K]``."""
    path = run.folder / PREDICTIONS
    try:
        text = read_bounded(path, _MAX_BYTES).decode()
        rows = [row for row in csv.DictReader(io.StringIO(text)) if row["split"] == "test_unseen"]
        pairs = np.array([(int(row["label"]), int(row["zsl"])) for row in rows]).reshape(-1, 2)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"{path}: found no predictions ({error}); expected the columns split, index, label, "
            "gzsl and zsl as a run writes them. Test the run again (task=test ckpt=RUN), or leave "
            "it out."
        ) from error
    ids = np.unique(pairs)
    matrix = np.zeros((len(ids), len(ids)))
    np.add.at(matrix, tuple(np.searchsorted(ids, pairs).T), 1)
    return np.asarray(100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1))


def _without_repetitions(runs: Sequence[Run]) -> list[Run]:
    """A run of each setting, in the order given."""
    groups, _ = group_runs(runs, "zsl_top1")
    kept = {group.runs[0].folder for group in groups}
    return [run for run in runs if run.folder in kept]


def _title(run: Run) -> str:
    return plain_text(f"{run.result.method} on {run.result.dataset}")


def _check(runs: Sequence[Run]) -> None:
    if not runs:
        raise DataError("no run has a result, so there is nothing to draw.")
