"""The inputs of the estimator, as arrays: samples, labels and class semantics.

pandas is never imported here: its objects are recognised by what they can do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import FeatureBenchmark, FloatArray, IntArray, Provenance
from zsl_lab.data.recipe import Recipe, TextRecipe
from zsl_lab.errors import DataError
from zsl_lab.files.hashing import sha256_arrays

#: how many classes a message names
_SHOWN = 3
_EXPECTED = (
    "expected a mapping from classes to vectors or texts, a pandas DataFrame with a row per class, "
    "or an array [classes, dimensions] with class_names"
)


class InputDataError(DataError, ValueError):
    """Samples, labels or semantics that cannot be used; a ValueError, as in scikit-learn."""


@dataclass(frozen=True, eq=False)
class ClassSemantics:
    """The classes and what describes each.

    Attributes:
        classes: C classes as the user names them: all strings, or all numbers.
        vectors: A vector for each, float32 ``[C, Q]``; None where texts describe the classes.
        texts: A text for each; None where vectors do.
        attributes: Names of the dimensions; empty where they have none.
    """

    classes: tuple[Any, ...]
    vectors: FloatArray | None
    texts: tuple[str, ...] | None = None
    attributes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The classes as strings."""
        return tuple(map(str, self.classes))

    def sorted(self) -> ClassSemantics:
        """The same with the classes in ascending order."""
        order = sorted(range(len(self.classes)), key=self.classes.__getitem__)
        return ClassSemantics(
            tuple(self.classes[i] for i in order),
            None if self.vectors is None else self.vectors[order],
            None if self.texts is None else tuple(self.texts[i] for i in order),
            self.attributes,
        )

    def by_name(self) -> dict[str, Any]:
        """What describes each class, by its name."""
        described: Any = self.texts if self.vectors is None else self.vectors
        return dict(zip(self.names, described, strict=True))


def is_frame(value: Any) -> bool:
    """Whether a value is a pandas DataFrame."""
    return hasattr(value, "iloc") and hasattr(value, "columns")


def as_array(value: Any) -> Any:
    """A PyTorch tensor as a NumPy array; anything else is returned unchanged."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


# --------------------------------------------------------------------------- samples and labels


def as_features(X: Any, origin: str = "X") -> FloatArray:
    """Samples in single precision.

    Args:
        X: Numbers, ``[N, D]``.
        origin: The beginning of messages.

    Raises:
        InputDataError: A number is not finite in single precision.
    """
    with np.errstate(over="ignore"):
        features = np.ascontiguousarray(X, dtype=np.float32)
    _check_finite(features, np.asarray(X), lambda row: f"row {row}", origin)
    return features


def as_labels(y: Any, samples: int) -> npt.NDArray[Any]:
    """Labels as an array ``[N]``.

    Args:
        y: Classes, one for each sample.
        samples: N.

    Raises:
        InputDataError: There is not one label for each sample, or labels are of several types.
    """
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import column_or_1d

    if y is None:
        raise InputDataError(
            "y: found none. This estimator requires y to be passed, but the target y is None; "
            "expected the class of each sample. Give the labels."
        )
    labels: npt.NDArray[Any] = column_or_1d(as_array(y), warn=True)
    if len(labels) != samples:
        raise InputDataError(
            f"y: found {len(labels)} labels; expected one for each of the {samples} rows of X. "
            "Give X and y of the same samples."
        )
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        row = int(np.flatnonzero(~np.isfinite(labels))[0])
        raise InputDataError(
            f"y: found {labels[row]} in row {row} (0-based), neither a class nor finite (Input "
            "contains NaN or infinity); expected a class for each sample. Leave the row out."
        )
    if labels.dtype.kind == "O":
        _check_one_type("y", labels.tolist())
    check_classification_targets(labels)
    return labels


# --------------------------------------------------------------------------- class semantics


def read_semantics(
    semantics: Any, class_names: Sequence[Any] | None = None, origin: str = "semantics"
) -> ClassSemantics:
    """Read the semantics of classes.

    Args:
        semantics: A mapping from classes to vectors or texts; a pandas DataFrame whose index holds
            the classes; or an array ``[C, Q]``.
        class_names: The classes of an array's rows.
        origin: The beginning of messages.

    Raises:
        InputDataError: It is none of these, a number is not finite, or classes are of several types
            or named twice.
    """
    if semantics is None:
        raise InputDataError(
            f"{origin}: found none; {_EXPECTED}. It describes the classes of y and those without "
            "samples, which are to be recognised too."
        )
    if class_names is not None and (isinstance(semantics, Mapping) or is_frame(semantics)):
        raise InputDataError(
            f"class_names: {origin} names its classes itself. Leave class_names out, or give an "
            "array of the semantics."
        )
    if isinstance(semantics, Mapping):
        return _of_mapping(semantics, origin)
    if is_frame(semantics):
        columns = list(semantics.columns)
        named = all(isinstance(column, str) for column in columns)
        return _of_vectors(
            semantics.index.tolist(),
            semantics.to_numpy(),
            origin,
            tuple(columns) if named else (),
        )
    if isinstance(semantics, str):
        raise InputDataError(f"{origin}: found a string; {_EXPECTED}.")
    if class_names is None:
        raise InputDataError(
            f"class_names: found none; expected the class of each row of {origin}. Give "
            "class_names=[...], or a mapping from classes to vectors."
        )
    names = as_array(class_names)
    names = names.tolist() if hasattr(names, "tolist") else list(names)
    return _of_vectors(names, semantics, origin)


def _of_mapping(semantics: Mapping[Any, Any], origin: str) -> ClassSemantics:
    described = list(semantics.values())
    are_texts = [isinstance(value, str) for value in described]
    if not any(are_texts):
        try:
            rows = np.stack([np.asarray(as_array(value)) for value in described] or [np.zeros(0)])
        except ValueError as error:
            raise InputDataError(
                f"{origin}: found vectors of different lengths; expected vectors of one "
                "length for all classes. Give one length."
            ) from error
        return _of_vectors(list(semantics), rows, origin)
    if not all(are_texts):
        raise InputDataError(
            f"{origin}: found texts for some classes and vectors for others; expected one kind. "
            "Give texts only, or vectors only."
        )
    classes = _checked_classes(list(semantics), origin)
    empty = [name for name, text in zip(classes, described, strict=True) if not text.strip()]
    if empty:
        raise InputDataError(
            f"{origin}: found an empty text for class {empty[0]!r}; expected a description of "
            "every class. Write one, or leave the class out."
        )
    return ClassSemantics(classes, None, tuple(described))


def _of_vectors(
    names: list[Any], rows: Any, origin: str, attributes: tuple[str, ...] = ()
) -> ClassSemantics:
    table = np.asarray(as_array(rows))
    try:
        with np.errstate(over="ignore"):
            vectors = np.ascontiguousarray(table, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputDataError(f"{origin}: found {table.dtype} values; {_EXPECTED}.") from error
    if vectors.ndim != 2 or 0 in vectors.shape:
        raise InputDataError(f"{origin}: found an array of shape {list(table.shape)}; {_EXPECTED}.")
    if len(names) != len(vectors):
        raise InputDataError(
            f"class_names: found {len(names)} classes for {len(vectors)} rows of {origin}; "
            "expected one for each row. Give as many."
        )
    classes = _checked_classes(names, origin)
    _check_finite(vectors, table, lambda row: f"row {row} (class {classes[row]!r})", origin)
    return ClassSemantics(classes, vectors, None, attributes)


def _checked_classes(names: Sequence[Any], origin: str) -> tuple[Any, ...]:
    classes = tuple(name.item() if isinstance(name, np.generic) else name for name in names)
    _check_one_type(origin, classes)
    twice = next((name for i, name in enumerate(classes) if name in classes[:i]), None)
    if twice is not None:
        raise InputDataError(
            f"{origin}: found class {twice!r} more than once; expected each class once. Leave one "
            "of them out, or name it otherwise."
        )
    if any(isinstance(name, str) and not name.strip() for name in classes):
        raise InputDataError(f"{origin}: found an empty name of a class. Give it a name.")
    return classes


def _check_one_type(origin: str, classes: Sequence[Any]) -> None:
    if all(isinstance(c, str) for c in classes) or all(isinstance(c, Real) for c in classes):
        return
    types = sorted({type(name).__name__ for name in classes})
    raise InputDataError(
        f"{origin}: found classes of type {', '.join(types)}; expected strings only, or numbers "
        "only. Unknown label type: convert them to one type."
    )


def _check_finite(
    found: FloatArray, given: npt.NDArray[Any], row_name: Callable[[int], str], origin: str
) -> None:
    if np.isfinite(found).all():
        return
    row, column = (int(place) for place in np.argwhere(~np.isfinite(found))[0])
    raise InputDataError(
        f"{origin}: found {given[row, column]} in {row_name(row)}, column {column} (0-based); "
        "expected numbers that are finite in single precision (no NaN, no infinity). Correct "
        "these rows, or leave them out."
    )


# --------------------------------------------------------------------------- the benchmark


def make_benchmark(
    name: str,
    features: FloatArray,
    labels: npt.NDArray[Any],
    known: ClassSemantics,
    vectors: FloatArray,
    texts: TextRecipe | None,
) -> FeatureBenchmark:
    """Make a benchmark in which all samples are for training and other classes are unseen.

    Args:
        name: Its name.
        features: ``[N, D]``.
        labels: The class of each sample, ``[N]``.
        known: All classes.
        vectors: Their semantics, ``[C, Q]``.
        texts: How the semantics were made of texts; None if they were given as vectors.

    Raises:
        InputDataError: A class of ``labels`` has no semantics, fewer than 2 classes have samples,
            or all have.
    """
    found, positions = np.unique(labels, return_inverse=True)
    place = {label: i for i, label in enumerate(known.classes)}
    missing = [label for label in found.tolist() if label not in place]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise InputDataError(
            f"semantics: found none for {', '.join(map(repr, missing[:_SHOWN]))}{more}, "
            f"{'classes' if len(missing) > 1 else 'a class'} of y; expected a description of every "
            "class. Add it, spelled and typed as in y, or leave its samples out."
        )
    _check_counts(len(found), len(known.classes))
    ids: IntArray = np.array([place[label] for label in found.tolist()], dtype=np.int64)[positions]
    everything, none = np.arange(len(features)), np.zeros(0, dtype=np.int64)
    return FeatureBenchmark(
        name=name,
        features=features,
        labels=ids,
        semantics=vectors,
        class_names=known.names,
        trainval=everything,
        test_seen=none,
        test_unseen=none,
        provenance=Provenance(
            origin=name,
            splits_sha256=sha256_arrays(ids),
            features_sha256=sha256_arrays(features),
            sources={"features": ("X", "features"), "semantics": ("semantics", "vectors")},
        ),
        recipe=Recipe(texts=texts, attributes=list(known.attributes)),
    )


def _check_counts(seen: int, classes: int) -> None:
    if seen < 2:
        raise InputDataError(
            f"y: found {seen} class; expected samples of at least 2 classes, to learn from. Add "
            "samples of other classes."
        )
    if seen == classes:
        raise InputDataError(
            f"semantics: found the {classes} classes of y and no other; expected at least one "
            "class without samples, to be recognised by its semantics alone. Add it to semantics, "
            "or leave the samples of a class out of X and y (a search over samples of all classes: "
            "refit=False). With samples of every class, an ordinary classifier is the better "
            "choice."
        )
