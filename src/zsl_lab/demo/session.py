"""The logic of the page, without its interface: a table of classes, samples, and scores."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zsl_lab.data.batches.base import ClassSpace
from zsl_lab.data.benchmark import FloatArray
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.files.tables import read_class_table
from zsl_lab.errors import DataError, ZslLabError
from zsl_lab.predict.feature_files import open_features
from zsl_lab.predict.features import FeaturePredictor
from zsl_lab.predict.images import ImagePredictor
from zsl_lab.predict.predictor import Predictor

#: semantics of more dimensions than this are not shown in the table
MAX_COLUMNS = 64
#: test samples that are offered
_MOST_SAMPLES = 200
NAME, DESCRIPTION = "class", "description"


@dataclass(frozen=True)
class Score:
    """The score of a class; ``kind`` is ``seen``, ``unseen`` or ``new``."""

    name: str
    kind: str
    value: float


@dataclass(frozen=True)
class Answer:
    """Scores, highest first, and sentences about them."""

    scores: Sequence[Score]
    notes: Sequence[str] = ()


class Session:
    """A trained method with the table of classes that it is shown with.

    Args:
        predictor: The method.
        weights: The file of the weights of the network that extracts features; None for the one
            that the recipe names.
        data_dir: Folder of the benchmark, for test samples; None for that of the run's
            configuration.
    """

    def __init__(
        self, predictor: Predictor, weights: Path | None = None, data_dir: Path | None = None
    ) -> None:
        self.predictor = predictor
        self._weights = weights
        self._data_dir = data_dir
        # a predictor scores one set of classes at a time, and warnings are caught
        self._lock = threading.Lock()
        self._known = {row[0]: [str(cell) for cell in row[1:]] for row in self.rows()}

    # ------------------------------------------------------------------------------- inputs

    @property
    def takes_pictures(self) -> bool:
        """Whether the method takes images, or features that this package extracts from them."""
        predictor = self.predictor
        return isinstance(predictor, ImagePredictor) or (
            isinstance(predictor, FeaturePredictor) and predictor.recipe.images is not None
        )

    def samples(self) -> tuple[list[str], FloatArray]:
        """Labels and features of test samples, ``[n, D]``; none where the data cannot be read."""
        predictor = self.predictor
        nothing: tuple[list[str], FloatArray] = ([], np.zeros((0, 0), dtype=np.float32))
        if not isinstance(predictor, FeaturePredictor):
            return nothing
        config = predictor.config
        folder = self._data_dir or Path(config.paths.data_dir)
        paths = DataPaths(folder.expanduser(), config.paths.cache_folder)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                benchmark = config.dataset.load(paths)
        except ZslLabError:
            return nothing
        index = np.sort(np.concatenate([benchmark.test_unseen, benchmark.test_seen]))
        index = index[np.linspace(0, len(index) - 1, min(_MOST_SAMPLES, len(index))).astype(int)]
        if benchmark.features.shape[1] != predictor.feature_dim or not len(index):
            return nothing
        names = [benchmark.class_names[label] for label in benchmark.labels[index]]
        labels = [f"{row}: {name}" for row, name in zip(index, names, strict=True)]
        return labels, np.asarray(benchmark.features[index], dtype=np.float32)

    # ------------------------------------------------------------------------------- classes

    @property
    def headers(self) -> list[str]:
        """The heads of the table of classes."""
        predictor = self.predictor
        if isinstance(predictor, FeaturePredictor) and predictor.recipe.texts is None:
            width = predictor.semantic_dim if predictor.semantic_dim <= MAX_COLUMNS else 0
            names = predictor.attributes or [str(n) for n in range(predictor.semantic_dim)]
            return [NAME, *names[:width]]
        return [NAME, DESCRIPTION]

    def rows(self) -> list[list[Any]]:
        """The table of the classes that the method knows."""
        predictor = self.predictor
        names = [known.name for known in predictor.classes]
        if self.headers[1:] in ([], [DESCRIPTION]):
            # texts that semantics were made of are not stored
            texts = predictor.descriptions or [""] * len(names)
            return [
                [name, text][: len(self.headers)] for name, text in zip(names, texts, strict=True)
            ]
        assert isinstance(predictor, FeaturePredictor)
        values = np.round(predictor.semantics.astype(np.float64), 4).tolist()
        return [[name, *row] for name, row in zip(names, values, strict=True)]

    def with_table(self, rows: Sequence[Sequence[Any]], file: Path) -> list[list[Any]]:
        """The rows, and those of a table of classes in a file.

        Raises:
            DataError: The file is not a table of classes, or describes them in another way.
        """
        table = read_class_table(file)
        wanted = self.headers[1:]
        if wanted == [DESCRIPTION]:
            if table.descriptions is None:
                raise DataError(
                    f"{file.name}: found no column 'description'; expected a text each."
                )
            return [*map(list, rows), *map(list, zip(table.names, table.descriptions, strict=True))]
        if table.attributes is None or set(table.attribute_names) != set(wanted):
            raise DataError(
                f"{file.name}: found other columns than those of the table; expected "
                f"{', '.join([NAME, *wanted[:5]])}{', ...' if len(wanted) > 5 else ''}."
            )
        order = [list(table.attribute_names).index(name) for name in wanted]
        added = np.asarray(table.attributes)[:, order].tolist()
        return [*map(list, rows), *([n, *row] for n, row in zip(table.names, added, strict=True))]

    def _split(self, rows: Sequence[Sequence[Any]]) -> tuple[list[str], dict[str, list[str]]]:
        """The names of known classes that are unchanged, and the new ones with their cells."""
        kept: list[str] = []
        new: dict[str, list[str]] = {}
        for row in rows:
            cells = ["" if cell is None else str(cell).strip() for cell in row]
            name = cells[0]
            if not any(cells):
                continue
            if not name:
                raise DataError("The table has a row without a name. Name the class, or empty it.")
            if name in self._known and _equal(cells[1:], self._known[name]):
                kept.append(name)
                continue
            name = f"{name} (edited)" if name in self._known else name
            if name in new:
                raise DataError(f"The table has '{name}' twice. Give one of them another name.")
            new[name] = cells[1:]
        return list(dict.fromkeys(kept)), new

    def _described(self, new: dict[str, list[str]]) -> ClassSpace | None:
        if not new:
            return None
        predictor, names = self.predictor, list(new)
        if not self.headers[1:]:
            assert isinstance(predictor, FeaturePredictor)
            raise DataError(
                f"'{names[0]}': this method describes classes by {predictor.semantic_dim} numbers, "
                "too many for the table. Give new classes in Python (zsl_lab.load, "
                "predict(classes=...)), or leave the row out."
            )
        if self.headers[1:] == [DESCRIPTION]:
            texts = [cells[0] for cells in new.values()]
            empty = next((n for n, t in zip(names, texts, strict=True) if not t), None)
            if empty is not None:
                raise DataError(f"'{empty}' has no description. Write one, or leave the row out.")
            return predictor.classes_from_texts(tuple(names), texts, "table")
        return predictor.new_classes({n: _numbers(n, cells) for n, cells in new.items()})

    # ------------------------------------------------------------------------------- scores

    def score(self, sample: Any, rows: Sequence[Sequence[Any]]) -> Answer:
        """Score the classes of the table for a sample.

        Args:
            sample: The path of a picture, or a feature vector ``[D]``.
            rows: The table, as the user left it.

        Raises:
            ZslLabError: The picture or the table cannot be used.
        """
        predictor = self.predictor
        kept, new = self._split(rows)
        if len(kept) + len(new) < 2:
            raise DataError("The table has fewer than two classes. Add some to choose among.")
        with self._lock, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            candidates = predictor.candidates_among(self._described(new), "all")
            if isinstance(predictor, ImagePredictor):
                found = predictor.score_samples([sample], candidates)
            else:
                assert isinstance(predictor, FeaturePredictor)
                if isinstance(sample, Path):
                    features = predictor.extract([sample], self._weights)
                else:
                    features = predictor.check_samples(np.asarray(sample)[None], "sample")
                found = predictor.score_samples(features, candidates, "sample")
        shown = {*kept, *new}
        scores = [
            Score(name, kind, value)
            for name, kind, value in zip(
                found.names, found.kinds, found.scores[0].tolist(), strict=True
            )
            if name in shown
        ]
        notes = dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning))
        return Answer(sorted(scores, key=lambda score: -score.value), list(notes))

    def row_of(self, file: Path, number: int) -> FloatArray:
        """A feature vector ``[D]`` of a file.

        Args:
            file: A file of features, see :func:`zsl_lab.predict.feature_files.open_features`.
            number: Its row, from 0.

        Raises:
            DataError: The file holds no features of this dimension, or has no such row.
        """
        predictor = self.predictor
        assert isinstance(predictor, FeaturePredictor)
        with open_features(file, predictor.feature_dim) as found:
            rows = predictor.check_samples(found.rows, file.name)
            if not 0 <= number < len(rows):
                raise DataError(f"{file.name}: found {len(rows)} rows; there is no row {number}.")
            return np.asarray(rows[number], dtype=np.float32)


def _equal(cells: list[str], known: list[str]) -> bool:
    """Whether the cells of a row are those of a known class; numbers may be written otherwise."""
    if len(cells) != len(known):
        return False
    return all(
        one == two or _as_float(one) == _as_float(two)
        for one, two in zip(cells, known, strict=True)
    )


def _as_float(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def _numbers(name: str, cells: list[str]) -> FloatArray:
    found = [_as_float(cell) for cell in cells]
    wrong = next((cell for cell in found if isinstance(cell, str)), None)
    if wrong is not None:
        raise DataError(f"'{name}': found {wrong!r}; expected a number in every column.")
    return np.array(found, dtype=np.float32)
