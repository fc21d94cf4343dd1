"""What a finished run leaves in its folder beside ``result.json``: predictions and figures."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zsl_lab.data.batches.base import PhaseDataModule
from zsl_lab.files.atomic import atomic_write
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.result import Result
from zsl_lab.run.records.metrics_csv import read_rows

PREDICTIONS_FILE = "predictions.csv"
#: index in the benchmark, class position among all, class position among unseen; one entry a test
#: sample
Predicted = tuple[Tensor, Tensor, Tensor]


def write_predictions(folder: Path, data: PhaseDataModule, predicted: Predicted) -> None:
    """Write ``predictions.csv``: one row a test sample, class ids 0-based, so that anyone can recompute every figure.

    Args:
        folder: The run's folder.
        data: The tested data.
        predicted: As :meth:`ZeroShotMethod.test_predictions` gives it.
    """
    index, gzsl, zsl = (part.numpy() for part in predicted)
    labels = data.labels(index)
    unseen = np.isin(labels, data.split.unseen_classes)
    ids = data.classes.ids
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["split", "index", "label", "gzsl", "zsl"])
    for i in range(len(index)):
        split = "test_unseen" if unseen[i] else "test_seen"
        writer.writerow(
            [split, index[i], labels[i], ids[gzsl[i]], ids[zsl[i]] if unseen[i] else ""]
        )
    atomic_write(folder / PREDICTIONS_FILE, buffer.getvalue().encode())


def draw_figures(
    folder: Path,
    data: PhaseDataModule,
    method: ZeroShotMethod,
    result: Result,
    predicted: Predicted,
    selected: int,
) -> None:
    """Draw ``figures/*.png``.

    Args:
        folder: The run's folder.
        data: The tested data.
        method: The tested method.
        result: What the test found.
        predicted: As :meth:`ZeroShotMethod.test_predictions` gives it.
        selected: The step whose weights were tested.
    """
    from zsl_lab.plots import figures  # imports matplotlib and scikit-learn

    target = folder / "figures"
    target.mkdir(exist_ok=True)
    rows = read_rows(folder)
    if rows:
        figures.training_curves(rows, target / "training_curves.png", selected)
    figures.per_class_recall(result.per_class, target / "per_class_recall.png")
    index, _, zsl = (part.numpy() for part in predicted)
    unseen = data.split.unseen_classes
    names = [data.classes.names[i] for i in np.searchsorted(data.classes.ids, unseen)]
    labels = data.labels(index)
    is_unseen = np.isin(labels, unseen)
    matrix = np.zeros((len(unseen), len(unseen)), dtype=np.int64)
    predicted_ids = data.classes.ids[zsl[is_unseen]]
    np.add.at(
        matrix,
        (np.searchsorted(unseen, labels[is_unseen]), np.searchsorted(unseen, predicted_ids)),
        1,
    )
    figures.confusion_matrix(names, matrix, target / "confusion_matrix_unseen.png")
    for name, draw in method.plots().items():
        draw(target / name)
    space = None
    if method.takes == "features":  # of images there may be more than fit in memory at once
        with torch.no_grad():
            space = method.latent_space(data.samples(data.split.eval_unseen, method.device).inputs)
    if space is not None:
        latents, places = (part.float().cpu().numpy() for part in space)
        positions = np.searchsorted(data.classes.ids, unseen)
        local = np.searchsorted(unseen, data.labels(data.split.eval_unseen))
        figures.latent_projection(
            latents, local, places[positions], names, target / "latent_projection.png"
        )
