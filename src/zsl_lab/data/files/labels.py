"""Reads tables of labels: the class of each image."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from zsl_lab.data.benchmark import IntArray
from zsl_lab.data.files.images import FoundPictures, scan_pictures
from zsl_lab.errors import DataError


def read_labels(
    path: Path, names: tuple[str, ...], descriptions: Path
) -> tuple[list[str], IntArray]:
    """Read a table of labels.

    Args:
        path: A CSV file with the columns ``file`` and ``class_id`` (1-based) or ``class`` (a name).
        names: The names of the classes.
        descriptions: The file that defines the classes, for messages.

    Returns:
        Files and 0-based class ids, in the table's order.

    Raises:
        DataError: If the file is missing or damaged, an image appears in it twice, or a class is
            not in ``names``.
    """
    files: dict[str, int] = {}
    class_of_name = {name: class_id for class_id, name in enumerate(names)}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            columns = set(table.fieldnames or ())
            column = "class_id" if "class_id" in columns else "class"
            if not {"file", column} <= columns:
                found = f"the columns {', '.join(sorted(columns))}" if columns else "an empty file"
                raise DataError(
                    f"{path}: found {found}; expected the columns file and class_id, or file and "
                    "class."
                )
            for row in table:
                name, label = (row["file"] or "").strip(), (row[column] or "").strip()
                here = f"{path}: line {table.line_num}"
                inside = PurePosixPath(name.replace("\\", "/"))
                if inside.is_absolute() or ".." in inside.parts or PureWindowsPath(name).drive:
                    raise DataError(
                        f"{here}: field 'file': found {name}, which lies outside the folder of "
                        "images; expected a path below it. Move the image there, or link to it."
                    )
                if not name or name in files:
                    found = f"{name} a second time" if name else "nothing"
                    raise DataError(
                        f"{here}: field 'file': found {found}; expected each image once."
                    )
                class_id = (
                    class_of_name.get(label)
                    if column == "class"
                    else int(label) - 1
                    if label.isdecimal()
                    else None
                )
                if class_id is None or not 0 <= class_id < len(names):
                    known = (
                        f"a number from 1 to {len(names)}"
                        if column == "class_id"
                        else "a class's name"
                    )
                    found = f"'{label}'" if label else "nothing"
                    raise DataError(
                        f"{here}: field '{column}': found {found} for {name}; expected {known}: a "
                        f"class that {descriptions} describes."
                    )
                files[name] = class_id
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: cannot be read as a table ({error}); expected a CSV file in UTF-8."
        ) from error
    if not files:
        raise DataError(f"{path}: found no image; expected a line for each.")
    return list(files), np.array(list(files.values()), dtype=np.int64)


def check_files(images: Path, files: list[str], labels_file: Path) -> None:
    """Check that every labelled image exists; warn of images without a label.

    Args:
        images: The folder of images.
        files: Paths of the labelled images, relative to ``images``.
        labels_file: The file that lists them, for messages.

    Raises:
        DataError: If a labelled image does not exist.
    """
    missing = [file for file in files if not (images / file).is_file()]
    if missing:
        more = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise DataError(
            f"{images / missing[0]}: no such file{more}; expected every image that {labels_file} "
            "labels."
        )
    labelled = {images / file for file in files}
    found = scan_pictures(images)
    others = tuple(entry for entry in found.left_out if images / entry[0] != labels_file)
    left_out = FoundPictures((), others).sentence(images)
    if left_out is not None:
        warnings.warn(left_out, stacklevel=3)
    strangers = [path for path in found.pictures if path not in labelled]
    if strangers:
        more = f" and {len(strangers) - 1} others" if len(strangers) > 1 else ""
        warnings.warn(
            f"{labels_file}: found no label for {strangers[0].relative_to(images)}{more}; images "
            "without a label are ignored.",
            stacklevel=3,
        )
