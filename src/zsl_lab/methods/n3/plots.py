"""Figures of how far the base network was adapted (N3 paper, Fig. 3, 5a and 5b)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.patches import Patch

from zsl_lab.plots.style import (
    MUTED,
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


@dataclass(frozen=True)
class TensorNorms:
    """How far a tensor of the base network was adapted (N3 paper, Fig. 3 and 5a).

    Attributes:
        name: The tensor's name in the network.
        kind: The kind of its layer: ``conv``, ``linear`` or ``batch norm``.
        pretrained: L2 norm of the pretrained weights.
        delta: L2 norm of the delta added to them.
    """

    name: str
    kind: str
    pretrained: float
    delta: float


@styled
def adaptation_norms(norms: Sequence[TensorNorms], path: PathLike) -> None:
    """Draw the norms of each tensor's pretrained weights and of its delta (N3 paper, Fig. 3).

    Args:
        norms: One for each tensor, from input to output.
        path: The PNG to write.
    """
    places = np.arange(len(norms))
    figure = new_figure(7.0, max(2.6, 0.19 * len(norms) + 1.2))
    axes = figure.subplots()
    # a logarithmic axis has no place for 0: such a bar is left out
    for shift, colour, values in (
        (-0.2, SEEN, [tensor.pretrained for tensor in norms]),
        (0.2, UNSEEN, [tensor.delta for tensor in norms]),
    ):
        axes.barh(
            places + shift,
            [value if value > 0 else np.nan for value in values],
            height=0.38,
            color=colour,
        )
    axes.set_xscale("log")
    axes.set_yticks(places, [plain_text(tensor.name) for tensor in norms], fontsize=points(7))
    axes.set(xlabel="L2 norm (logarithmic)", ylim=(len(norms) - 0.4, -0.6))
    horizontal(axes)
    colours = [
        Patch(color=SEEN, label="given: gamma W_pre"),
        Patch(color=UNSEEN, label="generated: mu DeltaW"),
    ]
    titled_legend(figure, "Parameters for the unseen classes, from input (top) to output", colours)
    save_png(figure, path)


@styled
def adaptation_by_layer_type(norms: Sequence[TensorNorms], path: PathLike) -> None:
    """Draw the mean norm of the deltas by type of layer (N3 paper, Fig. 5a).

    Args:
        norms: One for each tensor.
        path: The PNG to write.
    """
    kinds = sorted({tensor.kind for tensor in norms})
    groups = [[tensor.delta for tensor in norms if tensor.kind == kind] for kind in kinds]
    means = [float(np.mean(group)) for group in groups]
    figure = new_figure(4.5, 0.6 * len(kinds) + 1.3)
    axes = figure.subplots()
    axes.barh(np.arange(len(kinds)), means, height=0.6, color=UNSEEN)
    for place, mean in enumerate(means):
        axes.text(mean, place, f" {mean:.3g}", va="center", fontsize=points(8), color=MUTED)
    names = [
        f"{kind} ({len(group)} tensor{'s' * (len(group) > 1)})"
        for kind, group in zip(kinds, groups, strict=True)
    ]
    axes.set_yticks(np.arange(len(kinds)), names)
    axes.set(
        xlabel="mean L2 norm of the generated tensors",
        title="Adaptation by type of layer",
        xlim=(0, 1.18 * max(means) or 1),
    )
    horizontal(axes)
    save_png(figure, path)


@styled
def penultimate_norms(
    before: npt.NDArray[np.float32], after: npt.NDArray[np.float32], path: PathLike
) -> None:
    """Draw histograms of the norms of the classifier's input vectors (N3 paper, Fig. 5b).

    Args:
        before: L2 norms in the base network before adaptation, one for each image, ``[N]``.
        after: L2 norms in the adapted network, ``[N]``.
        path: The PNG to write.
    """
    figure = new_figure(5.0, 3.4)
    axes = figure.subplots()
    largest = float(max(before.max(), after.max()))
    bins = np.linspace(0, largest or 1.0, 41).tolist()
    for norms, colour, label in ((before, SEEN, "before"), (after, UNSEEN, "after")):
        axes.hist(norms, bins, color=colour, alpha=0.55, label=f"{label} adaptation")
    axes.set(
        xlabel="L2 norm of the penultimate layer's activations",
        ylabel="images of unseen classes",
        title="Activations before and after adaptation",
    )
    axes.grid(axis="y")
    axes.legend()
    save_png(figure, path)
