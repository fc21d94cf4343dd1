"""Reads class semantics as the authors of AwA2, CUB, SUN and aPY publish them, and class texts.

- Animals with Attributes 2: ``predicate-matrix-continuous.txt`` (a line for each class),
  ``classes.txt``, ``predicates.txt`` and, for the split, ``trainclasses.txt`` and
  ``testclasses.txt``;
- CUB-200-2011: ``attributes/class_attribute_labels_continuous.txt``, ``classes.txt`` and
  ``attributes.txt``, which is in the dataset's folder or beside it;
- SUN Attribute Database: ``attributeLabels_continuous.mat`` (``labels_cv``, a row for each image),
  ``images.mat`` and ``attributes.mat``; the rows of a class are averaged;
- aPascal & aYahoo: ``attribute_names.txt`` and ``apascal_train.txt``, ``apascal_test.txt``,
  ``ayahoo_test.txt`` (a line for each object: image, class, box, 64 attributes); the lines of a
  class are averaged;
- texts: for each class a ``.txt`` file, or a folder of such files, with the class's name.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from zsl_lab.data.checks.class_names import listed, match, near_name
from zsl_lab.data.files.class_semantics import SemanticsTable, read_names, read_semantics_table
from zsl_lab.data.files.mat import matrix, read_mat, texts
from zsl_lab.data.files.tables import ClassTable, Part, read_class_table, table_lines, table_text
from zsl_lab.errors import DataError

_AWA, _AWA_CLASSES = "predicate-matrix-continuous.txt", "classes.txt"
_CUB = "class_attribute_labels_continuous.txt"
_SUN = "attributeLabels_continuous.mat"
_APY, _APY_PARTS = "attribute_names.txt", ("apascal_train", "apascal_test", "ayahoo_test")
_BOX = 4

Rows = npt.NDArray[np.float32]


def is_class_source(path: Path) -> bool:
    """Whether a folder holds class semantics in one of the forms above."""
    return path.is_dir() and (_published(path) is not None or bool(_text_files(path)))


def read_class_source(path: Path) -> ClassTable:
    """Read the classes of a folder.

    Args:
        path: The folder with the attributes, or the dataset's folder as its archive unpacks.

    Raises:
        DataError: If a file is missing or damaged, or there are not as many names as rows.
    """
    found = _published(path)
    if found is None and not _text_files(path):
        raise DataError(
            f"{path}: found no class semantics; expected {_AWA} (AwA2), attributes/{_CUB} (CUB), "
            f"{_SUN} (SUN), {_APY} (aPY), or a .txt file for each class. Copy it there, or give a "
            "table."
        )
    if found is None:
        return _read_texts(path)
    folder, name = found
    reader = {_AWA: _read_awa, _CUB: _read_cub, _SUN: _read_sun, _APY: _read_apy}[name]
    return reader(folder)


def read_classes(path: Path) -> tuple[SemanticsTable | None, ClassTable | None]:
    """Read class semantics from a file or folder, and its table of classes.

    Args:
        path: A folder in one of the forms above, its main file, or another file that
            :func:`zsl_lab.data.files.tables.read_class_table` or
            :func:`zsl_lab.data.files.class_semantics.read_semantics_table` reads.

    Returns:
        The table of semantics, None if there are only texts; and the table of classes, None if the
        file is a plain table of numbers.
    """
    if path.name in (_AWA, _CUB, _SUN, _APY):
        path = path.parent
    if path.is_dir() or path.suffix.lower() == ".json" or _has_class_column(path):
        table = read_class_source(path) if path.is_dir() else read_class_table(path)
        if table.attributes is None:
            return None, table
        rows = SemanticsTable(table.path, "semantics", table.attributes, table.names, table.path)
        return rows, table
    return read_semantics_table(path), None


def _has_class_column(path: Path) -> bool:
    if path.suffix.lower() != ".csv":
        return False
    return "class" in next(table_lines(path, table_text(path)), (0, [""]))[1]


def _published(path: Path) -> tuple[Path, str] | None:
    """The folder with the attributes, and the name of their file; None if there is none."""
    below = {_AWA: (), _CUB: ("attributes", "CUB_200_2011/attributes"), _SUN: ()}
    for name, inner in {**below, _APY: ("attribute_data",)}.items():
        for folder in (path, *(path / place for place in inner)):
            if (folder / name).is_file() and (name != _APY or _apy_files(folder)):
                return folder, name
    return None


def _read_awa(folder: Path) -> ClassTable:
    names = _names(folder / _AWA_CLASSES)
    rows = _read_rows(folder / _AWA)
    predicates = folder / "predicates.txt"
    attributes = _names(predicates) if predicates.is_file() else ()
    missing = int((rows == -1).sum())
    if missing:
        warnings.warn(
            f"{folder / _AWA}: {missing} values are -1, which marks missing values; they stay as "
            "they are.",
            stacklevel=2,
        )
    table = _table(folder / _AWA, names, rows, attributes, parts=_awa_parts(folder, names))
    # the folder, since the parts come from other files
    return replace(table, path=folder)


def _awa_parts(folder: Path, names: Sequence[str]) -> tuple[Part, ...] | None:
    """The part of each class, from ``trainclasses.txt`` and ``testclasses.txt``; or None."""
    parts: list[Part] = [""] * len(names)
    lists: tuple[tuple[str, Part], ...] = (
        ("trainclasses.txt", "seen"),
        ("testclasses.txt", "unseen"),
    )
    for file, part in lists:
        if not (folder / file).is_file():
            continue
        found = match(_names(folder / file), names)
        if found.extra:
            raise _unknown(folder / file, found.extra, names, folder / _AWA_CLASSES)
        for class_id in found.row:
            if parts[class_id]:
                raise DataError(
                    f"{folder}: found '{names[class_id]}' in trainclasses.txt and testclasses.txt; "
                    "expected each class in one of them."
                )
            parts[class_id] = part
    return tuple(parts) if any(parts) else None


def _read_cub(folder: Path) -> ClassTable:
    places = (folder, folder.parent, folder.parent.parent)
    classes = _first(places, "classes.txt")
    attributes = _first(places, "attributes.txt", required=False)
    rows = _read_rows(folder / _CUB)
    labels = _names(attributes) if attributes is not None else ()
    return _table(folder / _CUB, _names(classes or folder), rows, labels)


def _first(places: Sequence[Path], name: str, *, required: bool = True) -> Path | None:
    for place in places:
        if (place / name).is_file():
            return place / name
    if required:
        raise DataError(
            f"{places[0] / name}: no such file, nor in the folders above; expected the names of "
            "the classes, one per line. Copy it there from the archive."
        )
    return None


def _read_sun(folder: Path) -> ClassTable:
    values = matrix(read_mat(folder / _SUN, ["labels_cv"])["labels_cv"], folder / _SUN, "labels_cv")
    images_file, names_file = folder / "images.mat", folder / "attributes.mat"
    images = texts(read_mat(images_file, ["images"])["images"], images_file, "images")
    if len(images) != len(values):
        raise DataError(
            f"{folder / _SUN}: field 'labels_cv': found {len(values)} rows; expected "
            f"{len(images)}, one for each image of {images_file}."
        )
    # a/abbey/sun_aobrrjkyhfzhxagi.jpg: the first folder is the initial, not part of the name
    folders = [PurePosixPath(image).parent.as_posix() for image in images]
    classes = [name[2:] if name[1:2] == "/" else name for name in folders]
    labels: tuple[str, ...] = ()
    if names_file.is_file():
        labels = texts(read_mat(names_file, ["attributes"])["attributes"], names_file, "attributes")
    return _averaged(folder / _SUN, classes, values, labels)


def _apy_files(folder: Path) -> list[Path]:
    found = (folder / f"{part}.txt" for part in _APY_PARTS)
    return [path for path in found if path.is_file()]


def _read_apy(folder: Path) -> ClassTable:
    labels = tuple(line.strip() for line in table_text(folder / _APY).splitlines() if line.strip())
    classes: list[str] = []
    rows: list[list[float]] = []
    for path in _apy_files(folder):
        for line, text in enumerate(table_text(path).splitlines(), 1):
            cells = text.split()
            if not cells:
                continue
            try:
                numbers = [float(cell) for cell in cells[2:]]
            except ValueError:
                numbers = []
            if len(numbers) != _BOX + len(labels):
                raise DataError(
                    f"{path}: line {line}: found {len(cells)} words; expected an image, a class, "
                    f"{_BOX} numbers of a box and {len(labels)} attributes, those of {_APY}. The "
                    "file may have been cut off: get it again."
                )
            classes.append(cells[1])
            rows.append(numbers[_BOX:])
    if not rows:
        raise DataError(
            f"{folder}: found no object; expected a line for each in apascal_train.txt."
        )
    return _averaged(folder / _APY, classes, np.array(rows, dtype=np.float32), labels)


def _averaged(
    path: Path, classes: Sequence[str], values: npt.NDArray[np.generic], labels: Sequence[str]
) -> ClassTable:
    """The mean of the rows of each class, in the order in which classes first occur."""
    names = tuple(dict.fromkeys(classes))
    place = {name: i for i, name in enumerate(names)}
    ids = np.array([place[name] for name in classes])
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, ids, values.astype(np.float64))
    means = sums / np.bincount(ids)[:, None]
    return _table(path, names, means.astype(np.float32), labels)


def _read_texts(folder: Path) -> ClassTable:
    found = _text_files(folder)
    names = tuple(found)
    descriptions = tuple(
        " ".join(" ".join(table_text(path).split()) for path in files) for files in found.values()
    )
    for name, text in zip(names, descriptions, strict=True):
        if not text:
            raise DataError(
                f"{folder}: found no text for '{name}'; expected one for every class. Describe the "
                "class, or take its file away."
            )
    return ClassTable(folder, names, None, (), descriptions)


def _text_files(folder: Path) -> dict[str, list[Path]]:
    """The text files of each class, by its name; empty if the folder has other entries."""
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if entries and all(path.suffix == ".txt" and path.is_file() for path in entries):
        lists = any(path.stem in ("classes", "testclasses") for path in entries)
        return {} if lists else {path.stem: [path] for path in entries}
    found = {path.name: sorted(path.glob("*.txt")) for path in entries if path.is_dir()}
    return found if len(found) == len(entries) and all(found.values()) else {}


def _names(path: Path) -> tuple[str, ...]:
    names = read_names(path)
    if not names or len(set(names)) < len(names):
        found = "no name" if not names else "a name twice"
        raise DataError(f"{path}: found {found}; expected names, one per line, each once.")
    return names


def _read_rows(path: Path) -> Rows:
    rows: list[Rows] = []
    for line, text in enumerate(table_text(path).splitlines(), 1):
        cells = text.split()
        if not cells:
            continue
        try:
            row = np.array(cells, dtype=np.float32)
        except ValueError:
            row = np.array([np.nan], dtype=np.float32)
        if not np.isfinite(row).all():
            raise DataError(f"{path}: line {line}: found {text[:40]!r}; expected numbers only.")
        if rows and len(row) != len(rows[0]):
            raise DataError(
                f"{path}: line {line}: found {len(row)} numbers; expected {len(rows[0])}, as in "
                "the first line. The file may have been cut off: get it again."
            )
        rows.append(row)
    if not rows:
        raise DataError(f"{path}: found an empty file; expected a line of numbers for each class.")
    return np.stack(rows)


def _table(
    path: Path,
    names: Sequence[str],
    rows: Rows,
    attributes: Sequence[str],
    parts: tuple[Part, ...] | None = None,
) -> ClassTable:
    if len(names) != len(rows):
        raise DataError(
            f"{path}: found {len(rows)} rows and {len(names)} class names; expected as many names "
            "as rows. The file may have been cut off: get it again."
        )
    if attributes and len(attributes) != rows.shape[1]:
        raise DataError(
            f"{path}: found {rows.shape[1]} attributes and {len(attributes)} names of attributes; "
            "expected as many names as attributes."
        )
    labels = tuple(attributes) or tuple(f"attribute {i + 1}" for i in range(rows.shape[1]))
    return ClassTable(path, tuple(names), rows, labels, None, parts)


def _unknown(path: Path, extra: Sequence[str], names: Sequence[str], known: Path) -> DataError:
    near = near_name(extra[0], names)
    hint = f" Did you mean '{near}'?" if near else ""
    return DataError(f"{path}: found {listed(extra)}; expected classes of {known}.{hint}")
