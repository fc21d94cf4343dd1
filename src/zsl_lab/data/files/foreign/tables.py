"""Reads tables of samples: ``.csv``, ``.parquet`` and folders of Hugging Face ``datasets``.

A row is a sample. Its features are a column of lists, or a column of numbers for each dimension.
Columns whose names differ only in a final number (``f0``, ``f1``, ...) become one field, ``f*``.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from zsl_lab.data.benchmark import PARTS
from zsl_lab.data.files.foreign.arrays import missing_package
from zsl_lab.data.files.foreign.fields import Array, Fields, text_array
from zsl_lab.errors import DataError
from zsl_lab.files.rows import Advance, RowBuffer, no_progress

_NUMBERED = re.compile(r"(.*?)_?(\d{1,9})", re.DOTALL)
_DECIMAL = re.compile(r"[+-]?\d*\.\d+(e[+-]?\d+)?", re.IGNORECASE)
#: rows that are converted at once
_ROWS = 1024
#: files that mark a folder of datasets: one with several splits, and one with a single split
_SPLITS, _STATE = "dataset_dict.json", "state.json"
#: file that `convert` writes beside the splits of a benchmark
SIDECAR = "benchmark.json"
_CLASSES = "classes"


def numbered_groups(names: Sequence[str]) -> dict[str, list[str]]:
    """Groups of columns whose names differ only in a final number, in the order of these numbers.

    Returns:
        The names of the columns by ``NAME*``.
    """
    groups: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        found = _NUMBERED.fullmatch(name)
        if found:
            groups.setdefault(f"{found[1]}*", []).append((int(found[2]), name))
    return {key: [name for _, name in sorted(of)] for key, of in groups.items() if len(of) > 1}


# ------------------------------------------------------------------------------------------------
# CSV


def read_csv(path: Path, advance: Advance = no_progress) -> Fields:
    """Read a table with a header; features become float32.

    Args:
        path: The file.
        advance: Called after each block of rows with the number of bytes read so far.

    Raises:
        DataError: If the file is missing or not a table in UTF-8, or a cell of a numeric column is
            not a number (the message names its line and column).
    """
    try:
        with path.open("rb") as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True, skipinitialspace=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header)
            rows = _csv_rows(path, header, reader)
            return _csv_fields(path, header, rows, lambda: advance(raw.tell()))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: found bytes that are not UTF-8 ({error.reason}); expected a table as CSV in "
            "UTF-8. Save it so: spreadsheets call it CSV UTF-8."
        ) from error
    except csv.Error as error:
        raise DataError(
            f"{path}: line {reader.line_num}: cannot be read as a row of a table ({error}). "
            "Correct its quotes, or take the line out."
        ) from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); expected a table as CSV."
        ) from error


def _check_header(path: Path, header: list[str]) -> None:
    twice = next((name for name in header if header.count(name) > 1), None)
    if len(header) < 2 or twice is not None:
        found = f"the column '{twice}' twice" if twice else f"{len(header)} columns"
        raise DataError(
            f"{path}: line 1: found {found}; expected names of columns, each once, separated by "
            "commas: the label, and the features, a column of numbers for each dimension."
        )
    number = next((name for name in header if _DECIMAL.fullmatch(name)), None)
    if number is not None:
        raise DataError(
            f"{path}: line 1: found the number {number}; expected names of columns, such as f0, "
            "f1, ... and label. Write them above the first sample."
        )


def _csv_rows(path: Path, header: list[str], reader: Any) -> Iterator[tuple[int, list[str]]]:
    for row in reader:
        if not any(row):
            continue
        if len(row) != len(header):
            raise DataError(
                f"{path}: line {reader.line_num}: found {len(row)} cells; expected {len(header)}, "
                "one for each column of the first line. The file may have been cut off: write it "
                "again, or take the line out."
            )
        yield reader.line_num, row


def _csv_fields(
    path: Path,
    header: list[str],
    rows: Iterator[tuple[int, list[str]]],
    advance: Callable[[], object],
) -> Fields:
    groups = numbered_groups(header)
    place = {key: [header.index(name) for name in names] for key, names in groups.items()}
    grouped = {name for names in groups.values() for name in names}
    single = {name: i for i, name in enumerate(header) if name not in grouped}
    buffers = {key: RowBuffer() for key in groups}
    cells: dict[str, list[str]] = {name: [] for name in single}
    count = 0
    for block in _blocks(rows):
        count += len(block)
        advance()
        for key, columns in place.items():
            buffers[key].append(_csv_numbers(path, header, columns, block))
        for name, i in single.items():
            cells[name] += [row[i].strip() for _, row in block]
    if not count:
        raise DataError(f"{path}: found no row below the first line; expected one for each sample.")
    values = {key: buffer.array() for key, buffer in buffers.items()}
    return Fields(path, {**values, **{n: _column(c) for n, c in cells.items()}}, is_table=True)


def _blocks(rows: Iterator[tuple[int, list[str]]]) -> Iterator[list[tuple[int, list[str]]]]:
    block: list[tuple[int, list[str]]] = []
    for row in rows:
        block.append(row)
        if len(block) == _ROWS:
            yield block
            block = []
    if block:
        yield block


def _csv_numbers(
    path: Path, header: list[str], columns: list[int], block: list[tuple[int, list[str]]]
) -> Array:
    try:
        return np.array([[row[i] for i in columns] for _, row in block], dtype=np.float32)
    except ValueError:
        for line, row in block:
            for i in columns:
                try:
                    float(row[i])
                except ValueError:
                    shown = f"'{row[i][:40]}'" if row[i].strip() else "nothing"
                    raise DataError(
                        f"{path}: line {line}, column '{header[i]}': found {shown}; expected a "
                        "number, as in the other columns of that name. Put one there, or take the "
                        "line out."
                    ) from None
        raise


def _column(cells: list[str]) -> Array:
    """Cells as int64 if all are whole numbers, else float32 if all are numbers, else texts."""
    if all(cell.removeprefix("-").isdecimal() and len(cell) < 16 for cell in cells):
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    try:
        return np.array(cells, dtype=np.float32)
    except ValueError:
        return text_array(cells)


# ------------------------------------------------------------------------------------------------
# Arrow: parquet, datasets


def read_parquet(path: Path, advance: Advance = no_progress) -> Fields:
    """Read a parquet file; numbers keep their types.

    Args:
        path: The file.
        advance: Called after each block of rows with about the number of bytes read so far.

    Raises:
        ConfigError: If the package pyarrow is not installed.
        DataError: If the file is missing, damaged or truncated, or a value of a numeric column is
            missing (the message names its row and column).
    """
    if find_spec("pyarrow") is None:
        raise missing_package(path, "pyarrow")
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = _class_names(file.schema_arrow)
            share = path.stat().st_size / max(1, file.metadata.num_rows)
            batches = file.iter_batches(_ROWS)
            return _arrow_fields(
                path, file.schema_arrow, batches, names, lambda rows: advance(int(rows * share))
            )
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error, "a parquet file") from error


def is_datasets_folder(path: Path) -> bool:
    """Whether a folder was written by ``save_to_disk`` of Hugging Face ``datasets``."""
    return (path / _SPLITS).is_file() or (
        (path / _STATE).is_file() and (path / "dataset_info.json").is_file()
    )


def read_datasets(path: Path, advance: Advance = no_progress) -> Fields:
    """Read a folder of ``save_to_disk``; the name of a row's split becomes the field ``split``.

    A folder that `convert` wrote gives the benchmark's fields, in the benchmark's order.

    Args:
        path: The folder.
        advance: Called after each block of rows with about the number of bytes read so far.

    Raises:
        ConfigError: If the package datasets is not installed.
        DataError: If a file is damaged or truncated, or a value of a numeric column is missing.
    """
    if find_spec("datasets") is None:
        raise missing_package(path, "datasets")
    fields = _read_folder(path, advance)
    return _of_benchmark(path, fields) if (path / SIDECAR).is_file() else fields


def _read_folder(path: Path, advance: Advance = no_progress) -> Fields:
    import datasets
    import pyarrow as pa

    try:
        found = datasets.load_from_disk(str(path))
        parts = dict(found) if isinstance(found, datasets.DatasetDict) else {"": found}
        parts = {name: part for name, part in parts.items() if part.num_rows}
        if not parts:
            raise DataError(f"{path}: found no row; expected one for each sample.")
        first = next(iter(parts.values()))
        names = _label_names(first)
        other = next((part for part in parts if _label_names(parts[part]) != names), None)
        if other is not None:
            label = next(n for n in names if _label_names(parts[other]).get(n) != names[n])
            raise DataError(
                f"{path}: split '{other}', column '{label}': found other names of classes than in "
                f"split '{next(iter(parts))}'; expected the same in the same order. Give all "
                "splits one ClassLabel (cast_column), and save them again."
            )
        batches = (
            batch
            for part in parts.values()
            for table in part.with_format("arrow").iter(_ROWS)
            for batch in table.to_batches()
        )
        size = sum(file.stat().st_size for file in path.rglob("*.arrow"))
        share = size / sum(part.num_rows for part in parts.values())
        fields = _arrow_fields(
            path,
            first.data.table.schema,
            batches,
            names,
            lambda rows: advance(int(rows * share)),
        )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise _damaged(path, error, "a folder of datasets.Dataset.save_to_disk") from error
    if isinstance(found, datasets.DatasetDict) and "split" not in fields.values:
        split = np.repeat(list(parts), [part.num_rows for part in parts.values()])
        return replace(fields, values={**fields.values, "split": split})
    return fields


def _label_names(part: Any) -> dict[str, list[str]]:
    """The names of the classes, for each column that is a ``ClassLabel``."""
    import datasets

    return {
        name: feature.names
        for name, feature in part.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }


def _of_benchmark(path: Path, rows: Fields) -> Fields:
    """The fields of a benchmark that `convert` wrote: from its rows, classes and sidecar file."""
    place = path / SIDECAR
    try:
        rest = json.loads(place.read_text("utf-8"))
        index, split = rows.values["index"], rows.values["split"]
        if not np.array_equal(np.sort(index), np.arange(len(split))):
            raise ValueError("the rows' column index does not number them from 0 on")
        classes = _read_folder(path / _CLASSES).values
        order = np.argsort(index)
        values = {"features": _gathered(rows.values["features"], order)}
        values |= {"labels": rows.values["label"][order], "name": np.array(str(rest["name"]))}
        values |= {part: index[split == part] for part in PARTS}
        values |= {f"semantics/{kind}": classes[f"semantics/{kind}"] for kind in rest["kinds"]}
        values |= {name: np.array(ids, dtype=np.int64) for name, ids in rest["split"].items()}
        values["recipe"] = np.array(json.dumps(rest["recipe"]))
        if rest["named_classes"]:
            values["class_names"] = classes["name"]
        if "description" in classes:
            values["descriptions"] = classes["description"]
        if "file" in rows.values:
            values["files"] = rows.values["file"][order]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        brief = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{place}: found a damaged file, or one of other rows ({brief}); expected what "
            "`convert --to datasets` wrote. Write the folder again; or remove this file, and the "
            "rows are read as any other dataset."
        ) from error
    return Fields(path, values)


def _gathered(array: Array, order: Array) -> Array:
    """The rows in the given order, copied in blocks."""
    buffer = RowBuffer()
    for start in range(0, len(order), _ROWS):
        buffer.append(array[order[start : start + _ROWS]])
    return buffer.array()


def _arrow_fields(
    path: Path,
    schema: Any,
    batches: Iterator[Any],
    names_of: Mapping[str, Sequence[str]],
    advance: Advance = no_progress,
) -> Fields:
    kinds = {name: _kind(schema.field(name).type) for name in schema.names}
    groups = numbered_groups([name for name, kind in kinds.items() if kind == "number"])
    grouped = {name for names in groups.values() for name in names}
    single = [name for name, kind in kinds.items() if kind and name not in grouped]
    buffers = {name: RowBuffer() for name in (*groups, *single) if kinds.get(name) != "text"}
    texts: dict[str, list[str]] = {name: [] for name in single if kinds[name] == "text"}
    widths: dict[str, tuple[int, ...]] = {}
    rows = 0
    for batch in batches:
        column = {name: batch.column(i) for i, name in enumerate(batch.schema.names)}
        for name in kinds:
            if kinds[name] and name not in column:
                raise DataError(f"{path}: found a split without the column '{name}'.")
        for key, names in groups.items():
            columns = [_numbers(path, name, column[name], rows) for name in names]
            buffers[key].append(np.stack(columns, axis=1))
        for name in buffers.keys() - groups.keys():
            numbers = _numbers(path, name, column[name], rows)
            if widths.setdefault(name, numbers.shape[1:]) != numbers.shape[1:]:
                raise DataError(
                    f"{path}: column '{name}': found {numbers.shape[1]} numbers in row {rows} "
                    f"(0-based), and {widths[name][0]} before; expected lists of the same length."
                )
            buffers[name].append(numbers)
        for name, found in texts.items():
            found += ["" if text is None else str(text) for text in column[name].to_pylist()]
        rows += batch.num_rows
        advance(rows)
    if not rows:
        raise DataError(f"{path}: found no row; expected one for each sample.")
    values = {name: buffer.array() for name, buffer in buffers.items()}
    values |= {name: text_array(found) for name, found in texts.items()}
    left_out = {name: str(schema.field(name).type) for name, kind in kinds.items() if not kind}
    return Fields(path, values, left_out, is_table=True, names_of=names_of)


def _kind(kind: Any) -> str:
    """``number``, ``numbers`` (a list), ``text``, or empty for a type that is not read."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_integer(kind) or types.is_floating(kind):
        return "number"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return "numbers" if _kind(kind.value_type) == "number" else ""
    return ""


def _numbers(path: Path, name: str, column: Any, row: int) -> Array:
    """A column's numbers, ``[n]``, or ``[n, D]`` for lists; ``row`` is the first row's number."""
    where = f"{path}: column '{name}'"
    if column.null_count:
        missing = row + column.is_null().to_pylist().index(True)
        raise DataError(
            f"{where}: found no value in row {missing} (0-based); expected a number. Fill it, or "
            "take the row out."
        )
    if not hasattr(column, "flatten") or not hasattr(column.type, "value_type"):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    flat = column.flatten()
    if (lengths != lengths[0]).any() or flat.null_count:
        other = int(np.argmax(lengths != lengths[0]))
        found = (
            f"{lengths[other]} numbers in row {row + other} (0-based), and {lengths[0]} before"
            if not flat.null_count
            else f"a missing number within rows {row} to {row + len(lengths) - 1} (0-based)"
        )
        raise DataError(f"{where}: found {found}; expected lists of the same length, of numbers.")
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(len(lengths), -1)


def _class_names(schema: Any) -> dict[str, list[str]]:
    """The names of the classes by column of labels, if ``datasets`` wrote the file."""
    try:
        stored = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features: Mapping[str, Any] = stored.get("info", {}).get("features", {})
        found = {n: f["names"] for n, f in features.items() if f.get("_type") == "ClassLabel"}
    except (ValueError, AttributeError, KeyError, RecursionError):
        return {}
    return {
        column: names
        for column, names in found.items()
        if isinstance(names, list) and all(isinstance(name, str) for name in names)
    }


def _damaged(path: Path, error: Exception, expected: str) -> DataError:
    brief = (str(error).splitlines() or [""])[0] or type(error).__name__
    return DataError(
        f"{path}: found a damaged or truncated file ({brief}); expected {expected}. Write it "
        "again, or give another."
    )
