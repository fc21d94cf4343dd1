"""What predictors of feature vectors and of images share."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from zsl_lab.data.batches.base import ClassSpace
from zsl_lab.data.benchmark import FloatArray
from zsl_lab.data.checks.statistics import ColumnStatistics
from zsl_lab.data.files.descriptions import joined
from zsl_lab.data.files.tables import ClassTable, read_class_table
from zsl_lab.data.recipe import Recipe
from zsl_lab.data.scaling import Scaler
from zsl_lab.errors import CheckpointError, ConfigError, DataError, nearest
from zsl_lab.extraction.kept.blocks import Problem
from zsl_lab.hardware.trainer import TrainerConfig
from zsl_lab.keys import Place, marked
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
from zsl_lab.result import RESULT_FILE, Result
from zsl_lab.run.checkpoints.content import CLASSIFIER
from zsl_lab.run.checkpoints.files import Checkpoint, misfit
from zsl_lab.run.checkpoints.state import SECTION
from zsl_lab.run.config import RunConfig
from zsl_lab.run.configuration.schema import Among, RunKeys
from zsl_lab.run.context import set_classifier
from zsl_lab.sharing import saved_model
from zsl_lab.sharing.pretrained import Pretrained

#: how many unreadable images a message names
_SHOWN_IMAGES = 3
#: a warning is given if more than this share of the samples is assigned to one class; only with at
#: least this number of samples and this number of classes
_COLLAPSED, _MANY_SAMPLES, _MANY_CLASSES = 0.8, 20, 3
#: the name in messages of a class without a name
_UNNAMED = "the class"


@dataclass(frozen=True, eq=False)
class CheckpointData:
    """The part of a checkpoint on the data that its method was trained on.

    Attributes:
        benchmark: The benchmark's name.
        space: The benchmark's classes, with scaled semantics.
        scaler: Scales features; None where samples are images.
        semantics_scaler: Scales semantics; None where samples are images.
        recipe: How features and semantics were made.
        feature_dim: D; 0 where samples are images.
        semantics: Unscaled semantics of the classes, float32 ``[C, Q]``; Q is 0 where samples are
            images.
        statistics: Statistics of the unscaled features of the training samples; None where samples
            are images, and in checkpoints of older versions.
        result: The result of the run; None: it is looked for when it is needed.
    """

    benchmark: str
    space: ClassSpace
    scaler: Scaler | None = None
    semantics_scaler: Scaler | None = None
    recipe: Recipe = field(default_factory=Recipe)
    feature_dim: int = 0
    semantics: FloatArray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    statistics: ColumnStatistics | None = None
    result: Result | None = None


class Predictor(ABC):
    """A trained method and the classes it knows. Not thread-safe.

    Attributes:
        method: The method's name.
        dataset: The name of the benchmark that it was trained on.
        checkpoint: The file that it was loaded from.
        classes: The classes that it knows, seen and unseen.
        config: The configuration that it was trained with.
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
        self._result = stored.result
        self.config = config
        # without the weights, which the network holds
        self._source = replace(checkpoint, weights={}, content={"data": checkpoint.data_state()})
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

    @property
    def descriptions(self) -> tuple[str, ...]:
        """The texts of :attr:`classes`; empty where vectors describe them."""
        return self._space.descriptions

    # ------------------------------------------------------------------------------- classes

    def candidates(self, classes: Classes | None = None, among: Among | None = None) -> Candidates:
        """The classes to predict among; see :meth:`predict`."""
        return self.candidates_among(None if classes is None else self.new_classes(classes), among)

    def candidates_among(self, given: ClassSpace | None, among: Among | None = None) -> Candidates:
        """As :meth:`candidates`, with new classes as :meth:`new_classes` returns them.

        Warns of new classes if the method was trained on generated features of other classes.
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
            origin: The beginning of messages.
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

    # ------------------------------------------------------------------------------- sharing

    @property
    def result(self) -> Result | None:
        """The result of the run that trained the method; None if it is not beside the checkpoint.

        Raises:
            DataError: Its file is damaged.
        """
        if self._result is None:
            run = self.checkpoint.parent.parent
            if self.checkpoint.suffix == saved_model.SUFFIX:
                self._result = saved_model.read_result(self.checkpoint.parent)
            elif (run / RESULT_FILE).is_file():
                self._result = Result.load(run)
        return self._result

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write the model without pickle, for ``zsl_lab.load`` anywhere.

        The folder gets ``model.safetensors`` (every tensor), ``config.json`` (everything else that
        prediction needs) and ``README.md``, a model card. Paths of this machine are left out.

        Args:
            folder: Created if it is missing; earlier files of a model are replaced.

        Returns:
            The folder.

        Raises:
            OutputError: It cannot be written, or holds a README.md of something else.
            ConfigError: The extra ``hub`` is not installed.
        """
        return self._pretrained().save(Path(folder).expanduser())

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
    ) -> str:
        """Upload what :meth:`save_pretrained` writes to the Hugging Face Hub.

        ``zsl_lab.load("hf-hub:USER/NAME")`` loads it there.

        Args:
            repo_id: ``USER/NAME``; the repository is created if it is missing.
            private: Whether a new repository is private; None for the account's default.
            token: The account's token; None for the one that is stored on this machine.
            revision: The branch; None for ``main``.
            commit_message: The message of the commit; None for a default.

        Returns:
            The commit's URL.

        Raises:
            OutputError: The Hub refuses it, or cannot be reached.
            ConfigError: The extra ``hub`` is not installed, or ``repo_id`` is not valid.
        """
        return self._pretrained().push(
            repo_id,
            private=private,
            token=token,
            revision=revision,
            commit_message=commit_message,
        )

    def export_onnx(
        self,
        path: str | os.PathLike[str],
        classes: Classes | None = None,
        among: Among | None = None,
    ) -> Path:
        """Write an ONNX file: unscaled ``features`` ``[N, D]`` in, ``scores`` ``[N, K]`` out.

        Scaling, classifier and calibration are in the graph; the candidates are fixed. The file's
        metadata has their names and kinds, in the order of the scores, as JSON lists (``classes``,
        ``kinds``), and ``method`` and ``dataset``.

        Args:
            path: The file.
            classes: New classes, see :meth:`predict`.
            among: The classes to predict among, see :meth:`predict`.

        Returns:
            The path of the file.

        Raises:
            ConfigError: The method takes images, cannot be exported, or the extra ``onnx`` is not
                installed.
            OutputError: The file cannot be written.
        """
        raise ConfigError(
            f"export_onnx: method={self.method} takes images and makes a network for each set of "
            "classes; ONNX export is of feature vectors to scores. Write that network with "
            "task=predict (network.pth), or take a checkpoint of a method that takes features."
        )

    def _pretrained(self) -> Pretrained:
        source = self._source
        content = {
            SECTION: source.state.to_plain(),
            "method_state": {"step": source.step},
            "state_dict": self.network.state_dict(),
            CLASSIFIER: source.classifier,
        }
        return Pretrained(content, source.data_state(), _places(self.config), self.result)

    # ------------------------------------------------------------------------------- internals

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


def _places(config: RunConfig) -> frozenset[str]:
    """Dotted keys that name a file of this machine; names of models, also local ones, are kept."""
    sections: dict[str, type[BaseModel]] = {
        "": RunKeys,
        "dataset": type(config.dataset),
        "method": type(config.method),
        "classifier": type(config.classifier),
    }
    return frozenset(
        key
        for prefix, model in sections.items()
        for key, place in marked(model, Place, prefix).items()
        if not place.any_name
    )


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
