"""What predictors of feature vectors and of images share."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from zsl_lab.data.batches.base import ClassSpace
from zsl_lab.data.benchmark import FloatArray
from zsl_lab.data.checks.statistics import ColumnStatistics
from zsl_lab.data.files.descriptions import joined
from zsl_lab.data.files.tables import ClassTable, read_class_table
from zsl_lab.data.recipe import Recipe
from zsl_lab.data.scaling import Scaler
from zsl_lab.errors import CheckpointError, DataError, nearest
from zsl_lab.extraction.kept import Problem
from zsl_lab.hardware.trainer import TrainerConfig
from zsl_lab.methods import catalogue
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.predict.classes import (
    Candidates,
    Classes,
    Description,
    KnownClass,
    as_vector,
    check_descriptions,
    choose_candidates,
    subset,
    texts_of,
)
from zsl_lab.predict.predictions import Predictions, check_whole
from zsl_lab.run.checkpoints import Checkpoint, misfit
from zsl_lab.run.config import RunConfig
from zsl_lab.run.configuration.schema import Among
from zsl_lab.run.context import set_classifier

#: how many unreadable images a message names
_SHOWN_IMAGES = 3
#: a warning is due where more than this share of at least so many samples is assigned to one of at
#: least so many classes
_COLLAPSED, _MANY_SAMPLES, _MANY_CLASSES = 0.8, 20, 3
#: the name that a class without one has in messages
_UNNAMED = "the class"


@dataclass(frozen=True, eq=False)
class CheckpointData:
    """What a checkpoint says of the data that its method was trained on.

    Attributes:
        benchmark: The benchmark's name.
        space: Its classes, semantics scaled.
        scaler: Scales features; None where samples are images.
        semantics_scaler: Scales semantics; None likewise.
        recipe: How features and semantics were made.
        feature_dim: D; 0 where samples are images.
        semantics: Of its classes, unscaled, float32 ``[C, Q]``; Q is 0 where samples are images.
        statistics: Of the unscaled features of its training samples; None where samples are images
            and in checkpoints of older versions.
    """

    benchmark: str
    space: ClassSpace
    scaler: Scaler | None = None
    semantics_scaler: Scaler | None = None
    recipe: Recipe = field(default_factory=Recipe)
    feature_dim: int = 0
    semantics: FloatArray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    statistics: ColumnStatistics | None = None


class Predictor(ABC):
    """A trained method and the classes it knows. Not thread-safe.

    Attributes:
        method: The method's name.
        dataset: The name of the benchmark that it was trained on.
        checkpoint: The file that it was loaded from.
        classes: The classes that it knows, seen and unseen.
        feature_dim: D, the dimension of a feature vector; None where samples are images.
        network: The method itself, in evaluation mode.
    """

    #: what a score is called in results
    score: ClassVar[str] = "score"

    def __init__(
        self,
        config: RunConfig,
        path: Path,
        checkpoint: Checkpoint,
        stored: CheckpointData,
        inputs: int,
    ) -> None:
        space = stored.space
        self.method = config.method.name
        self.dataset = stored.benchmark
        self.checkpoint = path
        self.classes = tuple(
            KnownClass(name, bool(seen))
            for name, seen in zip(space.names, space.seen_mask, strict=True)
        )
        self.feature_dim: int | None = None
        self._cache_dir = config.paths.cache_folder
        self._takes_weights = hasattr(config.method, "init_from")
        self._trained_on_generated = config.method_class.trains_on_generated(config.method)
        self._space = space
        self._calibration = float(checkpoint.state.calibration or 0.0)
        self.network: ZeroShotMethod = config.method_class.empty_for_checkpoint(
            config.method, inputs, space, cache_dir=self._cache_dir
        )
        try:
            self.network.load_state_dict(checkpoint.weights)
        except RuntimeError as error:
            raise CheckpointError(
                f"ckpt={path}: its weights do not fit the configuration "
                f"({misfit(error)}). Give the configuration that it was "
                "trained with, as the command does by itself, or train anew."
            ) from error
        classifier = set_classifier(self.network, config, space)
        classifier.load_state(checkpoint.classifier, f"ckpt={path}")
        self.network.to(_device(config.trainer)).eval()

    # ------------------------------------------------------------------------------- classes

    def candidates(self, classes: Classes | None = None, among: Among | None = None) -> Candidates:
        """The classes to predict among; see :meth:`predict`."""
        return self.candidates_among(None if classes is None else self.new_classes(classes), among)

    def candidates_among(self, given: ClassSpace | None, among: Among | None = None) -> Candidates:
        """As :meth:`candidates`, with new classes as :meth:`new_classes` returns them.

        Warns of new classes where generated features of other classes trained the method.
        """
        candidates = choose_candidates(self._space, given, among)
        if "new" in candidates.kinds and self._trained_on_generated:
            warnings.warn(
                f"method={self.method} was trained on features that it generated for the unseen "
                f"classes of {self.dataset}; of new classes it has seen none, and predicts them "
                "less well. Train with these classes too (data.extra_classes=FILE; no images are "
                f"needed{self._from_this_run()}), or take a checkpoint of "
                f"{self._open_to_new_classes()}.",
                stacklevel=3,
            )
        return candidates

    def _from_this_run(self) -> str:
        """How training with more classes goes on from this checkpoint, where the method can."""
        if not self._takes_weights:
            return ""
        return f"; method.init_from={self.checkpoint} goes on from this run"

    def _open_to_new_classes(self) -> str:
        """The methods that learn from seen classes only, separated by commas."""
        takes = type(self.network).takes
        return ", ".join(
            catalogue.names(
                lambda entry: entry.takes == takes and not entry.trains_on_generated,
                variants=False,
            )
        )

    def _checked(self, predictions: Predictions, origin: str) -> Predictions:
        """The same predictions; warns where nearly all of them are one class."""
        count, classes = predictions.scores.shape
        if count < _MANY_SAMPLES or classes < _MANY_CLASSES:
            return predictions
        (name, most), *_ = Counter(predictions.predicted).most_common(1)
        if most > _COLLAPSED * count:
            kind = dict(zip(predictions.names, predictions.kinds, strict=True))[name]
            causes = "inputs in another scale or of another extractor than in training"
            if "new" in predictions.kinds:
                causes += ", or semantics of the new classes in other units"
                if self._trained_on_generated:
                    causes += f", or that method={self.method} knows no new classes (see above)"
            elif set(predictions.kinds) == {"seen", "unseen"} and kind == "seen":
                causes += ", or a method that prefers seen classes (among=unseen leaves them out)"
            warnings.warn(
                f"{origin}: {most:,} of {count:,} samples were assigned to '{name}', one of "
                f"{classes} classes. If they are not all of this class, the likely causes are "
                f"{causes}. Compare the inputs with those of training, or check a few samples "
                "whose class you know.",
                stacklevel=3,
            )
        return predictions

    def new_classes(self, classes: Classes) -> ClassSpace:
        """New classes as the method takes them.

        Args:
            classes: The file of a table; a mapping of names to vectors, to texts, or to lists of
                texts; or names alone, where an image-text model reads them.

        Raises:
            ZslLabError: A description is missing, or of another kind than those of training.
        """
        if isinstance(classes, str | os.PathLike):
            try:
                table = read_class_table(
                    Path(classes).expanduser(), names_suffice=self._names_suffice
                )
            except DataError as error:
                raise DataError(f"classes={error}") from error
            return self._classes_from_table(table)
        if self._names_suffice and isinstance(classes, list | tuple):
            names = dict.fromkeys(classes)
            check_descriptions({name: str(name) for name in names})
            return self.classes_from_texts(tuple(names), None, "classes")
        are_texts = check_descriptions(classes)
        assert isinstance(classes, Mapping)
        if are_texts:
            lists = [texts_of(description) for description in classes.values()]
            texts = [own[0] if len(own) == 1 else joined(own) for own in lists]
            return self.classes_from_texts(tuple(classes), texts, "classes", lists)
        vectors = [as_vector(vector, name) for name, vector in classes.items()]
        return self._classes_from_vectors(tuple(classes), vectors)

    @abstractmethod
    def classes_from_texts(
        self,
        names: Sequence[str],
        descriptions: Sequence[str] | None,
        origin: str,
        text_lists: Sequence[Sequence[str]] | None = None,
    ) -> ClassSpace:
        """New classes from a text for each.

        Args:
            names: C names.
            descriptions: C texts; None where names suffice.
            origin: Begins messages.
            text_lists: Of each class the texts that ``descriptions`` joins; None where each has
                one.
        """

    @abstractmethod
    def _classes_from_vectors(
        self, names: Sequence[str], vectors: Sequence[FloatArray]
    ) -> ClassSpace: ...

    @abstractmethod
    def _classes_from_table(self, table: ClassTable) -> ClassSpace: ...

    def _set_candidates(self, candidates: Candidates) -> Tensor | float:
        """Let the method score these classes; returns the calibration to add to its scores."""
        self.network.set_classes(candidates.space, cache_dir=self._cache_dir)
        seen = self.network.seen_mask
        return self._calibration * ~seen if self._calibration and bool(seen.any()) else 0.0

    # ------------------------------------------------------------------------------- predictions

    @abstractmethod
    def predict(
        self, samples: Any, classes: Classes | None = None, among: Among | None = None
    ) -> Predictions:
        """Predict the classes of samples.

        The calibration constant of the run, where it has one, is added to the scores of unseen and
        new classes if a seen class is a candidate.

        Args:
            samples: Feature vectors ``[N, D]`` as the benchmark's are, unscaled: an array or a
                tensor. Of a method that takes images: the files, or uint8 ``[N, height, width,
                channels]``.
            classes: Classes that the checkpoint need not know: the file of a table, or a mapping
                from names to vectors (in the units of the training semantics), to texts or to lists
                of texts; or a list of names, where an image-text model reads names.
            among: ``all`` (the checkpoint's classes and the given ones), ``unseen`` (its unseen
                classes and the given ones) or ``new`` (only those given). Default: ``new`` where
                classes are given, else ``all``.

        Raises:
            ZslLabError: Samples or classes do not fit the checkpoint.
        """

    def generate(self, of: Description, n: int, seed: int | None = None) -> FloatArray:
        """Sample features of a class, seen, unseen or new.

        Args:
            of: The name of a class that the checkpoint knows, the semantics of another ``[Q]``
                (unscaled), or a text where texts describe its classes.
            n: How many.
            seed: Seeds the samples without changing PyTorch's global random state; None draws from
                that state.

        Returns:
            float32 ``[n, D]`` in the units of the benchmark's features; with ``normalize`` ``l2``
            or ``centered_l2`` only their directions are those of features (see
            :meth:`Scaler.invert`).

        Raises:
            ZslLabError: The method generates nothing, there is no such class, or ``n`` or ``seed``
                is no whole number.
        """
        check_whole("n", n, 1)
        if seed is not None:
            check_whole("seed", seed, 0)
        devices = [self.network.device] if self.network.device.type == "cuda" else []
        semantics = torch.from_numpy(self._one(of).semantics).to(self.network.device)
        with torch.no_grad(), torch.random.fork_rng(devices=devices, enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            features = self.network.generate(semantics, n)[0]
        return self._unscaled(features).float().cpu().numpy()

    def _unscaled(self, features: Tensor) -> Tensor:
        return features

    def _one(self, of: Description) -> ClassSpace:
        """The single class that ``of`` names or describes."""
        if not isinstance(of, str):
            return self.new_classes({_UNNAMED: of})
        names = [known.name for known in self.classes]
        if of in names:
            return subset(self._space, np.array([names.index(of)]))
        if self._reads_texts:
            # an image-text model may read the name only
            return self.new_classes({of if self._names_suffice else _UNNAMED: of})
        near = nearest(of, names)
        hint = (
            f"Did you mean '{near[0]}'?"
            if near
            else "Give one of predictor.classes, or the vector of a new one."
        )
        raise DataError(f"'{of}': the checkpoint knows no such class. {hint}")

    @property
    @abstractmethod
    def _reads_texts(self) -> bool: ...

    @property
    @abstractmethod
    def _names_suffice(self) -> bool: ...


def unreadable_images(problems: Sequence[Problem], images: int) -> DataError:
    """The error that names the first unreadable images.

    Args:
        problems: The unreadable images.
        images: How many images were given.
    """
    hidden = len(problems) - _SHOWN_IMAGES
    more = f"\n{hidden} more cannot be read." if hidden > 0 else ""
    return DataError(
        "\n".join(f"{problem.file}: {problem.reason}" for problem in problems[:_SHOWN_IMAGES])
        + f"{more}\n{len(problems)} of {images} images: repair them, or leave them out. "
        "Nothing was predicted."
    )


def _device(trainer: TrainerConfig) -> torch.device:
    if trainer.accelerator != "cpu" and torch.cuda.is_available():
        return torch.device("cuda")
    if trainer.accelerator == "gpu":
        warnings.warn(
            "trainer.accelerator=gpu: PyTorch finds no GPU on this machine; the CPU predicts.",
            stacklevel=2,
        )
    return torch.device("cpu")
