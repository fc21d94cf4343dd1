"""Classes and checkpoints for tests of prediction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import torch

from tests.conftest import OF_IMAGES
from zsl_lab.data.benchmark import FeatureBenchmark, ImageBenchmark

UNSEEN = {"2": "two", "4": "four", "5": "five"}

Load = Callable[[str], Any]
ShortRun = Callable[[str], Path]


def described(method: str, digits: FeatureBenchmark, pictures: ImageBenchmark) -> dict[str, Any]:
    """The unseen digits under new names, described as the method's classes are."""
    of = pictures.descriptions if method in OF_IMAGES else digits.semantics
    return {new: of[int(name)] for name, new in UNSEEN.items()}


def altered(folder: Path, target: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A copy of a run's checkpoint with something changed."""
    checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, target)
    return target


def table(
    path: Path, columns: dict[str, Any], names: tuple[str, ...] = ("two", "four", "five")
) -> Path:
    lines = [
        ",".join(["class", *columns]),
        *(",".join([name, *(str(c[i]) for c in columns.values())]) for i, name in enumerate(names)),
    ]
    path.write_text("\n".join(lines))
    return path


def saved(path: Path, features: Any) -> Path:
    """The features in a file of the kind that its name says."""
    if path.suffix == ".npy":
        np.save(path, features)
    elif path.suffix == ".mat":
        scipy.io.savemat(path, {"features": features.T})
    else:
        with h5py.File(path, "w") as file:
            file["features"] = features
    return path
