"""A benchmark as one HDF5 file, readable and writable with h5py alone.

Format version 2. Class ids and sample indices count from 0; N is the number of samples, D of
feature dimensions, C of classes, Q of semantic dimensions.

Required:

- attribute ``format`` (text): ``zsl_lab benchmark``
- attribute ``format_version`` (integer): 2
- attribute ``name`` (text): the benchmark's name in results
- ``features`` (numbers ``[N, D]``): visual features, one row per sample; or ``feature_files``
  (texts): the names of ``.npy`` files in the same folder (shards), ``[n, D]`` each and of one type,
  whose rows are concatenated in this order
- ``labels`` (integers ``[N]``): class ids
- ``semantics/KIND`` (numbers ``[C, Q]``): class semantics, row ``c`` for class id ``c``; one
  dataset per kind (``att``, ``original_att``, ``sent``, ...), at least one
- ``split/trainval`` (integers): indices of the samples of the seen classes for training
- ``split/test_unseen`` (integers): indices of the samples of the unseen classes, which are all
  classes without training samples; may be empty. An unseen class without samples is a candidate in
  predictions, but no metric measures it

Optional:

- ``split/test_seen`` (integers): indices of the test samples of the seen classes; default none, as
  in conventional zero-shot learning

- ``class_names`` (texts ``[C]``): unique names; default ``class 1``, ``class 2``, ...
- ``split/train``, ``split/val`` (integers): the sample indices published for tuning, unchanged:
  the classes of ``val`` are the validation classes, samples outside ``trainval`` are not used
- ``split/validation_classes`` (integers): seen classes held out for tuning, instead of ``val``
- ``feature_files_sha256`` (texts): the SHA-256 of each file of ``feature_files``; written here, and
  verified on reading if present
- ``files`` (texts ``[N]``): name of each sample's image file
- ``descriptions`` (texts ``[C]``): a text for each class
- ``recipe`` (JSON text): how features and semantics were computed (:mod:`zsl_lab.data.recipe`)
- attribute ``origin`` (text): where the numbers come from
- attributes ``splits_sha256``, ``features_sha256`` (text): hashes of the source files
- attribute ``splits_version`` (text): the name of the published splits
- attribute ``notes`` (JSON text): warnings given when the numbers were read from other files,
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
follows (the seal), padded with zeros. It is verified before HDF5 opens the file, because a single
wrong byte in its structures can make the HDF5 library loop forever. A file without a user block, or
with one of zeros only, is read without this check. To seal a file again that was edited on purpose,
use ``python -m zsl_lab.data convert EDITED.h5 NEW.h5 --edited``.
Datasets of numbers are contiguous and in C order, so that they are read without a second copy.
"""

from __future__ import annotations

import io
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from zsl_lab.data.files.layout.content import (
    BenchmarkContent,
    BenchmarkFile,
    StoredBenchmarkFile,
    default_names,
)
from zsl_lab.data.files.layout.reader import INDICES, Reader, opened, read_fields
from zsl_lab.data.files.layout.seal import (
    FORMAT,
    FORMAT_VERSION,
    USER_BLOCK,
    ChangedError,
    seal,
    verify,
)
from zsl_lab.data.recipe import Recipe
from zsl_lab.data.storage.arrays import Array
from zsl_lab.data.storage.choice import Storage, reads_from_disk
from zsl_lab.data.storage.files import write_npy
from zsl_lab.data.storage.source import (
    PASS_BYTES,
    FeatureSource,
    rows_in,
)
from zsl_lab.errors import DataError, OutputError
from zsl_lab.files.hashing import sha256_file
from zsl_lab.files.rows import Advance, no_progress, release, row_blocks

if TYPE_CHECKING:
    from typing_extensions import Buffer

    WriteableBuffer = bytearray | memoryview

__all__ = [
    "FORMAT_VERSION",
    "REMEDY",
    "BenchmarkContent",
    "BenchmarkFile",
    "StoredBenchmarkFile",
    "default_names",
    "is_hdf5",
    "read",
    "read_for_training",
    "write",
]

#: sentence on what to do about a file that cannot be used
REMEDY = (
    "Correct the file (the documentation of zsl_lab.data.files.benchmark_file describes the "
    "layout), "
    "or recreate it: `python -m zsl_lab.data convert` makes"
    " one of .mat files, `python -m zsl_lab.data extract` of images."
)
_PROVENANCE = ("origin", "splits_sha256", "features_sha256", "splits_version")


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
) -> list[Path]:
    """Write a file, completely or not at all.

    Args:
        content: The content to write.
        path: The file, replaced if it exists; its folder is made if it is missing.
        elsewhere: How the user can choose another file or folder, for the error message.
        shards: Number of ``.npy`` files, beside ``path``, for the features; 0 puts the features
            into the file itself.
        advance: Called after each block with the number of bytes written so far.

    Returns:
        The files of the features; empty with ``shards=0``.

    Raises:
        DataError: If the content is inconsistent.
        OutputError: If the folder cannot be written or the disk is full; nothing half-written
            remains.
    """
    content.check()
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # shards first: should this fail, no file refers to them
        files = _write_shards(content.source, path, shards)
        with _Output(temporary, "w+") as output:
            try:
                _write(content, output, files, advance)
            except OSError:
                # HDF5 may raise an error of its own when it reads back what was not written
                if output.failure is not None:
                    raise output.failure from None
                raise
            output.seek(0)
            output.write(seal(temporary, FORMAT_VERSION))
            if output.failure is not None:
                raise output.failure
            os.fsync(output.fileno())
        temporary.replace(path)
        return [path.with_name(name) for name in files]
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
        lean: Read only what training needs: features as float32, without a second copy of them,
            and no ``descriptions``. The content is not checked: :meth:`BenchmarkFile.benchmark`
            checks that numbers are finite and splits consistent.
        edited: Read the file even if it was changed after it was sealed.
        remedy: Sentence on what to do about a file that cannot be used, for errors.

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
    """Like :func:`read` with ``lean``, but features may stay on disk.

    Args:
        path: The file.
        storage: Whether features are loaded into memory or stay on disk.
        remedy: As in :func:`read`.

    Raises:
        DataError: As :func:`read`; or if features to stay on disk are compressed or in chunks.
    """
    with _remedied(path, remedy), _content(path, lean=True, edited=False) as (reader, fields):
        if reads_from_disk(storage, *reader.shape()):
            return StoredBenchmarkFile(stored=reader.stored(), **fields)
        return BenchmarkFile(features=reader.features(np.float32), **fields)


@contextmanager
def _remedied(path: Path, remedy: str) -> Iterator[None]:
    """Append to each :class:`DataError` raised inside what the user can do."""
    try:
        yield
    except ChangedError as error:
        raise DataError(f"{error} {_resealing(path)}" if remedy else str(error)) from error
    except DataError as error:
        raise DataError(f"{error} {remedy}".rstrip()) from error


@contextmanager
def _content(path: Path, *, lean: bool, edited: bool) -> Iterator[tuple[Reader, dict[str, Any]]]:
    """A reader of the open, verified file, and all its fields but the features."""
    sealed = verify(path, edited=edited)
    with opened(path, trusted=bool(sealed)) as file:
        reader = Reader(path, file)
        fields = read_fields(reader, lean=lean)
        provenance = replace(fields["provenance"], file_sha256=sealed)
        if not sealed:
            # without a hash the name of the splits cannot be verified
            provenance = replace(provenance, splits_version="unknown")
        fields["provenance"] = provenance
        yield reader, fields


def _resealing(path: Path) -> str:
    new = quote(str(path.with_name(f"{path.stem}_sealed.h5")))
    return (
        "If you edited the file on purpose, this checks and seals it again: `python -m "
        f"zsl_lab.data convert {quote(str(path))} {new} --edited`. If not, it is damaged: get an "
        "intact copy, or make it again with `python -m zsl_lab.data extract` or `convert`."
    )


class _Output(io.FileIO):
    """A file that keeps the error of a failed write instead of raising it.

    If a write raises (on a full disk, say), HDF5 crashes the process when it exits.

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
        # zeros for what could not be written: HDF5 reads its structures back, and must not follow
        # arbitrary pointers
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
        for name in (*INDICES, "validation_classes")
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
    with h5py.File(output, "w", userblock_size=USER_BLOCK) as file:
        file.attrs.update(
            {"format": FORMAT, "format_version": FORMAT_VERSION, "name": content.name}
        )
        file.attrs.update({name: getattr(content.provenance, name) for name in _PROVENANCE})
        if content.notes:
            # at most 20 notes: an attribute holds at most 64 KiB
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
            # not an attribute, which would hold at most 64 KiB
            file.create_dataset(
                "recipe", data=content.recipe.model_dump_json(), dtype=h5py.string_dtype()
            )


def _write_features(source: FeatureSource, file: Any, advance: Advance) -> None:
    dataset = file.create_dataset("features", shape=source.shape, dtype=source.dtype)
    size = rows_in(source, PASS_BYTES)
    for start in range(0, len(source), size):
        rows = source.read(start, min(start + size, len(source)))
        dataset.write_direct(np.ascontiguousarray(rows), dest_sel=np.s_[start : start + len(rows)])
        release(rows)
        advance((start + len(rows)) * rows.itemsize * rows.shape[1])


def _write_shards(source: FeatureSource, path: Path, count: int) -> dict[str, str]:
    """Write the features to ``count`` files of nearly equal size; returns their names and hashes.

    A name contains the index of its first row and the hash of its content, so that no shard of
    another benchmark is replaced.
    """
    written = {}
    count = min(count, len(source))
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


def _discard(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    # the folder may be unusable, which the caller's error says
    except OSError:
        return
