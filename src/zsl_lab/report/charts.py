"""Charts of a report, as SVG that takes its colours from the page around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from zsl_lab.report.markup import Html, element, joined

#: colours and dashes that tell lines apart; the page's style sheet has a class for each
COLOURS, DASHES = 7, 3
MAX_LINES = COLOURS * DASHES
#: harmonic means whose contour is drawn
_CONTOURS = (20, 40, 60, 80)

Places = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Mark:
    """A run's operating point.

    Attributes:
        unseen: Accuracy on samples of unseen classes, percent.
        seen: On samples of seen classes.
        calibrated: Whether a constant is added.
        told: What pointing at it says.
    """

    unseen: float
    seen: float
    calibrated: bool
    told: str


@dataclass(frozen=True)
class Line:
    """A run's trade-off.

    Attributes:
        points: Unseen and seen accuracy, percent.
        marks: Its operating points.
        look: Which colour and dash.
    """

    points: Places
    marks: Sequence[Mark]
    look: int


def look(number: int) -> str:
    """The style sheet's classes of the line with that number."""
    return f"k{number % COLOURS} d{number // COLOURS % DASHES}"


def swatch(number: int) -> Html:
    """A short line, to name one in a legend."""
    line = element("line", x1=1, y1=6, x2=25, y2=6, class_="curve")
    return element(
        "svg",
        line,
        class_=f"swatch {look(number)}",
        viewBox="0 0 26 12",
        width=26,
        height=12,
        aria_hidden="true",
    )


def mark_sign(*, calibrated: bool) -> Html:
    """An operating point, to name it in a legend."""
    return element(
        "svg",
        _sign(7, 7, calibrated=calibrated),
        class_="sign",
        viewBox="0 0 14 14",
        width=14,
        height=14,
        aria_hidden="true",
    )


def tradeoff(lines: Sequence[Line], told: str, *, width: int = 560, height: int = 420) -> Html:
    """Seen against unseen accuracy: curves, operating points, and contours of the harmonic mean.

    Args:
        lines: At least one.
        told: What the chart shows, for those who cannot see it.
        width: Of the chart, in its own units.
        height: Likewise.
    """
    points = [
        point
        for line in lines
        for point in (*line.points, *((mark.unseen, mark.seen) for mark in line.marks))
    ]
    highest_unseen, highest_seen = (_end(max(values)) for values in zip(*points, strict=True))
    frame = _Frame(width, height, highest_unseen, highest_seen)
    curves = [
        element("path", d=frame.path(line.points), class_=f"curve {look(line.look)}")
        for line in lines
        if line.points
    ]
    marks = [
        element(
            "g",
            element("title", mark.told),
            _sign(frame.x(mark.unseen), frame.y(mark.seen), calibrated=mark.calibrated),
            class_=look(line.look),
        )
        for line in lines
        for mark in line.marks
    ]
    content = joined(_axes(frame), _contours(frame), curves, marks)
    return element(
        "svg", content, class_="chart", viewBox=f"0 0 {width} {height}", role="img", aria_label=told
    )


@dataclass(frozen=True)
class _Frame:
    """Where in a chart an accuracy lies."""

    width: int
    height: int
    highest_unseen: float
    highest_seen: float
    left = 48
    bottom = 38
    top = 12
    right = 14

    def x(self, unseen: float) -> float:
        return self.left + (self.width - self.left - self.right) * unseen / self.highest_unseen

    def y(self, seen: float) -> float:
        return (
            self.height
            - self.bottom
            - (self.height - self.bottom - self.top) * seen / self.highest_seen
        )

    def path(self, points: Places) -> str:
        return _path([(self.x(unseen), self.y(seen)) for unseen, seen in points])


def _axes(frame: _Frame) -> list[Html]:
    floor, wall, parts = frame.height - frame.bottom, frame.width - frame.right, []
    for value in _ticks(frame.highest_unseen):
        x = _short(frame.x(value))
        parts.append(element("line", x1=x, y1=frame.top, x2=x, y2=floor, class_="grid"))
        parts.append(
            element("text", f"{value:g}", x=x, y=floor + 15, class_="tick", text_anchor="middle")
        )
    for value in _ticks(frame.highest_seen):
        y = _short(frame.y(value))
        parts.append(element("line", x1=frame.left, y1=y, x2=wall, y2=y, class_="grid"))
        parts.append(
            element(
                "text",
                f"{value:g}",
                x=frame.left - 6,
                y=_short(frame.y(value) + 4),
                class_="tick",
                text_anchor="end",
            )
        )
    across, up = (frame.left + wall) / 2, (frame.top + floor) / 2
    turned = f"rotate(-90 11 {up:g})"
    parts.append(
        element(
            "text",
            "unseen accuracy (%)",
            x=f"{across:g}",
            y=frame.height - 4,
            class_="axis",
            text_anchor="middle",
        )
    )
    parts.append(
        element(
            "text",
            "seen accuracy (%)",
            x=11,
            y=f"{up:g}",
            class_="axis",
            text_anchor="middle",
            transform=turned,
        )
    )
    return parts


def _contours(frame: _Frame) -> list[Html]:
    means = [mean for mean in _CONTOURS if mean < min(frame.highest_unseen, frame.highest_seen)]
    lines = [
        element("path", d=frame.path(_contour(mean, frame)), class_="contour") for mean in means
    ]
    # named where seen and unseen accuracy are equal, away from the ends of curves
    places = [(_short(frame.x(mean)), _short(frame.y(mean) + 3)) for mean in means]
    names = [
        element("text", f"H {mean}", x=x, y=y, class_="contour-name", text_anchor="middle")
        for mean, (x, y) in zip(means, places, strict=True)
    ]
    return [*lines, *names]


def _contour(mean: float, frame: _Frame) -> Places:
    """Where 2us / (u + s) is ``mean``, within the chart."""
    first = mean * frame.highest_seen / (2 * frame.highest_seen - mean)
    steps = 40
    # closer together where the contour is steep
    unseen = [first + (frame.highest_unseen - first) * (i / steps) ** 3 for i in range(steps + 1)]
    return [(u, mean * u / (2 * u - mean)) for u in unseen]


def profile(
    recalls: Sequence[float],
    told: str,
    kind: str,
    *,
    width: int = 150,
    height: int = 28,
    most: int = 75,
) -> Html:
    """Recall of the classes from worst to best as a filled outline; of many classes, as many as can be seen.

    Args:
        recalls: In percent, at least one, none of them NaN.
        told: What it shows, in words.
        kind: ``unseen`` or ``seen``, which has a colour.
        width: Of the chart, in its own units.
        height: Likewise.
        most: How many steps to draw at most.
    """
    ordered = sorted(recalls)
    count = min(most, len(ordered))
    shown = [ordered[round(i * (len(ordered) - 1) / max(1, count - 1))] for i in range(count)]
    step = width / count
    outline = [(0.0, float(height))]
    for i, recall in enumerate(shown):
        at = height - recall * height / 100
        outline += [(i * step, at), ((i + 1) * step, at)]
    outline.append((width, height))
    area = element("path", d=_path(outline) + "z", class_=f"area {kind}")
    base = element("line", x1=0, y1=height, x2=width, y2=height, class_="grid")
    shape = joined(element("title", told), area, base)
    return element(
        "svg",
        shape,
        class_="profile",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        aria_label=told,
    )


def _sign(x: float, y: float, *, calibrated: bool) -> Html:
    if calibrated:
        return element(
            "rect",
            x=_short(x - 4.5),
            y=_short(y - 4.5),
            width=9,
            height=9,
            class_="mark calibrated",
        )
    return element("circle", cx=_short(x), cy=_short(y), r=4.5, class_="mark plain")


def _end(highest: float) -> float:
    return min(100.0, max(10.0, 10.0 * math.ceil(highest / 10 + 0.1)))


def _ticks(end: float) -> list[float]:
    every = 20 if end > 50 else 10 if end > 20 else 5
    return [float(value) for value in range(0, int(end) + 1, every)]


def _path(points: Places) -> str:
    return "M" + "L".join(f"{_short(x)} {_short(y)}" for x, y in points)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
