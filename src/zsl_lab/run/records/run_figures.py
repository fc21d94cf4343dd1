"""Figures of a finished run: ``figures/*.png`` and ``*.pdf`` in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from zsl_lab.data.batches.base import PhaseDataModule
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.plots import figures
from zsl_lab.result import Result
from zsl_lab.run.records.metrics_csv import read_rows
from zsl_lab.run.records.predictions_csv import Predicted


def draw_figures(
    folder: Path,
    data: PhaseDataModule,
    method: ZeroShotMethod,
    result: Result,
    predicted: Predicted,
    selected: Mapping[str, int],
) -> None:
    """Draw training curves, recall of each class, confusion of unseen classes and latent space.

    A figure that no test sample fills is left out. A method's own figures
    (:meth:`ZeroShotMethod.plots`) are drawn too.

    Args:
        folder: The run's folder.
        data: The tested data.
        method: The tested method.
        result: What the test found.
        predicted: As :meth:`ZeroShotMethod.test_predictions` returns it.
        selected: Training step of the check that was selected, by phase: in ``select`` the check
            that selected the number of steps, in ``refit`` the one whose weights were tested.
    """
    target = folder / "figures"
    target.mkdir(exist_ok=True)
    rows = read_rows(folder)
    if rows:
        figures.training_curves(rows, target / "training_curves.png", selected)
    if len(data.evaluation_index):
        figures.per_class_recall(result.per_class, target / "per_class_recall.png")
    if len(data.split.eval_unseen):
        _draw_confusion(data, predicted, target / "confusion_matrix_unseen.png")
    for name, draw in method.plots().items():
        draw(target / name)
    # more images than features may not fit in memory at once
    if method.takes == "features" and len(data.split.eval_unseen):
        _draw_latent_space(data, method, target / "latent_projection.png")


def _draw_confusion(data: PhaseDataModule, predicted: Predicted, path: Path) -> None:
    index, _, zsl = (part.numpy() for part in predicted)
    labels = data.labels(index)
    unseen = data.split.unseen_classes
    is_unseen = np.isin(labels, unseen)
    matrix = np.zeros((len(unseen), len(unseen)), dtype=np.int64)
    true = np.searchsorted(unseen, labels[is_unseen])
    guessed = np.searchsorted(unseen, data.classes.ids[zsl[is_unseen]])
    np.add.at(matrix, (true, guessed), 1)
    figures.confusion_matrix(_unseen_names(data), matrix, path)


def _draw_latent_space(data: PhaseDataModule, method: ZeroShotMethod, path: Path) -> None:
    with torch.no_grad():
        space = method.latent_space(data.samples(data.split.eval_unseen, method.device).inputs)
    if space is None:
        return
    latents, places = (part.float().cpu().numpy() for part in space)
    unseen = data.split.unseen_classes
    labels = np.searchsorted(unseen, data.labels(data.split.eval_unseen))
    positions = np.searchsorted(data.classes.ids, unseen)
    figures.latent_projection(latents, labels, places[positions], _unseen_names(data), path)


def _unseen_names(data: PhaseDataModule) -> list[str]:
    positions = np.searchsorted(data.classes.ids, data.split.unseen_classes)
    return [data.classes.names[position] for position in positions]
