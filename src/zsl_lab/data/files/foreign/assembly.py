"""Builds a benchmark from named fields: finds class ids, class semantics and the split."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from zsl_lab.data.benchmark import PARTS, IntArray, Provenance
from zsl_lab.data.checks.class_names import listed, match, near_name
from zsl_lab.data.files.benchmark_file import BenchmarkFile
from zsl_lab.data.files.class_semantics import KnownClasses, SemanticsTable, is_transposed, join
from zsl_lab.data.files.foreign.fields import (
    ALIASES,
    Array,
    Fields,
    feature_columns,
    find_roles,
    is_text,
    number_base,
    unused,
)
from zsl_lab.data.files.mat import integers, matrix, texts
from zsl_lab.data.files.tables import ClassTable, Part
from zsl_lab.data.recipe import Recipe
from zsl_lab.data.splits import hold_out
from zsl_lab.errors import ConfigError, DataError
from zsl_lab.files.hashing import sha256_arrays

#: share of a seen class's samples that are held out for testing, as in ``extract``
_TEST_SEEN_FRACTION = 0.2
#: values of a column that names the part of each sample, and the parts that they mean
_VALUES = {
    "trainval": "trainval",
    **dict.fromkeys(("train", "training", "seen", "train_seen"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("test_seen", "seen_test"), "test_seen"),
    **dict.fromkeys(("test_unseen", "unseen_test", "unseen"), "test_unseen"),
    **dict.fromkeys(("other", "unused", "none", ""), ""),
}


@dataclass(frozen=True, eq=False, kw_only=True)
class GivenSplit:
    """The parts of a split, as 0-based sample indices, int64.

    Attributes:
        trainval: Samples of the seen classes to train on.
        test_seen: Samples of the seen classes that are only tested on.
        test_unseen: Samples of the unseen classes.
        train: Part of ``trainval`` to train on in tuning, as published; None where none is.
        val: Part of ``trainval`` held out in tuning, as published; None where none is.
        validation_classes: Ids of the seen classes held out for tuning, or None.
        version: Name of the split in results.
    """

    trainval: IntArray
    test_seen: IntArray
    test_unseen: IntArray
    train: IntArray | None = None
    val: IntArray | None = None
    validation_classes: IntArray | None = None
    version: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Samples:
    """The samples and classes of a source (a file or folder).

    Attributes:
        path: The source.
        roles: The field of each role, for messages.
        name: The benchmark's name.
        features: ``[N, D]``.
        labels: 0-based class ids, int64 ``[N]``.
        class_names: Names of the C classes, or None.
        semantics: ``[C, Q]`` by kind.
        split: The split of the samples, or None.
        parts: The part of each class (seen, validation, unseen), if it is given; or None.
        parts_path: The file that gives ``parts``, or None.
        files: File names of the N images, or None.
        descriptions: Texts of the C classes, or None.
        recipe: How features and semantics were computed.
    """

    path: Path
    roles: Mapping[str, str]
    name: str
    features: Array
    labels: IntArray
    class_names: tuple[str, ...] | None
    semantics: Mapping[str, Array]
    split: GivenSplit | None = None
    parts: tuple[Part, ...] | None = None
    parts_path: Path | None = None
    files: tuple[str, ...] | None = None
    descriptions: tuple[str, ...] | None = None
    recipe: Recipe = field(default_factory=Recipe)

    @property
    def num_classes(self) -> int:
        """Number of classes, C."""
        return len(next(iter(self.semantics.values())))


def read_samples(
    fields: Fields,
    mapping: Mapping[str, str],
    classes: tuple[SemanticsTable | None, ClassTable | None] = (None, None),
    base: int | None = None,
) -> Samples:
    """Find samples and classes in the fields of a source.

    Args:
        fields: The fields.
        mapping: Fields by role, for fields whose role does not follow from their name.
        classes: Class semantics from another file, and that file's table of classes (names,
            descriptions, parts).
        base: Whether ids and indices count from 0 or 1, if their values allow both; None raises an
            error then.

    Raises:
        ConfigError: If the role of a field is ambiguous, or ``base`` has to be given.
        DataError: If features, labels or class semantics are missing or inconsistent.
    """
    roles = find_roles(fields, mapping)
    _warn_of_unused(fields, roles)
    reader = _Reader(fields, roles, base)
    features = reader.features()
    semantics = reader.semantics()
    table, known = classes
    names = reader.class_names(semantics, table, known)
    count = reader.count(names, semantics, table)
    labels, ids_base = reader.labels(names, count)
    if len(labels) != len(features):
        raise _misaligned(reader, features, len(labels))
    semantics = _with_table(fields, names, count, semantics, table)
    if not semantics:
        raise _without_semantics(fields, known)
    samples = Samples(
        path=fields.path,
        roles=roles,
        name=reader.text("name") or fields.path.absolute().stem,
        features=features,
        labels=labels,
        class_names=names,
        semantics=semantics,
        files=reader.names("files"),
        descriptions=reader.names("descriptions"),
        recipe=reader.recipe(),
    )
    samples = _with_classes(samples, known)
    split = reader.split(samples, ids_base)
    parts = reader.class_parts(samples, ids_base) if split is None else None
    if parts is not None:
        return replace(samples, parts=parts, parts_path=fields.path)
    return replace(samples, split=split)


def _warn_of_unused(fields: Fields, roles: Mapping[str, str]) -> None:
    others = [*unused(fields, roles), *(f"{n} ({what})" for n, what in fields.left_out.items())]
    if others:
        warnings.warn(
            f"{fields.path}: fields that are not used: {', '.join(others[:20])}"
            f"{f' and {len(others) - 20} more' if len(others) > 20 else ''}. --map ROLE=FIELD "
            "names one that is.",
            stacklevel=3,
        )


def split_by_class(
    samples: Samples, unseen: IntArray, validation: IntArray | None, version: str, seed: int
) -> GivenSplit:
    """Split the samples by unseen classes; a fifth of each seen class is held out for testing.

    Args:
        samples: The samples.
        unseen: Sorted ids of the unseen classes.
        validation: Ids of the seen classes held out for tuning, or None.
        version: Name of the split in results.
        seed: Draws the test samples of seen classes.

    Raises:
        DataError: If no class with samples is left to train on.
    """
    is_unseen = np.isin(samples.labels, unseen)
    if is_unseen.all():
        raise DataError(
            f"{samples.path}: found every class that has samples among the unseen ones; expected "
            "seen classes too, to train on. Take some out of the list of unseen classes."
        )
    trainval, test_seen = hold_out(
        np.flatnonzero(~is_unseen), samples.labels, _TEST_SEEN_FRACTION, np.random.default_rng(seed)
    )
    return GivenSplit(
        trainval=trainval,
        test_seen=test_seen,
        test_unseen=np.flatnonzero(is_unseen),
        validation_classes=validation,
        version=version,
    )


def assemble(samples: Samples, split: GivenSplit, sha256: str = "") -> BenchmarkFile:
    """Assemble the benchmark; :meth:`BenchmarkFile.check` checks its consistency.

    Args:
        samples: Samples and classes.
        split: The split.
        sha256: SHA-256 of the source file; if empty, that of features and labels is computed.
    """
    source = str(samples.path)
    sources = {role: (source, name) for role, name in samples.roles.items()}
    kind = next(iter(samples.semantics))
    sources |= {"semantics": sources.get(f"semantics/{kind}", (source, kind))}
    sources |= {"class names": sources.get("class_names", (source, "class_names"))}
    return BenchmarkFile(
        name=samples.name,
        features=samples.features,
        labels=samples.labels,
        class_names=samples.class_names,
        semantics=samples.semantics,
        trainval=split.trainval,
        test_seen=split.test_seen,
        test_unseen=split.test_unseen,
        train=split.train,
        val=split.val,
        validation_classes=split.validation_classes,
        files=samples.files,
        descriptions=samples.descriptions,
        recipe=samples.recipe,
        provenance=Provenance(
            origin=samples.path.name,
            splits_sha256=sha256_arrays(split.trainval, split.test_seen, split.test_unseen),
            features_sha256=sha256 or sha256_arrays(samples.features, samples.labels),
            splits_version=split.version or "unknown",
            sources=sources,
        ),
    )


@dataclass(frozen=True, eq=False)
class _Reader:
    """Reads fields by their roles."""

    fields: Fields
    roles: Mapping[str, str]
    base: int | None

    def get(self, role: str) -> Array | None:
        name = self.roles.get(role)
        return None if name is None else self.fields.values[name]

    def where(self, role: str) -> str:
        return self.fields.where(self.roles.get(role, role))

    def features(self) -> Array:
        found = self.get("features")
        if found is None:
            columns = feature_columns(self.fields, self.roles)
            return np.stack([self.fields.values[name] for name in columns], axis=1)
        return matrix(found, self.fields.path, self.roles["features"])

    def names(self, role: str) -> tuple[str, ...] | None:
        found = self.get(role)
        return None if found is None else texts(found, self.fields.path, self.roles[role])

    def text(self, role: str) -> str:
        found = self.get(role)
        return str(found.ravel()[0]) if found is not None and found.size == 1 else ""

    def recipe(self) -> Recipe:
        text = self.text("recipe")
        if not text:
            return Recipe()
        from pydantic import ValidationError

        try:
            return Recipe.model_validate_json(text)
        except ValidationError as error:
            raise DataError(
                f"{self.where('recipe')}: found {text[:40]!r}; expected the recipe as `convert` "
                "writes it. Take the field out."
            ) from error

    def semantics(self) -> dict[str, Array]:
        return {
            role.removeprefix("semantics/"): matrix(
                self.fields.values[name], self.fields.path, name
            )
            for role, name in self.roles.items()
            if role.startswith("semantics/")
        }

    def class_names(
        self,
        semantics: Mapping[str, Array],
        table: SemanticsTable | None,
        known: ClassTable | None,
    ) -> tuple[str, ...] | None:
        """Names in the order of ids: from a field, the rows of the other file, or the labels."""
        names = self.names("class_names")
        if names is None and self.roles["labels"] in self.fields.names_of:
            names = tuple(self.fields.names_of[self.roles["labels"]])
        if names is None and not semantics:
            names = table.names if table is not None else known.names if known is not None else None
        return names or self.names_of_labels(semantics)

    def names_of_labels(self, semantics: Mapping[str, Array]) -> tuple[str, ...] | None:
        """The labels themselves, sorted, if they are texts."""
        found = self.get("labels")
        assert found is not None
        if not is_text(found):
            return None
        names = tuple(sorted({str(label) for label in found.ravel()}))
        if semantics:
            raise DataError(
                f"{self.where('labels')}: found names of classes, and class semantics whose rows "
                "have no names; expected a name for each row. Add a field class_names with these "
                "names, or give --semantics FILE, a table with names (CSV with the column class)."
            )
        return names

    def count(
        self,
        names: Sequence[str] | None,
        semantics: Mapping[str, Array],
        table: SemanticsTable | None,
    ) -> int:
        """Number of classes C, from the names or the rows of semantics; checks that these agree."""
        counts = {len(found) for found in semantics.values()}
        if names is not None:
            for kind, found in semantics.items():
                if len(found) != len(names):
                    hint = " It is transposed." if is_transposed(found, len(names)) else ""
                    raise DataError(
                        f"{self.where(f'semantics/{kind}')}: found shape {list(found.shape)}; "
                        f"expected a row for each of the {len(names)} class names.{hint}"
                    )
            return len(names)
        if len(counts) > 1:
            raise DataError(
                f"{self.fields.path}: found class semantics of {sorted(counts)} classes; expected "
                "the same number of rows in each. Take one out."
            )
        if counts:
            return counts.pop()
        if table is not None:
            return len(table.rows)
        raise _without_semantics(self.fields, None)

    def labels(self, names: Sequence[str] | None, count: int) -> tuple[IntArray, int]:
        """0-based class ids, and the number (0 or 1) that they counted from in the field."""
        found = self.get("labels")
        assert found is not None
        if is_text(found):
            assert names is not None
            return self.ids_of_names("labels", found, names), 0
        ids = integers(found, self.fields.path, self.roles["labels"])
        # the ids of a ClassLabel (of Hugging Face's datasets) count from 0
        reader = replace(self, base=0) if self.roles["labels"] in self.fields.names_of else self
        return reader.counted("labels", ids, count, "classes")

    def counted(self, role: str, ids: IntArray, count: int, what: str) -> tuple[IntArray, int]:
        """0-based ids, and the number (0 or 1) that they counted from in the field."""
        low, high = (int(ids.min()), int(ids.max())) if len(ids) else (0, 0)
        if low < 0 or high > count or (low == 0 and high == count):
            raise DataError(
                f"{self.where(role)}: found numbers from {low} to {high}; expected 0 to "
                f"{count - 1} or 1 to {count}, as there are {count} {what}"
                f"{self.counted_by(role)}. Correct them, or name another field: --map {role}=FIELD"
            )
        base = number_base(ids, count)
        base = self.base if base is None else base
        if base is None:
            raise ConfigError(
                f"{self.where(role)}: found numbers from {low} to {high} for {count} {what}, which "
                "may count from 0 or from 1. Say which: --ids-from 0 or --ids-from 1."
            )
        return ids - base, base

    def counted_by(self, role: str) -> str:
        """The end of a message: the field of semantics that gives the number of classes, if any."""
        table = next((role for role in self.roles if role.startswith("semantics/")), None)
        if role != "labels" or table is None or "class_names" in self.roles:
            return ""
        shape = list(self.fields.values[self.roles[table]].shape)
        return f", the rows of field '{self.roles[table]}' of shape {shape}"

    def ids_of_names(self, role: str, found: Array, names: Sequence[str]) -> IntArray:
        """The ids of classes given by name."""
        labels = [str(label) for label in found.ravel()]
        own = list(dict.fromkeys(labels))
        known = {name: i for i, name in enumerate(names)}
        place = {name: known[name] for name in own if name in known}
        left = [name for name in own if name not in place]
        for class_id, row in match(left, names).row.items():
            place.setdefault(left[row], class_id)
        lacking = [name for name in own if name not in place]
        if lacking:
            near = near_name(lacking[0], names)
            hint = f" Did you mean '{near}'?" if near else ""
            raise DataError(
                f"{self.where(role)}: found {listed(lacking)} (first in row "
                f"{labels.index(lacking[0])}, 0-based), of which there are no class semantics; "
                f"expected names of the {len(names)} classes, such as '{names[0]}'.{hint}"
            )
        return np.array([place[name] for name in labels], dtype=np.int64)

    def classes(self, role: str, samples: Samples, base: int) -> IntArray | None:
        """Sorted 0-based ids of a field that lists classes; None if there is no such field."""
        found = self.get(role)
        if found is None:
            return None
        if is_text(found):
            names = samples.class_names or ()
            return np.unique(self.ids_of_names(role, found, names))
        ids = integers(found, self.fields.path, self.roles[role]) - base
        if len(ids) and (ids.min() < 0 or ids.max() >= samples.num_classes):
            raise DataError(
                f"{self.where(role)}: found class {ids.max() + base}; expected numbers from {base} "
                f"to {samples.num_classes - 1 + base}, which the labels have too."
            )
        return np.unique(ids)

    def split(self, samples: Samples, base: int) -> GivenSplit | None:
        """The source's split of samples; None if it has none."""
        validation = self.classes("validation_classes", samples, base)
        found = self._by_indices(samples.labels) or self._by_column(samples.labels)
        if found is None or validation is None:
            return found
        return replace(found, validation_classes=validation)

    def class_parts(self, samples: Samples, base: int) -> tuple[Part, ...] | None:
        """The part of each class (unseen, validation, seen); None without ``unseen_classes``."""
        unseen = self.classes("unseen_classes", samples, base)
        if unseen is None:
            return None
        validation = self.classes("validation_classes", samples, base)
        parts: list[Part] = ["seen"] * samples.num_classes
        for class_id in () if validation is None else validation:
            parts[class_id] = "validation"
        for class_id in unseen:
            parts[class_id] = "unseen"
        return tuple(parts)

    def _by_indices(self, labels: IntArray) -> GivenSplit | None:
        count = len(labels)
        roles = (*PARTS, "train", "val", "test")
        given = {role: array for role in roles if (array := self.get(role)) is not None}
        if not given.keys() & {"trainval", "train"}:
            return None
        if not given.keys() & {"test_unseen", "test"}:
            raise DataError(
                f"{self.fields.path}: found the samples of {', '.join(given)}; expected those of "
                "test_unseen too. Add them, or name the field: --map test_unseen=FIELD"
            )
        masks = {role: self.mask(role, given[role], count) for role in given}
        index = {role: np.flatnonzero(mask) for role, mask in masks.items() if mask is not None}
        listed_parts = {
            role: integers(array, self.fields.path, self.roles[role])
            for role, array in given.items()
            if role not in index
        }
        if listed_parts:
            role = next(iter(listed_parts))
            _, base = self.counted(
                role, np.concatenate(list(listed_parts.values())), count, "samples"
            )
            index |= {role: ids - base for role, ids in listed_parts.items()}
        if "trainval" not in index:
            joined = [index[role] for role in ("train", "val") if role in index]
            index["trainval"] = np.unique(np.concatenate(joined))
        if "test" in index:
            test = index.pop("test")
            trained = np.isin(labels[test], labels[index["trainval"]])
            index.setdefault("test_seen", test[trained])
            index.setdefault("test_unseen", test[~trained])
        index.setdefault("test_seen", np.zeros(0, dtype=np.int64))
        return GivenSplit(**index, version=f"given in {self.fields.path.name}")

    def mask(self, role: str, array: Array, count: int) -> Array | None:
        """Whether each sample is in a part, if the field is such a mask; None if it has indices."""
        # zeros and ones, one per sample, cannot be indices, which would be repeated
        numbers = array.dtype.kind in "iu" and array.size == count > 2 and array.max() <= 1
        if array.dtype.kind != "b" and not (numbers and array.min() >= 0):
            return None
        if array.size != count:
            raise DataError(
                f"{self.where(role)}: found {array.size} values; expected {count}, one for each "
                "sample, or the numbers of samples."
            )
        return array.ravel().astype(np.bool_)

    def _by_column(self, labels: IntArray) -> GivenSplit | None:
        found = self.get("split")
        if found is None:
            return None
        values = [str(value).strip().casefold().replace("-", "_") for value in found.ravel()]
        if len(values) != len(labels):
            raise DataError(
                f"{self.where('split')}: found {len(values)} values; expected {len(labels)}, one "
                "for each sample."
            )
        unknown = [value for value in dict.fromkeys(values) if value not in _VALUES]
        if unknown:
            raise DataError(
                f"{self.where('split')}: found '{unknown[0]}' (first in row "
                f"{values.index(unknown[0])}, 0-based); expected trainval, train, val, test, "
                "test_seen, test_unseen or nothing. Correct it, or choose unseen classes with "
                "--split or --unseen."
            )
        parts = np.array([_VALUES[value] for value in values])
        return _of_parts(parts, labels, f"given in {self.fields.path.name}")


def _of_parts(parts: Array, labels: IntArray, version: str) -> GivenSplit:
    """The split, from the part of each sample; ``test`` is divided into seen and unseen classes.

    ``train`` and ``val`` are kept as published if they have no class in common.
    """
    train, val = np.flatnonzero(parts == "train"), np.flatnonzero(parts == "val")
    trainval = np.flatnonzero(np.isin(parts, ["trainval", "train"]))
    of_val = np.unique(labels[val])
    apart = len(of_val) > 0 and not np.isin(labels[trainval], of_val).any()
    published = apart and len(train) == len(trainval)
    if len(val):
        trainval = np.sort(np.concatenate([trainval, val]))
    test = parts == "test"
    trained = np.isin(labels, labels[trainval])
    return GivenSplit(
        trainval=trainval,
        test_seen=np.flatnonzero((parts == "test_seen") | (test & trained)),
        test_unseen=np.flatnonzero((parts == "test_unseen") | (test & ~trained)),
        train=train if published else None,
        val=val if published else None,
        # not needed besides train and val
        validation_classes=of_val if apart and not published else None,
        version=version,
    )


def _with_table(
    fields: Fields,
    names: tuple[str, ...] | None,
    count: int,
    semantics: dict[str, Array],
    table: SemanticsTable | None,
) -> dict[str, Array]:
    """Class semantics, with those of another file added."""
    if table is None:
        return semantics
    joined = join(table, KnownClasses(fields.path, count, names, semantics))
    kind = "att" if "att" not in semantics else table.path.stem
    return {**semantics, kind: joined}


def _with_classes(samples: Samples, known: ClassTable | None) -> Samples:
    """The samples with descriptions and parts of classes from another file."""
    if known is None:
        return samples
    names = samples.class_names or known.names
    row = match(known.names, names).row
    complete = len(row) == len(names)
    attributes = list(known.attribute_names) if known.attributes is not None else []
    given = [name for name in known.attribute_names if not name.startswith("attribute ")]
    return replace(
        samples,
        descriptions=samples.descriptions
        or (
            tuple(known.descriptions[row[i]] for i in range(len(names)))
            if known.descriptions is not None and complete
            else None
        ),
        parts=(
            None
            if known.parts is None
            else tuple(known.parts[row[i]] if i in row else "" for i in range(len(names)))
        ),
        parts_path=None if known.parts is None else known.path,
        recipe=samples.recipe.model_copy(update={"attributes": attributes})
        if given and len(samples.semantics) == 1
        else samples.recipe,
    )


def _misaligned(reader: _Reader, features: Array, labels: int) -> DataError:
    where = reader.where("features")
    if is_transposed(features, labels):
        return DataError(
            f"{where}: found shape {list(features.shape)}, a transposed table; expected a row for "
            f"each of the {labels} labels. Transpose it."
        )
    name = reader.roles["labels"]
    return DataError(
        f"{where}: found {len(features)} rows, and {labels} values of '{name}'; expected one label "
        "for each row. One of the two may have been cut off: write it again, or name another "
        "field: --map labels=FIELD"
    )


def _without_semantics(fields: Fields, known: ClassTable | None) -> DataError:
    only = (
        f" {known.path} has descriptions only; convert encodes no texts. In Python, "
        "zsl_lab.ZeroShotClassifier.fit(X, y, semantics=texts) does."
        if known is not None and known.attributes is None
        else ""
    )
    return DataError(
        f"{fields.path}: found no class semantics, a matrix with a row for each class; expected a "
        f"field called {', '.join(ALIASES['semantics/att'][1:4])} or similar.{only} Say which it "
        "is: --map semantics=FIELD; or give a table of classes: --semantics FILE (CSV with the "
        "column class, JSON, .npy, .mat, or the folder of AwA2, CUB, SUN or aPY)."
    )


def describe_roles(samples: Samples) -> str:
    """The fields whose names differ from their roles, for a message; empty if there are none."""
    taken = [
        f"{role} from field '{name}'"
        for role, name in samples.roles.items()
        if name.removeprefix("split/") != role
    ]
    return ", ".join(taken)


def is_by_position(samples: Samples, fields: Fields) -> bool:
    """Whether ids are matched with the classes of another file by position only."""
    labels = samples.roles["labels"]
    return (
        samples.class_names is not None
        and "class_names" not in samples.roles
        and labels not in fields.names_of
        and not is_text(fields.values[labels])
    )
