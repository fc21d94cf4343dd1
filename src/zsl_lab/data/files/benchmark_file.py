"""A benchmark as one HDF5 file, readable and writable with h5py alone.

Format version 2. Class ids and sample indices count from 0; N is the number of samples, D of
feature dimensions, C of classes, Q of semantic dimensions.

Required:

- attribute ``format`` (text): ``zsl_lab benchmark``
- attribute ``format_version`` (integer): 2
- attribute ``name`` (text): the benchmark's name in results
- ``features`` (numbers ``[N, D]``): visual features, one row per sample; or ``feature_files``
  (texts): the names of ``.npy`` files in the same folder, ``[n, D]`` each and of one type, whose
  rows follow one another (shards)
- ``labels`` (integers ``[N]``): class ids
- ``semantics/KIND`` (numbers ``[C, Q]``): class semantics, row ``c`` for class id ``c``; one
  dataset per kind (``att``, ``original_att``, ``sent``, ...), at least one
- ``split/trainval`` (integers): indices of the samples of the seen classes for training
- ``split/test_unseen`` (integers): indices of the samples of all other classes; may be empty. Every
  class without training samples is unseen: one without any sample is a candidate by its semantics
  alone, which no metric tests

Optional:

- ``split/test_seen`` (integers): indices of the test samples of the seen classes; default none, as
  in conventional zero-shot learning

- ``class_names`` (texts ``[C]``): unique names; default ``class 1``, ``class 2``, ...
- ``split/train``, ``split/val`` (integers): the sample indices published for tuning, unchanged:
  the classes of ``val`` are the validation classes, samples outside ``trainval`` are not used
- ``split/validation_classes`` (integers): seen classes held out for tuning, in place of ``val``
- ``feature_files_sha256`` (texts): the SHA-256 of each file of ``feature_files``; written here, and
  checked where it is there
- ``files`` (texts ``[N]``): name of each sample's image file
- ``descriptions`` (texts ``[C]``): a text for each class
- ``recipe`` (JSON text): how features and semantics were made (:mod:`zsl_lab.data.recipe`)
- attribute ``origin`` (text): where the numbers come from
- attributes ``splits_sha256``, ``features_sha256`` (text): hashes of the source files
- attribute ``splits_version`` (text): the name of the published splits
- attribute ``notes`` (JSON text): what was warned of when the numbers were read from other files,
  ``[[text, code, level]]``
- attribute ``mat`` (JSON text): numeric types in published .mat files, ``{file: {field: type}}``

Numbers are integers or floating point of at most 64 bits and keep their type in the file; training
uses float32. Texts are UTF-8. Links, external and virtual datasets are not followed. Such a file
takes five lines::

    with h5py.File("my.h5", "w") as f:
        f.attrs.update(format="zsl_lab benchmark", format_version=2, name="birds")
        f["features"], f["labels"], f["class_names"] = features, labels, names
        f["semantics/att"], f["split/trainval"] = attributes, trainval
        f["split/test_seen"], f["split/test_unseen"] = test_seen, test_unseen

Files written here begin with a user block of 512 bytes: one line with the SHA-256 of all that
follows, padded with zeros. It is verified before HDF5 opens the file, because a single wrong byte
in its structures can make the HDF5 library loop forever. A file without a user block, or with one
of zeros only, is read without that check. A file that was edited on purpose is sealed again by
``python -m zsl_lab.data convert EDITED.h5 NEW.h5 --edited``.
Datasets of numbers are contiguous and in C order, so that they are read without a second copy.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import uuid
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, NoReturn

import h5py
import numpy as np

from zsl_lab.data.benchmark import (
    FeatureBenchmark,
    IntArray,
    Provenance,
    StoredBenchmark,
    VectorBenchmark,
)
from zsl_lab.data.checks.file_classes import check_file_classes
from zsl_lab.data.files.class_semantics import check_agreement, is_transposed
from zsl_lab.data.recipe import Recipe
from zsl_lab.data.splits import published_validation_classes
from zsl_lab.data.storage.arrays import Array, FloatArray, float32
from zsl_lab.data.storage.choice import Storage, reads_from_disk
from zsl_lab.data.storage.files import FileSource, Part, npy_part, write_npy
from zsl_lab.data.storage.source import (
    PASS_BYTES,
    ArraySource,
    FeatureSource,
    blocks,
    rows_in,
)
from zsl_lab.errors import DataError, DataWarning, OutputError, nearest
from zsl_lab.files.hashing import sha256_file
from zsl_lab.files.hdf5 import (
    check_dataset,
    check_inside,
    check_not_written,
    member,
    names_in,
    open_hdf5,
    read_texts,
)
from zsl_lab.files.memory import check_size, out_of_memory
from zsl_lab.files.rows import LARGE, Advance, no_progress, row_blocks

if TYPE_CHECKING:
    from typing_extensions import Buffer

    WriteableBuffer = bytearray | memoryview

FORMAT = "zsl_lab benchmark"
FORMAT_VERSION = 2
#: what users can do about a file that cannot be used
REMEDY = (
    "Correct the file (the documentation of zsl_lab.data.files.benchmark_file describes the "
    "layout), "
    "or recreate it: `python -m zsl_lab.data convert` makes"
    " one of .mat files, `python -m zsl_lab.data extract` of images."
)

_USER_BLOCK = 512
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SEAL = re.compile(rb"zsl_lab benchmark, format (\d{1,9}), sha256 [0-9a-f]{64}\n\0*")
#: kinds of semantics, and unknown fields that are listed
_MAX_NAMES = 1000
_PARTS = ("trainval", "test_seen", "test_unseen")
_PUBLISHED_PARTS = ("train", "val")
_INDICES = (*_PARTS, *_PUBLISHED_PARTS)
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
_KNOWN_IN_SPLIT = {*_INDICES, "validation_classes"}
_PROVENANCE = ("origin", "splits_sha256", "features_sha256", "splits_version")


@dataclass(frozen=True, eq=False, kw_only=True)
class BenchmarkContent:
    """The content of a file but for the features; numbers keep the types they were published in.

    Attributes:
        name: The benchmark's name (``"FLO"``).
        labels: 0-based class ids, int64 ``[N]``.
        class_names: C names, or None where the source has none.
        semantics: Class semantics by kind (``att``, ``original_att``, ``sent``), each ``[C, Q]``;
            at least one. A run takes the kind that ``dataset.semantics`` names.
        trainval: 0-based sample indices, int64; likewise ``test_seen`` and ``test_unseen``.
        train: Published ``train_loc``, 0-based, as it is (test samples included); None where there
            is none. Likewise ``val``.
        validation_classes: Ids of the seen classes held out for tuning, where neither ``train`` nor
            ``val`` says it.
        files: The name of each sample's picture, N of them; None where nothing is known.
        descriptions: A text for each class; None likewise.
        recipe: How features and semantics were made.
        provenance: Where all this came from.
        notes: What was warned of when these were read from other files.
        mat: Of .mat files that this was published in, by their names without ``.mat``: the numeric
            type of each field, ``""`` for texts. It only serves to write the same files again.
    """

    name: str
    labels: IntArray
    class_names: tuple[str, ...] | None
    semantics: Mapping[str, Array]
    trainval: IntArray
    test_seen: IntArray
    test_unseen: IntArray
    train: IntArray | None = None
    val: IntArray | None = None
    validation_classes: IntArray | None = None
    files: tuple[str, ...] | None = None
    descriptions: tuple[str, ...] | None = None
    recipe: Recipe = field(default_factory=Recipe)
    provenance: Provenance = field(default_factory=lambda: Provenance("memory"))
    notes: tuple[DataWarning, ...] = ()
    mat: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """C, the number of classes, seen and unseen."""
        return len(next(iter(self.semantics.values())))

    @property
    def default_kind(self) -> str | None:
        """The only kind of semantics, or ``att``; None where one has to be chosen."""
        kinds = list(self.semantics)
        return kinds[0] if len(kinds) == 1 else "att" if "att" in kinds else None

    @property
    def source(self) -> FeatureSource:
        """The features ``[N, D]``, read by ranges of rows."""
        raise NotImplementedError

    def benchmark(
        self, kind: str, name: str | None = None, provenance: Provenance | None = None
    ) -> VectorBenchmark:
        """The benchmark for training: float32 and one kind of semantics.

        Args:
            kind: Of the semantics.
            name: What results call it; None keeps the file's name.
            provenance: None keeps the file's.

        Raises:
            DataError: Any of it is inconsistent.
        """
        raise NotImplementedError

    def _fields(self, kind: str, name: str | None, provenance: Provenance | None) -> dict[str, Any]:
        """The fields of :meth:`benchmark` but for the features, checked."""
        provenance = provenance or self.provenance
        if kind not in self.semantics:
            self._fail("semantics", ", ".join(self.semantics), kind)
        self._check_names()
        self._check_contradictions()
        if f"semantics/{kind}" in provenance.sources:
            provenance = replace(
                provenance,
                sources={
                    **provenance.sources,
                    "semantics": provenance.sources[f"semantics/{kind}"],
                },
            )
        names = self._names()
        return {
            "name": name or self.name,
            "labels": self.labels,
            "semantics": float32(self.semantics[kind]),
            "class_names": names,
            "trainval": self.trainval,
            "test_seen": self.test_seen,
            "test_unseen": self.test_unseen,
            "validation_classes": self._validation_classes(names, provenance),
            "provenance": provenance,
            "recipe": self.recipe.of(kind, self.semantics[kind].shape[-1]),
        }

    def feature_blocks(self) -> Iterator[FloatArray]:
        """The features in blocks of rows, as float32.

        Raises:
            DataError: A number is not finite.
        """
        for start, block in blocks(self.source):
            if not np.isfinite(block).all():
                row, column = (int(at) for at in np.argwhere(~np.isfinite(block))[0])
                found = f"{block[row, column]} in row {start + row}, column {column} (0-based)"
                self._fail("features", found, "finite numbers only")
            yield block

    def _check_vectors(self, fields: Mapping[str, Any]) -> None:
        """Make a benchmark of the fields and the features, to check them."""
        raise NotImplementedError

    def check(self) -> None:
        """Check that all fields are consistent.

        Raises:
            DataError: They are not; the text names the source, the field, what was found and
                expected.
        """
        for kind, table in self.semantics.items():
            if table.ndim != 2 or len(table) != self.num_classes:
                self._fail(
                    f"semantics/{kind}",
                    f"shape {list(table.shape)}",
                    f"{self.num_classes} rows, one for each class, as the others",
                )
            bad = np.argwhere(~np.isfinite(table))
            if len(bad):
                row, column = bad[0]
                found = f"{table[row, column]} in row {row}, column {column} (0-based)"
                self._fail(f"semantics/{kind}", found, "finite numbers only")
        self._check_names()
        self._check_contradictions()
        self._check_vectors(
            {
                "name": self.name,
                "labels": self.labels,
                "semantics": next(iter(self.semantics.values())),
                "class_names": self._names(),
                "trainval": self.trainval,
                "test_seen": self.test_seen,
                "test_unseen": self.test_unseen,
                "validation_classes": self.validation_classes,
                "provenance": self.provenance,
            }
        )
        for part in _PUBLISHED_PARTS:
            index = getattr(self, part)
            if (
                index is not None
                and len(index)
                and (index.min() < 0 or index.max() >= len(self.labels))
            ):
                worst = index.min() if index.min() < 0 else index.max()
                self._fail(
                    part,
                    f"sample index {worst + 1} (1-based)",
                    f"1 to {len(self.labels)}, the samples of the features",
                )
        for texts, count, each in (
            ("files", len(self.labels), "sample"),
            ("descriptions", self.num_classes, "class"),
        ):
            value = getattr(self, texts)
            if value is not None and len(value) != count:
                self._fail(texts, f"{len(value)} texts", f"{count}, one for each {each}")

    def _check_contradictions(self) -> None:
        """Compare tables with each other, and the folders of files with labels."""
        source = self.provenance.sources.get("semantics/att", (self.name,))[0]
        check_agreement(self.semantics, self.class_names, source)
        if self.files is not None and self.class_names is not None:
            source, files_field = self.provenance.sources.get("files", (source, "files"))
            labels_field = self.provenance.sources.get("labels", ("", "labels"))[1]
            check_file_classes(
                self.files, self.labels, self.class_names, (source, files_field, labels_field)
            )

    def _validation_classes(
        self, names: tuple[str, ...], provenance: Provenance
    ) -> IntArray | None:
        if self.train is None or self.val is None:
            return self.validation_classes
        for index, end in ((self.trainval, len(self.labels)), (self.labels, self.num_classes)):
            if index.size and not (index.min() >= 0 and index.max() < end):
                # FeatureBenchmark refuses it with a message of its own
                return None
        train_field, val_field = (
            provenance.sources.get(part, (provenance.origin, part)) for part in _PUBLISHED_PARTS
        )
        return published_validation_classes(
            self.labels, names, self.trainval, self.train, self.val, train_field, val_field
        )

    def _names(self) -> tuple[str, ...]:
        return self.class_names or default_names(self.num_classes)

    def _check_names(self) -> None:
        for name, count in Counter(self.class_names or ()).items():
            if count > 1 or not name.strip():
                self._fail(
                    "class_names", f"{count} x {name!r}", "a name for each class, no two the same"
                )

    def _fail(self, name: str, found: str, expected: str) -> NoReturn:
        file, field_name = self.provenance.sources.get(name, (self.provenance.origin, name))
        raise _failure(file, field_name, found, expected)


@dataclass(frozen=True, eq=False, kw_only=True)
class BenchmarkFile(BenchmarkContent):
    """The content of a file, all of it in memory.

    Attributes:
        features: ``[N, D]``, numbers.
    """

    features: Array

    @property
    def source(self) -> FeatureSource:
        """The features."""
        return ArraySource(self.features)

    def benchmark(
        self, kind: str, name: str | None = None, provenance: Provenance | None = None
    ) -> FeatureBenchmark:
        """See :meth:`BenchmarkContent.benchmark`."""
        return FeatureBenchmark(
            features=float32(self.features), **self._fields(kind, name, provenance)
        )

    def _check_vectors(self, fields: Mapping[str, Any]) -> None:
        FeatureBenchmark(features=self.features, **fields)


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredBenchmarkFile(BenchmarkContent):
    """The content of a file whose features are read in blocks.

    Attributes:
        stored: The features ``[N, D]``.
    """

    stored: FeatureSource

    @property
    def source(self) -> FeatureSource:
        """The features."""
        return self.stored

    def benchmark(
        self, kind: str, name: str | None = None, provenance: Provenance | None = None
    ) -> StoredBenchmark:
        """See :meth:`BenchmarkContent.benchmark`; that features are finite is not checked."""
        return StoredBenchmark(stored=self.stored, **self._fields(kind, name, provenance))

    def _check_vectors(self, fields: Mapping[str, Any]) -> None:
        StoredBenchmark(stored=self.stored, **fields)
        for _ in self.feature_blocks():
            pass


def default_names(num_classes: int) -> tuple[str, ...]:
    """Names of classes that have none: ``class 1``, ``class 2``, ..."""
    return tuple(f"class {class_id + 1}" for class_id in range(num_classes))


def is_hdf5(path: Path) -> bool:
    """Whether the suffix is that of an HDF5 file."""
    return path.suffix.lower() in (".h5", ".hdf5")


def write(
    content: BenchmarkContent,
    path: Path,
    *,
    elsewhere: str = "name another file",
    shards: int = 0,
    advance: Advance = no_progress,
) -> None:
    """Write a file, completely or not at all.

    Args:
        content: What to write.
        path: The file, which is replaced if it exists; its folder is made if it doesn't.
        shards: Number of ``.npy`` files beside it that the features are written to; 0 puts them
            into the file itself.
        elsewhere: How the user can choose another place, for the error message.
        advance: Called with the bytes of numbers that were written after each block.

    Raises:
        DataError: The content is inconsistent.
        OutputError: If the folder cannot be written or the disk is full; nothing half-written
            remains.
    """
    content.check()
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # the file that names them comes last: without it they are not read
        files = _write_shards(content.source, path, shards)
        with _Output(temporary, "w+") as output:
            try:
                _write(content, output, files, advance)
            except OSError:
                # HDF5 may notice a failed write by what it reads back
                if output.failure is not None:
                    raise output.failure from None
                raise
            output.seek(0)
            output.write(_seal(temporary, FORMAT_VERSION))
            if output.failure is not None:
                raise output.failure
            os.fsync(output.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}). Make the folder "
            f"{path.parent} writable with free space for "
            f"{_size(content.source) / 2**20:.0f} MiB, or {elsewhere}."
        ) from error
    finally:
        _discard(temporary)


def read(
    path: Path, *, lean: bool = False, edited: bool = False, remedy: str = REMEDY
) -> BenchmarkFile:
    """Read a file in the documented layout, written by :func:`write` or otherwise.

    Args:
        path: The file.
        lean: Only what training needs: features as float32, without a second copy of them, and
            no ``descriptions``. That numbers are finite and splits consistent is
            left to :meth:`BenchmarkFile.benchmark`.
        edited: Whether a file that was changed after it was sealed is read, without that check.
        remedy: What the user can do about a file that cannot be used.

    Raises:
        DataError: If the file is missing, damaged, of another layout or version, or inconsistent.
    """
    with _remedied(path, remedy):
        with _content(path, lean=lean, edited=edited) as (reader, fields):
            features = reader.features(np.float32 if lean else None)
        content = BenchmarkFile(features=features, **fields)
        if not lean:
            content.check()
    return content


def read_for_training(
    path: Path, storage: Storage, *, remedy: str = REMEDY
) -> BenchmarkFile | StoredBenchmarkFile:
    """Read a file as :func:`read` does with ``lean``; features stay on disk if ``storage`` says so.

    Raises:
        DataError: As of :func:`read`; or features that stay on disk are compressed or in chunks.
    """
    with _remedied(path, remedy), _content(path, lean=True, edited=False) as (reader, fields):
        if reads_from_disk(storage, *reader.shape()):
            return StoredBenchmarkFile(stored=reader.stored(), **fields)
        return BenchmarkFile(features=reader.features(np.float32), **fields)


@contextmanager
def _remedied(path: Path, remedy: str) -> Iterator[None]:
    """What is raised inside says what the user can do."""
    try:
        yield
    except _ChangedError as error:
        raise DataError(f"{error} {_resealing(path)}" if remedy else str(error)) from error
    except DataError as error:
        raise DataError(f"{error} {remedy}".rstrip()) from error


@contextmanager
def _content(path: Path, *, lean: bool, edited: bool) -> Iterator[tuple[_Reader, dict[str, Any]]]:
    """An open, verified file and its fields but for the features."""
    sealed = _verify(path, edited=edited)
    with _opened(path, trusted=sealed) as file:
        reader = _Reader(path, file)
        fields = _read(reader, lean=lean)
        if not sealed:
            # without a hash the name of the splits cannot be verified
            fields["provenance"] = replace(fields["provenance"], splits_version="unknown")
        yield reader, fields


class _ChangedError(DataError):
    """The content of a sealed file is not the one that was sealed."""


def _resealing(path: Path) -> str:
    new = quote(str(path.with_name(f"{path.stem}_sealed.h5")))
    return (
        "If you edited the file on purpose, this checks and seals it again: `python -m "
        f"zsl_lab.data convert {quote(str(path))} {new} --edited`. If not, it is damaged: get an "
        "intact copy, or make it again with `python -m zsl_lab.data extract` or `convert`."
    )


class _Output(io.FileIO):
    """A file that does not raise where writing fails.

    HDF5 crashes the process at its exit after a failed write, such as one on a full disk.

    Attributes:
        failure: The first error; nothing is written after it.
    """

    failure: OSError | None = None

    def write(self, data: Buffer, /) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while len(rest) and self.failure is None:
                # a single system call may write less than it was given
                rest = rest[super().write(rest) or 0 :]
        except OSError as error:
            self.failure = error
        return size

    def readinto(self, buffer: WriteableBuffer, /) -> int:  # type: ignore[override]
        target = memoryview(buffer).cast("B")
        size = super().readinto(target) or 0
        # HDF5 reads back what it wrote, and follows the pointers in what was never written
        target[size:] = bytes(len(target) - size)
        return len(target)

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size or 0


def _write(
    content: BenchmarkContent, output: _Output, shards: Mapping[str, str], advance: Advance
) -> None:
    arrays: dict[str, Array] = {"labels": content.labels.astype(np.int64, copy=False)}
    arrays |= {f"semantics/{kind}": table for kind, table in content.semantics.items()}
    arrays |= {
        f"split/{name}": index.astype(np.int64, copy=False)
        for name in (*_INDICES, "validation_classes")
        if (index := getattr(content, name)) is not None
    }
    texts = {
        name: value
        for name in ("class_names", "files", "descriptions")
        if (value := getattr(content, name)) is not None
    }
    if shards:
        texts |= {
            "feature_files": tuple(shards),
            "feature_files_sha256": tuple(shards.values()),
        }
    for name, value in texts.items():
        for text in value:
            _check_text(content, name, text)
    with h5py.File(output, "w", userblock_size=_USER_BLOCK) as file:
        file.attrs.update(
            {"format": FORMAT, "format_version": FORMAT_VERSION, "name": content.name}
        )
        file.attrs.update({name: getattr(content.provenance, name) for name in _PROVENANCE})
        if content.notes:
            # attributes hold 64 KiB at most
            file.attrs["notes"] = json.dumps(
                [[str(note)[:2000], note.code, note.level] for note in content.notes[:20]],
                ensure_ascii=False,
            )
        if content.mat:
            file.attrs["mat"] = json.dumps(
                {name: dict(types) for name, types in content.mat.items()}
            )
        if not shards:
            _write_features(content.source, file, advance)
        written = math.prod(content.source.shape) * content.source.dtype.itemsize
        for name, array in arrays.items():
            dataset = file.create_dataset(name, shape=array.shape, dtype=array.dtype)
            done = 0
            for block in row_blocks(array):
                dataset[done : done + len(block)] = block
                done += len(block)
                written += block.nbytes
                advance(written)
        for name, value in texts.items():
            file.create_dataset(name, data=np.array(value, dtype=object), dtype=h5py.string_dtype())
        if content.recipe != Recipe():
            # no attribute: these hold 64 KiB at most
            file.create_dataset(
                "recipe", data=content.recipe.model_dump_json(), dtype=h5py.string_dtype()
            )


def _write_features(source: FeatureSource, file: Any, advance: Advance) -> None:
    dataset = file.create_dataset("features", shape=source.shape, dtype=source.dtype)
    size = rows_in(source, PASS_BYTES)
    for start in range(0, len(source), size):
        rows = source.read(start, min(start + size, len(source)))
        dataset.write_direct(np.ascontiguousarray(rows), dest_sel=np.s_[start : start + len(rows)])
        advance((start + len(rows)) * rows.itemsize * rows.shape[1])


def _write_shards(source: FeatureSource, path: Path, count: int) -> dict[str, str]:
    """Write the features to so many files of nearly equal size; their names and hashes.

    A name has the number of rows before it and the hash of the shard's content, so that no file of
    another benchmark is replaced.
    """
    written = {}
    bounds = [len(source) * number // count for number in range(count + 1)] if count else []
    for start, stop in pairwise(bounds):
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            write_npy(source, start, stop, temporary)
            digest = sha256_file(temporary)
            name = f"{path.stem}-{start:09d}-{digest[:8]}.npy"
            temporary.replace(path.with_name(name))
        finally:
            _discard(temporary)
        written[name] = digest
    return written


def _size(source: FeatureSource) -> int:
    rows, columns = source.shape
    return rows * columns * source.dtype.itemsize


def _check_text(content: BenchmarkContent, name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        content._fail(name, ascii(text), "text that can be written as UTF-8")
    if "\0" in text:
        content._fail(name, ascii(text), "text without the character NUL")


def _seal(path: Path, version: int) -> bytes:
    """The user block of an undamaged file with this content."""
    line = f"{FORMAT}, format {version}, sha256 {sha256_file(path, _USER_BLOCK)}\n"
    return line.encode().ljust(_USER_BLOCK, b"\0")


def _verify(path: Path, *, edited: bool) -> bool:
    """Check a file against the hash in its user block; False where it has none."""
    check_not_written(path)
    try:
        with path.open("rb") as file:
            head = file.read(_USER_BLOCK)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected a benchmark in an HDF5 file.") from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); expected a benchmark in an HDF5 file."
        ) from error
    if head.startswith(_SIGNATURE) or head == bytes(_USER_BLOCK):
        return False
    sealed = _SEAL.fullmatch(head)
    if sealed is None:
        raise DataError(
            f"{path}: found a damaged file or another format (it begins with {head[:40]!r}); "
            "expected an HDF5 file whose first 512 bytes,"
            " where it has such a block and they are not zeros, state the SHA-256 of the rest."
        )
    version = int(sealed[1])
    if not edited and head != _seal(path, version):
        raise _ChangedError(
            f"{path}: found a damaged or edited file: its content is not the one of which its "
            f"first {_USER_BLOCK} bytes state the SHA-256; expected the content that was sealed."
        )
    _check_version(path, version)
    return not edited


def _check_version(path: Path, version: int) -> None:
    if version != FORMAT_VERSION:
        older = "an older" if version < FORMAT_VERSION else "a newer"
        way_out = (
            ""
            if version < FORMAT_VERSION
            else " A newer zsl_lab reads it, and converts it to .mat files, which any version "
            "reads."
        )
        raise DataError(
            f"{path}: found format version {version}, {older} one; expected version "
            f"{FORMAT_VERSION}.{way_out}"
        )


@contextmanager
def _opened(path: Path, *, trusted: bool) -> Iterator[Any]:
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
            f"{path}: found a damaged or truncated file, or none of HDF5 ({brief}); expected a "
            "benchmark."
        ) from error


def _read(reader: _Reader, *, lean: bool) -> dict[str, Any]:
    """All fields but the features."""
    reader.check_format()
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
        for name in _PUBLISHED_PARTS
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
class _Reader:
    """Fields of an open, untrusted file: links are not followed, and every field is checked."""

    path: Path
    file: Any

    def fail(self, name: str, found: str, expected: str) -> NoReturn:
        raise _failure(str(self.path), name, found, expected)

    def missing(self, name: str, parent: Any) -> NoReturn:
        raise DataError(
            f"{self.path}: field '{name}' is missing; found {names_in(parent)}; expected the "
            f"layout of format version {FORMAT_VERSION}."
        )

    def check_format(self) -> None:
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
        _check_version(self.path, int(version))

    def warn_of_strangers(self) -> None:
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
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            self.fail(name, f"{text[:40]!r}", "a JSON object")
        return value

    def mat(self) -> dict[str, dict[str, str]]:
        text = self.attribute("mat")
        value = self.json("mat", text) if text else {}
        for types in value.values():
            if not isinstance(types, dict) or not all(
                isinstance(kind, str) for kind in types.values()
            ):
                self.fail("mat", f"{text[:40]!r}", "types by file and field")
        return value

    def notes(self) -> tuple[DataWarning, ...]:
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
        found = self.member(self.file, name, name)
        if found is None:
            self.missing(name, self.file)
        if not isinstance(found, h5py.Group):
            self.fail(name, "a dataset", "a group of datasets")
        return found

    def member(self, group: Any, name: str, full_name: str) -> Any:
        return member(group, name, self._where(full_name))

    def _where(self, name: str) -> str:
        return f"{self.path}: field '{name}'"

    def kinds(self) -> list[str]:
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
        found = self.find(name)
        if found is None:
            parent = name.rpartition("/")[0]
            self.missing(name, self.group(parent) if parent else self.file)
        return found

    def numbers(
        self, name: str, dimensions: int, dtype: type[np.float32] | None = None, kinds: str = "iuf"
    ) -> Array:
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
        """A dataset of numbers of some type and number of dimensions, not read yet."""
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
        """The files of features, in their order, checked; none where the file has ``features``."""
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
        """Samples and dimensions of the features."""
        parts = self.shards()
        if parts:
            return sum(part.rows for part in parts), parts[0].columns
        samples, dimensions = self.table("features", 2).shape
        return samples, dimensions

    def stored(self) -> FileSource:
        """The features where they are, after a check of the hashes of shards."""
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
        """The place of a table that is stored in C order, without compression."""
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
        # compared before a cast to int64 could wrap around
        wrong = array[(array < low) | (array >= end)]
        if len(wrong):
            self.fail(
                name,
                f"{wrong[0]}",
                f"numbers from {low} to {end - 1}: ids and indices count from 0",
            )
        return array.astype(np.int64)

    def test_part(self, name: str, num_samples: int) -> IntArray:
        """Sample indices of a part of the test, which may be empty; that of seen classes absent."""
        found = self.find(f"split/{name}")
        if found is None:
            if name != "test_seen":
                self.missing(f"split/{name}", self.group("split"))
            others = [other for other in self.group("split") if other not in _KNOWN_IN_SPLIT]
            for near in nearest(name, others):
                self.fail(f"split/{near}", "a field that is not read", f"'split/{name}'")
            return np.zeros(0, dtype=np.int64)
        # h5py stores an empty list as floating point, or without a shape
        if found.shape is None or 0 in found.shape:
            return np.zeros(0, dtype=np.int64)
        return self.integers(f"split/{name}", 0, num_samples)

    def texts(self, name: str) -> tuple[str, ...] | None:
        """Texts, a single one too; None where they are absent."""
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
    """Whether a dataset is large, and its numbers lie in the file as they do in memory."""
    return bool(dataset.chunks is None and dataset.nbytes >= LARGE and dataset.dtype.isnative)


def _failure(file: str, name: str, found: str, expected: str) -> DataError:
    return DataError(f"{file}: field '{name}': found {found}; expected {expected}.")


def _discard(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    # the folder itself may be what cannot be used; the caller's error says so
    except OSError:
        return
