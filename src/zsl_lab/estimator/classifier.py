"""A zero-shot classifier with the interface of scikit-learn."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from zsl_lab.console.messages import quiet
from zsl_lab.data.benchmark import FeatureBenchmark, FloatArray
from zsl_lab.data.recipe import TextRecipe
from zsl_lab.errors import ConfigError, nearest
from zsl_lab.estimator.configuration import compose_run, refuse_images
from zsl_lab.estimator.inputs import (
    ClassSemantics,
    InputDataError,
    as_array,
    as_features,
    as_labels,
    is_frame,
    make_benchmark,
    read_semantics,
)
from zsl_lab.extraction.names import IMAGE_TEXT_PREFIXES, IMAGENET, prefix_of
from zsl_lab.extraction.recipes import build_text_tower
from zsl_lab.extraction.texts import embed_classes, embed_texts
from zsl_lab.extraction.weights import Terms as WeightTerms
from zsl_lab.predict.load import restore
from zsl_lab.predict.predictions import Predictions
from zsl_lab.run.config import parse
from zsl_lab.run.configuration.schema import Among, cache_folder
from zsl_lab.run.experiment import run
from zsl_lab.text import Terms
from zsl_lab.text.prompts import default_templates

_MAX_TOKENS = 512
#: for messages of text encoders
_TEXT_TERMS = Terms(
    encoder="text_encoder=",
    model="The model of text_encoder=",
    max_tokens="The limit of the text encoder, ",
    uninstalled="set text_encoder=tfidf, which needs nothing more",
    unloadable="Set text_encoder=minilm or tfidf, which need no download, or give vectors in place "
    "of texts.",
    limit="Set another text_encoder, or give vectors in place of texts.",
    longer="give vectors in place of texts",
    another="fit with another text_encoder",
)
#: for messages of text towers
_TOWER_TERMS = WeightTerms("text_encoder=", "text_encoder=", (), otherwise="", larger="")
#: random seeds are drawn below it
_SEED_LIMIT = 2**31


class ZeroShotClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Learns from samples of seen classes, and recognises classes that only semantics describe.

    ``fit`` is a run of this package on data in memory: validation classes, drawn from those of
    ``y``, select the training step; then the method is trained anew on all samples.

    Args:
        method: A choice of ``method=`` of the command line that takes features.
        among: The classes that ``predict`` chooses among: ``all`` (generalised zero-shot
            learning), ``unseen`` (those without samples, conventional zero-shot learning) or
            ``new`` (those given to ``predict``). None: ``new`` where classes are given, else
            ``all``.
        random_state: Seeds training; an integer, a ``RandomState``, or None for another seed each
            time.
        progress: Whether ``fit`` shows a line of progress.
        folder: Where the run's files are kept, for ``zsl_lab.load`` and for its report; a new or
            empty folder. None: nothing is kept.
        text_encoder: Encodes semantics that are texts: ``minilm``, ``bert``, ``glove``, ``tfidf``,
            or the text tower of an image-text model (``open_clip:MODEL/WEIGHTS``,
            ``open_clip:hf-hub:ID``, ``hf:ID_OR_FOLDER``), which fills descriptions into the same
            prompts as ``zsl_lab.data extract``.
        **settings: Keys of the method (``g=0.8``), dotted keys of the configuration
            (``**{"dataset.normalize": "minmax"}``), and choices of ``classifier``, ``hardware``,
            ``logger``, ``selection`` and ``settings``.

    Attributes:
        classes_: All classes of ``semantics``, sorted: the columns of :meth:`predict_scores`.
        seen_classes_: The classes with samples in ``y``.
        unseen_classes_: The classes without samples.
        n_features_in_: D.
        predictor_: The predictor that ``zsl_lab.load`` returns for the run.
        result_: The run's :class:`zsl_lab.result.Result`; ``result_.validation`` has the metrics on
            validation classes. No sample is tested, so ``result_.metrics`` are NaN.
    """

    def __init__(
        self,
        method: str = "sgal",
        *,
        among: Among | None = None,
        random_state: Any = 0,
        progress: bool = False,
        folder: str | os.PathLike[str] | None = None,
        text_encoder: str = "minilm",
        **settings: Any,
    ) -> None:
        self.method = method
        self.among = among
        self.random_state = random_state
        self.progress = progress
        self.folder = folder
        self.text_encoder = text_encoder
        self.settings = settings

    # ------------------------------------------------------------------------- parameters

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name, settings included."""
        return {**super().get_params(deep=deep), **self.settings}

    def set_params(self, **params: Any) -> ZeroShotClassifier:
        """Set parameters; a name that is none of them is a setting, which ``fit`` checks."""
        own = super().get_params(deep=False)
        for name, value in params.items():
            if name in own:
                setattr(self, name, value)
            else:
                self.settings = {**self.settings, name: value}
        return self

    # ------------------------------------------------------------------------- training

    def fit(
        self,
        X: Any,
        y: Any,
        semantics: Any = None,
        class_names: Sequence[Any] | None = None,
    ) -> ZeroShotClassifier:
        """Train.

        Args:
            X: Samples ``[N, D]``: an array, a tensor or a DataFrame; unscaled.
            y: The class of each sample, strings or integers, ``[N]``.
            semantics: The semantics of each class of ``y``, and of at least one more: a mapping
                from classes to vectors or texts, a DataFrame whose index holds the classes, or an
                array ``[C, Q]`` with ``class_names``.
            class_names: The classes of the rows of an array.

        Raises:
            InputDataError: Samples, labels or semantics cannot be used; a ValueError.
            ConfigError: The method or a setting is unknown.
        """
        if self.among not in (None, *get_args(Among)):
            near = nearest(str(self.among), get_args(Among))
            raise ConfigError(
                f"among={self.among}: expected one of {', '.join(get_args(Among))}, or None."
                f"{f' Did you mean {near[0]}?' if near else ''}"
            )
        rows = validate_data(self, as_array(X), ensure_all_finite=False)
        features = as_features(rows)
        labels = as_labels(y, len(features))
        known = read_semantics(semantics, class_names).sorted()
        if self.folder is not None:
            self._run(features, labels, known, Path(self.folder).expanduser())
        else:
            with tempfile.TemporaryDirectory() as folder:
                self._run(features, labels, known, Path(folder))
        self.classes_ = np.array(known.classes)
        seen = np.array([found.seen for found in self.predictor_.classes])
        self.seen_classes_, self.unseen_classes_ = self.classes_[seen], self.classes_[~seen]
        return self

    def _run(
        self,
        features: FloatArray,
        labels: npt.NDArray[Any],
        known: ClassSemantics,
        folder: Path,
    ) -> None:
        cfg = compose_run(
            self.method,
            self.settings,
            seed=self._seed(),
            folder=folder,
            progress=self.progress,
            figures=self.folder is not None,
        )
        config = parse(cfg)
        if config.takes == "images":
            raise refuse_images(self.method)
        name = cfg.dataset.name or "fit(X, y)"
        vectors, recipe = self._vectors(known, labels, cache_folder(cfg.paths.cache_dir))
        benchmark: FeatureBenchmark = make_benchmark(name, features, labels, known, vectors, recipe)
        # a run adds filters for the warnings of Lightning
        with quiet(not self.progress), warnings.catch_warnings():
            self.result_ = run(cfg, benchmark)
            assert self.result_.checkpoint is not None
            best = Path(self.result_.checkpoint)
            config = config.model_copy(update={"task": "predict", "ckpt": best})
            self.predictor_ = restore(config, result=self.result_)

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(_SEED_LIMIT))

    def _vectors(
        self, known: ClassSemantics, labels: npt.NDArray[Any], cache_dir: Path
    ) -> tuple[FloatArray, TextRecipe | None]:
        """The semantics of the classes, and how they were made of texts."""
        if known.texts is None:
            assert known.vectors is not None
            return known.vectors, None
        if prefix_of(self.text_encoder) in IMAGE_TEXT_PREFIXES:
            return self._tower_vectors(known.names, known.texts)
        encoders = ("minilm", "bert", "glove", "tfidf")
        if self.text_encoder not in encoders:
            near = nearest(self.text_encoder, encoders)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"text_encoder={self.text_encoder}: expected one of {', '.join(encoders)}, or an "
                f"image-text model, which begins with {' or '.join(IMAGE_TEXT_PREFIXES)}.{hint}"
            )
        seen = set(labels.tolist())
        texts = dict(zip(known.classes, known.texts, strict=True))
        fitted_on = [texts[label] for label in known.classes if label in seen]
        recipe = TextRecipe(
            encoder=self.text_encoder,
            model=None,
            max_tokens=_MAX_TOKENS,
            fitted_on=fitted_on if self.text_encoder == "tfidf" else [],
        )
        return embed_texts(known.texts, recipe, cache_dir, _TEXT_TERMS), recipe

    def _tower_vectors(
        self, names: Sequence[str], texts: Sequence[str]
    ) -> tuple[FloatArray, TextRecipe]:
        """The embeddings of prompts by the text tower of an image-text model."""
        lists = [(text,) for text in texts]
        templates = default_templates(names, lists)
        tower, recipe = build_text_tower(self.text_encoder, IMAGENET, templates, _TOWER_TERMS)
        return embed_classes(names, lists, templates, tower), recipe

    # ------------------------------------------------------------------------- prediction

    def predict(self, X: Any, classes: Any = None, among: Among | None = None) -> Any:
        """Predict the class of each sample.

        Args:
            X: As in :meth:`fit`.
            classes: New classes, described as those of ``fit``: a mapping or a DataFrame, or the
                file of a table.
            among: The classes to choose among, in place of the estimator's own ``among``.

        Returns:
            An array ``[N]`` of the type of ``y`` (of objects, if both numbers and strings are
            candidates); for a DataFrame a Series with its index.

        Raises:
            InputDataError: Samples or classes do not fit; a ValueError.
        """
        found, names = self._predictions(X, classes, among)
        by_name = dict(zip(found.names, names, strict=True))
        predicted = [by_name[name] for name in found.predicted]
        if is_frame(X):
            import pandas as pd

            return pd.Series(predicted, index=X.index)
        # an array of numbers and strings would turn the numbers into strings
        mixed = len({isinstance(name, str) for name in names}) > 1
        return np.array(predicted, dtype=np.object_ if mixed else None)

    def predict_scores(self, X: Any, classes: Any = None, among: Among | None = None) -> Any:
        """Score the candidate classes of each sample; higher is likelier.

        Args:
            X: As in :meth:`fit`.
            classes: As in :meth:`predict`.
            among: As in :meth:`predict`.

        Returns:
            float32 ``[N, K]``; for a DataFrame one with its index, and classes as columns. Columns
            are those of ``classes_`` (``among=unseen``: of ``unseen_classes_``), then the classes
            that were given.

        Raises:
            InputDataError: As :meth:`predict` does.
        """
        found, names = self._predictions(X, classes, among)
        if is_frame(X):
            import pandas as pd

            return pd.DataFrame(found.scores, index=X.index, columns=names)
        return found.scores

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Mean per-class top-1: the recall of each class of ``y``, averaged over these classes.

        Candidates are those of ``predict(X)``. For samples of unseen classes it is the conventional
        zero-shot accuracy with ``among=unseen`` and the generalised one with ``among=all``. With
        samples of seen classes too, it is the mean over all these classes, not the harmonic mean.

        Args:
            X: As in :meth:`fit`.
            y: The class of each sample.
            sample_weight: Weights of the samples within their class, ``[N]``.

        Returns:
            Between 0 and 1.

        Raises:
            InputDataError: A class of ``y`` is not among the candidates; a ValueError.
        """
        from sklearn.metrics import recall_score

        predicted = np.asarray(self.predict(X))
        labels = as_labels(y, len(predicted))
        candidates = self.unseen_classes_ if self.among == "unseen" else self.classes_
        present = np.unique(labels)
        strangers = np.setdiff1d(present, candidates).tolist()
        if strangers:
            raise InputDataError(
                f"y: found class {strangers[0]!r}, which is not among the {len(candidates)} "
                f"candidates (among={self.among or 'all'}); expected classes that can be "
                "predicted. Leave its samples out, or choose among=all."
            )
        return float(
            recall_score(
                labels,
                predicted,
                labels=present,
                average="macro",
                sample_weight=sample_weight,
                zero_division=0,
            )
        )

    # ------------------------------------------------------------------------- sharing

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write the fitted method for ``zsl_lab.load``; see :meth:`Predictor.save_pretrained`.

        What is loaded is the predictor, not the estimator: its classes are named by strings.
        """
        check_is_fitted(self, "predictor_")
        return self.predictor_.save_pretrained(folder)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the fitted method; see :meth:`Predictor.push_to_hub`."""
        check_is_fitted(self, "predictor_")
        return self.predictor_.push_to_hub(repo_id, **options)

    def export_onnx(
        self, path: str | os.PathLike[str], classes: Any = None, among: Among | None = None
    ) -> Path:
        """Export ``features -> scores`` to ONNX; see :meth:`Predictor.export_onnx`."""
        check_is_fitted(self, "predictor_")
        return self.predictor_.export_onnx(path, classes, among or self.among)

    def _predictions(
        self, X: Any, classes: Any, among: Among | None
    ) -> tuple[Predictions, list[Any]]:
        """Scores, and the candidates as the user names them."""
        check_is_fitted(self, "predictor_")
        rows = validate_data(self, as_array(X), reset=False, ensure_all_finite=False)
        features = as_features(rows)
        new: dict[str, Any] = {}
        if classes is not None and not isinstance(classes, str | os.PathLike):
            if not (isinstance(classes, Mapping) or is_frame(classes)):
                raise InputDataError(
                    f"classes: found a value of type {type(classes).__name__}; expected a mapping "
                    "from classes to vectors or texts, a pandas DataFrame with a row per class, or "
                    "the file of a table."
                )
            described = read_semantics(classes, origin="classes")
            new = dict(zip(described.names, described.classes, strict=True))
            classes = described.by_name()
        found = self.predictor_.predict(features, classes, among or self.among)
        known = {str(name): name for name in self.classes_.tolist()}
        names = [
            new.get(name, name) if kind == "new" else known[name]
            for name, kind in zip(found.names, found.kinds, strict=True)
        ]
        return found, names
