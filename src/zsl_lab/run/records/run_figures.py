"""Figures of a finished run: ``figures/*.png`` and ``*.pdf`` in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from zsl_lab.data.batches.base import PhaseDataModule
from zsl_lab.data.benchmark import IntArray
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

    With very many unseen classes the last two show some of them, and their titles say how many.
    A figure without test samples is left out, and the curves of a method that takes one step. A
    method's own figures (:meth:`ZeroShotMethod.plots`) are drawn too.

    Args:
        folder: The run's folder.
        data: The tested data.
        method: The tested method.
        result: The result of the test.
        predicted: As :meth:`ZeroShotMethod.test_predictions` returns it.
        selected: Training step of the check that was selected, by phase: in ``select`` the check
            that selected the number of steps, in ``refit`` the one whose weights were tested.
    """
    target = folder / "figures"
    target.mkdir(exist_ok=True)
    rows = read_rows(folder)
    if any(row["step"] != rows[0]["step"] for row in rows):
        figures.training_curves(rows, target / "training_curves.png", selected)
    if len(data.evaluation_index):
        figures.per_class_recall(result.per_class, target / "per_class_recall.png")
    if len(data.split.eval_unseen):
        _draw_confusion(data, predicted, target / "confusion_matrix_unseen.png")
    for name, draw in method.plots().items():
        draw(target / name)
    # not for images, which may not fit in memory at once
    if method.takes == "features" and len(data.split.eval_unseen):
        _draw_latent_space(data, method, target / "latent_projection.png")


def _draw_confusion(data: PhaseDataModule, predicted: Predicted, path: Path) -> None:
    index, _, zsl = (part.numpy() for part in predicted)
    labels = data.labels(index)
    unseen = data.split.unseen_classes
    is_unseen = np.isin(labels, unseen)
    true = np.searchsorted(unseen, labels[is_unseen])
    guessed = np.searchsorted(unseen, data.classes.ids[zsl[is_unseen]])
    shown, names = np.arange(len(unseen)), _unseen_names(data)
    if len(unseen) > figures.MAX_CONFUSED:
        shown = _most_confused(true, guessed, len(unseen))
    place = np.full(len(unseen), -1)
    place[shown] = np.arange(len(shown))
    kept = (place[true] >= 0) & (place[guessed] >= 0)
    matrix = np.zeros((len(shown), len(shown)), dtype=np.int64)
    np.add.at(matrix, (place[true[kept]], place[guessed[kept]]), 1)
    counts = np.bincount(true, minlength=len(unseen))[shown]
    figures.confusion_matrix(
        [names[position] for position in shown], matrix, path, counts, len(unseen)
    )


def _most_confused(true: IntArray, guessed: IntArray, classes: int) -> IntArray:
    """Sorted classes that most wrong predictions come from or go to."""
    wrong = true != guessed
    errors = np.bincount(true[wrong], minlength=classes)
    errors += np.bincount(guessed[wrong], minlength=classes)
    return np.sort(np.argsort(-errors, kind="stable")[: figures.MAX_CONFUSED_SHOWN])


def _draw_latent_space(data: PhaseDataModule, method: ZeroShotMethod, path: Path) -> None:
    index, unseen = data.split.eval_unseen, data.split.unseen_classes
    shown = unseen
    if len(unseen) > figures.MAX_PROJECTED:
        tested = np.unique(data.labels(index))
        drawn = np.random.default_rng(0).permutation(len(tested))[: figures.MAX_PROJECTED]
        shown = np.sort(tested[drawn])
        index = index[np.isin(data.labels(index), shown)]
    with torch.no_grad():
        space = method.latent_space(data.samples(index, method.device).inputs)
    if space is None:
        return
    latents, places = (part.float().cpu().numpy() for part in space)
    labels = np.searchsorted(shown, data.labels(index))
    positions = np.searchsorted(data.classes.ids, shown)
    names = [data.classes.names[position] for position in positions]
    figures.latent_projection(latents, labels, places[positions], names, path, len(unseen))


def _unseen_names(data: PhaseDataModule) -> list[str]:
    positions = np.searchsorted(data.classes.ids, data.split.unseen_classes)
    return [data.classes.names[position] for position in positions]
