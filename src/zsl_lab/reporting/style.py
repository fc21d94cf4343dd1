"""One look for all figures."""

from __future__ import annotations

from typing import Any

#: Okabe and Ito's palette, told apart by colour-blind readers as well (without its yellow, too faint for lines)
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
SEEN = PALETTE[0]
UNSEEN = PALETTE[1]
HARMONIC = PALETTE[2]
MUTED = "#6B6B6B"
#: dots per inch of every PNG
DPI = 150

#: matplotlib's settings; Any, because what matplotlib's stubs call such a dict changes from release to release
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
}
