"""A trained method outside its run: classes for samples, of classes that it knows or that are given only now, and features for classes.

All of it comes from a checkpoint alone; neither the training data nor their folder need be there.
"""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from omegaconf import OmegaConf
from torch import Tensor

from zsl_lab.data.batches.features import EVALUATION_BATCH, ClassSpace
from zsl_lab.data.batches.images import EVALUATION_BATCH as IMAGE_BATCH
from zsl_lab.data.batches.images import crop
from zsl_lab.data.benchmark import FloatArray, ImageArray
from zsl_lab.data.files import images as image_files
from zsl_lab.data.files.tables import ClassTable, read_class_table
from zsl_lab.data.recipe import Recipe
from zsl_lab.data.scaling import Scaler, twins
from zsl_lab.errors import CheckpointError, ConfigError, DataError, nearest
from zsl_lab.hardware.trainer import TrainerConfig
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.run import checkpoints
from zsl_lab.run.config import RunConfig, parse
from zsl_lab.run.schema import Among
from zsl_lab.text import Terms

Kind = Literal["seen", "unseen", "new"]
#: what a class may be described by: a vector in the units of the training semantics, or a text
Description = npt.ArrayLike | Tensor | str
#: a table's file, or a description for each name
Classes = str | os.PathLike[str] | Mapping[str, Description]

#: the encoder and its model were chosen when the benchmark was made
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
#: so many broken images are named
_SHOWN_IMAGES = 3
#: so many names of attributes
_SHOWN_NAMES = 5


class KnownClass(NamedTuple):
    """A class that a checkpoint knows.

    Attributes:
        name: Its name in the benchmark.
        seen: Whether it was trained on.
    """

    name: str
    seen: bool


@dataclass(frozen=True, eq=False)
class Candidates:
    """The classes that samples are told apart by.

    Attributes:
        kinds: Of each class, whether it is ``seen`` or ``unseen`` in the checkpoint, or ``new``.
        space: What the method needs to know of them.
    """

    kinds: tuple[Kind, ...]
    space: ClassSpace

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return self.space.names


@dataclass(frozen=True, eq=False)
class Predictions:
    """What was predicted for N samples among K classes.

    Attributes:
        names: The classes' names, K of them.
        kinds: Of each class, whether it is ``seen`` or ``unseen`` in the checkpoint, or ``new``.
        scores: float32 ``[N, K]``, higher is likelier. Of a method that takes images they are
            probabilities.
    """

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    scores: FloatArray

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """Whether each class was trained on, bool ``[K]``."""
        return np.array([kind == "seen" for kind in self.kinds], dtype=bool)

    @property
    def predicted(self) -> list[str]:
        """The likeliest class of each sample. Of equal scores a seen class has the first place, then the one that comes first."""
        order = self._seen_first()
        return [
            self.names[position] for position in order[self.scores[:, order].argmax(1)].tolist()
        ]

    def top(self, k: int = 5) -> list[list[tuple[str, float]]]:
        """The likeliest k classes of each sample, or all where there are fewer, with their scores, best first.

        Raises:
            ConfigError: k is no whole number of at least 1.
        """
        _check_whole("k", k, 1)
        return self.top_of(slice(None), k)

    def top_of(self, samples: slice, k: int) -> list[list[tuple[str, float]]]:
        """:meth:`top` for some of the samples."""
        order = self._seen_first()
        ranked = self.scores[samples][:, order]
        best = np.argsort(-ranked, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(ranked, best, axis=1).tolist()
        names = np.array(self.names, dtype=object)[order[best]].tolist()
        return [list(zip(*row, strict=True)) for row in zip(names, scores, strict=True)]

    def _seen_first(self) -> npt.NDArray[np.intp]:
        return np.argsort(~self.seen, kind="stable")


def load(ckpt: str | os.PathLike[str]) -> Predictor:
    """Load a trained method.

    Args:
        ckpt: The folder of a finished run, or its ``checkpoints/best.ckpt``.

    Returns:
        A :class:`FeaturePredictor`; of a method that takes images an :class:`ImagePredictor`.

    Raises:
        ZslLabError: This is no such checkpoint, or an older one, or packages are missing that it
            needs; as a sentence.
    """
    if not isinstance(ckpt, str | os.PathLike):
        raise CheckpointError(
            f"ckpt={ckpt!r}: expected a path. Give the folder of a finished run, or a file: "
            "RUN/checkpoints/best.ckpt."
        )
    path = checkpoints.reported(Path(ckpt).expanduser())
    config = {
        **checkpoints.read(path, "ckpt").state.config,
        "task": "predict",
        "ckpt": str(path),
    }
    paths = config.get("paths")
    if (
        isinstance(paths, Mapping) and not Path(paths.get("cache_dir") or "").is_dir()
    ):  # of another machine
        config["paths"] = {**paths, "cache_dir": None}
    return restore(parse(OmegaConf.create(config)))


def restore(config: RunConfig) -> Predictor:
    """The method of ``config.ckpt``, which was trained with this configuration.

    Raises:
        ZslLabError: As :func:`load` does.
    """
    assert config.ckpt is not None
    path = checkpoints.reported(config.ckpt)
    checkpoint = checkpoints.read(path, "ckpt")
    checkpoint.check_reported()
    stored = _stored(checkpoint.data_state(), path)
    return (ImagePredictor if config.method_class.takes == "images" else FeaturePredictor)(
        config, path, checkpoint, stored
    )


@dataclass(frozen=True, eq=False)
class _Stored:
    """What a checkpoint knows of the data: the classes, and of feature vectors how those of others become like them."""

    benchmark: str
    space: ClassSpace
    scaler: Scaler | None = None
    semantics_scaler: Scaler | None = None
    recipe: Recipe = field(default_factory=Recipe)
    feature_dim: int = 0
    #: the smallest and the largest number of the unscaled semantics
    range: tuple[float, float] = (0.0, 0.0)


class Predictor(ABC):
    """A trained method and the classes it knows. Not for several threads at once.

    Attributes:
        method: The method's name.
        dataset: The name of the benchmark that it was trained on.
        checkpoint: The file that it comes from.
        classes: The classes that it knows, seen and unseen.
        feature_dim: D, the dimension of a feature vector; None where samples are images.
        network: The method itself, in evaluation mode.
    """

    #: what a score is called
    score: ClassVar[str] = "score"

    def __init__(
        self,
        config: RunConfig,
        path: Path,
        checkpoint: checkpoints.Checkpoint,
        stored: _Stored,
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
                f"({str(error).splitlines()[1].strip()}). Give the configuration that it was "
                "trained with, as the command does by itself, or train anew."
            ) from error
        self.network.to(_device(config.trainer)).eval()

    # ------------------------------------------------------------------------------- classes

    def candidates(self, classes: Classes | None = None, among: Among | None = None) -> Candidates:
        """The classes to predict among; see :meth:`predict`."""
        return self.candidates_with(self.described(classes) if classes is not None else None, among)

    def candidates_with(self, given: ClassSpace | None, among: Among | None = None) -> Candidates:
        """Those of the checkpoint's classes that ``among`` says, and those of :meth:`described`."""
        among = among or ("all" if given is None else "new")
        if among not in get_args(Among):
            raise ConfigError(
                f"among={among}: input should be 'all', 'unseen' or 'new'."
            )  # as the command says it
        if among == "new" and given is None:
            raise ConfigError(
                "among=new: no new classes were given. Give some with classes=..., or choose "
                "among=all or among=unseen."
            )
        own = self._space
        # none of the classes, the unseen ones, or all
        positions = np.flatnonzero(
            ~own.seen_mask if among == "unseen" else np.full(len(own.names), among == "all")
        )
        names = tuple(own.names[position] for position in positions)
        kinds: list[Kind] = [
            "seen" if own.seen_mask[position] else "unseen" for position in positions
        ]
        semantics, descriptions = (
            own.semantics[positions],
            tuple(own.descriptions[p] for p in positions) if own.descriptions else (),
        )
        if given is not None:
            twice = sorted(set(names) & set(given.names))
            if twice:
                raise ConfigError(
                    f"classes: '{twice[0]}' is a class that the checkpoint knows. Give it another "
                    "name, or choose among=new, which takes none but the given ones."
                )
            names += given.names
            kinds += ["new"] * len(given.names)
            semantics = np.concatenate([semantics, given.semantics])
            descriptions += given.descriptions
        if len(names) < 2:
            origin = "classes" if among == "new" else f"among={among}"
            raise DataError(
                f"{origin}: found {len(names)} class; expected at least 2, to tell them apart. "
                "Give more classes, or choose among=all."
                if names
                else f"{origin}: found no class to choose among; expected at least 2. Give some "
                "with classes=..., or choose among=all."
            )
        seen = np.array([kind == "seen" for kind in kinds], dtype=bool)
        return Candidates(
            tuple(kinds), ClassSpace(np.arange(len(names)), semantics, seen, names, descriptions)
        )

    def described(self, classes: Classes) -> ClassSpace:
        """New classes as the method takes them.

        Raises:
            ZslLabError: A description is missing, or of another kind than those of training.
        """
        if isinstance(classes, str | os.PathLike):
            try:
                table = read_class_table(Path(classes).expanduser())
            except DataError as error:
                raise DataError(f"classes={error}") from error
            return self._of_table(table)
        if not isinstance(classes, Mapping):
            raise DataError(
                f"classes: found a value of type {type(classes).__name__}; expected the file of a "
                "table, or a mapping of names to vectors or texts. Give one of these; or leave "
                "classes out, and choose among the known classes with among=..."
            )
        if not classes:
            raise DataError(
                "classes: found none; expected a name and a description of each. Leave classes out "
                "to predict among the known."
            )
        names = tuple(classes)
        strangers = [name for name in names if not isinstance(name, str) or not name.strip()]
        if strangers:
            raise DataError(
                f"classes: found {strangers[0]!r} as a name; expected a text, and not an empty one."
            )
        are_texts = {isinstance(description, str) for description in classes.values()}
        if len(are_texts) > 1:
            raise DataError(
                "classes: found texts for some and vectors for others; expected one kind. Give "
                "texts only, or vectors only."
            )
        if are_texts == {True}:
            texts = [str(text) for text in classes.values()]
            empty = [name for name, text in zip(names, texts, strict=True) if not text.strip()]
            if empty:
                raise DataError(
                    f"classes: found an empty text for '{empty[0]}'; expected a description of "
                    "every class, or no such class."
                )
            return self.of_texts(names, texts, "classes")
        return self._of_vectors(names, [_vector(vector, name) for name, vector in classes.items()])

    @abstractmethod
    def of_texts(
        self, names: Sequence[str], descriptions: Sequence[str], origin: str
    ) -> ClassSpace:
        """New classes from a description in words of each; ``origin`` begins what is said about them."""

    @abstractmethod
    def _of_vectors(self, names: Sequence[str], vectors: Sequence[FloatArray]) -> ClassSpace: ...

    @abstractmethod
    def _of_table(self, table: ClassTable) -> ClassSpace: ...

    def _ask_about(self, candidates: Candidates) -> Tensor | float:
        """Let the method score these classes; what is then to be added to the scores."""
        self.network.set_classes(candidates.space, cache_dir=self._cache_dir)
        seen = self.network.seen_mask
        return self._calibration * ~seen if self._calibration and bool(seen.any()) else 0.0

    # ------------------------------------------------------------------------------- what it is
    # asked for

    @abstractmethod
    def predict(
        self, samples: Any, classes: Classes | None = None, among: Among | None = None
    ) -> Predictions:
        """Predict the classes of samples.

        The constant that calibration chose, where the run has one, is added to the scores of unseen
        and new classes wherever a seen class is a candidate.

        Args:
            samples: Feature vectors ``[N, D]`` as the benchmark's are, unscaled: an array or a
                tensor. Of a method that takes images: the files, or uint8 ``[N, height, width,
                channels]``.
            classes: Classes that the checkpoint need not know: the file of a table, or a mapping
                from names to vectors (in the units of the training semantics) or to texts.
            among: ``all`` (the checkpoint's classes and the given ones), ``unseen`` (its unseen
                classes and the given ones) or ``new`` (only those given). By itself ``new`` where
                classes are given, else ``all``.

        Raises:
            ZslLabError: Something does not fit the checkpoint; a sentence says what.
        """

    def generate(self, of: Description, n: int, seed: int | None = None) -> FloatArray:
        """Sample features of a class, seen, unseen or new.

        Args:
            of: The name of a class that the checkpoint knows, the semantics of another ``[Q]``
                (unscaled), or a text where texts describe its classes.
            n: How many.
            seed: Decides what is drawn, and leaves PyTorch's own random numbers alone; None draws
                from those.

        Returns:
            float32 ``[n, D]`` in the units of the benchmark's features; with ``normalize`` ``l2``
            or ``centered_l2`` only their directions are those of features (see
            :meth:`Scaler.invert`).

        Raises:
            ZslLabError: The method generates nothing, there is no such class, or ``n`` or ``seed``
                is no whole number.
        """
        _check_whole("n", n, 1)
        if seed is not None:
            _check_whole("seed", seed, 0)
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
        if not isinstance(of, str):
            return self.described({"the class": of})
        names = [known.name for known in self.classes]
        if of in names:
            position = [names.index(of)]
            texts = (
                tuple(self._space.descriptions[p] for p in position)
                if self._space.descriptions
                else ()
            )
            return ClassSpace(
                np.arange(1),
                self._space.semantics[position],
                self._space.seen_mask[position],
                (of,),
                texts,
            )
        if self._reads_texts:
            return self.described({"the class": of})
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


class FeaturePredictor(Predictor):
    """A trained method that takes feature vectors."""

    def __init__(
        self, config: RunConfig, path: Path, checkpoint: checkpoints.Checkpoint, stored: _Stored
    ) -> None:
        assert stored.scaler is not None
        assert stored.semantics_scaler is not None
        super().__init__(config, path, checkpoint, stored, stored.feature_dim)
        self.feature_dim: int = stored.feature_dim
        self._scaler, self._semantics_scaler, self._recipe = (
            stored.scaler,
            stored.semantics_scaler,
            stored.recipe,
        )
        self._range = stored.range
        self._stem = getattr(config.dataset, "features", None)

    @property
    def semantic_dim(self) -> int:
        """Q, the dimension of the class semantics."""
        return int(self._space.semantics.shape[1])

    @property
    def _reads_texts(self) -> bool:
        return self._recipe.texts is not None

    @property
    def _attributes(self) -> list[str]:
        """Names of the semantics' dimensions; empty where they have none."""
        return self._recipe.attributes if len(self._recipe.attributes) == self.semantic_dim else []

    # ------------------------------------------------------------------------------- classes

    def of_texts(
        self, names: Sequence[str], descriptions: Sequence[str], origin: str
    ) -> ClassSpace:
        """New classes from texts, read by the encoder that read those of training."""
        recipe = self._recipe.texts
        if recipe is None:
            raise DataError(
                f"{origin}: found texts; the checkpoint's classes are described by {self._wanted}, "
                "not by a text encoder of this project. Give such vectors, or train on a "
                "benchmark whose texts were read by `python -m zsl_lab.data extract`."
            )
        from zsl_lab.extraction.features import embed_texts

        semantics = embed_texts(descriptions, recipe, self._cache_dir, _TEXT_TERMS)
        if semantics.shape[1] != self.semantic_dim:
            raise DataError(
                f"{origin}: {recipe.encoder} makes {semantics.shape[1]} numbers of a text; "
                f"expected {self.semantic_dim}, as when the "
                "checkpoint was trained. Train anew with the encoder as it is now, or give vectors."
            )
        return self._scaled(names, semantics)

    def _of_vectors(self, names: Sequence[str], vectors: Sequence[FloatArray]) -> ClassSpace:
        for name, vector in zip(names, vectors, strict=True):
            if vector.shape != (self.semantic_dim,):
                raise DataError(
                    f"classes: found shape {list(vector.shape)} for '{name}'; expected "
                    f"[{self.semantic_dim}], {self._wanted}. Give vectors "
                    "like those of training, or train on semantics of your own."
                )
        semantics = np.stack(vectors)
        self._warn(names, semantics, "classes")
        return self._scaled(names, semantics)

    def _of_table(self, table: ClassTable) -> ClassSpace:
        if self._reads_texts and table.descriptions is not None:
            return self.of_texts(table.names, table.descriptions, f"classes={table.path}")
        if table.attributes is None:
            if table.descriptions is not None:
                return self.of_texts(table.names, table.descriptions, f"classes={table.path}")
            raise DataError(
                f"classes={table.path}: found no column of attributes; expected {self._wanted}. "
                "Add them, or give another table."
            )
        semantics = table.attributes[:, self._columns(table)]
        self._warn(table.names, semantics, f"classes={table.path}")
        return self._scaled(table.names, semantics)

    def _columns(self, table: ClassTable) -> list[int]:
        """The table's columns in the order of the semantics' dimensions."""
        found, expected = table.attribute_names, self._attributes
        missing = [name for name in expected if name not in found]
        extra = [name for name in found if name not in expected] if expected else []
        ways_out = "Mend the table, or train on a benchmark with its attributes."
        if missing or extra:
            what = [
                f"{word} {_listed(names)}"
                for word, names in (("missing", missing), ("not among them", extra))
                if names
            ]
            raise DataError(
                f"classes={table.path}: found other attributes than the {len(expected)} of "
                f"training: {'; '.join(what)}. {ways_out}"
            )
        if len(found) != self.semantic_dim:
            columns = f"{len(found)} column{'s' if len(found) != 1 else ''} of attributes ({_listed(found)})"
            raise DataError(
                f"classes={table.path}: found {columns}; expected {self._wanted}. {ways_out}"
            )
        return [found.index(name) for name in expected] if expected else list(range(len(found)))

    def _warn(self, names: Sequence[str], semantics: FloatArray, origin: str) -> None:
        """Say what is allowed and yet hardly meant: other units than those of training."""
        low, high = self._range
        strange = np.argwhere((semantics < 2 * low - high) | (semantics > 2 * high - low))
        if len(strange):
            row, column = strange[0]
            name = f" ({self._attributes[column]})" if self._attributes else ""
            warnings.warn(
                f"{origin}: found {semantics[row, column]:.6g} for '{names[row]}', number "
                f"{column + 1}{name}; the semantics of training "
                f"lie between {low:.6g} and {high:.6g}. Give new classes in the same units.",
                stacklevel=2,
            )

    def candidates_with(self, given: ClassSpace | None, among: Among | None = None) -> Candidates:
        """See :meth:`Predictor.candidates_with`; warns of two that the method sees as one, as semantics that differ can be once scaled."""
        candidates = super().candidates_with(given, among)
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

    @property
    def _wanted(self) -> str:
        named = f" ({_listed(self._attributes)})" if self._attributes else ""
        return f"{self.semantic_dim} numbers for each class{named}, as {self.dataset} has them"

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
        rows = self.checked(samples, "features")
        return self.scored(rows, self.candidates(classes, among), "features")

    def checked(self, samples: Any, origin: str) -> Any:
        """Features as something of shape ``[N, D]`` that can be sliced; their numbers are looked at when their turn comes."""
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
        shape = list(samples.shape)
        if samples.dtype.kind not in "fiu":
            raise DataError(
                f"{origin}: found type {samples.dtype}; expected numbers, {self._expected}. "
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
        return samples

    @property
    def _expected(self) -> str:
        images = self._recipe.images
        extractor = (
            images.backbone
            if images
            else f"dataset.features={self._stem}"
            if self._stem
            else f"those of {self.dataset}"
        )
        return f"[samples, {self.feature_dim}], features as the checkpoint was trained on ({extractor})"

    @property
    def _ways_out(self) -> str:
        return "Give features of the same extractor, or train on yours."

    def scored(self, rows: Any, candidates: Candidates, origin: str) -> Predictions:
        """Score what :meth:`checked` gave, in batches."""
        constant, device = self._ask_about(candidates), self.network.device
        scores = np.empty((len(rows), len(candidates.names)), dtype=np.float32)
        for start in range(0, len(rows), EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            with np.errstate(
                over="ignore"
            ):  # what is too large for single precision is found with the rest
                block = np.array(rows[part], dtype=np.float32)
            _check_finite(block, start, origin)
            with torch.no_grad():
                found = (
                    self.network.class_scores(
                        self._scaler.apply(torch.from_numpy(block).to(device))
                    )
                    + constant
                )
            scores[part] = found.float().cpu().numpy()
            bad = np.flatnonzero(~np.isfinite(scores[part]).all(1))
            if len(bad):
                raise DataError(
                    f"{origin}: the scores of row {start + bad[0]} (0-based) are no finite "
                    "numbers, so far is it from the features of "
                    f"training (its largest value is {np.abs(block[bad[0]]).max():.3g}). "
                    f"{self._ways_out}"
                )
        return Predictions(candidates.names, candidates.kinds, scores)

    def extract(self, images: Sequence[Path], weights: Path | None = None) -> FloatArray:
        """Features ``[N, D]`` of pictures, by the network that the benchmark's were extracted with.

        Args:
            images: The files.
            weights: The network's weights where they lie elsewhere than they did.

        Raises:
            ConfigError: The benchmark's features were not extracted by this project, or the weights
                are not there.
            DataError: A file is no picture.
        """
        recipe = self._recipe.images
        if recipe is None:
            raise ConfigError(
                f"images: the checkpoint does not know how the features of {self.dataset} were "
                "made of images. Extract them as its authors did and give features=FILE, or train "
                "on a benchmark made by `python -m zsl_lab.data extract`."
            )
        from zsl_lab.extraction.features import extract_features, load_backbone

        backbone = load_backbone(recipe, str(weights) if weights else None).to(self.network.device)
        found = extract_features(images, backbone, recipe)
        if found.problems:
            raise _broken(
                [f"{problem.file}: {problem.reason}" for problem in found.problems], len(images)
            )
        return found.features


class ImagePredictor(Predictor):
    """A trained method that takes images, and texts that describe the classes."""

    score: ClassVar[str] = "probability"

    def __init__(
        self, config: RunConfig, path: Path, checkpoint: checkpoints.Checkpoint, stored: _Stored
    ) -> None:
        self._view = config.dataset.image_view()
        super().__init__(config, path, checkpoint, stored, self._view.channels)

    @property
    def _reads_texts(self) -> bool:
        return True

    @property
    def description_format(self) -> str:
        """The text of a class, made of ``{name}`` and ``{description}``."""
        return self._view.description_format

    # ------------------------------------------------------------------------------- classes

    def of_texts(
        self, names: Sequence[str], descriptions: Sequence[str], origin: str
    ) -> ClassSpace:
        """New classes from texts, put as those of training were (``dataset.description_format``)."""
        filled = [
            self.description_format.format(name=name, description=text).strip()
            for name, text in zip(names, descriptions, strict=True)
        ]
        return self.of_whole_texts(names, filled)

    def of_whole_texts(self, names: Sequence[str], texts: Sequence[str]) -> ClassSpace:
        """New classes from texts as the encoder is to read them."""
        return ClassSpace(
            np.arange(len(names)),
            np.zeros((len(names), 0), dtype=np.float32),
            np.zeros(len(names), dtype=bool),
            tuple(names),
            tuple(texts),
        )

    def _of_vectors(self, names: Sequence[str], vectors: Sequence[FloatArray]) -> ClassSpace:
        raise DataError(
            f"classes: found vectors; method={self.method} reads a text of each class. Give texts, "
            "or a checkpoint of a method that takes features and vectors."
        )

    def _of_table(self, table: ClassTable) -> ClassSpace:
        if table.descriptions is None:
            raise DataError(
                f"classes={table.path}: found no column 'description'; method={self.method} reads "
                "a text of each class. Add the column, or give a checkpoint of a method that "
                "takes attributes."
            )
        return self.of_texts(table.names, table.descriptions, f"classes={table.path}")

    # ------------------------------------------------------------------------------- samples

    def predict(
        self, samples: Any, classes: Classes | None = None, among: Among | None = None
    ) -> Predictions:
        """See :meth:`Predictor.predict`."""
        return self.scored(samples, self.candidates(classes, among))

    @torch.no_grad()
    def scored(self, samples: Any, candidates: Candidates) -> Predictions:
        """Probabilities of images.

        Raises:
            DataError: A file is no picture or is damaged; all of them are looked at.
        """
        self._check(samples)
        constant = self._ask_about(candidates)
        scores = np.empty((len(samples), len(candidates.names)), dtype=np.float32)
        broken: list[DataError] = []
        size, middle = self._view.image_size, (self._view.resize - self._view.image_size) // 2
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(samples), IMAGE_BATCH):
                part = slice(start, start + IMAGE_BATCH)
                results = list(pool.map(self._attempt, samples[part]))
                pictures = [result for result in results if not isinstance(result, DataError)]
                broken += [result for result in results if isinstance(result, DataError)]
                if broken:  # nothing will come of it, but all of them are named
                    continue
                count = len(pictures)
                squares = crop(
                    np.stack(pictures),
                    np.arange(count),
                    np.full((count, 2), middle),
                    np.zeros(count, bool),
                    size,
                )
                found = self.network.class_scores(squares.to(self.network.device)) + constant
                scores[part] = found.softmax(1).float().cpu().numpy()
        if broken:
            raise _broken([str(problem) for problem in broken], len(samples))
        return Predictions(candidates.names, candidates.kinds, scores)

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

    def _attempt(self, sample: Any) -> ImageArray | DataError:
        side, channels = self._view.resize, self._view.channels
        try:
            picture = (
                image_files.square(sample, side)
                if isinstance(sample, np.ndarray)
                else image_files.decode(Path(sample), side)
            )
        except DataError as error:
            return error
        return picture if channels == 3 else image_files.grey(picture)


def _broken(problems: Sequence[str], images: int) -> DataError:
    more = (
        f"\n{len(problems) - _SHOWN_IMAGES} more cannot be read."
        if len(problems) > _SHOWN_IMAGES
        else ""
    )
    return DataError(
        "\n".join(problems[:_SHOWN_IMAGES])
        + f"{more}\n{len(problems)} of {images} images: mend them, or leave them out. "
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


def _stored(state: Mapping[str, Any], path: Path) -> _Stored:
    try:
        known = state["classes"]
        names = tuple(str(name) for name in known["names"])
        ids, seen = known["ids"].numpy(), known["seen"].numpy().astype(bool)
        texts = tuple(str(text) for text in known["descriptions"])
        if "semantics" not in known:
            space = ClassSpace(ids, np.zeros((len(names), 0), dtype=np.float32), seen, names, texts)
            stored = _Stored(str(state["benchmark"]), space)
        else:
            semantics_scaler = Scaler.from_state(known["semantics_scaler"])
            space = ClassSpace(
                ids, semantics_scaler.apply(known["semantics"]).numpy(), seen, names, texts
            )
            recipe = Recipe.from_plain(state["recipe"], f"ckpt={path}")
            low, high = (float(value) for value in known["semantics"].aminmax())
            scaler, dim = Scaler.from_state(state["scaler"]), int(state["feature_dim"])
            stored = _Stored(
                str(state["benchmark"]), space, scaler, semantics_scaler, recipe, dim, (low, high)
            )
        if not len(names) == len(ids) == len(seen) == len(space.semantics):
            raise ValueError(
                f"{len(names)} names, {len(seen)} marks of seen classes, {len(space.semantics)} "
                "rows of semantics"
            )
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"ckpt={path}: what it says of its classes is damaged ({type(error).__name__}: "
            f"{error}). Give another checkpoint, or train anew."
        ) from error
    return stored


def _check_whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ConfigError(f"{name}={value!r}: expected a whole number of at least {least}.")


def _vector(value: Any, name: str) -> FloatArray:
    if isinstance(value, Tensor):
        value = value.detach().cpu().float().numpy()
    try:
        vector = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"classes: found {value!r} for '{name}'; expected a vector of numbers, or a text for "
            "every class."
        ) from error
    if not np.isfinite(vector).all():
        raise DataError(
            f"classes: found a value for '{name}' that is no finite number; expected finite "
            "numbers. Mend it, or leave it out."
        )
    return vector


def _check_finite(block: FloatArray, start: int, origin: str) -> None:
    if np.isfinite(block).all():
        return
    row, column = np.argwhere(~np.isfinite(block))[0]
    raise DataError(
        f"{origin}: found {block[row, column]} in row {start + int(row)}, column {int(column)} "
        "(0-based); expected numbers that are finite "
        "in single precision. Mend these rows, or leave them out."
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(names[:_SHOWN_NAMES]) + more
