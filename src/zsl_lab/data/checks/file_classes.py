"""Checks whether the paths of image files agree with the labels of the samples.

Published feature files list the paths of the images, in class folders
(``images/001.Black_footed_Albatross/x.jpg``). They contradict labels that are in another order than
the features, or that number the classes in another order.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np

from zsl_lab.data.benchmark import IntArray
from zsl_lab.data.checks.class_names import by_normalized, normalized
from zsl_lab.errors import DataError, DataWarning

#: largest share of samples with a wrong label that gives a warning only, not an error
_MANY = 0.1
#: maximum number of folders above a file that together form a class's name
_DEPTH = 3
#: maximum number of samples that a message names
_SHOWN = 3


def classes_of_files(files: Sequence[str], class_names: Sequence[str]) -> IntArray:
    """The class id, int64 ``[N]``, that each file's folders name; -1 where they name none.

    Args:
        files: N paths, with slashes or backslashes between folders.
        class_names: Names of the C classes. Names that are numbers are ignored, since folders are
            often numbered for other reasons.
    """
    class_of_name = {
        name: class_id
        for name, class_id in by_normalized(class_names).items()
        if not name.isdecimal()
    }
    of_folder: dict[str, int] = {}
    found = np.full(len(files), -1, dtype=np.int64)
    if not class_of_name:
        return found
    for sample, file in enumerate(files):
        folder = file.replace("\\", "/").rpartition("/")[0]
        if folder not in of_folder:
            of_folder[folder] = _class_of_folder(folder, class_of_name)
        found[sample] = of_folder[folder]
    return found


def check_file_classes(
    files: Sequence[str],
    labels: IntArray,
    class_names: Sequence[str],
    sources: tuple[str, str, str],
) -> None:
    """Compare the folders of image files with labels.

    If few samples are in the folder of another class, a warning is given.

    Args:
        files: N paths.
        labels: 0-based class ids, int64 ``[N]``.
        class_names: Names of the C classes.
        sources: The file, its field of the paths and its field of the labels, for messages.

    Raises:
        DataError: If many samples, or all samples of a class, are in folders of other classes.
    """
    if len(files) != len(labels) or not len(labels):
        return
    named = classes_of_files(files, class_names)
    speaks = (named >= 0) & (labels >= 0) & (labels < len(class_names))
    wrong = np.flatnonzero(speaks & (named != labels))
    if not len(wrong):
        return
    of_class = np.bincount(labels[speaks], minlength=len(class_names))
    wrong_of_class = np.bincount(labels[wrong], minlength=len(class_names))
    whole = np.flatnonzero((of_class > 1) & (wrong_of_class == of_class))
    source, files_field, labels_field = sources
    shown = "; ".join(
        f"row {sample + 1}: {_tail(files[sample])}, label '{class_names[labels[sample]]}'"
        for sample in wrong[:_SHOWN]
    )
    found = (
        f"{source}: fields '{labels_field}' and '{files_field}': found {len(wrong)} of "
        f"{int(speaks.sum())} samples with another label than their folder's class ({shown}); "
        "expected the class that the folder names."
    )
    if len(whole) or len(wrong) > _MANY * speaks.sum():
        raise DataError(
            f"{found} {_cause(named[speaks], labels[speaks], class_names)} Put both into one "
            f"order, or, if '{files_field}' is what is wrong, take it out of the file."
        )
    warnings.warn(
        DataWarning(
            f"{found} Correct these labels, or the names of the files.", "labels against folders"
        ),
        stacklevel=3,
    )


def _class_of_folder(folder: str, class_of_name: Mapping[str, int]) -> int:
    parts = [part for part in PurePosixPath(folder).parts if part.strip("/")]
    # SUN has nested folders: apartment_building/outdoor is class apartment_building_outdoor
    for depth in range(min(_DEPTH, len(parts)), 0, -1):
        class_id = class_of_name.get(normalized("_".join(parts[-depth:])))
        if class_id is not None:
            return class_id
    return -1


def _tail(file: str) -> str:
    return "/".join(file.replace("\\", "/").split("/")[-2:])


def _cause(named: IntArray, labels: IntArray, class_names: Sequence[str]) -> str:
    """A sentence on the likely cause of many wrong labels."""
    pairs = np.unique(np.stack([labels, named], axis=1), axis=0)
    if len(pairs) == len(np.unique(labels)) == len(np.unique(named)):
        moved = int(pairs[np.argmax(pairs[:, 0] != pairs[:, 1]), 0])
        other = int(pairs[pairs[:, 0] == moved][0, 1])
        order = _order(pairs, class_names)
        return (
            f"The labels number the classes in another order{order}: label {moved + 1} is of "
            f"'{class_names[other]}', not of '{class_names[moved]}'."
        )
    if np.array_equal(np.bincount(named), np.bincount(labels)):
        return "Each class has as many labels as files: the rows are in another order."
    return "Labels, or rows, seem to be in another order."


def _order(pairs: IntArray, class_names: Sequence[str]) -> str:
    by_name = sorted(range(len(class_names)), key=lambda c: class_names[c])
    return " (sorted by name)" if all(by_name[label] == c for label, c in pairs) else ""
