"""``predictions.csv`` of a run: the predicted classes of every test sample."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import IO

import numpy as np
from torch import Tensor

from zsl_lab.data.batches.base import PhaseDataModule
from zsl_lab.files.atomic import atomic_write

FILE = "predictions.csv"
#: of each test sample, ``[N]``: index in the benchmark, class position predicted over all classes,
#: class position predicted over unseen classes
Predicted = tuple[Tensor, Tensor, Tensor]


def write(folder: Path, data: PhaseDataModule, predicted: Predicted) -> None:
    """Write one row per test sample, class ids 0-based, so that every metric can be recomputed.

    Args:
        folder: The run's folder.
        data: The tested data.
        predicted: As :meth:`ZeroShotMethod.test_predictions` returns it.
    """
    index, gzsl, zsl = (part.numpy() for part in predicted)
    labels = data.labels(index)
    unseen = np.isin(labels, data.split.unseen_classes)
    ids = data.classes.ids

    def write_to(file: IO[bytes]) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["split", "index", "label", "gzsl", "zsl"])
        for i in range(len(index)):
            split = "test_unseen" if unseen[i] else "test_seen"
            writer.writerow(
                [split, index[i], labels[i], ids[gzsl[i]], ids[zsl[i]] if unseen[i] else ""]
            )
        text.detach()  # flushes, and leaves the file open

    atomic_write(folder / FILE, write_to)
