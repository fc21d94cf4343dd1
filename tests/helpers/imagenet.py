"""Small fake files of ImageNet in the format of the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from tests.helpers.benchmark_files import cells, write_v73

#: rows of ImageNet_w2v.mat; 1-based lists as in ImageNet_splits.mat
CLASSES, DIM = 20, 4
TRAIN, VALIDATION = [3, 1, 5, 7, 9, 11], [2, 4]
LISTS = {
    "hops2": [6, 8, 10],
    "hops3": [6, 8, 10, 12, 13, 14],
    "rest": [15, 16, 17, 18, 19, 20],
    **{f"{kind}{n}": [6, 12] for kind in ("mp", "lp") for n in (500, 1000, 5000)},
}
#: this class has no word vector
WITHOUT_VECTOR = [10, 20]


def wnid(row: int) -> str:
    """The WordNet id of a 1-based row."""
    return f"n{row * 37 % 101:08}"


def make_class_lists(folder: Path) -> None:
    """``ImageNet_w2v.mat`` (version 7.3) and ``ImageNet_splits.mat`` (version 5)."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((CLASSES, 6))
    vectors[np.array(WITHOUT_VECTOR) - 1] = np.nan
    fields: dict[str, Any] = {
        "w2v": vectors,
        "wnids": cells([wnid(row) for row in range(1, CLASSES + 1)]),
        "no_w2v_loc": np.array(WITHOUT_VECTOR, dtype=np.float64)[:, None],
    }
    write_v73(folder / "ImageNet_w2v.mat", fields)
    lists = {"train_classes": TRAIN, "val_classes": VALIDATION, **LISTS}
    scipy.io.savemat(
        folder / "ImageNet_splits.mat",
        {name: np.array(rows, dtype=np.uint16)[None] for name, rows in lists.items()},
    )


def make_features(folder: Path, name: str = "res101") -> None:
    """``NAME/WNID.npy`` of every class, ``NAME_val/WNID.npy`` of seen ones; values say which."""
    rng = np.random.default_rng(1)
    for suffix, rows in (("", range(1, CLASSES + 1)), ("_val", TRAIN + VALIDATION)):
        place = folder / f"{name}{suffix}"
        place.mkdir(parents=True, exist_ok=True)
        for row in rows:
            count = 3 if suffix else 5 + row % 3
            features = row + 0.01 * rng.standard_normal((count, DIM))
            np.save(place / f"{wnid(row)}.npy", features.astype(np.float16))
