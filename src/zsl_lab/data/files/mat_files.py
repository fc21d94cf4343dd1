"""A benchmark as .mat files that other repositories read: ``<features>.mat``, ``att_splits.mat`` and, for ``sent``, ``sent_splits.mat``.

Numbers keep the type that ``scipy.io.loadmat`` gives them, and 1-based sample numbers and labels
the one they were published in. (In MATLAB the published sample numbers are ``double``, stored in 16
bits; those written here are ``uint16`` there too.)
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.io

from zsl_lab.data.benchmark import IntArray, Provenance
from zsl_lab.data.files.benchmark_file import BenchmarkFile
from zsl_lab.data.files.mat import field_names, integers, matrix, read_mat
from zsl_lab.data.public.sources import FEATURES, SENTENCES, SPLITS, split_version
from zsl_lab.errors import ConfigError, DataError, OutputError, nearest
from zsl_lab.files.atomic import atomic_write_all
from zsl_lab.files.hashing import sha256_file

Array = npt.NDArray[Any]
Fields = dict[str, Array]

_SPLITS, _SENTENCES = Path(SPLITS).stem, Path(SENTENCES).stem
_REQUIRED = ("trainval", "test_seen", "test_unseen")
_OPTIONAL = ("train", "val")
_REQUIRED_LOC, _OPTIONAL_LOC = (
    [f"{part}_loc" for part in parts] for parts in (_REQUIRED, _OPTIONAL)
)
_NAMES = "allclasses_names"
#: what MATLAB takes in one variable of such a file
_LIMIT = 2**31


def read(folder: Path, features: str | None = None) -> BenchmarkFile:
    """Read such a folder; fields that nobody knows are left out, with a warning.

    Args:
        folder: Holds the files.
        features: The feature file's name without ``.mat``; None takes ``res101``, or the only one
            there is.

    Raises:
        ConfigError: The feature file has to be named.
        DataError: A file is missing, damaged or inconsistent.
    """
    features_file = _features_file(folder, features)
    try:
        return _read(folder, features_file)
    except DataError as error:
        raise DataError(
            f"{error} Get an intact copy of the file (`python -m zsl_lab.data list` says where "
            "public ones come from), or name another folder."
        ) from error


def _read(folder: Path, features_file: Path) -> BenchmarkFile:
    splits_file, sentences_file = folder / SPLITS, folder / SENTENCES
    samples = _known(features_file, ["features", "labels"], ["image_files"])
    splits = _known(splits_file, ["att", *_REQUIRED_LOC], ["original_att", _NAMES, *_OPTIONAL_LOC])
    kept = {features_file.stem: samples, _SPLITS: splits}
    names = _texts(splits, _NAMES)
    semantics: dict[str, Array] = {
        kind: matrix(splits[kind], splits_file, kind).T
        for kind in ("att", "original_att")
        if kind in splits
    }
    index = _indices(splits, splits_file)
    sources = {part: (str(splits_file), f"{part}_loc") for part in (*_REQUIRED, *_OPTIONAL)}
    if sentences_file.is_file():
        kept[_SENTENCES] = sentences = _known(
            sentences_file, ["att"], [_NAMES, *_REQUIRED_LOC, *_OPTIONAL_LOC]
        )
        semantics["sent"] = _in_order_of(names, sentences, sentences_file, semantics["att"])
        found = _indices(sentences, sentences_file)
        if _lends_validation(found, index):
            index |= {part: found[part] for part in _OPTIONAL}
            sources |= {part: (str(sentences_file), f"{part}_loc") for part in _OPTIONAL}
        others = [
            f"{part}_loc"
            for part, ids in found.items()
            if part not in index or not np.array_equal(index[part], ids)
        ]
        if others:
            _warn_left_out(sentences_file, [f"{field} (not that of {SPLITS})" for field in others])
        kept[_SENTENCES] = {
            field: array for field, array in sentences.items() if field not in others
        }
    sources |= {
        "features": (str(features_file), "features"),
        "labels": (str(features_file), "labels"),
    }
    sources |= {
        "files": (str(features_file), "image_files"),
        "semantics": (str(splits_file), "att"),
    }
    sources |= {f"semantics/{kind}": (str(splits_file), kind) for kind in ("att", "original_att")}
    sources |= {"semantics/sent": (str(sentences_file), "att")}
    sources |= {
        "class names": (str(splits_file), _NAMES),
        "class_names": (str(splits_file), _NAMES),
    }
    name, splits_sha256 = folder.absolute().name, sha256_file(splits_file)
    content = BenchmarkFile(
        name=name,
        features=matrix(samples["features"], features_file, "features").T,
        labels=integers(samples["labels"], features_file, "labels") - 1,
        class_names=names,
        semantics=semantics,
        trainval=index["trainval"],
        test_seen=index["test_seen"],
        test_unseen=index["test_unseen"],
        train=index.get("train"),
        val=index.get("val"),
        files=_texts(samples, "image_files"),
        provenance=Provenance(
            # without the folders above: the same files make the same bytes, wherever they lie
            origin=f"{name}/{features_file.name}, {name}/{SPLITS}",
            splits_sha256=splits_sha256,
            features_sha256=sha256_file(features_file),
            splits_version=split_version(splits_sha256),
            sources=sources,
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


def write(
    content: BenchmarkFile, folder: Path, features: str | None = None, *, overwrite: bool = False
) -> list[Path]:
    """Write such a folder, as :func:`~zsl_lab.files.atomic.atomic_write_all` does: an error in writing one file leaves all as they were.

    Args:
        content: What to write; of what these files cannot hold, a warning tells.
        folder: Made if it doesn't exist.
        features: The feature file's name without ``.mat``; None takes the one that it was read
            from, or ``res101``.
        overwrite: Whether files that exist are replaced.

    Returns:
        The files.

    Raises:
        DataError: The content does not fit into such files.
        OutputError: A file exists, or cannot be written.
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
    """Whether a name without ``.mat`` can be a feature file's; who made an HDF5 file may have put any into it."""
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
    """The fields of a file; a warning names others that it has."""
    fields = read_mat(file, required, optional)
    strangers = field_names(file) - {*required, *optional}
    if strangers:
        _warn_left_out(file, sorted(strangers))
    return fields


def _lends_validation(found: Mapping[str, IntArray], index: Mapping[str, IntArray]) -> bool:
    """Whether ``sent_splits.mat`` says what is held out for tuning and ``att_splits.mat`` doesn't, of the same samples."""
    if set(_OPTIONAL) & set(index) or not {"trainval", *_OPTIONAL} <= set(found):
        return False
    return np.array_equal(np.sort(found["trainval"]), np.sort(index["trainval"]))


def _indices(fields: Mapping[str, Array], file: Path) -> dict[str, IntArray]:
    """0-based indices by part, of the parts that are there."""
    return {
        part: integers(fields[f"{part}_loc"], file, f"{part}_loc") - 1
        for part in (*_REQUIRED, *_OPTIONAL)
        if f"{part}_loc" in fields
    }


def _texts(fields: Mapping[str, Array], name: str) -> tuple[str, ...] | None:
    return tuple(map(str, fields[name].ravel(order="F"))) if name in fields else None


def _in_order_of(names: tuple[str, ...] | None, sentences: Fields, file: Path, att: Array) -> Array:
    """The rows of ``sent_splits.mat`` in the order of ``att_splits.mat``."""
    table, own = matrix(sentences["att"], file, "att").T, _texts(sentences, _NAMES)
    if len(table) != len(att):
        raise DataError(
            f"{file}: field 'att': found {len(table)} classes; expected {len(att)}, as in {SPLITS}."
        )
    if own is None or own == names:
        return table
    if names is None or sorted(own) != sorted(names) or len(set(own)) < len(own):
        raise DataError(
            f"{file}: field '{_NAMES}': found other class names than in {SPLITS}; expected the "
            "same names, in any order."
        )
    warnings.warn(f"{file}: its classes are put into the order of {SPLITS}.", stacklevel=3)
    row = {name: i for i, name in enumerate(own)}
    return table[[row[name] for name in names]]


def _of_samples(content: BenchmarkFile, published: str) -> Fields:
    """The fields of the feature file; ``published`` is what it was called."""
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
            # what only one of the published files had is put back there
            published_in = [name for name in files if field in content.mat.get(name, {})]
            if file in published_in or not published_in:
                files[file][field] = _column(index, content, file, field)
    _warn_of_losses(content, kind)
    return files


def _source(content: BenchmarkFile) -> str:
    """The file that the content was read from, for messages."""
    return content.provenance.sources.get("features", (content.provenance.origin,))[0]


def _parts(content: BenchmarkFile) -> dict[str, IntArray]:
    """The index of each part; for tuning in the published form, whichever form the content has."""
    parts = {
        part: index
        for part in (*_REQUIRED, *_OPTIONAL)
        if (index := getattr(content, part)) is not None
    }
    if content.validation_classes is not None and not set(_OPTIONAL) & set(parts):
        held_out = np.isin(content.labels[content.trainval], content.validation_classes)
        parts |= {"train": content.trainval[~held_out], "val": content.trainval[held_out]}
    return parts


def _column(index: IntArray, content: BenchmarkFile, file: str, field: str) -> Array:
    """1-based, ``[n, 1]``, of the published type where there is one."""
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
