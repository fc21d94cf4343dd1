"""Figures of a sweep: H on validation classes and on test, against the swept keys."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from zsl_lab.files.escaping import one_line
from zsl_lab.plots.style import (
    MAX_LABEL,
    MUTED,
    PALETTE,
    PathLike,
    horizontal,
    new_figure,
    plain_text,
    points,
    save_png,
    save_svg,
    styled,
    titled_legend,
)
from zsl_lab.report.groups import Summary

#: the samples that H is measured on: their name, and their colour where both are in one panel
PARTS = {"validation": ("validation classes", PALETTE[0]), "test": ("test", PALETTE[1])}
#: most combinations of the other keys that are drawn as lines; with more, each setting is a point
MAX_LINES = 6
#: most cells in a row or column with which cells are annotated
MAX_ANNOTATED = 10
#: ratio of the largest to the smallest number from which the axis is logarithmic
_WIDE = 20.0
#: most values with which each has a tick
_MAX_TICKS = 6
#: a key with larger numbers is drawn as one of choices
_LARGEST = 1e100
#: most keys with a figure of their own, and most choices with a bar
_MAX_FIGURES, _MAX_BARS = 12, 60
#: largest height and width of a map in inches
_MAX_SIDE = 30.0
_H = "harmonic mean (%)"


@dataclass(frozen=True)
class Setting:
    """A combination of swept values, over its seeds.

    Attributes:
        values: One for each key, as an override has it.
        validation: H on validation classes; its mean is NaN where no such classes were used.
        test: H on test.
    """

    values: tuple[str, ...]
    validation: Summary
    test: Summary

    def part(self, name: str) -> Summary:
        """H on a part, a key of ``PARTS``."""
        return self.validation if name == "validation" else self.test


def draw(
    settings: Sequence[Setting], keys: Sequence[str], folder: Path, suffix: str = ".png"
) -> None:
    """Draw H against each key, and a map of it where two keys were swept.

    Nothing is drawn if no setting has an H, for example without test samples of seen classes.

    Args:
        settings: At least one.
        keys: The swept keys, without the seed; at least one.
        folder: The folder of the figures.
        suffix: ``.png`` or ``.svg``.
    """
    if all(math.isnan(setting.part(part).mean) for setting in settings for part in PARTS):
        return
    for place, key in enumerate(keys[:_MAX_FIGURES]):
        own = [setting for setting in settings if setting.values[place]]
        if own:
            (against_number if _numbers(own, place) is not None else against_choice)(
                own, keys, place, folder / f"h_by_{_file_name(key)}{suffix}"
            )
    if len(keys) == 2:
        heat_map(
            settings,
            keys,
            folder / f"h_by_{'_and_'.join(map(_file_name, keys))}{suffix}",
        )


def _file_name(key: str) -> str:
    """A key as a part of a file's name."""
    return re.sub(r"[^\w.@-]", ".", key)[:60]


# ------------------------------------------------------------------------------------------------
# one key


@styled
def against_number(
    settings: Sequence[Setting], keys: Sequence[str], place: int, path: PathLike
) -> None:
    """H against a key of numbers.

    Each combination of the other keys is a line while these are few; else each setting is a point.

    Args:
        settings: At least one; the key's values are numbers.
        keys: The swept keys.
        place: Which of the keys.
        path: The file, a PNG or an SVG.
    """
    settings = sorted(settings, key=lambda setting: float(setting.values[place]))
    numbers = np.array([float(setting.values[place]) for setting in settings])
    parts = _parts(settings)
    others = [key for i, key in enumerate(keys) if i != place]
    combinations = sorted(
        {_others(setting, place) for setting in settings},
        key=lambda values: [_natural(value) for value in values],
    )
    # values that a sweeper drew hardly repeat
    repeated = 2 * len(np.unique(numbers)) <= len(numbers)
    # one key alone: both parts in one panel, to compare; else a panel each
    panels = [parts] if not others else [[part] for part in parts]
    figure = new_figure(5.6 if len(panels) == 1 else 9.6, 3.6)
    for axes, own in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for part in own:
            label, colour = PARTS[part]
            if len(combinations) > MAX_LINES:
                axes.scatter(
                    numbers,
                    [setting.part(part).mean for setting in settings],
                    s=14,
                    color=colour,
                    alpha=0.6,
                    linewidths=0,
                )
                if repeated:
                    _mean_line(axes, numbers, settings, part, colour)
                continue
            for line, combination in enumerate(combinations):
                chosen = [
                    i
                    for i, setting in enumerate(settings)
                    if _others(setting, place) == combination
                ]
                shown = PALETTE[line % len(PALETTE)] if others else colour
                _line(
                    axes,
                    numbers[chosen],
                    [settings[i].part(part) for i in chosen],
                    shown,
                    ", ".join(combination) if others else label,
                )
        if others:
            axes.set(title=f"H on {PARTS[own[0]][0]}")
        axes.set(xlabel=_plain_key(keys[place]))
        axes.grid()
        _scale(axes.xaxis, numbers)
    first = figure.axes[0]
    first.set(ylabel=_H)
    if not others:
        first.set(title=f"H against {_plain_key(keys[place])}")
        first.legend()
    elif len(combinations) <= MAX_LINES:
        handles, labels = first.get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside right upper",
            title=_plain_key(", ".join(_keys_short(others))),
            alignment="left",
        )
    elif repeated:
        handles = [
            Line2D([], [], linestyle="", marker="o", markersize=4, color=MUTED, label="a setting")
        ]
        handles += [Line2D([], [], color=MUTED, label="mean of a value's settings")]
        figure.legend(handles=handles, loc="outside right upper")
    (save_svg if Path(path).suffix == ".svg" else save_png)(figure, path)


def _line(
    axes: Axes,
    numbers: npt.NDArray[np.float64],
    figures: Sequence[Summary],
    colour: str,
    label: str,
) -> None:
    spread = [figure.sd or 0.0 for figure in figures]
    means = [figure.mean for figure in figures]
    axes.errorbar(
        numbers,
        means,
        yerr=spread if any(spread) else None,
        color=colour,
        label=plain_text(label),
        marker="o",
        markersize=4,
        capsize=2.5,
    )


def _mean_line(
    axes: Axes,
    numbers: npt.NDArray[np.float64],
    settings: Sequence[Setting],
    part: str,
    colour: str,
) -> None:
    """The mean over the settings of each value."""
    values = np.unique(numbers)
    means = [
        _mean([settings[i].part(part).mean for i in range(len(settings)) if numbers[i] == value])
        for value in values
    ]
    axes.plot(values, means, color=colour)


@styled
def against_choice(
    settings: Sequence[Setting], keys: Sequence[str], place: int, path: PathLike
) -> None:
    """H for each choice as a bar: the mean of its settings.

    Where other keys were swept too, each setting is a point.

    Args:
        settings: At least one.
        keys: The swept keys.
        place: Which of the keys.
        path: The file, a PNG or an SVG.
    """
    parts = _parts(settings)
    choices: dict[str, list[Setting]] = {}
    for setting in settings:
        choices.setdefault(setting.values[place], []).append(setting)
    best_first = sorted(
        choices,
        key=lambda choice: (
            -_mean([setting.part(parts[0]).mean for setting in choices[choice]], none=-1.0)
        ),
    )
    ordered = best_first[:_MAX_BARS]
    height = 0.8 / len(parts)
    figure = new_figure(6.4, 0.5 * len(ordered) + 1.5)
    axes = figure.subplots()
    for i, part in enumerate(parts):
        colour = PARTS[part][1]
        for row, choice in enumerate(ordered):
            own = [setting.part(part) for setting in choices[choice]]
            y = row + (i - (len(parts) - 1) / 2) * height
            mean = _mean([figure.mean for figure in own])
            spread = own[0].sd if len(own) == 1 else None
            axes.barh(
                y, 0.0 if math.isnan(mean) else mean, height=0.9 * height, color=colour, alpha=0.85
            )
            if spread:
                axes.errorbar(mean, y, xerr=spread, color="#333333", capsize=2.5, linewidth=1)
            if len(own) > 1:
                axes.scatter(
                    [figure.mean for figure in own],
                    [y] * len(own),
                    s=10,
                    color="#333333",
                    zorder=3,
                    linewidths=0,
                )
            reach = max([mean + (spread or 0.0), *(figure.mean for figure in own)])
            text = "none" if math.isnan(mean) else f"{mean:.1f}"
            axes.text(
                1.5 + (0.0 if math.isnan(reach) else reach),
                y,
                text,
                va="center",
                fontsize=points(8),
                color=MUTED,
            )
    axes.set_yticks(range(len(ordered)), [plain_text(choice) for choice in ordered])
    axes.set(xlabel=_H, xlim=(0, 112), ylim=(len(ordered) - 0.4, -0.6))
    axes.set_xticks([0, 25, 50, 75, 100])
    horizontal(axes)
    colours = [Patch(color=PARTS[part][1], alpha=0.85, label=PARTS[part][0]) for part in parts]
    shown = f" (the best {len(ordered)} of {len(choices)})" if len(ordered) < len(choices) else ""
    titled_legend(figure, f"H by {_plain_key(keys[place])}{shown}", colours)
    (save_svg if Path(path).suffix == ".svg" else save_png)(figure, path)


# ------------------------------------------------------------------------------------------------
# two keys


@styled
def heat_map(settings: Sequence[Setting], keys: Sequence[str], path: PathLike) -> None:
    """H over two keys; where numbers were drawn rather than listed, a point for each setting.

    Args:
        settings: At least one.
        keys: Two.
        path: The file, a PNG or an SVG.
    """
    parts = _parts(settings)
    columns, rows = _ordered(settings, 0), _ordered(settings, 1)
    drawn = 2 * len(settings) < len(columns) * len(rows)
    numbers = [_numbers(settings, place) for place in (0, 1)]
    as_points = drawn and all(values is not None for values in numbers)
    cell = 0.62 if max(len(columns), len(rows)) <= MAX_ANNOTATED else 0.22
    width, height = (
        (3.6, 3.2)
        if as_points
        else (
            min(max(2.2, cell * len(columns)), _MAX_SIDE) + 0.9,
            min(max(1.8, cell * len(rows)), _MAX_SIDE) + 0.6,
        )
    )
    figure = new_figure((width + 0.9) * len(parts) + 0.3, height + 0.6)
    panels = figure.subplots(1, len(parts), squeeze=False, sharey=True)[0]
    for axes, part in zip(panels, parts, strict=True):
        means = [setting.part(part).mean for setting in settings]
        # a colour scale for each panel: validation classes and test differ more from each other
        # than settings do
        known = [mean for mean in means if not math.isnan(mean)]
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        if as_points:
            assert numbers[0] is not None
            assert numbers[1] is not None
            image = axes.scatter(
                numbers[0],
                numbers[1],
                c=means,
                s=60,
                cmap="viridis",
                vmin=low,
                vmax=high,
                edgecolors="white",
            )
            axes.grid()
            _scale(axes.xaxis, numbers[0])
            _scale(axes.yaxis, numbers[1])
        else:
            matrix = np.full((len(rows), len(columns)), np.nan)
            for setting, mean in zip(settings, means, strict=True):
                matrix[rows.index(setting.values[1]), columns.index(setting.values[0])] = mean
            image = axes.imshow(
                matrix, cmap="viridis", vmin=low, vmax=high, aspect="auto", origin="lower"
            )
            axes.set_xticks(
                range(len(columns)),
                [plain_text(value) for value in columns],
                rotation=90 if _long(columns) else 0,
            )
            axes.set_yticks(range(len(rows)), [plain_text(value) for value in rows])
            axes.tick_params(length=0, labelleft=True)
            axes.spines[:].set_visible(False)
            if max(len(columns), len(rows)) <= MAX_ANNOTATED:
                _annotate(axes, matrix, settings, part, (columns, rows), (low + high) / 2)
        axes.set(title=f"H on {PARTS[part][0]}", xlabel=_plain_key(keys[0]))
        bar = figure.colorbar(
            image, ax=axes, fraction=0.05, pad=0.02, label=_H if axes is panels[-1] else None
        )
        bar.outline.set_visible(False)
    panels[0].set(ylabel=_plain_key(keys[1]))
    (save_svg if Path(path).suffix == ".svg" else save_png)(figure, path)


def _annotate(
    axes: Axes,
    matrix: npt.NDArray[np.float64],
    settings: Sequence[Setting],
    part: str,
    ordered: tuple[Sequence[str], Sequence[str]],
    middle: float,
) -> None:
    best = np.nanmax(matrix) if not np.isnan(matrix).all() else math.nan
    columns, rows = ordered
    spreads = {setting.values: setting.part(part).sd for setting in settings}
    for row, column in np.ndindex(matrix.shape):
        mean = matrix[row, column]
        if math.isnan(mean):
            axes.text(column, row, "-", ha="center", va="center", fontsize=points(8), color=MUTED)
            continue
        sd = spreads[columns[column], rows[row]]
        text = f"{mean:.1f}" + (f"\n± {sd:.1f}" if sd is not None else "")
        # dark text on the yellow end of the scale
        colour = "#222222" if mean > middle else "white"
        axes.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            fontsize=points(8),
            color=colour,
            weight="bold" if mean == best else "normal",
        )


# ------------------------------------------------------------------------------------------------
# parts


def _plain_key(key: str) -> str:
    """A key as text, not as mathematics."""
    return one_line(key, MAX_LABEL).replace("$", r"\$")


def _keys_short(keys: Sequence[str]) -> list[str]:
    """The last parts of keys, where these differ."""
    tails = [key.rpartition(".")[2] for key in keys]
    return tails if len(set(tails)) == len(tails) else list(keys)


def _parts(settings: Sequence[Setting]) -> list[str]:
    """The parts on which H was measured."""
    return [
        part
        for part in PARTS
        if part == "test" or not all(math.isnan(setting.validation.mean) for setting in settings)
    ]


def _numbers(settings: Sequence[Setting], place: int) -> npt.NDArray[np.float64] | None:
    try:
        numbers = np.array([float(setting.values[place]) for setting in settings])
    except ValueError:
        return None
    # an axis has no place for other values, nor for all of a float's range
    return numbers if bool((np.abs(numbers) < _LARGEST).all()) else None


def _ordered(settings: Sequence[Setting], place: int) -> list[str]:
    values = list(dict.fromkeys(setting.values[place] for setting in settings))
    return sorted(values, key=float) if _numbers(settings, place) is not None else values


def _others(setting: Setting, place: int) -> tuple[str, ...]:
    return tuple(value for i, value in enumerate(setting.values) if i != place)


def _mean(values: Sequence[float], *, none: float = math.nan) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else none


def _long(texts: Sequence[str]) -> bool:
    return max(len(text) for text in texts) > 6


def _scale(axis: Axis, numbers: npt.NDArray[np.float64]) -> None:
    values = np.unique(numbers)
    if values[0] > 0 and values[-1] / values[0] >= _WIDE:
        (axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale)("log")
    if len(values) <= _MAX_TICKS:
        axis.set_ticks(list(values), labels=[f"{value:g}" for value in values])
        axis.set_minor_locator(NullLocator())


def _natural(value: str) -> tuple[float, str]:
    """A sort key: numbers by size, then words."""
    try:
        return float(value), ""
    except ValueError:
        return math.inf, value
