"""A benchmark in the ``.mat`` files of Xian et al., which many repositories read.

A folder holds:

- ``<features>.mat``: ``features [D, N]``, ``labels [N, 1]``, ``image_files``;
- ``att_splits.mat``: ``att [Q, C]``, ``original_att``, ``allclasses_names``, and the sample numbers
  ``trainval_loc``, ``test_seen_loc``, ``test_unseen_loc``, ``train_loc`` and ``val_loc``, which
  count from 1. Where there are no such samples, ``test_seen_loc`` may be missing or empty, and
  ``test_unseen_loc`` empty;
- ``sent_splits.mat``, for the semantics ``sent``.

Reading and writing keeps the types of numbers that ``scipy.io.loadmat`` gives. (MATLAB itself loads
the published sample numbers as ``double``, since they are ``double`` stored in 16 bits; it loads
those written here as ``uint16``.)

A compressed ``.mat`` file (version 5) has checksums, which are verified. An uncompressed one has
none for its numbers, so that a wrong bit in them is not detected; ``convert`` writes an HDF5 file
with a checksum (:mod:`zsl_lab.data.files.benchmark_file`).
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.io

from zsl_lab.data.benchmark import PARTS, IntArray, Provenance
from zsl_lab.data.files.benchmark_file import BenchmarkFile
from zsl_lab.data.files.class_semantics import (
    KnownClasses,
    check_agreement,
    is_transposed,
    join,
    read_semantics_table,
)
from zsl_lab.data.files.mat import field_names, integers, matrix, read_mat, texts
from zsl_lab.data.public.sources import FEATURES, SENTENCES, SPLITS, split_version
from zsl_lab.data.splits import published_validation_classes, warn_of_one_part
from zsl_lab.errors import ConfigError, DataError, OutputError, nearest
from zsl_lab.files.atomic import atomic_write_all
from zsl_lab.files.hashing import sha256_file

Array = npt.NDArray[Any]
Fields = dict[str, Array]

_SPLITS, _SENTENCES = Path(SPLITS).stem, Path(SENTENCES).stem
_KINDS = ("att", "original_att")
_OPTIONAL = ("train", "val")
_PARTS_LOC, _OPTIONAL_LOC = ([f"{part}_loc" for part in parts] for parts in (PARTS, _OPTIONAL))
_NAMES = "allclasses_names"
_SPLIT_FIELDS = ("att", "original_att", _NAMES, *_PARTS_LOC, *_OPTIONAL_LOC)
#: bytes from which on a variable does not fit into a MATLAB 5 file
_LIMIT = 2**31


@dataclass(frozen=True, eq=False)
class Splits:
    """The content of an ``att_splits.mat``.

    Attributes:
        path: The file.
        fields: The fields that were read, as MATLAB stores them.
        parts: 0-based sample indices of ``trainval``, ``test_seen`` and ``test_unseen``, and of
            ``train`` and ``val`` where they are published.
        sources: File and field of each part, for error messages.
    """

    path: Path
    fields: Fields
    parts: dict[str, IntArray]
    sources: dict[str, tuple[str, str]]

    @property
    def num_classes(self) -> int:
        """Number of classes, C; the field ``att`` must have been read."""
        return int(matrix(self.fields["att"], self.path, "att").shape[1])

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the C classes in the order of ``att``; None where the file has none."""
        return _texts(self.fields, _NAMES, self.path)

    def semantics(self, field: str) -> Array:
        """Class semantics ``[C, Q]``: the field ``att`` or ``original_att``.

        Raises:
            DataError: If it is not a matrix, or is transposed.
        """
        table = matrix(self.fields[field], self.path, field).T
        names = self.class_names
        if names is not None and is_transposed(table, len(names)):
            raise DataError(
                f"{self.path}: field '{field}': found shape {list(table.T.shape)}, a transposed "
                f"table: {_NAMES} has {len(names)} names; expected a column for each class "
                "([attributes, classes]). Transpose it."
            )
        return table

    def check(self) -> None:
        """Check that ``att`` and ``original_att`` agree, if both were read.

        Raises:
            DataError: If they contradict each other.
        """
        tables = {
            kind: matrix(self.fields[kind], self.path, kind).T
            for kind in _KINDS
            if kind in self.fields
        }
        check_agreement(tables, self.class_names, self.path)

    def test_parts(self) -> dict[str, IntArray]:
        """The sample indices of ``trainval``, ``test_seen`` and ``test_unseen``."""
        return {part: self.parts[part] for part in PARTS}

    def validation_classes(self, labels: IntArray, class_names: Sequence[str]) -> IntArray | None:
        """The published validation classes; None where ``train`` or ``val`` is not published.

        Args:
            labels: 0-based class ids of all samples, int64 ``[N]``.
            class_names: Names of the C classes.
        """
        if not set(_OPTIONAL) <= self.parts.keys():
            warn_of_one_part(
                [self.sources[part] for part in _OPTIONAL],
                [part in self.parts for part in _OPTIONAL],
            )
            return None
        trainval, train, val = (self.parts[part] for part in ("trainval", *_OPTIONAL))
        fields = (self.sources[part] for part in _OPTIONAL)
        return published_validation_classes(labels, class_names, trainval, train, val, *fields)


def read_splits(path: Path, required: Sequence[str] = (), optional: Sequence[str] = ()) -> Splits:
    """Read a split file.

    Args:
        path: An ``att_splits.mat``. If it has neither ``train_loc`` nor ``val_loc`` (CUB's has
            none), these are taken from the ``sent_splits.mat`` in its folder, provided that this
            has the same ``trainval_loc``.
        required: Further fields to read, which must exist.
        optional: Further fields to read if they exist.

    Raises:
        DataError: If the file is missing, damaged or lacks a field.
    """
    fields = read_mat(
        path,
        [*required, "trainval_loc", "test_unseen_loc"],
        [*optional, "test_seen_loc", *_OPTIONAL_LOC],
    )
    if "test_seen_loc" not in fields:
        _check_misspelt(path, "test_seen_loc")
    parts = {"test_seen": np.zeros(0, dtype=np.int64), **_indices(fields, path)}
    sources = {part: (str(path), f"{part}_loc") for part in (*PARTS, *_OPTIONAL)}
    sentences = path.with_name(SENTENCES)
    if not set(_OPTIONAL) & parts.keys() and sentences.is_file():
        found = _indices(read_mat(sentences, [], ["trainval_loc", *_OPTIONAL_LOC]), sentences)
        if {"trainval", *_OPTIONAL} <= found.keys() and np.array_equal(
            np.sort(found["trainval"]), np.sort(parts["trainval"])
        ):
            parts |= {part: found[part] for part in _OPTIONAL}
            sources |= {part: (str(sentences), f"{part}_loc") for part in _OPTIONAL}
    return Splits(path, fields, parts, sources)


def _check_misspelt(path: Path, field: str) -> None:
    """Raise an error if the file has an unknown field whose name is similar to a missing one."""
    for near in nearest(field, field_names(path) - set(_SPLIT_FIELDS)):
        raise DataError(
            f"{path}: field '{field}' is missing; found '{near}', which is not read. Rename it to "
            f"'{field}', or remove it: without '{field}' the benchmark has no such samples."
        )


def read_semantics(path: Path, splits: Splits, sentences: Path | None = None) -> Array:
    """Class semantics ``[C, Q]`` from another file, in the order of the split file.

    Args:
        path: The file (:func:`zsl_lab.data.files.class_semantics.read_semantics_table`).
        splits: The split file; the table is compared with its tables.
        sentences: A ``sent_splits.mat``; the table is compared with its table too.

    Raises:
        DataError: If the file is missing or damaged, or has other classes or another order of
            classes than the split file.
    """
    tables = {kind: splits.semantics(kind) for kind in _KINDS if kind in splits.fields}
    if sentences is not None and sentences.is_file() and sentences != path:
        found = read_mat(sentences, [], ["att", _NAMES])
        names = _texts(found, _NAMES, sentences)
        if "att" in found and names in (None, splits.class_names):
            tables["sent"] = matrix(found["att"], sentences, "att").T
    known = KnownClasses(
        splits.path,
        splits.num_classes,
        splits.class_names,
        {kind: table for kind, table in tables.items() if len(table) == splits.num_classes},
    )
    return join(read_semantics_table(path), known)


def assemble(
    name: str, file: Path, samples: Fields, splits: Splits, semantics: Mapping[str, Array]
) -> BenchmarkFile:
    """Assemble a benchmark; :meth:`BenchmarkFile.check` checks its consistency.

    Args:
        name: The benchmark's name.
        file: The feature file, for error messages.
        samples: Its fields ``features``, ``labels`` and, optionally, ``image_files``.
        splits: The split file.
        semantics: Class semantics ``[C, Q]`` by kind.

    Raises:
        DataError: If features or labels are not numbers of the expected shape.
    """
    splits_file = str(splits.path)
    sources = {field: (str(file), field) for field in ("features", "labels")}
    sources |= {"files": (str(file), "image_files"), "semantics": (splits_file, "att")}
    sources |= {
        f"semantics/{kind}": (splits_file, kind)
        for kind in ("att", "original_att")
        if kind in semantics
    }
    sources |= dict.fromkeys(("class names", "class_names"), (splits_file, _NAMES))
    features = matrix(samples["features"], file, "features").T
    labels = integers(samples["labels"], file, "labels") - 1
    for table, count, path, field, columns in (
        (features, len(labels), file, "features", "samples ([dimensions, samples])"),
        (
            next(iter(semantics.values())),
            # with names Splits.semantics has checked the count; labels may lack classes
            splits.num_classes if splits.class_names else len(np.unique(labels)),
            splits.path,
            next(iter(semantics)),
            "classes ([attributes, classes])",
        ),
    ):
        if is_transposed(table, count):
            raise DataError(
                f"{path}: field '{field}': found shape {list(table.T.shape)}, a transposed table; "
                f"expected a column for each of the {count} {columns} of "
                f"{file}. Transpose it."
            )
    return BenchmarkFile(
        name=name,
        features=features,
        labels=labels,
        class_names=splits.class_names,
        semantics=semantics,
        trainval=splits.parts["trainval"],
        test_seen=splits.parts["test_seen"],
        test_unseen=splits.parts["test_unseen"],
        train=splits.parts.get("train"),
        val=splits.parts.get("val"),
        files=_texts(samples, "image_files", file),
        provenance=Provenance(origin=str(file.parent), sources=splits.sources | sources),
    )


def read(folder: Path, features: str | None = None) -> BenchmarkFile:
    """Read all files of a benchmark's folder; unknown fields are left out, with a warning.

    Args:
        folder: The folder.
        features: The feature file's name without ``.mat``; None takes ``res101``, or the only
            feature file.

    Raises:
        ConfigError: If there is no such feature file, or ``features`` is needed to choose one.
        DataError: If a file is missing, damaged or inconsistent.
    """
    features_file = _features_file(folder, features)
    try:
        return _read(folder, features_file)
    except DataError as error:
        raise DataError(
            f"{error} Correct the file, or get an intact copy of the file if it is a public one "
            "(`python -m zsl_lab.data list` says where they come from), or name another folder."
        ) from error


def _read(folder: Path, features_file: Path) -> BenchmarkFile:
    name, splits_file, sentences_file = folder.absolute().name, folder / SPLITS, folder / SENTENCES
    samples = _known(features_file, ["features", "labels"], ["image_files"])
    splits = read_splits(splits_file, ["att"], ["original_att", _NAMES])
    splits.check()
    _warn_of_strangers(splits_file, _SPLIT_FIELDS)
    kept = {features_file.stem: samples, _SPLITS: splits.fields}
    semantics: dict[str, Array] = {
        kind: splits.semantics(kind) for kind in ("att", "original_att") if kind in splits.fields
    }
    if sentences_file.is_file():
        semantics["sent"], kept[_SENTENCES] = _read_sentences(sentences_file, splits)
    content = assemble(name, features_file, samples, splits, semantics)
    splits_sha256 = sha256_file(splits_file)
    content = replace(
        content,
        provenance=Provenance(
            # without the path before: the result must not depend on where the files are
            origin=f"{name}/{features_file.name}, {name}/{SPLITS}",
            splits_sha256=splits_sha256,
            features_sha256=sha256_file(features_file),
            splits_version=split_version(splits_sha256),
            sources={
                **content.provenance.sources,
                "semantics/sent": (str(sentences_file), "att"),
            },
        ),
        mat={
            file: {
                field: "" if array.dtype.kind == "U" else array.dtype.name
                for field, array in fields.items()
            }
            for file, fields in kept.items()
        },
    )
    content.check()
    return content


def _read_sentences(path: Path, splits: Splits) -> tuple[Array, Fields]:
    """The table of ``sent_splits.mat``, and its fields that agree with ``att_splits.mat``."""
    fields = _known(path, ["att"], [_NAMES, *_PARTS_LOC, *_OPTIONAL_LOC])
    table = read_semantics(path, splits)
    if _texts(fields, _NAMES, path) not in (None, splits.class_names):
        warnings.warn(f"{path}: its classes are put into the order of {SPLITS}.", stacklevel=3)
    others = [
        f"{part}_loc"
        for part, ids in _indices(fields, path).items()
        if part not in splits.parts or not np.array_equal(splits.parts[part], ids)
    ]
    if others:
        _warn_left_out(path, [f"{field} (not that of {SPLITS})" for field in others])
    return table, {field: array for field, array in fields.items() if field not in others}


def write(
    content: BenchmarkFile, folder: Path, features: str | None = None, *, overwrite: bool = False
) -> list[Path]:
    """Write a benchmark's folder; if a file cannot be written, all remain as they were.

    Args:
        content: The content to write; a warning names parts that these files cannot hold.
        folder: The folder, made if it is missing.
        features: The feature file's name without ``.mat``; None takes that of the file that the
            content was read from, or ``res101``.
        overwrite: Whether existing files are replaced.

    Returns:
        The paths of the written files.

    Raises:
        DataError: If the content does not fit into such files.
        OutputError: If a file exists and ``overwrite`` is False, or cannot be written.
    """
    default = Path(FEATURES).stem
    published = next(
        (
            name
            for name, types in content.mat.items()
            if "features" in types and is_feature_file(name)
        ),
        default,
    )
    samples, classes = _of_samples(content, published), _of_classes(content)
    files = {features or published: samples, **classes}
    for name, fields in files.items():
        for field, array in fields.items():
            if array.nbytes >= _LIMIT:
                raise DataError(
                    f"{_source(content)}: field '{field}' of {name}.mat: found "
                    f"{array.nbytes / 2**30:.1f} GiB; expected less than 2 GiB, which is all that "
                    "a variable of a MATLAB 5 file holds. Keep the HDF5 file, which MATLAB's "
                    "h5read reads too, or store the features as float32."
                )
    paths = [folder / f"{name}.mat" for name in files]
    for path in paths:
        if path.exists() and not overwrite:
            raise OutputError(
                f"{path}: the file exists. Add --overwrite to replace it, or name another folder."
            )
    atomic_write_all(
        {
            path: partial(scipy.io.savemat, mdict=fields)
            for path, fields in zip(paths, files.values(), strict=True)
        }
    )
    return paths


def is_feature_file(name: str) -> bool:
    """Whether a name, without ``.mat``, is a valid name of a feature file.

    The name may come from an HDF5 file of unknown origin, so it must not lead out of the folder.
    """
    return (
        Path(name).name == name
        and name[:1] not in ("", ".")
        and "\0" not in name
        and name not in (_SPLITS, _SENTENCES)
    )


def _features_file(folder: Path, features: str | None) -> Path:
    found = sorted(
        path.stem for path in folder.glob("*.mat") if path.stem not in (_SPLITS, _SENTENCES)
    )
    if not (folder / SPLITS).is_file() or not found:
        missing = (
            f"{folder / SPLITS}: no such file"
            if found
            else f"{folder}: no feature file (<features>.mat) in this folder"
        )
        raise DataError(
            f"{missing}; expected the folder of a benchmark, with a feature file and {SPLITS}. "
            "Name that folder, or get one: `python -m zsl_lab.data list` says which there are and "
            "how."
        )
    default = Path(FEATURES).stem
    if features is None and (default in found or len(found) == 1):
        features = default if default in found else found[0]
    if features not in found:
        near = nearest(features, found) if features else []
        hint = f"Did you mean --features {near[0]}?" if near else "Choose one with --features."
        raise ConfigError(
            f"{folder}: found the feature files {', '.join(found)}; expected {features or default} "
            f"among them. {hint}"
        )
    return folder / f"{features}.mat"


def _known(file: Path, required: Sequence[str], optional: Sequence[str]) -> Fields:
    """The given fields of a file; a warning names its other fields."""
    fields = read_mat(file, required, optional)
    _warn_of_strangers(file, {*required, *optional})
    return fields


def _warn_of_strangers(file: Path, known: Collection[str]) -> None:
    strangers = field_names(file) - set(known)
    if strangers:
        _warn_left_out(file, sorted(strangers))


def _indices(fields: Mapping[str, Array], file: Path) -> dict[str, IntArray]:
    """0-based indices by part, for the parts that the file has."""
    return {
        part: integers(fields[f"{part}_loc"], file, f"{part}_loc") - 1
        for part in (*PARTS, *_OPTIONAL)
        if f"{part}_loc" in fields
    }


def _texts(fields: Mapping[str, Array], name: str, file: Path) -> tuple[str, ...] | None:
    return texts(fields[name], file, name) if name in fields else None


def _of_samples(content: BenchmarkFile, published: str) -> Fields:
    """The fields of the feature file; ``published`` is the name of the one that was read."""
    # MATLAB has no half precision
    features = (
        content.features.astype(np.float32)
        if content.features.dtype == np.float16
        else content.features
    )
    samples = {
        "features": features.T,
        "labels": _column(content.labels, content, published, "labels"),
    }
    return samples if content.files is None else samples | {"image_files": _cells(content.files)}


def _of_classes(content: BenchmarkFile) -> dict[str, Fields]:
    """The fields of ``att_splits.mat``, and of ``sent_splits.mat`` where there are sentences."""
    kind = content.default_kind
    if kind is None:
        raise DataError(
            f"{_source(content)}: semantics: found {', '.join(content.semantics)}; expected att, "
            "or only one kind: att_splits.mat holds one as 'att'. Name one of them att in the "
            "HDF5 file, or keep only one."
        )
    tables = {"att": content.semantics[kind].T}
    if "original_att" in content.semantics and kind != "original_att":
        tables["original_att"] = content.semantics["original_att"].T
    names = {} if content.class_names is None else {_NAMES: _cells(content.class_names)}
    files = {_SPLITS: tables | names}
    if "sent" in content.semantics and kind != "sent":
        files[_SENTENCES] = {"att": content.semantics["sent"].T, **names}
    for file in files:
        for part, index in _parts(content).items():
            field = f"{part}_loc"
            # a field that only one of the published files had is written to that file only
            published_in = [name for name in files if field in content.mat.get(name, {})]
            if file in published_in or not published_in:
                files[file][field] = _column(index, content, file, field)
    _warn_of_losses(content, kind)
    return files


def _source(content: BenchmarkFile) -> str:
    """The file that the content was read from, for messages."""
    return content.provenance.sources.get("features", (content.provenance.origin,))[0]


def _parts(content: BenchmarkFile) -> dict[str, IntArray]:
    """The sample indices of each part; validation classes are turned into ``train`` and ``val``."""
    parts = {
        part: index
        for part in (*PARTS, *_OPTIONAL)
        if (index := getattr(content, part)) is not None
    }
    if content.validation_classes is not None and not set(_OPTIONAL) & set(parts):
        held_out = np.isin(content.labels[content.trainval], content.validation_classes)
        parts |= {"train": content.trainval[~held_out], "val": content.trainval[held_out]}
    return parts


def _column(index: IntArray, content: BenchmarkFile, file: str, field: str) -> Array:
    """1-based numbers ``[n, 1]``, in the published type if known and large enough."""
    numbers = index[:, None] + 1
    kind = content.mat.get(file, {}).get(field, "")
    if (
        kind in np.sctypeDict
        and np.dtype(kind).kind in "iuf"
        and np.array_equal(numbers.astype(kind), numbers)
    ):
        return numbers.astype(kind)
    return numbers.astype(np.uint16 if numbers.size == 0 or numbers.max() < 2**16 else np.uint32)


def _cells(texts: tuple[str, ...]) -> Array:
    """A cell array of strings, ``[n, 1]``."""
    cells = np.empty((len(texts), 1), dtype=object)
    cells[:, 0] = texts
    return cells


def _warn_of_losses(content: BenchmarkFile, kind: str) -> None:
    lost = [name for name in ("descriptions",) if getattr(content, name) is not None]
    lost += ["recipe"] if content.recipe != type(content.recipe)() else []
    lost += [
        f"semantics/{name}"
        for name in content.semantics
        if name not in (kind, "original_att", "sent")
    ]
    if lost:
        warnings.warn(
            f".mat files of this form have no place for {', '.join(lost)}: left out.", stacklevel=3
        )


def _warn_left_out(file: Path, fields: list[str]) -> None:
    warnings.warn(
        f"{file}: fields that the layout does not know are left out: {', '.join(fields)}.",
        stacklevel=3,
    )
