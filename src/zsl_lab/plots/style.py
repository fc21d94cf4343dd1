"""One look for all figures."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from zsl_lab.files.atomic import atomic_write

PathLike = str | os.PathLike[str]
_P = ParamSpec("_P")

#: Okabe and Ito's palette, told apart by colour-blind readers as well (without its yellow, too
#: faint for lines)
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
SEEN = PALETTE[0]
UNSEEN = PALETTE[1]
HARMONIC = PALETTE[2]
MUTED = "#6B6B6B"
#: dots per inch of every PNG
DPI = 150

#: matplotlib's settings; Any, because what matplotlib's stubs call such a dict changes from release
#: to release
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": "#333333",
    "axes.edgecolor": "#999999",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.7,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "figure.facecolor": "white",
    # text stays text, and the same figure is the same file
    "svg.fonttype": "none",
    "svg.hashsalt": "zsl_lab",
}


def styled(draw: Callable[_P, None]) -> Callable[_P, None]:
    """Draw in this project's style, without leaving it behind in matplotlib's settings."""

    @functools.wraps(draw)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> None:
        with matplotlib.rc_context(STYLE):
            draw(*args, **kwargs)

    return wrapper


def new_figure(width: float, height: float) -> Figure:
    """A figure of that many inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain_text(name: str) -> str:
    """A class or loss name as text: ``$`` would begin a formula."""
    return name.replace("_", " ").replace("$", r"\$")


def save_png(figure: Figure, path: PathLike) -> None:
    """Write all of a figure, or nothing of it."""
    atomic_write(path, lambda file: figure.savefig(file, format="png", dpi=DPI))


def save_svg(figure: Figure, path: PathLike) -> None:
    """The same as an SVG, which is drawn with the fonts of whoever looks at it; it holds no date."""
    atomic_write(path, lambda file: figure.savefig(file, format="svg", metadata={"Date": None}))


def horizontal(axes: Axes) -> None:
    """What all charts of horizontal bars have in common."""
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)


def titled_legend(figure: Figure, title: str, colours: Sequence[Patch]) -> None:
    """The title of a whole figure, and under it what its colours mean."""
    figure.legend(
        handles=colours,
        loc="outside upper left",
        ncols=2,
        title=title,
        alignment="left",
        title_fontproperties={"weight": "bold", "size": 10},
    )
