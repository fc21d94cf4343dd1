"""The style of figures: sizes and fonts for papers, and colours that everybody tells apart."""

from __future__ import annotations

import itertools
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from zsl_lab.plots import style
from zsl_lab.plots.style import PALETTE, figure_style, new_figure, points, save_png, styled

#: linear RGB as seen without one kind of cones, Machado et al. (IEEE TVCG 2009), severity 1
VISION = {
    "all cones": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
#: CIE 1976 colour differences: 2 can be seen side by side, 10 at a glance
AT_A_GLANCE = 10


def lab(colour: str, vision: Any) -> Any:
    """CIELAB of an sRGB colour, ``#rrggbb``."""
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    ratios = XYZ @ np.clip(vision @ linear, 0, 1) / (0.95047, 1.0, 1.08883)
    f = np.where(ratios > 216 / 24389, np.cbrt(ratios), (24389 / 27 * ratios + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def page_palettes() -> dict[str, list[str]]:
    css = files("zsl_lab.report").joinpath("page.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    found = [re.findall(r"--k\d: (#[0-9a-f]+)", block) for block in blocks]
    longer = [[k if len(k) == 7 else "#" + "".join(c * 2 for c in k[1:]) for k in p] for p in found]
    return dict(zip(("light", "dark", "print"), longer, strict=True))


PALETTES = {"figures": list(PALETTE), **page_palettes()}


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("palette", PALETTES)
def test_colours_differ_for_everybody(palette: str, vision: str) -> None:
    assert len(PALETTES[palette]) == 7
    seen = {colour: lab(colour, VISION[vision]) for colour in PALETTES[palette]}
    near = min(
        (float(np.linalg.norm(seen[one] - seen[two])), one, two)
        for one, two in itertools.combinations(seen, 2)
    )
    assert near[0] > AT_A_GLANCE, near


@pytest.mark.parametrize(("width", "column"), [(6.5, 3.25), (7.0, 3.25), (10.5, 6.75)])
def test_a_papers_figure_is_as_wide_as_its_columns(width: float, column: float) -> None:
    with figure_style("paper"):
        size = new_figure(width, 4.0).get_size_inches()
        assert (size[0], points(10)) == (column, 8)
        assert new_figure(width, 40.0).get_size_inches()[1] == 9.0
    assert tuple(new_figure(width, 4.0).get_size_inches()) == (width, 4.0)
    assert points(10) == 10


@pytest.mark.slow
def test_a_papers_figure_has_truetype_letters_like_those_of_times(tmp_path: Path) -> None:
    drawn: list[Figure] = []

    @styled
    def draw(path: Path) -> None:
        figure = new_figure(6.5, 3.0)
        figure.subplots().set(title="AUSUC 12.5 %", xlabel="seen")
        drawn.append(figure)
        save_png(figure, path)

    with figure_style("paper"):
        draw(tmp_path / "paper.png")
    pdf = (tmp_path / "paper.pdf").read_bytes()
    assert b"STIXGeneral" in pdf
    assert b"/CIDFontType2" in pdf
    assert b"/Type3" not in pdf
    assert style.STYLE["ps.fonttype"] == 42
