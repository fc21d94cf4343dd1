"""Finds the images of each class for a benchmark, and chooses the unseen classes."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import IntArray
from zsl_lab.data.checks.class_names import listed, match, near_name
from zsl_lab.data.checks.file_classes import check_file_classes
from zsl_lab.data.files.images import FoundPictures, entry_kind, scan_pictures
from zsl_lab.data.files.labels import check_files, read_labels
from zsl_lab.data.files.tables import ClassTable, Part
from zsl_lab.errors import ConfigError, DataError

#: default share of unseen classes
UNSEEN_SHARE = 0.2
#: minimum number of seen, and of unseen, classes: with a single one, every prediction is right
_LEAST = 2
#: maximum number of names that a message lists
_SHOWN = 5
#: folders of a dataset that is already split, and the parts that they stand for
_DIVISIONS = {"train": "train", "test": "test"} | dict.fromkeys(
    ("val", "valid", "validation"), "val"
)


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images of the classes of a table.

    Attributes:
        folder: The folder of all images.
        names: Paths of the N images relative to ``folder``, with ``/`` between folders.
        labels: 0-based class ids in the table's order, int64 ``[N]``; a class without images is
            unseen.
        parts: ``train``, ``val`` or ``test`` for each image if they are in such folders; else None.
    """

    folder: Path
    names: tuple[str, ...]
    labels: IntArray
    parts: tuple[str, ...] | None = None

    @property
    def files(self) -> list[Path]:
        """The paths of the images."""
        return [self.folder / name for name in self.names]


@dataclass(frozen=True, eq=False)
class Parts:
    """The classes of a split.

    Attributes:
        unseen: Sorted 0-based ids of the unseen classes.
        drawn: Sorted ids of those unseen classes that were drawn by the seed.
        validation: Sorted ids of the seen classes that are held out for tuning; None if a run is to
            draw them by its seed.
        version: How the unseen classes were chosen, in words.
    """

    unseen: IntArray
    drawn: IntArray
    validation: IntArray | None
    version: str


def find_class_pictures(folder: Path, table: ClassTable, labels: Path | None) -> Pictures:
    """Find the images of each class.

    Args:
        folder: A folder with a subfolder for each class, of the class's name; or with the folders
            ``train``, ``test`` and, optionally, ``val``, with such subfolders in each
            (torchvision's ``ImageFolder``); or with any files, and ``labels``.
        table: The classes.
        labels: A CSV file with the columns ``file`` (relative to ``folder``) and ``class``; None if
            the subfolders name the classes.

    Raises:
        DataError: If a seen class has no image, a subfolder has the name of no class, or a labelled
            file is missing.
    """
    if not folder.is_dir():
        what = "this is a file" if folder.exists() else "there is no such folder"
        raise DataError(
            f"{folder}: {what}; expected a folder of images. Correct the path, or give another "
            "folder."
        )
    if labels is not None:
        names, ids = read_labels(labels, table.names, table.path)
        check_files(folder, names, labels)
        check_file_classes(names, ids, table.names, (str(labels), "file", "class"))
    elif _is_divided(folder, table):
        return _divided(folder, table)
    else:
        names, ids = _by_folders(folder, table)
    _check_names(folder, names)
    _expect_seen_classes(folder if labels is None else labels, table, ids)
    return Pictures(folder, tuple(names), ids)


def _check_names(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{folder}: found a file called {name!r}; expected a name that is text in UTF-8, "
                "which can be stored. Rename the file, or remove it."
            ) from error


def _is_divided(folder: Path, table: ClassTable) -> bool:
    """Whether the subfolders are ``train`` and ``test`` (and ``val``) instead of classes.

    Raises:
        DataError: If there are such subfolders, but not both ``train`` and ``test``.
    """
    found = {path.name.casefold() for path in _inside(folder) if path.is_dir()}
    names = {name.casefold() for name in table.names}
    if not found or not found <= _DIVISIONS.keys() or found & names:
        return False
    lacking = {"train", "test"} - found
    if lacking:
        there = sorted(found)
        raise DataError(
            f"{folder}: found the folder{'s' if len(there) > 1 else ''} {' and '.join(there)}, and "
            f"no {' nor '.join(sorted(lacking))}; expected a folder for each class, or train and "
            "test with these in each, where classes that are only in test are unseen. Add it, or "
            f"give one of them, such as --images {folder / there[0]}: unseen classes are drawn."
        )
    return True


def _divided(folder: Path, table: ClassTable) -> Pictures:
    """The images in ``train``, ``val`` and ``test``."""
    names: list[str] = []
    parts: list[str] = []
    labels: list[IntArray] = []
    for place in _inside(folder):
        if not place.is_dir():
            continue
        found, ids = _by_folders(place, table)
        names += [f"{place.name}/{name}" for name in found]
        parts += [_DIVISIONS[place.name.casefold()]] * len(found)
        labels.append(ids)
    _check_names(folder, names)
    return Pictures(folder, tuple(names), np.concatenate(labels), tuple(parts))


def with_parts(table: ClassTable, pictures: Pictures) -> ClassTable:
    """The table with the part of each class, by the folders ``train``, ``val`` and ``test``.

    A class in ``train`` is seen, one in ``val`` and not in ``train`` is held out for tuning, and
    others are unseen. Without such folders the table is returned unchanged.

    Raises:
        ConfigError: If the table has a column ``split`` too.
    """
    if pictures.parts is None:
        return table
    if table.parts is not None:
        raise ConfigError(
            f"{table.path}: found the column 'split', and {pictures.folder} has the folders train "
            "and test, which say the same; expected one of the two. Take the column out."
        )
    within: dict[str, set[int]] = {part: set() for part in ("train", "val", "test")}
    for part, label in zip(pictures.parts, pictures.labels.tolist(), strict=True):
        within[part].add(label)
    parts: list[Part] = [
        "seen" if i in within["train"] else "validation" if i in within["val"] else "unseen"
        for i in range(len(table.names))
    ]
    return replace(table, parts=tuple(parts))


def choose_parts(
    table: ClassTable,
    unseen: int | float | None,
    seed: int,
    labels: IntArray | None = None,
    folder: Path | None = None,
) -> Parts:
    """Choose the unseen classes: those that the table gives, and others drawn by the seed.

    Classes are drawn from the undecided ones: those to which the table gives no part. Undecided
    classes without images are unseen too, in addition to the number that ``unseen`` gives.

    Args:
        table: The classes. A class that the backbone was trained on is never drawn.
        unseen: Number of unseen classes with images, or their share of all classes with images;
            None for :data:`UNSEEN_SHARE`. A share gives at least 2 if that leaves 2 seen ones. If
            there is only one unseen class, a warning is given.
        seed: Draws the classes.
        labels: 0-based class id of each image, int64 ``[N]``; None if every class has images.
        folder: The folder whose subfolders ``train`` and ``test`` gave the table's parts
            (:func:`with_parts`), for messages; None if the table's column ``split`` did.

    Raises:
        DataError: If the table has an unseen class that the backbone was trained on, no unseen
            class, or fewer than 2 seen classes besides validation classes.
        ConfigError: If there are too few classes to draw from.
    """
    parts = table.parts or ("",) * len(table.names)
    pretrained = table.pretrained or (False,) * len(table.names)
    ids = np.arange(len(table.names))
    pictured = np.isin(ids, ids if labels is None else labels)
    _check_pretrained(table, pictured)
    without = np.flatnonzero(~pictured)
    given = np.flatnonzero(pictured & [part == "unseen" for part in parts])
    validation = np.flatnonzero([part == "validation" for part in parts])
    free = np.flatnonzero(pictured & [part == "" for part in parts])
    drawn = np.zeros(0, dtype=np.int64)
    if len(free):
        pool = free[~np.array(pretrained)[free]]
        drawn = _draw(
            table, int(pictured.sum()), len(given), pool, unseen, np.random.default_rng(seed)
        )
    elif unseen is not None:
        raise ConfigError(
            f"--unseen {unseen}: column 'split' of {table.path} gives the part of every class, so "
            "that none is left to draw. Leave --unseen out, or leave cells empty."
            if folder is None
            else f"--unseen {unseen}: the folders train and test of {folder} give the part of "
            "every class, so that none is left to draw. Leave --unseen out."
        )
    chosen = np.union1d(np.union1d(given, drawn), without)
    _check_counts(table, chosen, validation)
    if not len(given):
        how = "drawn"
    else:
        how = f"{'partly ' if len(drawn) else ''}given in {(folder or table.path).name}"
    return Parts(chosen, drawn, validation if len(validation) else None, f"{how}, seed={seed}")


def _check_pretrained(table: ClassTable, pictured: npt.NDArray[np.bool_]) -> None:
    """Raise an error if the backbone was trained on an unseen class with images."""
    if table.parts is None or table.pretrained is None:
        return
    for name, part, known, tested in zip(
        table.names, table.parts, table.pretrained, pictured, strict=True
    ):
        if part == "unseen" and known and tested:
            raise DataError(
                f"{table.path}: class '{name}': found unseen in column 'split' and yes in column "
                "'pretrained'; expected unseen classes that the backbone was not trained on. Write "
                "seen, or take a backbone that was not trained on the class and write no."
            )


def _check_counts(table: ClassTable, chosen: IntArray, validation: IntArray) -> None:
    """Raise an error if there are too few unseen or seen classes; warn of a single unseen class."""
    seen = len(table.names) - len(chosen)
    if not len(chosen):
        raise DataError(
            f"{table.path}: column 'split': found no unseen class; expected at least 1. Write "
            "unseen for one, or leave cells empty, and the seed decides."
        )
    if seen < _LEAST:
        raise DataError(
            f"{table.path}: found {_counted(len(table.names), 'class')}, {len(chosen)} of them "
            f"unseen; expected at least {_LEAST} to be left to train on. Add classes, or make "
            "fewer unseen: --unseen, or column 'split'."
        )
    if len(validation) and seen - len(validation) < _LEAST:
        raise DataError(
            f"{table.path}: column 'split': found {_counted(len(validation), 'validation class')} "
            f"among {seen} that are not unseen; expected at least {_LEAST} others, to train on "
            "while these choose the step. Write seen for some of them, or make fewer unseen."
        )
    if len(chosen) < _LEAST:
        warnings.warn(
            f"{table.path}: '{table.names[chosen[0]]}' is the only unseen class: among unseen "
            "classes every prediction is right, so zsl_top1 is undefined. Write unseen for "
            "another one in column 'split', or give a larger --unseen.",
            stacklevel=3,
        )


def _draw(
    table: ClassTable,
    count: int,
    given: int,
    pool: IntArray,
    unseen: int | float | None,
    rng: np.random.Generator,
) -> IntArray:
    """Draw unseen classes.

    Args:
        table: The classes.
        count: Number of classes with images.
        given: Number of those that the table gives as unseen.
        pool: Ids of the classes to draw from.
        unseen: As in :func:`choose_parts`.
        rng: Draws them.
    """
    wanted = UNSEEN_SHARE if unseen is None else unseen
    if isinstance(wanted, float):
        least = max(min(_LEAST, count - _LEAST, given + len(pool)), 1)
        # half up: Python rounds half to even
        number = max(int(wanted * count + 0.5), least)
    else:
        number = wanted
    if number < given and unseen is not None:
        raise ConfigError(
            f"--unseen {unseen}: column 'split' of {table.path} has "
            f"{_counted(given, 'unseen class')} already. Give at least that many, or "
            "make some of them seen."
        )
    number = max(number - given, 0)
    if number > len(pool):
        trained = "" if table.pretrained is None else " and not pretrained"
        raise ConfigError(
            f"--unseen: {_counted(number, 'class')} {'is' if number == 1 else 'are'} to be drawn, "
            f"but of {count}{' with images' if count < len(table.names) else ''} in {table.path} "
            f"only {len(pool)} {'is' if len(pool) == 1 else 'are'} undecided{trained}. Give a "
            "smaller --unseen, or let the table have more of them."
        )
    return np.sort(rng.choice(pool, number, replace=False))


def _by_folders(folder: Path, table: ClassTable) -> tuple[list[str], IntArray]:
    places: list[Path] = []
    ignored: list[tuple[Path, str]] = []
    for place in _inside(folder):
        kind = entry_kind(place)
        if kind == "folder":
            places.append(place)
        else:
            ignored.append((Path(place.name), "beside the folders" if kind == "image" else kind))
    class_of_place, spelled = _matched([place.name for place in places], table)
    found: list[tuple[int, str]] = []
    strangers: list[str] = []
    for place, class_id in zip(places, class_of_place, strict=True):
        inside = scan_pictures(place)
        if class_id is not None:
            found += [(class_id, path.relative_to(folder).as_posix()) for path in inside.pictures]
            ignored += [(Path(place.name) / path, what) for path, what in inside.left_out]
        elif inside.pictures:
            strangers.append(place.name)
    if spelled:
        warnings.warn(
            f"{folder}: {_counted(len(spelled), 'folder')} spelled otherwise than in {table.path}: "
            f"{listed(spelled)}. They were taken for these classes.",
            stacklevel=4,
        )
    if not found and not strangers:
        raise DataError(
            f"{folder}: found no folder with images; expected one for each class of {table.path}, "
            "with its name. Create them, or say which image shows which class: --labels FILE, a "
            "CSV file with the columns file and class."
        )
    if strangers:
        near = near_name(strangers[0], table.names)
        hint = f" Did you mean '{near}'?" if near else ""
        raise DataError(
            f"{folder}: found {_named('folder', strangers)} with images, of which {table.path} has "
            f"no class.{hint} Add a line for each class, or move the folders away."
        )
    sentence = FoundPictures((), tuple(sorted(ignored))).sentence(folder)
    if sentence is not None:
        warnings.warn(sentence, stacklevel=4)
    found.sort()
    return [name for _, name in found], np.array(
        [class_id for class_id, _ in found], dtype=np.int64
    )


def _matched(folders: Sequence[str], table: ClassTable) -> tuple[list[int | None], list[str]]:
    """The class of each folder, or None; and sentences on names that match but are not equal."""
    # file systems may store names in another Unicode normal form
    own = [unicodedata.normalize("NFC", name) for name in folders]
    found = match(own, [unicodedata.normalize("NFC", name) for name in table.names])
    class_of_row = {row: class_id for class_id, row in found.row.items()}
    return (
        [class_of_row.get(row) for row in range(len(own))],
        [f"{folder} for {name}" for name, folder in found.spelled],
    )


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be read ({error.strerror}). Fix its permissions, or give another "
            "folder."
        ) from error


def _expect_seen_classes(where: Path, table: ClassTable, labels: IntArray) -> None:
    """Raise an error if a class given as seen has no image; warn of other such classes."""
    parts = table.parts or ("",) * len(table.names)
    empty = np.setdiff1d(np.arange(len(table.names)), labels)
    wanted = [table.names[i] for i in empty if parts[i] in ("seen", "validation")]
    if wanted:
        raise DataError(
            f"{where}: found no image of {_named('class', wanted)}, which column 'split' of "
            f"{table.path} calls seen or validation; expected at least one of each. Add images, "
            "or write unseen: a class without images is then a candidate that is not tested."
        )
    if len(empty):
        names = [table.names[i] for i in empty]
        warnings.warn(
            f"{where}: found no image of {_named('class', names)} of {table.path}. Without images "
            "a class is unseen, a candidate by its semantics alone, and no metric tests it. If "
            "there are images, compare the names of their folders or labels with the table.",
            stacklevel=4,
        )


def _named(kind: str, names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    if len(names) == 1:
        return f"the {kind} {shown}"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{_counted(len(names), kind)} ({shown}{more})"


def _counted(number: int, kind: str) -> str:
    return (
        f"{number} {kind}"
        if number == 1
        else f"{number} {kind}{'es' if kind.endswith('s') else 's'}"
    )
