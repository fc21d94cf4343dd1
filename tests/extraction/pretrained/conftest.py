"""Fixtures of tests of pretrained networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.extraction import model, own, pictures, weights

__all__ = ["model", "own", "photographs", "pictures", "weights"]


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A square and an oblong image, smooth and random."""
    folder = tmp_path_factory.mktemp("photographs")
    rng, files = np.random.default_rng(0), []
    for number, size in enumerate([(36, 36), (80, 60)]):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        files.append(folder / f"{number}.png")
        coarse.resize(size, Image.Resampling.BICUBIC).save(files[-1])
    return files
