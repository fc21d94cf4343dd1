"""Prediction by methods that take feature vectors."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from zsl_lab import __version__
from zsl_lab.data.batches.base import EVALUATION_BATCH, ClassSpace, evaluation_rows
from zsl_lab.data.benchmark import FloatArray
from zsl_lab.data.checks.equal_rows import twins
from zsl_lab.data.checks.findings import warn
from zsl_lab.data.checks.samples import check_features
from zsl_lab.data.checks.semantics import check_semantics
from zsl_lab.data.files.tables import ClassTable
from zsl_lab.data.recipe import ImageRecipe, Recipe, recipe_differences
from zsl_lab.errors import ConfigError, DataError
from zsl_lab.extraction.kept.blocks import Problem
from zsl_lab.extraction.new_classes import SemanticsOfBenchmark
from zsl_lab.files.rows import RowBuffer, no_progress, release, row_blocks
from zsl_lab.predict.classes import Candidates, Classes
from zsl_lab.predict.input_checks import FeatureCheck, semantics_findings
from zsl_lab.predict.predictions import Predictions
from zsl_lab.predict.predictor import CheckpointData, Predictor, unreadable_images
from zsl_lab.run.checkpoints.files import Checkpoint
from zsl_lab.run.config import RunConfig
from zsl_lab.run.configuration.schema import Among
from zsl_lab.sharing import onnx
from zsl_lab.text import Terms

if TYPE_CHECKING:
    from zsl_lab.extraction.recipes import Backbone

#: called with the number of samples that are done
Report = Callable[[int], object]
#: for messages: encoder and model were chosen when the benchmark was made
_TEXT_TERMS = Terms(
    encoder="The text encoder of the checkpoint's semantics, ",
    model="The model of the checkpoint's text encoder, ",
    max_tokens="The limit of the checkpoint's text encoder, ",
    uninstalled="give numbers in place of texts (classes=), as many as the encoder makes",
    unloadable="Either bring back the model that the semantics were made with, or give numbers in "
    "place of texts (classes=).",
    limit="Either bring back the model that the semantics were made with, or give numbers in place "
    "of texts (classes=).",
    longer="take a checkpoint whose semantics were made with a higher --max-tokens",
    another="take a checkpoint whose semantics were made with another --text-encoder",
)
#: findings of the data check that apply to new classes or samples; others need a whole dataset
_CLASS_FAULTS = ("semantics_zero", "semantics_constant", "semantics_unknown")
_FAULTS_OF_A_SAMPLE = ("features_zero", "features_constant")
_SAMPLE_FAULTS = (*_FAULTS_OF_A_SAMPLE, "features_all_equal", "features_unit_sample")
#: bytes of features that are compared with those of training at once
_CHECKED = 2**22
#: fewer samples than these may well be equal
_SEVERAL = 5


class FeaturePredictor(Predictor):
    """A trained method that takes feature vectors."""

    def __init__(
        self, config: RunConfig, path: Path, checkpoint: Checkpoint, stored: CheckpointData
    ) -> None:
        assert stored.scaler is not None
        assert stored.semantics_scaler is not None
        super().__init__(config, path, checkpoint, stored, stored.feature_dim)
        self.feature_dim: int = stored.feature_dim
        self._scaler, self._semantics_scaler = stored.scaler, stored.semantics_scaler
        self._recipe = stored.recipe
        self._described = SemanticsOfBenchmark(
            self.dataset, self.semantic_dim, stored.recipe, _TEXT_TERMS, self._cache_dir
        )
        self._semantics = stored.semantics
        self._statistics = stored.statistics
        self._stem = getattr(config.dataset, "features", None)

    @property
    def semantic_dim(self) -> int:
        """Q, the dimension of the class semantics."""
        return int(self._space.semantics.shape[1])

    @property
    def semantics(self) -> FloatArray:
        """The semantics of :attr:`classes`, unscaled, float32 ``[C, Q]``."""
        return self._semantics

    @property
    def attributes(self) -> list[str]:
        """Names of the dimensions of the semantics; empty where they have none."""
        return self._described.attributes

    @property
    def recipe(self) -> Recipe:
        """How features and semantics were made of images and texts, as far as it is known."""
        return self._recipe

    @property
    def _reads_texts(self) -> bool:
        return self._recipe.texts is not None

    @property
    def _names_suffice(self) -> bool:
        return self._described.names_suffice

    # ------------------------------------------------------------------------------- classes

    def classes_from_texts(
        self,
        names: Sequence[str],
        descriptions: Sequence[str] | None,
        origin: str,
        text_lists: Sequence[Sequence[str]] | None = None,
    ) -> ClassSpace:
        """New classes from texts, by the text encoder of the training semantics."""
        semantics = self._described.of_texts(names, descriptions, origin, text_lists)
        _warn_of_classes(names, semantics, origin, ())
        return self._scaled(names, semantics)

    def _classes_from_vectors(
        self, names: Sequence[str], vectors: Sequence[FloatArray]
    ) -> ClassSpace:
        for name, vector in zip(names, vectors, strict=True):
            if vector.shape != (self.semantic_dim,):
                raise DataError(
                    f"classes: found shape {list(vector.shape)} for '{name}'; expected "
                    f"[{self.semantic_dim}], {self._described.wanted}. Give vectors "
                    "like those of training, or train on semantics of your own."
                )
        semantics = np.stack(vectors)
        self._warn(names, semantics, "classes")
        return self._scaled(names, semantics)

    def _classes_from_table(self, table: ClassTable) -> ClassSpace:
        origin = f"classes={table.path}"
        if self._described.takes_texts_of(table):
            return self.classes_from_texts(
                table.names, table.descriptions, origin, table.text_lists
            )
        semantics = self._described.of_table(table, origin)
        self._warn(table.names, semantics, origin, table.attribute_names)
        return self._scaled(table.names, semantics)

    def _warn(
        self,
        names: Sequence[str],
        semantics: FloatArray,
        origin: str,
        columns: Sequence[str] = (),
    ) -> None:
        """Warn of faulty semantics, and of semantics in other units than those of training."""
        _warn_of_classes(names, semantics, origin, columns or self._described.attributes)
        for sentence in semantics_findings(
            self._semantics.astype(np.float64),
            semantics.astype(np.float64),
            names,
            self._described.attributes or columns,
        ):
            warnings.warn(f"{origin}: {sentence}", stacklevel=2)

    def candidates_among(self, given: ClassSpace | None, among: Among | None = None) -> Candidates:
        """See :meth:`Predictor.candidates_among`; warns of classes with equal scaled semantics."""
        candidates = super().candidates_among(given, among)
        pair = twins(candidates.space.semantics)
        if pair is not None:
            first, second = (candidates.names[position] for position in pair)
            new = "new" in (candidates.kinds[position] for position in pair)
            ways_out = (
                "Describe one of them otherwise, or leave it out."
                if new
                else "Choose among others, or train on other semantics."
            )
            warnings.warn(
                f"classes: found the same numbers for '{first}' and '{second}', scaled as in "
                f"training (dataset.normalize_semantics={self._semantics_scaler.kind}). Such "
                f"classes cannot be told apart. {ways_out}",
                stacklevel=2,
            )
        return candidates

    def _scaled(self, names: Sequence[str], semantics: FloatArray) -> ClassSpace:
        scaled = self._semantics_scaler.apply(
            torch.from_numpy(np.ascontiguousarray(semantics, dtype=np.float32))
        ).numpy()
        return ClassSpace(
            np.arange(len(names)), scaled, np.zeros(len(names), dtype=bool), tuple(names)
        )

    def _unscaled(self, features: Tensor) -> Tensor:
        return self._scaler.invert(features)

    # ------------------------------------------------------------------------------- samples

    def predict(
        self, samples: Any, classes: Classes | None = None, among: Among | None = None
    ) -> Predictions:
        """See :meth:`Predictor.predict`."""
        rows = self.check_samples(samples, "features")
        return self.score_samples(rows, self.candidates(classes, among), "features")

    def check_samples(self, samples: Any, origin: str) -> Any:
        """Feature vectors as an array ``[N, D]``, or anything with a shape that can be sliced.

        Only type and shape are checked: rows are read, and their numbers checked, by
        :meth:`score_samples`.

        Args:
            samples: Feature vectors.
            origin: The beginning of messages.

        Raises:
            DataError: Type or shape are wrong.
        """
        if isinstance(samples, Tensor):
            samples = samples.detach().cpu()
            samples = (samples.float() if samples.is_floating_point() else samples).numpy()
        elif not hasattr(samples, "dtype"):
            try:
                samples = np.asarray(samples)
            except ValueError as error:
                raise DataError(
                    f"{origin}: found rows of different lengths; expected {self._expected}. "
                    f"{self._ways_out}"
                ) from error
        self._check_shape(list(samples.shape), samples.dtype, origin)
        return samples

    def _check_shape(self, shape: list[int], dtype: np.dtype[Any], origin: str) -> None:
        if dtype.kind not in "fiu":
            raise DataError(
                f"{origin}: found type {dtype}; expected numbers, {self._expected}. "
                f"{self._ways_out}"
            )
        if len(shape) != 2:
            hint = (
                " A single sample is a single row: features[None, :]."
                if shape == [self.feature_dim]
                else ""
            )
            raise DataError(
                f"{origin}: found shape {shape}; expected {self._expected}.{hint} {self._ways_out}"
            )
        if 0 in shape:
            raise DataError(
                f"{origin}: found shape {shape}, which holds no sample; expected {self._expected}. "
                f"{self._ways_out}"
            )
        if shape[1] != self.feature_dim:
            hint = (
                " Its rows are as long as a column should be: transpose it."
                if shape[0] == self.feature_dim
                else ""
            )
            raise DataError(
                f"{origin}: found {shape[1]} dimensions (shape {shape}); expected "
                f"{self._expected}.{hint} {self._ways_out}"
            )

    @property
    def _expected(self) -> str:
        if self._recipe.images:
            origin = self._recipe.images.backbone
        elif self._stem:
            origin = f"dataset.features={self._stem}"
        else:
            origin = f"those of {self.dataset}"
        return (
            f"[samples, {self.feature_dim}], features as the checkpoint was trained on ({origin})"
        )

    @property
    def _ways_out(self) -> str:
        return "Give features of the same extractor, or train on yours."

    def score_samples(
        self,
        rows: Any,
        candidates: Candidates,
        origin: str,
        folder: Path | None = None,
        report: Report = no_progress,
    ) -> Predictions:
        """Score what :meth:`check_samples` returned, in batches.

        Args:
            rows: The samples.
            candidates: The classes.
            origin: The beginning of messages.
            folder: Where a temporary file is written for many scores; None for the system's
                temporary folder.
            report: Called with the number of samples that are scored, after each batch.

        Raises:
            DataError: A feature or a score is not finite.
            OutputError: The temporary file cannot be written.
        """
        size = self._batch_size(candidates)

        def batches() -> Iterator[Any]:
            for start in range(0, len(rows), size):
                yield rows[start : start + size]
                release(rows)
                report(min(start + size, len(rows)))

        return self._score(batches(), candidates, origin, folder)

    def score_images(
        self,
        images: Sequence[Path],
        candidates: Candidates,
        origin: str,
        weights: Path | None = None,
        folder: Path | None = None,
        report: Report = no_progress,
    ) -> tuple[Predictions, tuple[Problem, ...]]:
        """Score the images that can be read, with features as :meth:`extract` computes them.

        Args:
            images: N files.
            candidates: The classes.
            origin: The beginning of messages.
            weights: As of :meth:`extract`.
            folder: As of :meth:`score_samples`.
            report: Called with the number of images that went through the network.

        Returns:
            The predictions, and the images that cannot be read.

        Raises:
            ZslLabError: As of :meth:`extract` and :meth:`score_samples`; or no image can be read.
        """
        from zsl_lab.extraction.features import feature_blocks

        problems: list[Problem] = []
        size = self._batch_size(candidates)
        found = feature_blocks(images, *self._extractor(weights), report=report)

        def batches() -> Iterator[FloatArray]:
            waiting: list[FloatArray] = []
            for block in found:
                problems.extend(block.problems)
                waiting.append(block.features)
                if sum(map(len, waiting)) >= size:
                    joined = np.concatenate(waiting)
                    whole = len(joined) // size * size
                    yield from (joined[i : i + size] for i in range(0, whole, size))
                    waiting = [joined[whole:]]
            if rest := [block for block in waiting if len(block)]:
                yield np.concatenate(rest)
            if len(problems) == len(images):
                raise unreadable_images(problems, len(images))

        return self._score(batches(), candidates, origin, folder), tuple(problems)

    def _batch_size(self, candidates: Candidates) -> int:
        return min(EVALUATION_BATCH, evaluation_rows(len(candidates.names)))

    def _score(
        self, batches: Iterable[Any], candidates: Candidates, origin: str, folder: Path | None
    ) -> Predictions:
        constant, device = self._set_candidates(candidates), self.network.device
        check = (
            FeatureCheck(self._statistics, sum(known.seen for known in self.classes))
            if self._statistics is not None
            else None
        )
        scores, start = RowBuffer(folder), 0
        for batch in batches:
            # _check_finite finds what is too large for float32
            with np.errstate(over="ignore"):
                block = np.array(batch, dtype=np.float32)
            _check_finite(block, start, origin)
            if check is not None:
                for rows in row_blocks(block, _CHECKED):
                    check.add(rows.astype(np.float64))
            _warn_of_samples(block, start, origin)
            with torch.no_grad():
                scaled = self._scaler.apply(torch.from_numpy(block).to(device))
                found = (self.network(scaled) + constant).float().cpu().numpy()
            bad = np.flatnonzero(~np.isfinite(found).all(1))
            if len(bad):
                raise DataError(
                    f"{origin}: the scores of row {start + bad[0]} (0-based) are not "
                    "finite: it is too far from the features of training (its largest value is "
                    f"{np.abs(block[bad[0]]).max():.3g}). {self._ways_out}"
                )
            scores.append(found)
            start += len(block)
        for sentence in check.findings(origin) if check is not None else ():
            warnings.warn(sentence, stacklevel=2)
        predictions = Predictions(candidates.names, candidates.kinds, scores.array())
        return self._checked(predictions, origin)

    def export_onnx(
        self,
        path: str | os.PathLike[str],
        classes: Classes | None = None,
        among: Among | None = None,
    ) -> Path:
        """See :meth:`Predictor.export_onnx`."""
        candidates = self.candidates(classes, among)
        scores = onnx.Scores(self.network, self._scaler, self._set_candidates(candidates)).eval()
        properties = {
            "classes": candidates.names,
            "kinds": candidates.kinds,
            "method": self.method,
            "dataset": self.dataset,
            "zsl_lab_version": __version__,
        }
        return onnx.export(
            scores,
            self.feature_dim,
            Path(path).expanduser(),
            properties,
            f"method={self.method}",
        )

    def compare_recipe(self, given: ImageRecipe, origin: str) -> None:
        """Warn of features that were made by another recipe than those of training."""
        training = self._recipe.images
        differences = (
            recipe_differences(given, training, "training") if training is not None else []
        )
        if differences:
            warnings.warn(
                f"{origin}: these features were made by another recipe than those of training: "
                f"{'; '.join(differences)}. Extract them as those of training were, give the "
                "images themselves (images=FOLDER), or train on features like these.",
                stacklevel=2,
            )

    def extract(self, images: Sequence[Path], weights: Path | None = None) -> FloatArray:
        """Extract features of images with the network that extracted those of the benchmark.

        Args:
            images: N files.
            weights: The file of the network's weights; None for the one that the benchmark names.

        Returns:
            float32 ``[N, D]``.

        Raises:
            ConfigError: The benchmark's features were not extracted by this project, or the weights
                are missing.
            DataError: A file cannot be read as an image.
        """
        from zsl_lab.extraction.features import extract_features

        found = extract_features(images, *self._extractor(weights))
        if found.problems:
            raise unreadable_images(found.problems, len(images))
        return found.features

    def _extractor(self, weights: Path | None) -> tuple[Backbone, ImageRecipe]:
        """The network that the benchmark's features were extracted with, and their recipe."""
        recipe = self._recipe.images
        if recipe is None:
            raise ConfigError(
                f"images: the checkpoint does not know how the features of {self.dataset} were "
                "made of images. Extract them as its authors did and give features=FILE, or train "
                "on a benchmark made by `python -m zsl_lab.data extract`."
            )
        from zsl_lab.extraction.recipes import load_backbone

        backbone = load_backbone(recipe, str(weights) if weights else None)
        return backbone.to(self.network.device), recipe


def _check_finite(block: FloatArray, start: int, origin: str) -> None:
    if np.isfinite(block).all():
        return
    row, column = np.argwhere(~np.isfinite(block))[0]
    raise DataError(
        f"{origin}: found {block[row, column]} in row {start + int(row)}, column {int(column)} "
        "(0-based); expected numbers that are finite in single precision. Correct these rows, or "
        "leave them out."
    )


def _warn_of_classes(
    names: Sequence[str], semantics: FloatArray, origin: str, attributes: Sequence[str]
) -> None:
    found = check_semantics(semantics, names, origin, attributes)
    warn(finding for finding in found if finding.code in _CLASS_FAULTS)


def _warn_of_samples(block: FloatArray, start: int, origin: str) -> None:
    where = f"{origin}, from row {start} on" if start else origin
    codes = _SAMPLE_FAULTS if len(block) >= _SEVERAL else _FAULTS_OF_A_SAMPLE
    warn(finding for finding in check_features(block, where) if finding.code in codes)
