"""The common style of all figures."""

from __future__ import annotations

import functools
import os
import unicodedata
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, ParamSpec

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from zsl_lab.files.atomic import atomic_write
from zsl_lab.files.escaping import one_line, shortened

PathLike = str | os.PathLike[str]
_P = ParamSpec("_P")

#: palette of Okabe and Ito for colour-blind readers, without its yellow, too faint for lines
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
SEEN = PALETTE[0]
UNSEEN = PALETTE[1]
HARMONIC = PALETTE[2]
MUTED = "#6B6B6B"
#: fallback fonts for characters that the default font lacks
_OTHER_SCRIPTS = (
    "Noto Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "IPAGothic",
    "Unifont",
    "Arial Unicode MS",
    "PingFang SC",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
)
#: most characters of a name in a figure
MAX_LABEL = 48
#: characters of the figure that is being drawn that no font has
_missing: set[str] = set()
#: such characters that a warning was given for
_told: set[str] = set()
#: resolution of PNG files, dots per inch
DPI = 150

#: ``screen``: as large as its content asks for; ``paper``: as wide as a column of a paper
FigureStyle = Literal["screen", "paper"]
#: widths of figures for papers in inches: of one of two columns, and of both
COLUMN, TWO_COLUMNS = 3.25, 6.75
#: figures that are wider than this on the screen need both columns
_WIDE = 7.5
#: text of a paper's figure is this much smaller, and its parts are this much higher than the width
#: alone would make them
_TEXT, _HEIGHT = 0.8, 1.25
_DPI_PAPER = 300
#: largest height in inches: that of a page
_MAX_HEIGHT = 9.0
_style: ContextVar[FigureStyle] = ContextVar("style", default="screen")

#: rcParams; Any, because their type in matplotlib's stubs differs between releases
STYLE: Any = {
    "font.family": "sans-serif",
    # a name is never run through LaTeX, whatever the user's matplotlibrc says
    "text.usetex": False,
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
    # text remains text, and the same figure gives the same file
    "svg.fonttype": "none",
    # TrueType: publishers refuse Type 3
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.hashsalt": "zsl_lab",
}
#: rcParams that differ for papers; the font is like Times, and is part of matplotlib
PAPER_STYLE: Any = {
    "mathtext.fontset": "stix",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titleweight": "normal",
    "axes.labelsize": 8,
    "axes.labelcolor": "black",
    "axes.edgecolor": "black",
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.5,
    "xtick.color": "black",
    "ytick.color": "black",
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "lines.linewidth": 1.1,
}
_PAPER_FONT = "STIXGeneral"


@contextmanager
def figure_style(style: FigureStyle) -> Iterator[None]:
    """Draw figures in this style within the context."""
    token = _style.set(style)
    try:
        yield
    finally:
        _style.reset(token)


def points(size: float) -> float:
    """The size of a text in points, given its size on the screen."""
    return size * _TEXT if _style.get() == "paper" else size


@functools.cache
def _families(style: FigureStyle) -> tuple[str, ...]:
    """The default font, then the installed ones that have the characters of other scripts."""
    installed = set(font_manager.get_font_names())
    first = (_PAPER_FONT, "sans-serif") if style == "paper" else ("sans-serif",)
    return (*first, *(name for name in _OTHER_SCRIPTS if name in installed))


def styled(draw: Callable[_P, None]) -> Callable[_P, None]:
    """Decorator: draw in this style, and restore matplotlib's settings afterwards.

    A warning says where characters are replaced because no installed font has them.
    """

    @functools.wraps(draw)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> None:
        style = _style.get()
        settings = {
            **STYLE,
            **(PAPER_STYLE if style == "paper" else {}),
            "font.family": list(_families(style)),
        }
        with matplotlib.rc_context(settings), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            _missing.clear()
            draw(*args, **kwargs)
        missing = {str(w.message) for w in caught if "missing from" in str(w.message)}
        for warning in caught:
            if str(warning.message) not in missing:
                warnings.warn_explicit(
                    warning.message, warning.category, warning.filename, warning.lineno
                )
        if missing or _missing - _told:
            _told.update(_missing)
            warnings.warn(
                "Figures: no installed font has some characters of the names of classes; their "
                "code points (U+9CE5) stand for them. Install a font that has them, such as Noto "
                "Sans CJK, and test the run again to draw its figures again.",
                stacklevel=1,  # once for all figures of a run
            )

    return wrapper


def new_figure(width: float, height: float) -> Figure:
    """A figure of this size in inches on the screen; for a paper as wide as one or two columns."""
    if _style.get() == "paper":
        column = COLUMN if width <= _WIDE else TWO_COLUMNS
        height = min(height * column / width * _HEIGHT, _MAX_HEIGHT)
        width = column
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain_text(name: str) -> str:
    """A name as plain text of bounded length.

    ``$`` would start a formula, ``_`` becomes a blank, and characters that no installed font has
    become their nearest letter or their code point.
    """
    text = one_line(name.replace("_", " "), MAX_LABEL)
    if not text.isascii():
        text = shortened("".join(map(_drawable, text)), MAX_LABEL)
    return text.replace("$", r"\$")


def _drawable(character: str) -> str:
    if character.isascii() or any(ord(character) in drawn for drawn in _characters(_style.get())):
        return character
    plain = unicodedata.normalize("NFKD", character)
    if plain != character and all(one.isascii() or unicodedata.combining(one) for one in plain):
        return "".join(one for one in plain if one.isascii())
    _missing.add(character)
    return f"U+{ord(character):04X}"


@functools.cache
def _characters(style: FigureStyle) -> tuple[Collection[int], ...]:
    """The characters of each font that is used."""
    fonts = (
        font_manager.get_font(font_manager.findfont(font_manager.FontProperties(family=[name])))
        for name in _families(style)
    )
    return tuple(font.get_charmap() for font in fonts)


def save_png(figure: Figure, path: PathLike) -> None:
    """Write a figure as PNG, and beside it as PDF for print; atomically."""
    dpi = _DPI_PAPER if _style.get() == "paper" else DPI
    atomic_write(path, lambda file: figure.savefig(file, format="png", dpi=dpi))
    figure.set_layout_engine("none")  # keeps the layout of the PNG, which takes long to find
    pdf = Path(path).with_suffix(".pdf")
    # without a date, the same figure gives the same file
    atomic_write(
        pdf, lambda file: figure.savefig(file, format="pdf", metadata={"CreationDate": None})
    )


def save_svg(figure: Figure, path: PathLike) -> None:
    """Write a figure as SVG, atomically; text uses the viewer's fonts, no date is stored."""
    atomic_write(path, lambda file: figure.savefig(file, format="svg", metadata={"Date": None}))


def horizontal(axes: Axes) -> None:
    """Style the axes of horizontal bars."""
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)


def titled_legend(figure: Figure, title: str, colours: Sequence[Patch]) -> None:
    """Add a title to the figure, and below it a legend of its colours."""
    figure.legend(
        handles=colours,
        loc="outside upper left",
        ncols=2,
        title=title,
        alignment="left",
        title_fontproperties={"weight": "bold", "size": points(10)},
    )
