"""Figures of a study."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from zsl_lab.plots.style import (
    HARMONIC,
    MUTED,
    PathLike,
    horizontal,
    new_figure,
    points,
    save_png,
    styled,
)


@styled
def importance(shares: Mapping[str, float], metric: str, path: PathLike) -> None:
    """Bars of the importance of each key, the largest at the top.

    Args:
        shares: Shares of the variance, which add up to 1, by key.
        metric: The metric that varies.
        path: The PNG; the PDF has the same name.
    """
    keys = sorted(shares, key=lambda key: shares[key])
    figure = new_figure(6.5, 1.0 + 0.28 * len(keys))
    axes = figure.subplots()
    bars = axes.barh(
        list(keys),
        [100 * shares[key] for key in keys],
        color=HARMONIC,
        height=0.7,
    )
    axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=points(8))
    axes.set(xlabel=f"share of the variance of {metric} (%)", title="Importance of keys")
    axes.set_xlim(0, max(1.0, 110 * max(shares.values())))
    horizontal(axes)
    save_png(figure, path)


@styled
def history(values: Sequence[tuple[int, float]], metric: str, path: PathLike) -> None:
    """The metric of each trial with a value, and the best so far.

    Args:
        values: Number and metric of each trial, by number.
        metric: Its name.
        path: The PNG; the PDF has the same name.
    """
    numbers = [number for number, _ in values]
    found = [value for _, value in values]
    figure = new_figure(6.5, 3.2)
    axes = figure.subplots()
    axes.plot(numbers, found, "o", color=MUTED, markersize=3.5, label="trials")
    best = list(itertools.accumulate(found, max))
    axes.step(numbers, best, where="post", color=HARMONIC, label="best so far")
    axes.set(xlabel="trial", ylabel=f"{metric} (%)", title="Trials on validation classes")
    axes.grid()
    axes.legend(loc="lower right")
    save_png(figure, path)
