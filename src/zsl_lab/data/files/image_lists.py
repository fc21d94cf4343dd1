"""Reads the lists of images and classes in the archives of public datasets.

CUB-200-2011 and NABirds have ``images.txt`` (image id, path below ``images/``),
``image_class_labels.txt`` (image id, class id) and ``classes.txt`` (class id, name); NABirds also
has ``hierarchy.txt`` (class id, id of its parent). The image ids of NABirds are not numbers, and
the class ids of both need not start at 1.

CUB-200 (2010) has ``lists/files.txt`` (one path per line) and ``lists/classes.txt`` (one name per
line). Animals with Attributes 2 has ``classes.txt`` and no list of images. In both, the folder of
an image names its class.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from zsl_lab.data.benchmark import IntArray
from zsl_lab.data.checks.class_names import listed, match, near_name
from zsl_lab.data.files.images import find_pictures
from zsl_lab.errors import DataError


def read_pairs(path: Path, what: str) -> dict[str, str]:
    """Read a list with an id and a value per line, in its order.

    Args:
        path: The file.
        what: Content of a line, for messages (``a class id and a name``).

    Returns:
        The values by id.

    Raises:
        DataError: If the file cannot be read, a line is incomplete or an id appears twice.
    """
    found: dict[str, str] = {}
    for number, line in _lines(path, what):
        parts = line.split(maxsplit=1)
        if len(parts) < 2 or parts[0] in found:
            problem = f"id {parts[0]} a second time" if parts[0] in found else f"'{line:.60}'"
            raise DataError(
                f"{path}: line {number}: found {problem}; expected {what}, each id once."
            )
        found[parts[0]] = parts[1].strip()
    return found


def read_classes(path: Path) -> dict[str, str]:
    """Read names of classes by id, in the order of the list.

    A list without ids has one name per line; the ids are then the line numbers, from 1 on.

    Raises:
        DataError: If the file cannot be read, or an id or a name appears twice.
    """
    what = "a class id and a name, or a name"
    names = [line for _, line in _lines(path, what)]
    if all(len(line.split(maxsplit=1)) == 2 and line.split()[0].isdecimal() for line in names):
        return read_pairs(path, what)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: found '{twice}' more than once; expected each class once.")
    return {str(number): name for number, name in enumerate(names, 1)}


def read_image_list(path: Path) -> list[str]:
    """Read paths of images, one per line, with or without an id before the path.

    Raises:
        DataError: If the file cannot be read, or a path appears twice or lies outside the folder.
    """
    files = [line.split(maxsplit=1)[-1] for _, line in _lines(path, "the path of an image")]
    _check_paths(path, files)
    return files


def read_labelled(images: Path, labels: Path) -> tuple[list[str], list[str]]:
    """Read paths of images and the class id of each, in the order of the list of images.

    Args:
        images: The list of images: image id and path.
        labels: The list of labels: image id and class id.

    Raises:
        DataError: If a list cannot be read, or the lists are of different images.
    """
    path_of = read_pairs(images, "an image id and a path")
    class_of = read_pairs(labels, "an image id and a class id")
    for one, other, found, lacking in (
        (path_of, class_of, images, labels),
        (class_of, path_of, labels, images),
    ):
        alone = [image for image in one if image not in other]
        if alone:
            more = f" and {len(alone) - 1} others" if len(alone) > 1 else ""
            raise DataError(
                f"{lacking}: found no line for image {alone[0]}{more}; expected one for each of "
                f"the {len(one)} images of {found}."
            )
    _check_paths(images, list(path_of.values()))
    return list(path_of.values()), [class_of[image] for image in path_of]


def found_images(folder: Path) -> list[str]:
    """Paths of the images below a folder, sorted.

    Raises:
        DataError: If there is no image.
    """
    files = [path.relative_to(folder).as_posix() for path in find_pictures(folder)]
    if not files:
        raise DataError(f"{folder}: found no image; expected a folder of images for each class.")
    return files


def labels_of_folders(
    files: Sequence[str], class_names: Sequence[str], images: Path, classes: Path
) -> IntArray:
    """The class that the first folder of each path names, 0-based, int64 ``[N]``.

    Args:
        files: Paths of images.
        class_names: Names of the C classes; folders may differ from them in separators and case.
        images: The folder of images, for messages.
        classes: The list of classes, for messages.

    Raises:
        DataError: If a folder has the name of no class.
    """
    folders = [PurePosixPath(file).parts[0] for file in files]
    found = match(list(dict.fromkeys(folders)), class_names)
    if found.extra:
        near = near_name(found.extra[0], class_names)
        hint = f" Did you mean '{near}'?" if near else ""
        raise DataError(
            f"{images}: found {listed(found.extra)}; expected folders named like the "
            f"{len(class_names)} classes of {classes}.{hint}"
        )
    names = list(dict.fromkeys(folders))
    class_of = {names[row]: class_id for class_id, row in found.row.items()}
    return np.array([class_of[folder] for folder in folders], dtype=np.int64)


def _check_paths(path: Path, files: Sequence[str]) -> None:
    seen: set[str] = set()
    for file in files:
        inside = PurePosixPath(file)
        if inside.is_absolute() or ".." in inside.parts:
            raise DataError(
                f"{path}: found {file}, which lies outside the folder of images; expected paths "
                "below it."
            )
        if file in seen:
            raise DataError(f"{path}: found {file} a second time; expected each image once.")
        seen.add(file)


def _lines(path: Path, what: str) -> list[tuple[int, str]]:
    """The non-empty lines, with their line numbers."""
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read as text ({error}); expected {what} per line."
        ) from error
    lines = [(i, line.strip()) for i, line in enumerate(content.splitlines(), 1) if line.strip()]
    if not lines:
        raise DataError(f"{path}: found an empty file; expected {what} per line.")
    return lines
