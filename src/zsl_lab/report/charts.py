"""Geometry of the page's charts; ``templates/charts.html.j2`` draws them as SVG.

Coordinates are texts in the units of a chart's ``viewBox``. Colours come from the style sheet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: numbers of colours and dash patterns; the style sheet has a class for each
COLOURS, DASHES = 7, 3
MAX_LINES = COLOURS * DASHES
#: harmonic means whose contours are drawn
_CONTOURS = (20, 40, 60, 80)

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Mark:
    """An operating point of a run.

    Attributes:
        unseen: Accuracy on samples of unseen classes, percent.
        seen: Accuracy on samples of seen classes, percent.
        calibrated: Whether a constant is added to the scores of unseen classes.
        label: Tooltip.
    """

    unseen: float
    seen: float
    calibrated: bool
    label: str


@dataclass(frozen=True)
class Line:
    """The trade-off of a run.

    Attributes:
        points: Unseen and seen accuracy, percent.
        marks: Its operating points.
        number: Selects colour and dash pattern.
        name: Name that its values are shown with.
    """

    points: Points
    marks: Sequence[Mark]
    number: int
    name: str = ""


@dataclass(frozen=True)
class Tick:
    """A grid line, its ``position`` along the axis, and its label."""

    position: str
    text: str


@dataclass(frozen=True)
class Contour:
    """A curve of equal harmonic mean, and the position of its label."""

    path: str
    label: str
    x: str
    y: str


@dataclass(frozen=True)
class Sign:
    """The symbol of an operating point."""

    x: str
    y: str
    calibrated: bool
    style: str
    label: str


@dataclass(frozen=True)
class Curve:
    """A curve; ``style`` holds the style sheet's classes."""

    path: str
    style: str
    name: str


@dataclass(frozen=True)
class Tradeoff:
    """Chart of seen against unseen accuracy.

    Attributes:
        label: Description for screen readers.
        width: Width of the ``viewBox``.
        height: Height of the ``viewBox``.
        left: Left end of the plotted area.
        right: Right end.
        top: Upper end.
        bottom: Lower end.
        x_ticks: Ticks of unseen accuracy.
        y_ticks: Ticks of seen accuracy.
        contours: Curves of equal harmonic mean.
        curves: Trade-offs.
        signs: Operating points.
        max_unseen: Unseen accuracy at the right end, percent.
        max_seen: Seen accuracy at the upper end, percent.
    """

    label: str
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    contours: list[Contour]
    curves: list[Curve]
    signs: list[Sign]
    max_unseen: float
    max_seen: float


@dataclass(frozen=True)
class Profile:
    """Chart of the sorted recalls of all classes.

    Attributes:
        label: Description for screen readers.
        kind: ``unseen`` or ``seen``, which selects the colour.
        path: Outline of the filled area.
        width: Width of the ``viewBox``.
        height: Height of the ``viewBox``.
    """

    label: str
    kind: str
    path: str
    width: int
    height: int


def style(number: int) -> str:
    """The style sheet's classes for the line with this number."""
    return f"k{number % COLOURS} d{number // COLOURS % DASHES}"


def tradeoff(lines: Sequence[Line], label: str, *, width: int = 560, height: int = 420) -> Tradeoff:
    """Seen against unseen accuracy: curves, operating points, contours of the harmonic mean.

    Args:
        lines: At least one.
        label: Description for screen readers.
        width: Width of the chart in its own units.
        height: Height of the chart in its own units.
    """
    points = [
        point
        for line in lines
        for point in (*line.points, *((mark.unseen, mark.seen) for mark in line.marks))
    ]
    max_unseen, max_seen = (_axis_end(max(values)) for values in zip(*points, strict=True))
    frame = _Frame(48, width - 14, 12, height - 38, max_unseen, max_seen)
    return Tradeoff(
        label=label,
        width=width,
        height=height,
        left=frame.left,
        right=frame.right,
        top=frame.top,
        bottom=frame.bottom,
        x_ticks=[Tick(_short(frame.x(value)), f"{value:g}") for value in _ticks(max_unseen)],
        y_ticks=[Tick(_short(frame.y(value)), f"{value:g}") for value in _ticks(max_seen)],
        contours=_contours(frame),
        curves=[
            Curve(frame.path(line.points), style(line.number), line.name)
            for line in lines
            if line.points
        ],
        signs=[_sign(mark, frame, style(line.number)) for line in lines for mark in line.marks],
        max_unseen=max_unseen,
        max_seen=max_seen,
    )


@dataclass(frozen=True)
class _Frame:
    """The plotted area, and the accuracies at its right and upper end."""

    left: int
    right: int
    top: int
    bottom: int
    max_unseen: float
    max_seen: float

    def x(self, unseen: float) -> float:
        return self.left + (self.right - self.left) * unseen / self.max_unseen

    def y(self, seen: float) -> float:
        return self.bottom - (self.bottom - self.top) * seen / self.max_seen

    def path(self, points: Points) -> str:
        return _path([(self.x(unseen), self.y(seen)) for unseen, seen in points])


def _sign(mark: Mark, frame: _Frame, look: str) -> Sign:
    x, y = _short(frame.x(mark.unseen)), _short(frame.y(mark.seen))
    return Sign(x, y, mark.calibrated, look, mark.label)


def _contours(frame: _Frame) -> list[Contour]:
    means = [mean for mean in _CONTOURS if mean < min(frame.max_unseen, frame.max_seen)]
    # labelled where seen and unseen accuracy are equal, away from the ends of the curves
    return [
        Contour(
            frame.path(_contour(mean, frame)),
            f"H {mean}",
            _short(frame.x(mean)),
            _short(frame.y(mean) + 3),
        )
        for mean in means
    ]


def _contour(mean: float, frame: _Frame) -> Points:
    """Points with 2us / (u + s) = ``mean`` inside the frame."""
    first = mean * frame.max_seen / (2 * frame.max_seen - mean)
    steps = 40
    # denser where the contour is steep
    unseen = [first + (frame.max_unseen - first) * (i / steps) ** 3 for i in range(steps + 1)]
    return [(u, mean * u / (2 * u - mean)) for u in unseen]


def profile(
    recalls: Sequence[float],
    label: str,
    kind: str,
    *,
    width: int = 150,
    height: int = 28,
    max_steps: int = 75,
) -> Profile:
    """Recall of the classes from worst to best as a filled outline.

    Args:
        recalls: In percent, at least one, without NaN. Of more than ``max_steps`` classes, evenly
            spaced ones are drawn.
        label: Description for screen readers.
        kind: ``unseen`` or ``seen``, which selects the colour.
        width: Width of the chart in its own units.
        height: Height of the chart in its own units.
        max_steps: Maximum number of classes drawn.
    """
    ordered = sorted(recalls)
    count = min(max_steps, len(ordered))
    shown = [ordered[round(i * (len(ordered) - 1) / max(1, count - 1))] for i in range(count)]
    step = width / count
    outline = [(0.0, float(height))]
    for i, recall in enumerate(shown):
        y = height - recall * height / 100
        outline += [(i * step, y), ((i + 1) * step, y)]
    outline.append((width, height))
    return Profile(label, kind, _path(outline) + "z", width, height)


def _axis_end(highest: float) -> float:
    return min(100.0, max(10.0, 10.0 * math.ceil(highest / 10 + 0.1)))


def _ticks(end: float) -> list[float]:
    spacing = 20 if end > 50 else 10 if end > 20 else 5
    return [float(value) for value in range(0, int(end) + 1, spacing)]


def _path(points: Points) -> str:
    return "M" + "L".join(f"{_short(x)} {_short(y)}" for x, y in points)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
