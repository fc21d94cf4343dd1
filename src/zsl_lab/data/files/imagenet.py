"""Reads files of ImageNet: ``ImageNet_splits.mat``, ``ImageNet_w2v.mat``, features of each class.

``ImageNet_w2v.mat`` (Changpinyo et al., CVPR 2016; MATLAB 7.3) has a row for each class: ``wnids``
(cells, WordNet ids like n01440764), ``w2v`` ``[classes, 500]`` and ``no_w2v_loc``, the 1-based rows
of classes without a word vector. ``ImageNet_splits.mat`` (Xian et al., PAMI 2018; in xlsa17.zip)
lists 1-based rows of that file: the seen classes ``train_classes`` (800) and ``val_classes`` (200),
and sets of unseen classes: ``hops2``, ``hops3``, ``rest``, and the most and the least populated
classes, ``mp500`` to ``lp5000``.

Features of a class are ``FOLDER/<class>.npy``, ``[samples, D]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zsl_lab.data.benchmark import FloatArray, IntArray
from zsl_lab.data.files.mat import read_mat
from zsl_lab.errors import DataError
from zsl_lab.files.npy import load_npy

SPLITS, WORDS = "ImageNet_splits.mat", "ImageNet_w2v.mat"
#: sets of unseen classes with a field in the split file; ``all`` are all classes that are not seen
FIELDS = ("hops2", "hops3", "mp500", "mp1000", "mp5000", "lp500", "lp1000", "lp5000")
ALL = "all"
_PARTS_OF_ALL = ("hops2", "hops3", "rest")


@dataclass(frozen=True, eq=False)
class ImageNetClasses:
    """The classes of ``ImageNet_w2v.mat`` and a set of unseen ones.

    Attributes:
        wnids: WordNet id of each row.
        vectors: Word vectors ``[rows, Q]``; the rows in :attr:`without_vector` are meaningless.
        without_vector: Sorted 0-based rows of classes without a word vector.
        train: Sorted 0-based rows of seen classes that are never held out.
        validation: Sorted 0-based rows of the seen classes that are held out for tuning.
        unseen: Sorted 0-based rows of the chosen set; None where the file has no such set.
    """

    wnids: tuple[str, ...]
    vectors: npt.NDArray[Any]
    without_vector: IntArray
    train: IntArray
    validation: IntArray
    unseen: IntArray | None

    @property
    def seen(self) -> IntArray:
        """Sorted rows of the seen classes."""
        return np.union1d(self.train, self.validation)


def read_classes(splits: Path, words: Path, chosen: str) -> ImageNetClasses:
    """Read the classes from both files.

    Args:
        splits: ``ImageNet_splits.mat``.
        words: ``ImageNet_w2v.mat``.
        chosen: A set of unseen classes: one of :data:`FIELDS`, :data:`ALL`, or another name.

    Raises:
        DataError: If a file or field is missing, damaged or inconsistent.
    """
    table = read_mat(words, ["wnids", "w2v"], ["no_w2v_loc"])
    wnids = tuple(str(wnid).strip() for wnid in table["wnids"].ravel())
    vectors = table["w2v"]
    if len(set(wnids)) != len(wnids):
        raise DataError(f"{words}: field 'wnids': found an id twice; expected each class once.")
    if vectors.ndim != 2 or len(vectors) != len(wnids):
        raise DataError(
            f"{words}: field 'w2v': found shape {list(vectors.shape)}; expected a row for each of "
            f"the {len(wnids)} ids in 'wnids'."
        )
    wanted = [chosen] if chosen in FIELDS else []
    if chosen == ALL:
        wanted = list(_PARTS_OF_ALL)
    fields = read_mat(splits, ["train_classes", "val_classes", *wanted])

    def rows(path: Path, field: str, values: npt.NDArray[Any]) -> IntArray:
        flat = np.asarray(values, dtype=np.float64).ravel()
        if len(flat) and (
            not np.isfinite(flat).all()
            or (flat != np.floor(flat)).any()
            or flat.min() < 1
            or flat.max() > len(wnids)
        ):
            bad = flat[~((flat >= 1) & (flat <= len(wnids)) & (flat == np.floor(flat)))][0]
            raise DataError(
                f"{path}: field '{field}': found {bad:g}; expected 1-based rows of {words}, 1 to "
                f"{len(wnids)}."
            )
        return np.unique(flat.astype(np.int64) - 1)

    of = {field: rows(splits, field, values) for field, values in fields.items()}
    train, validation = of["train_classes"], of["val_classes"]
    # the published lists may overlap: a seen class is never unseen
    train = np.setdiff1d(train, validation)
    unseen = None
    if wanted:
        listed = np.unique(np.concatenate([of[field] for field in wanted]))
        unseen = np.setdiff1d(listed, np.union1d(train, validation))
    without = rows(words, "no_w2v_loc", table.get("no_w2v_loc", np.zeros(0)))
    return ImageNetClasses(wnids, vectors, without, train, validation, unseen)


def rows_of(ids: Path, classes: ImageNetClasses, words: Path) -> IntArray:
    """Sorted rows of the unseen classes that a text file lists, one WordNet id per line.

    Args:
        ids: The text file.
        classes: The classes.
        words: ``ImageNet_w2v.mat``, for messages.

    Raises:
        DataError: If the file is missing, or names a class that is unknown or seen.
    """
    try:
        lines = ids.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{ids}: cannot be read ({error}); expected a text file with one WordNet id per line."
        ) from error
    place = {wnid: row for row, wnid in enumerate(classes.wnids)}
    seen, found = set(classes.seen.tolist()), []
    for number, line in enumerate(lines, 1):
        wnid = line.strip()
        if not wnid:
            continue
        row = place.get(wnid)
        if row is None or row in seen:
            kind = "no class of" if row is None else "a seen class of"
            raise DataError(
                f"{ids}: line {number}: found {wnid:.40}, {kind} {words}; expected unseen classes."
            )
        found.append(row)
    if not found:
        raise DataError(f"{ids}: found no class; expected one WordNet id per line.")
    return np.unique(np.array(found, dtype=np.int64))


def read_class_arrays(
    places: Sequence[tuple[Path, Sequence[str]]],
) -> tuple[FloatArray, IntArray, IntArray]:
    """Read the features of classes from a file each; a class without a file has no samples.

    Files are mapped, and copied into one table, so that no feature is in memory twice.

    Args:
        places: Folders, each with the names of the classes to read from it.

    Returns:
        Features float32 ``[N, D]``; for each sample the position of its class's name ``[N]``, and
        the position of its folder ``[N]``.

    Raises:
        DataError: If a file is damaged, or files have features of different dimensions.
    """
    found: list[tuple[int, int, Path, npt.NDArray[Any]]] = []
    for folder_id, (folder, classes) in enumerate(places):
        for class_id, name in enumerate(classes):
            path = folder / f"{name}.npy"
            if path.is_file():
                found.append((folder_id, class_id, path, _mapped(path)))
    if not found:
        return np.zeros((0, 0), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64)
    dim = found[0][3].shape[1]
    for _, _, path, rows in found:
        if rows.shape[1] != dim:
            raise DataError(
                f"{path}: found {rows.shape[1]} dimensions; expected {dim}, as in {found[0][2]}. "
                "Extract all classes with one network."
            )
    counts = [len(rows) for *_, rows in found]
    features = np.empty((sum(counts), dim), dtype=np.float32)
    end = 0
    for (_, _, path, rows), count in zip(found, counts, strict=True):
        start, end = end, end + count
        try:
            features[start:end] = rows
        except (OSError, ValueError) as error:
            raise _damaged(path, str(error)) from error
    folders, labels = (
        np.repeat(np.array([entry[i] for entry in found], dtype=np.int64), counts) for i in (0, 1)
    )
    return features, labels, folders


def _mapped(path: Path) -> npt.NDArray[Any]:
    try:
        rows = load_npy(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if rows.ndim != 2 or rows.dtype.kind not in "fiu":
        raise _damaged(path, f"{rows.dtype} of shape {list(rows.shape)}")
    return rows


def _damaged(path: Path, found: str) -> DataError:
    return DataError(
        f"{path}: found {found}; expected an array of numbers [samples, dimensions]. Copy or "
        "extract the file again."
    )
