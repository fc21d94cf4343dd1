"""Lists of unseen and seen classes, which define a split.

Three forms are read:

- a folder with ``testclasses.txt`` (names of the unseen classes, one per line) and, optionally,
  ``trainvalclasses.txt`` (the seen classes) and ``trainclasses1.txt``, ``valclasses1.txt``, ...
  (the seen classes divided for tuning, up to three times); the archive ``standard_split.zip`` of
  Xian et al. has such a folder for each benchmark;
- a text file with the names of the unseen classes, one per line;
- a ``.mat`` file with ``train_cid`` and ``test_cid``, class ids from 1 on, such as those of the
  super-category splits (Elhoseiny et al., "Link the head to the beak", CVPR 2017). A class's id is
  the number before its name (``001.Black_footed_Albatross``), or else its position.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zsl_lab.data.benchmark import IntArray
from zsl_lab.data.checks.class_names import listed, match, near_name
from zsl_lab.data.files.mat import integers, read_mat
from zsl_lab.errors import DataError

UNSEEN, SEEN = "testclasses.txt", "trainvalclasses.txt"
_NUMBERED = re.compile(r"(\d+)\.")
#: maximum number of divisions of the seen classes for tuning
_FOLDS = 3


@dataclass(frozen=True, eq=False)
class ClassLists:
    """The classes of a split.

    Attributes:
        unseen: Sorted 0-based ids of the unseen classes.
        validation: Sets of seen classes to hold out for tuning, each as sorted 0-based ids.
    """

    unseen: IntArray
    validation: tuple[IntArray, ...] = ()


def has_lists(place: Path) -> bool:
    """Whether a path is a file, or a folder with class lists."""
    return place.is_file() or (place / UNSEEN).is_file()


def list_files(place: Path) -> tuple[Path, ...]:
    """The files that :func:`read_class_lists` reads if they exist."""
    if not place.is_dir():
        return (place,)
    names = [UNSEEN, SEEN]
    names += [f"{kind}classes{fold}.txt" for fold in _fold_numbers() for kind in ("train", "val")]
    return tuple(place / name for name in names)


def read_class_lists(place: Path, class_names: Sequence[str]) -> ClassLists:
    """Read lists of unseen and seen classes.

    Args:
        place: A folder or file in one of the forms above.
        class_names: Names of the dataset's C classes. Names in the lists may differ from them in
            case, separators and a number before the name.

    Raises:
        DataError: If a file is missing or damaged or names an unknown class, or if a class is in
            two lists or in none.
    """
    if place.is_dir():
        return _read_folder(place, class_names)
    if not place.is_file():
        raise DataError(f"{place}: no such file or folder.")
    if place.suffix == ".mat":
        return _read_ids(place, class_names)
    return ClassLists(_read_names(place, class_names))


def _read_folder(folder: Path, class_names: Sequence[str]) -> ClassLists:
    if not (folder / UNSEEN).is_file():
        found = sorted(path.name for path in folder.glob("*.txt"))
        raise DataError(
            f"{folder}: found {', '.join(found) or 'no list of classes'}; expected {UNSEEN} with "
            f"the names of the unseen classes, and {SEEN} with those of the seen ones."
        )
    unseen = _read_names(folder / UNSEEN, class_names)
    seen = np.setdiff1d(np.arange(len(class_names)), unseen)
    if (folder / SEEN).is_file():
        named = _read_names(folder / SEEN, class_names)
        _check_disjoint(folder, (UNSEEN, unseen), (SEEN, named), class_names)
        missing = np.setdiff1d(seen, named)
        if len(missing):
            raise DataError(
                f"{folder}: found {listed([class_names[i] for i in missing])} neither in {UNSEEN} "
                f"nor in {SEEN}; expected each of the {len(class_names)} classes in one of them."
            )
    return ClassLists(unseen, _read_folds(folder, seen, class_names))


def _read_folds(folder: Path, seen: IntArray, class_names: Sequence[str]) -> tuple[IntArray, ...]:
    folds = []
    for fold in _fold_numbers():
        name, other = f"valclasses{fold}.txt", f"trainclasses{fold}.txt"
        if not (folder / name).is_file():
            break
        validation = _read_names(folder / name, class_names)
        strangers = np.setdiff1d(validation, seen)
        if len(strangers):
            raise DataError(
                f"{folder / name}: found {listed([class_names[i] for i in strangers])}, which "
                f"{UNSEEN} names as unseen; expected seen classes only."
            )
        if (folder / other).is_file():
            train = _read_names(folder / other, class_names)
            _check_disjoint(folder, (name, validation), (other, train), class_names)
        folds.append(validation)
    return tuple(folds)


def _fold_numbers() -> range:
    return range(1, _FOLDS + 1)


def _check_disjoint(
    folder: Path,
    first: tuple[str, IntArray],
    second: tuple[str, IntArray],
    class_names: Sequence[str],
) -> None:
    both = np.intersect1d(first[1], second[1])
    if len(both):
        raise DataError(
            f"{folder}: found {listed([class_names[i] for i in both])} in {first[0]} and in "
            f"{second[0]}; expected each class in one of them."
        )


def _read_names(path: Path, class_names: Sequence[str]) -> IntArray:
    """Sorted 0-based ids of the classes that a text file names, one per line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); expected a text file with one class name per line."
        ) from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise DataError(f"{path}: found an empty file; expected one class name per line.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: found '{twice}' more than once; expected each class once.")
    found = match(names, class_names)
    if found.extra:
        near = near_name(found.extra[0], class_names)
        hint = f" Did you mean '{near}'?" if near else ""
        raise DataError(
            f"{path}: found {listed(found.extra)}; expected names of the {len(class_names)} "
            f"classes of the dataset, such as '{class_names[0]}'.{hint}"
        )
    return np.array(sorted(found.row), dtype=np.int64)


def _read_ids(path: Path, class_names: Sequence[str]) -> ClassLists:
    fields = read_mat(path, ["train_cid", "test_cid"])
    seen, unseen = (
        np.unique(integers(fields[name], path, name)) for name in ("train_cid", "test_cid")
    )
    both, every = np.intersect1d(seen, unseen), np.union1d(seen, unseen)
    if len(both):
        raise DataError(
            f"{path}: fields 'train_cid' and 'test_cid': found class {both[0]} in both; expected "
            "each class in one of them."
        )
    if not np.array_equal(every, np.arange(1, len(class_names) + 1)):
        raise DataError(
            f"{path}: fields 'train_cid' and 'test_cid': found {len(every)} class ids up to "
            f"{every.max(initial=0)}; expected each id from 1 to {len(class_names)}, the "
            "classes of the dataset, once."
        )
    return ClassLists(np.sort(_order_of_ids(class_names)[unseen - 1]))


def _order_of_ids(class_names: Sequence[str]) -> IntArray:
    """Position of the class of each id: by the number before its name, if all names have one.

    The classes of CUB's split file (``002.Laysan_Albatross``, ...) are not in the order of these
    numbers.
    """
    numbers = [_NUMBERED.match(name) for name in class_names]
    ids = np.array([int(number[1]) for number in numbers if number], dtype=np.int64)
    if np.array_equal(np.sort(ids), np.arange(1, len(class_names) + 1)):
        return np.argsort(ids)
    return np.arange(len(class_names))
