from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imsave

from zsl_lab.plots import figures as drawing


@pytest.fixture
def stand_in_figures(figures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw their figures, but each file is another small picture: rendering takes seconds."""
    generator = np.random.default_rng(0)

    def save(self: Figure, file: Any, **options: Any) -> None:
        imsave(file, generator.random((4, 4)))

    monkeypatch.setattr(Figure, "savefig", save)
    monkeypatch.setattr(drawing, "_tsne", lambda points: points[:, :2])
