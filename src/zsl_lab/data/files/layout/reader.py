"""Reads fields of a benchmark file of unknown origin; each is checked before it is read."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np

from zsl_lab.data.benchmark import PARTS, IntArray, Provenance
from zsl_lab.data.files.class_semantics import is_transposed
from zsl_lab.data.files.layout.content import PUBLISHED_PARTS, failure
from zsl_lab.data.files.layout.seal import FORMAT, FORMAT_VERSION, check_version
from zsl_lab.data.recipe import Recipe
from zsl_lab.data.storage.arrays import Array
from zsl_lab.data.storage.files import FileSource, Part, npy_part
from zsl_lab.data.storage.source import (
    PASS_BYTES,
    rows_in,
)
from zsl_lab.errors import DataError, DataWarning, nearest
from zsl_lab.files.hashing import sha256_file
from zsl_lab.files.hdf5 import (
    check_dataset,
    check_inside,
    member,
    names_in,
    open_hdf5,
    read_texts,
)
from zsl_lab.files.memory import check_size, out_of_memory
from zsl_lab.files.rows import LARGE

#: maximum number of kinds of semantics, and of fields whose names are examined
_MAX_NAMES = 1000
#: fields of ``split`` that are sample indices
INDICES = (*PARTS, *PUBLISHED_PARTS)
_KNOWN = {
    "features",
    "feature_files",
    "feature_files_sha256",
    "labels",
    "class_names",
    "semantics",
    "split",
    "files",
    "descriptions",
    "recipe",
}
_KNOWN_IN_SPLIT = {*INDICES, "validation_classes"}


@contextmanager
def opened(path: Path, *, trusted: bool) -> Iterator[Any]:
    """Open a file; within the context, errors that HDF5 raises on damaged files are converted.

    Raises:
        DataError: If the file is damaged, truncated or not an HDF5 file.
    """
    try:
        with open_hdf5(path, trusted=trusted) as file:
            yield file
    except DataError:
        raise
    except MemoryError as error:
        raise out_of_memory(str(path)) from error
    # damaged bytes surface as almost any exception
    except Exception as error:
        brief = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise DataError(
            f"{path}: found a damaged or truncated file, or one that is not HDF5 ({brief}); "
            "expected a benchmark."
        ) from error


def read_fields(reader: Reader, *, lean: bool) -> dict[str, Any]:
    """Read all fields but the features; with ``lean``, not the descriptions either."""
    reader.check_format()
    reader.refuse_misspelt()
    if not lean:
        reader.warn_of_strangers()
    reader.shape()  # features are read last, and checked first
    kinds = reader.kinds()
    semantics = {kind: reader.numbers(f"semantics/{kind}", 2) for kind in kinds}
    num_classes = len(semantics[kinds[0]])
    labels = reader.integers("labels", 0, num_classes)
    index = {"trainval": reader.integers("split/trainval", 0, len(labels))}
    index |= {name: reader.test_part(name, len(labels)) for name in ("test_seen", "test_unseen")}
    index |= {
        name: reader.integers(f"split/{name}", 0, len(labels))
        for name in PUBLISHED_PARTS
        if reader.find(f"split/{name}") is not None
    }
    if reader.find("split/validation_classes") is not None:
        index["validation_classes"] = reader.integers("split/validation_classes", 0, num_classes)
    names = reader.texts("class_names")
    if names is not None and len(names) != num_classes:
        if is_transposed(semantics[kinds[0]], len(names)):
            reader.fail(
                f"semantics/{kinds[0]}",
                f"shape {list(semantics[kinds[0]].shape)}, a transposed table",
                f"[classes, attributes], a row for each of the {len(names)} class names; "
                "transpose it",
            )
        reader.fail(
            "class_names",
            f"{len(names)} names",
            f"{num_classes}, one for each row of the semantics",
        )
    sources = {name: (str(reader.path), f"split/{name}") for name in _KNOWN_IN_SPLIT}
    sources |= {name: (str(reader.path), name) for name in _KNOWN} | {
        "class names": (str(reader.path), "class_names")
    }
    sources |= {f"semantics/{kind}": (str(reader.path), f"semantics/{kind}") for kind in kinds}
    sources |= {
        "validation classes": sources["validation_classes"],
        "semantics": sources[f"semantics/{kinds[0]}"],
    }
    return {
        "name": reader.attribute("name", required=True),
        "labels": labels,
        "class_names": names,
        "semantics": semantics,
        "files": reader.texts("files"),
        "descriptions": None if lean else reader.texts("descriptions"),
        "recipe": reader.recipe(),
        "provenance": Provenance(
            origin=reader.attribute("origin") or str(reader.path),
            splits_sha256=reader.attribute("splits_sha256"),
            features_sha256=reader.attribute("features_sha256"),
            splits_version=reader.attribute("splits_version") or "unknown",
            sources=sources,
        ),
        "notes": reader.notes(),
        "mat": reader.mat(),
        **index,
    }


@dataclass(frozen=True)
class Reader:
    """Fields of an open, untrusted file: links are not followed, and every field is checked."""

    path: Path
    file: Any

    def fail(self, name: str, found: str, expected: str) -> NoReturn:
        """Raise the error about a field that cannot be used."""
        raise failure(str(self.path), name, found, expected)

    def missing(self, name: str, parent: Any) -> NoReturn:
        """Raise the error about a missing field."""
        raise DataError(
            f"{self.path}: field '{name}' is missing; found {names_in(parent)}; expected the "
            f"layout of format version {FORMAT_VERSION}."
        )

    def check_format(self) -> None:
        """Check format and format version."""
        found = self.attribute("format")
        if found != FORMAT:
            shown = (
                f"'{found}'"
                if found
                else f"no such attribute, in a file with {names_in(self.file)}"
            )
            self.fail("format", shown, f"an attribute '{FORMAT}'")
        version = self.file.attrs.get("format_version")
        if not isinstance(version, int | np.integer):
            self.fail(
                "format_version",
                "no such attribute" if version is None else repr(version),
                f"an attribute {FORMAT_VERSION}, a number",
            )
        check_version(self.path, int(version))

    def refuse_misspelt(self) -> None:
        """Raise an error if the name of an unknown field is similar to that of a missing one."""
        split = self.group("split")
        for group, known, prefix in ((self.file, _KNOWN, ""), (split, _KNOWN_IN_SPLIT, "split/")):
            there = list(islice(group, _MAX_NAMES))
            strangers = [name for name in there if name not in known]
            absent = known.difference(there)
            if "features" in there:
                absent -= {"feature_files", "feature_files_sha256"}
            for name in sorted(absent) if strangers else ():
                for near in nearest(name, strangers):
                    self.fail(
                        f"{prefix}{near}",
                        "a field that is not read",
                        f"'{prefix}{name}'; rename it, or remove it if it is something else",
                    )

    def warn_of_strangers(self) -> None:
        """Warn of fields that are not in the layout."""
        strangers = [name for name in islice(self.file, _MAX_NAMES) if name not in _KNOWN]
        strangers += [
            f"split/{name}"
            for name in islice(self.group("split"), _MAX_NAMES)
            if name not in _KNOWN_IN_SPLIT
        ]
        if strangers:
            warnings.warn(
                f"{self.path}: fields that the layout does not know are left out: "
                f"{', '.join(strangers)}.",
                stacklevel=3,
            )

    def attribute(self, name: str, *, required: bool = False) -> str:
        """The text of an attribute; empty where it is absent."""
        if name in self.file.attrs and self.file.attrs.get_id(name).shape not in ((), (1,)):
            self.fail(name, "an attribute of several values", "an attribute that is a text")
        value = self.file.attrs.get(name)
        if isinstance(value, bytes):
            value = value.decode()
        if value is not None and not isinstance(value, str):
            self.fail(name, f"an attribute {value}", "an attribute that is a text")
        if required and not value:
            self.fail(name, "no such attribute", "an attribute that is a text")
        return value or ""

    def json(self, name: str, text: str) -> dict[str, Any]:
        """Parse the JSON object in the field ``name``."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            self.fail(name, f"{text[:40]!r}", "a JSON object")
        return value

    def mat(self) -> dict[str, dict[str, str]]:
        """Numeric types in published .mat files, by file and field."""
        text = self.attribute("mat")
        value = self.json("mat", text) if text else {}
        for types in value.values():
            if not isinstance(types, dict) or not all(
                isinstance(kind, str) for kind in types.values()
            ):
                self.fail("mat", f"{text[:40]!r}", "types by file and field")
        return value

    def notes(self) -> tuple[DataWarning, ...]:
        """Warnings given when the numbers were read from other files."""
        text = self.attribute("notes")
        try:
            value: Any = json.loads(text) if text else []
        except (ValueError, RecursionError):
            value = None
        notes: list[Any] = value if isinstance(value, list) else [None]
        if not all(
            isinstance(note, list) and len(note) == 3 and all(isinstance(t, str) for t in note)
            for note in notes
        ):
            self.fail("notes", f"{text[:40]!r}", "a JSON list of texts, codes and levels")
        return tuple(DataWarning(*note) for note in notes)

    def recipe(self) -> Recipe:
        """How features and semantics were computed."""
        text = self.texts("recipe")
        return Recipe.from_plain(self.json("recipe", text[0]), str(self.path)) if text else Recipe()

    def find(self, name: str) -> Any:
        """A dataset; None where it is absent."""
        parent, _, last = name.rpartition("/")
        group = self.group(parent) if parent else self.file
        found = self.member(group, last, name)
        if found is None:
            return None
        if not isinstance(found, h5py.Dataset):
            self.fail(name, f"a {type(found).__name__.lower()}", "a dataset")
        check_inside(found, self._where(name))
        return found

    def group(self, name: str) -> Any:
        """A group of datasets."""
        found = self.member(self.file, name, name)
        if found is None:
            self.missing(name, self.file)
        if not isinstance(found, h5py.Group):
            self.fail(name, "a dataset", "a group of datasets")
        return found

    def member(self, group: Any, name: str, full_name: str) -> Any:
        """A group or dataset of a group; None where it is absent."""
        return member(group, name, self._where(full_name))

    def _where(self, name: str) -> str:
        return f"{self.path}: field '{name}'"

    def kinds(self) -> list[str]:
        """The kinds of semantics."""
        group = self.group("semantics")
        if not 0 < len(group) <= _MAX_NAMES:
            found = f"{len(group):,} datasets" if len(group) else "an empty group"
            self.fail(
                "semantics",
                found,
                f"at least one dataset, such as semantics/att, and at most {_MAX_NAMES:,}",
            )
        return list(group)

    def dataset(self, name: str) -> Any:
        """A dataset, which must exist."""
        found = self.find(name)
        if found is None:
            parent = name.rpartition("/")[0]
            self.missing(name, self.group(parent) if parent else self.file)
        return found

    def numbers(
        self, name: str, dimensions: int, dtype: type[np.float32] | None = None, kinds: str = "iuf"
    ) -> Array:
        """A table as ``dtype``, or as stored; a large one that needs no conversion is mapped."""
        dataset = self.table(name, dimensions, kinds)
        wanted = np.dtype(dtype or dataset.dtype.newbyteorder("="))
        mapped = dtype is None and _is_mappable(dataset)
        check_dataset(dataset, self._where(name), itemsize=0 if mapped else wanted.itemsize)
        if mapped:
            start = dataset.id.get_offset()
            return np.memmap(self.path, wanted, "r", offset=start, shape=dataset.shape)
        array = np.empty(dataset.shape, dtype=wanted)
        if array.size:
            dataset.read_direct(array)
        return array

    def table(self, name: str, dimensions: int, kinds: str = "iuf") -> Any:
        """A dataset, not read yet, whose number of dimensions and kind of type were checked."""
        dataset = self.dataset(name)
        if dataset.shape is None:
            self.fail(name, "a dataset that nothing was written to", "its numbers")
        if dataset.dtype.kind not in kinds or dataset.dtype.itemsize > 8:
            self.fail(
                name,
                f"type {dataset.dtype}",
                "integers" if "f" not in kinds else "numbers of at most 64 bits",
            )
        if len(dataset.shape) != dimensions or (dimensions == 2 and 0 in dataset.shape):
            expected = "one dimension" if dimensions == 1 else "two dimensions, neither of them 0"
            self.fail(name, f"shape {list(dataset.shape)}", expected)
        return dataset

    def shards(self) -> list[Part]:
        """The files of features, checked, in their order; empty if this file has ``features``."""
        names = None if self.find("features") is not None else self.texts("feature_files")
        if not names:
            return []
        for name in names:
            if Path(name).name != name:
                self.fail("feature_files", f"{name!r:.100}", "names of files in the same folder")
        parts = [npy_part(self.path.with_name(name)) for name in names]
        for part in parts:
            if (part.columns, part.dtype) != (parts[0].columns, parts[0].dtype):
                self.fail(
                    "feature_files",
                    f"{part.columns} columns of {part.dtype} in {part.path.name}",
                    f"{parts[0].columns} columns of {parts[0].dtype}, as in {parts[0].path.name}",
                )
        return parts

    def shape(self) -> tuple[int, int]:
        """The shape ``(N, D)`` of the features."""
        parts = self.shards()
        if parts:
            return sum(part.rows for part in parts), parts[0].columns
        samples, dimensions = self.table("features", 2).shape
        return samples, dimensions

    def stored(self) -> FileSource:
        """The features as a source that reads them from disk; hashes of shards are verified."""
        parts = self.shards()
        if not parts:
            return FileSource([self.part("features")])
        hashes = self.texts("feature_files_sha256") or ()
        if hashes and len(hashes) != len(parts):
            self.fail("feature_files_sha256", f"{len(hashes)} hashes", f"{len(parts)}")
        for part, expected in zip(parts, hashes, strict=False):
            if sha256_file(part.path) != expected:
                raise DataError(
                    f"{part.path}: found other content than {self.path} was written with: the file "
                    "is damaged, or belongs to another benchmark; expected the SHA-256 "
                    f"{expected[:12]}. Get the file that belongs to it."
                )
        return FileSource(parts)

    def features(self, dtype: type[np.float32] | None) -> Array:
        """All features in memory, as ``dtype`` or as they are stored."""
        if not self.shards():
            return self.numbers("features", 2, dtype)
        source = self.stored()
        rows, columns = source.shape
        wanted = np.dtype(dtype or source.dtype.newbyteorder("="))
        size = rows * columns * source.dtype.itemsize
        needed = rows * columns * wanted.itemsize
        check_size(size, size, self._where("feature_files"), needed=needed)
        array = np.empty((rows, columns), dtype=wanted)
        step = rows_in(source, PASS_BYTES)
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            array[start:stop] = source.read(start, stop)
        return array

    def part(self, name: str) -> Part:
        """The position in the file of a table that is stored in C order without compression."""
        dataset = self.table(name, 2)
        check_dataset(dataset, self._where(name), itemsize=0)
        if dataset.chunks is not None:
            self.fail(
                name,
                "a table in chunks",
                "a contiguous one, which can be read in blocks from disk; `python -m zsl_lab.data "
                "convert` makes a file with one, and dataset.storage=memory reads this one",
            )
        return Part(self.path, dataset.id.get_offset(), dataset.dtype, *map(int, dataset.shape))

    def integers(self, name: str, low: int, end: int) -> IntArray:
        """Ids or indices from ``low`` to below ``end``."""
        array = self.numbers(name, 1, kinds="iu")
        # compared before the cast to int64, which could wrap around
        wrong = array[(array < low) | (array >= end)]
        if len(wrong):
            self.fail(
                name,
                f"{wrong[0]}",
                f"numbers from {low} to {end - 1}: ids and indices count from 0",
            )
        return array.astype(np.int64)

    def test_part(self, name: str, num_samples: int) -> IntArray:
        """Sample indices of a test part, which may be empty; ``test_seen`` may also be absent."""
        found = self.find(f"split/{name}")
        if found is None:
            if name != "test_seen":
                self.missing(f"split/{name}", self.group("split"))
            return np.zeros(0, dtype=np.int64)
        # h5py stores an empty list as floating point, or without a shape
        if found.shape is None or 0 in found.shape:
            return np.zeros(0, dtype=np.int64)
        return self.integers(f"split/{name}", 0, num_samples)

    def texts(self, name: str) -> tuple[str, ...] | None:
        """A list of texts, or a single text as a list of one; None where the field is absent."""
        dataset = self.find(name)
        if dataset is None:
            return None
        if h5py.check_string_dtype(dataset.dtype) is None:
            self.fail(name, f"type {dataset.dtype}", "texts")
        if dataset.shape is None or len(dataset.shape) > 1:
            self.fail(name, f"shape {dataset.shape}", "a list of texts")
        try:
            return tuple(read_texts(dataset, self._where(name)))
        except UnicodeDecodeError as error:
            self.fail(name, f"{error.object[:40]!r}", "texts in UTF-8")


def _is_mappable(dataset: Any) -> bool:
    """Whether a dataset is large, and stored in the same form as in memory."""
    return bool(dataset.chunks is None and dataset.nbytes >= LARGE and dataset.dtype.isnative)
