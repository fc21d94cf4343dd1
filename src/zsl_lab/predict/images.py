"""Prediction by methods that take images, and texts that describe the classes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from zsl_lab.data.batches.base import ClassSpace
from zsl_lab.data.batches.images import EVALUATION_BATCH, crop
from zsl_lab.data.benchmark import FloatArray, ImageArray
from zsl_lab.data.files import images as image_files
from zsl_lab.data.files.tables import ClassTable
from zsl_lab.errors import DataError
from zsl_lab.extraction.kept.blocks import Problem
from zsl_lab.files.rows import RowBuffer, no_progress
from zsl_lab.predict.classes import Candidates, Classes
from zsl_lab.predict.predictions import Predictions
from zsl_lab.predict.predictor import CheckpointData, Predictor, unreadable_images
from zsl_lab.run.checkpoints.files import Checkpoint
from zsl_lab.run.config import RunConfig
from zsl_lab.run.configuration.schema import Among


class ImagePredictor(Predictor):
    """A trained method that takes images, and texts that describe the classes."""

    score: ClassVar[str] = "probability"

    def __init__(
        self, config: RunConfig, path: Path, checkpoint: Checkpoint, stored: CheckpointData
    ) -> None:
        self._view = config.dataset.image_view()
        super().__init__(config, path, checkpoint, stored, self._view.channels)

    @property
    def _reads_texts(self) -> bool:
        return True

    @property
    def _names_suffice(self) -> bool:
        return False

    @property
    def description_format(self) -> str:
        """The template of a class's text, with ``{name}`` and ``{description}``."""
        return self._view.description_format

    # ------------------------------------------------------------------------------- classes

    def classes_from_texts(
        self,
        names: Sequence[str],
        descriptions: Sequence[str] | None,
        origin: str,
        text_lists: Sequence[Sequence[str]] | None = None,
    ) -> ClassSpace:
        """New classes from texts, formatted by :attr:`description_format` as in training."""
        assert descriptions is not None
        filled = [
            self.description_format.format(name=name, description=text).strip()
            for name, text in zip(names, descriptions, strict=True)
        ]
        return self.classes_from_formatted_texts(names, filled)

    def classes_from_formatted_texts(
        self, names: Sequence[str], texts: Sequence[str]
    ) -> ClassSpace:
        """New classes from texts that are formatted already."""
        return ClassSpace(
            np.arange(len(names)),
            np.zeros((len(names), 0), dtype=np.float32),
            np.zeros(len(names), dtype=bool),
            tuple(names),
            tuple(texts),
        )

    def _classes_from_vectors(
        self, names: Sequence[str], vectors: Sequence[FloatArray]
    ) -> ClassSpace:
        raise DataError(
            f"classes: found vectors; method={self.method} reads a text of each class. Give texts, "
            "or a checkpoint of a method that takes features and vectors."
        )

    def _classes_from_table(self, table: ClassTable) -> ClassSpace:
        if table.descriptions is None:
            raise DataError(
                f"classes={table.path}: found no column 'description'; method={self.method} reads "
                "a text of each class. Add the column, or give a checkpoint of a method that "
                "takes attributes."
            )
        return self.classes_from_texts(table.names, table.descriptions, f"classes={table.path}")

    # ------------------------------------------------------------------------------- samples

    def predict(
        self, samples: Any, classes: Classes | None = None, among: Among | None = None
    ) -> Predictions:
        """See :meth:`Predictor.predict`."""
        return self.score_samples(samples, self.candidates(classes, among))

    def score_samples(self, samples: Any, candidates: Candidates) -> Predictions:
        """Probabilities of images.

        Raises:
            DataError: Files cannot be read as images; the message counts all of them.
        """
        predictions, problems = self.score_readable(samples, candidates)
        if problems:
            raise unreadable_images(problems, len(samples))
        return predictions

    @torch.no_grad()
    def score_readable(
        self,
        samples: Any,
        candidates: Candidates,
        folder: Path | None = None,
        report: Callable[[int], object] = no_progress,
    ) -> tuple[Predictions, tuple[Problem, ...]]:
        """As :meth:`score_samples`, for the images that can be read.

        Args:
            samples: The images.
            candidates: The classes.
            folder: Where a temporary file is written for many scores; None for the system's
                temporary folder.
            report: Called with the number of images that are scored.

        Returns:
            The predictions, and the images that cannot be read.

        Raises:
            DataError: No image can be read.
            OutputError: The temporary file cannot be written.
        """
        self._check(samples)
        constant = self._set_candidates(candidates)
        scores = RowBuffer(folder)
        broken: list[Problem] = []
        size, middle = self._view.image_size, (self._view.resize - self._view.image_size) // 2
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(samples), EVALUATION_BATCH):
                results = list(pool.map(self._read, samples[start : start + EVALUATION_BATCH]))
                pictures = [result for result in results if not isinstance(result, Problem)]
                broken += [result for result in results if isinstance(result, Problem)]
                report(start + len(results))
                if not pictures:
                    continue
                count = len(pictures)
                squares = crop(
                    np.stack(pictures),
                    np.arange(count),
                    np.full((count, 2), middle),
                    np.zeros(count, bool),
                    size,
                )
                found = self.network(squares.to(self.network.device)) + constant
                scores.append(found.softmax(1).float().cpu().numpy())
        if len(broken) == len(samples):
            raise unreadable_images(broken, len(samples))
        predictions = Predictions(candidates.names, candidates.kinds, scores.array())
        return self._checked(predictions, "images"), tuple(broken)

    def _check(self, samples: Any) -> None:
        expected = "a list of files, or uint8 [images, height, width, channels]"
        if isinstance(samples, str | os.PathLike):
            raise DataError(
                f"images: found one path; expected {expected}. Give a list, or name a folder on "
                "the command line: images=DIR."
            )
        if isinstance(samples, Tensor) or not hasattr(samples, "__len__"):
            raise DataError(
                f"images: found a {type(samples).__name__}; expected {expected}. Give files, or a "
                "NumPy array."
            )
        if isinstance(samples, np.ndarray) and (
            samples.dtype != np.uint8 or samples.ndim != 4 or samples.shape[3] not in (1, 3)
        ):
            raise DataError(
                f"images: found {samples.dtype} of shape {list(samples.shape)}; expected "
                f"{expected}, 1 or 3 channels. Convert them, or give files."
            )
        if len(samples) == 0:
            raise DataError(f"images: found none; expected {expected}. Give at least one.")
        if isinstance(samples, np.ndarray) and samples.max() == 1:
            warnings.warn(
                "images: found only the values 0 and 1; in training images have values from 0 to "
                "255. The likely cause: they were scaled to [0, 1] before. Multiply them by 255.",
                stacklevel=3,
            )

    def _read(self, sample: Any) -> ImageArray | Problem:
        side, channels = self._view.resize, self._view.channels
        try:
            picture = (
                image_files.square(sample, side)
                if isinstance(sample, np.ndarray)
                else image_files.decode(Path(sample), side)
            )
        except DataError as error:
            return Problem(Path(sample), str(error).removeprefix(f"{sample}: "))
        return picture if channels == 3 else image_files.grey(picture)
