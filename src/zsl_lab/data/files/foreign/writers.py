"""Writes a benchmark as ``.npz`` or as a folder of Hugging Face ``datasets``.

``convert`` reads both formats back.

An ``.npz`` has the fields of the HDF5 layout (:mod:`zsl_lab.data.files.benchmark_file`) under the
same names. A folder of ``datasets`` has a split for each part of the benchmark's split, and
``unused`` for samples in no part. Its rows have ``features``, ``label`` (a ``ClassLabel``),
``index`` (the sample's 0-based index in the benchmark) and ``file``. The folder ``classes`` in it
is another dataset with a row for each class: name, semantics and description. ``benchmark.json``
holds all other fields.
"""

from __future__ import annotations

import json
import shutil
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from zsl_lab.data.benchmark import PARTS
from zsl_lab.data.files.benchmark_file import BenchmarkFile, default_names
from zsl_lab.data.files.foreign.arrays import missing_package
from zsl_lab.data.files.foreign.fields import Array, text_array
from zsl_lab.data.files.foreign.tables import SIDECAR, is_datasets_folder
from zsl_lab.data.recipe import Recipe
from zsl_lab.errors import OutputError
from zsl_lab.files.atomic import atomic_write, reason
from zsl_lab.files.rows import Advance, no_progress, release, row_blocks

#: the split of samples that are in no part
UNUSED = "unused"
_INDICES = (*PARTS, "train", "val", "validation_classes")
_FORMAT = "zsl_lab benchmark"
#: maximum number of feature values that are written at once
_BLOCK = 2**22


def write_npz(content: BenchmarkFile, path: Path, advance: Advance = no_progress) -> None:
    """Write all fields without compression; an existing file is replaced.

    Args:
        content: The content to write.
        path: The file.
        advance: Called after each block with the number of bytes written so far.

    Raises:
        DataError: If the content is inconsistent.
        OutputError: If the file cannot be written; nothing half-written remains.
    """
    content.check()

    def write(file: IO[bytes]) -> None:
        done = 0
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in _arrays(content).items():
                # ZipInfo has a fixed time, so that the same benchmark gives the same bytes
                member = zipfile.ZipInfo(f"{name}.npy")
                with archive.open(member, "w", force_zip64=True) as target:
                    _write_header(target, array)
                    for block in row_blocks(array) if array.ndim else [array]:
                        target.write(np.ascontiguousarray(block).tobytes())
                        done += block.nbytes
                        advance(done)

    atomic_write(path, write)


def _write_header(file: IO[bytes], array: Array) -> None:
    np.lib.format.write_array_header_1_0(
        file,
        {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False}
        | {"shape": array.shape},
    )


def _arrays(content: BenchmarkFile) -> dict[str, Array]:
    """Fields by their names in the HDF5 layout."""
    arrays = {"name": np.array(content.name), "features": content.features}
    arrays["labels"] = content.labels
    arrays |= {f"semantics/{kind}": table for kind, table in content.semantics.items()}
    for name in _INDICES:
        index = getattr(content, name)
        if index is not None:
            arrays[f"split/{name}"] = index
    for name in ("class_names", "files", "descriptions"):
        texts = getattr(content, name)
        if texts is not None:
            arrays[name] = text_array(texts)
    if content.recipe != Recipe():
        arrays["recipe"] = np.array(content.recipe.model_dump_json())
    return arrays


def write_datasets(
    content: BenchmarkFile,
    folder: Path,
    *,
    overwrite: bool = False,
    advance: Advance = no_progress,
) -> None:
    """Write a folder that ``datasets.load_from_disk`` reads, completely or not at all.

    Args:
        content: The content to write.
        folder: The folder; the folder above it is made if it is missing.
        overwrite: Whether an existing folder of datasets is replaced.
        advance: Called after each block with the number of bytes of features written so far.

    Raises:
        ConfigError: If the package datasets is not installed.
        DataError: If the content is inconsistent.
        OutputError: If the folder exists and may not be replaced, or cannot be written.
    """
    from importlib.util import find_spec

    if find_spec("datasets") is None:
        raise missing_package(folder, "datasets")
    content.check()
    _check_replaceable(folder, overwrite=overwrite)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    former = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.old")
    try:
        try:
            temporary.mkdir(parents=True)
            _save(content, temporary, advance)
            _replace(folder, temporary, former)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"Cannot write {folder}: {reason(error)}.") from error


def _replace(folder: Path, new: Path, former: Path) -> None:
    """Move a new folder to the place of another, which is there again if that fails."""
    try:
        if folder.exists():
            folder.rename(former)
        new.rename(folder)
    except BaseException:
        if former.exists():
            former.rename(folder)
        raise


def _check_replaceable(folder: Path, *, overwrite: bool) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not is_datasets_folder(folder):
        raise OutputError(
            f"{folder}: found {'other files in it' if folder.is_dir() else 'a file'}; expected a "
            "new folder, or one of datasets with --overwrite. Name another."
        )
    if not overwrite:
        raise OutputError(
            f"{folder}: the folder exists. Add --overwrite to replace it, or name another."
        )


def _save(content: BenchmarkFile, folder: Path, advance: Advance) -> None:
    import datasets

    names = content.class_names or default_names(content.num_classes)
    parts: dict[str, Array] = {part: getattr(content, part) for part in PARTS}
    used = np.concatenate(list(parts.values()))
    parts[UNUSED] = np.setdiff1d(np.arange(len(content.labels)), used)
    parts = {part: index for part, index in parts.items() if len(index)}
    special = {"label": datasets.ClassLabel(names=list(names))}
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    # `datasets` maps these files into memory while it writes its own
    mapped = folder / ".rows"
    mapped.mkdir()
    try:
        splits, done = {}, 0
        for part, index in parts.items():
            blocks = _rows(content, index)
            splits[part] = _dataset(blocks, special, mapped / part, done, advance)
            done += len(index) * content.features[:1].nbytes
        datasets.DatasetDict(splits).save_to_disk(str(folder))
        classes = _dataset(iter([_classes(content, names)]), {}, mapped / "classes")
        classes.save_to_disk(str(folder / "classes"))
    finally:
        shutil.rmtree(mapped, ignore_errors=True)
        if shown:
            datasets.enable_progress_bars()
    (folder / SIDECAR).write_text(json.dumps(_rest(content), ensure_ascii=False), "utf-8")


def _rest(content: BenchmarkFile) -> dict[str, Any]:
    index = {n: getattr(content, n) for n in ("train", "val", "validation_classes")}
    return {
        "format": _FORMAT,
        "name": content.name,
        "named_classes": content.class_names is not None,
        "kinds": list(content.semantics),
        "split": {name: ids.tolist() for name, ids in index.items() if ids is not None},
        "recipe": content.recipe.model_dump(),
    }


def _rows(content: BenchmarkFile, index: Array) -> Iterator[dict[str, Array]]:
    """The columns of some samples, in blocks of rows."""
    rows = max(1, _BLOCK // content.features.shape[1])
    for start in range(0, len(index), rows):
        block = index[start : start + rows]
        columns: dict[str, Array] = {"features": content.features[block]}
        columns |= {"label": content.labels[block], "index": block}
        if content.files is not None:
            columns["file"] = text_array([content.files[i] for i in block])
        yield columns
        release(content.features)


def _classes(content: BenchmarkFile, names: tuple[str, ...]) -> dict[str, Array]:
    columns = {"name": text_array(names)}
    columns |= {f"semantics/{kind}": table for kind, table in content.semantics.items()}
    if content.descriptions is not None:
        columns["description"] = text_array(content.descriptions)
    return columns


def _dataset(
    blocks: Iterator[dict[str, Array]],
    special: Mapping[str, Any],
    file: Path,
    done: int = 0,
    advance: Advance = no_progress,
) -> Any:
    """A dataset of arrays ``[n]`` and ``[n, D]``, which keep their types.

    Args:
        blocks: Blocks of rows, at least one.
        special: The types of columns that do not follow from their arrays.
        file: File that the rows are written to, and that the dataset reads.
        done: Bytes of features written before these.
        advance: Called with the bytes of features written after each block.
    """
    import datasets
    import pyarrow as pa

    with pa.OSFile(str(file), "wb") as sink:
        writer = None
        for columns in blocks:
            types = {name: _type_of(array) for name, array in columns.items()}
            schema = datasets.Features({**types, **special}).arrow_schema
            writer = writer or pa.ipc.new_stream(sink, schema)
            arrays = {name: _arrow(array) for name, array in columns.items()}
            writer.write_table(pa.table(arrays).cast(schema))
            if "features" in columns:
                done += columns["features"].nbytes
                advance(done)
        assert writer is not None
        writer.close()
    return datasets.Dataset.from_file(str(file))


def _type_of(array: Array) -> Any:
    import datasets

    if array.ndim == 2:
        return datasets.Sequence(datasets.Value(_dtype(array)), length=array.shape[1])
    return datasets.Value("string" if array.dtype.kind == "U" else _dtype(array))


def _arrow(array: Array) -> Any:
    import pyarrow as pa

    if array.ndim == 2:
        flat = pa.array(np.ascontiguousarray(array).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, array.shape[1])
    return pa.array(array.tolist() if array.dtype.kind == "U" else array)


def _dtype(array: Array) -> str:
    return str(array.dtype.newbyteorder("="))
