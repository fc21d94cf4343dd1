"""Datasets of images in the folders of their official archives, with texts from another file.

These are CUB-200-2011, CUB-200 (2010), NABirds and Animals with Attributes 2; their formats are
described in :mod:`zsl_lab.data.files.image_lists`. The archives have no texts: ``descriptions``
names a file of the user's, whose classes are matched with those of the archive by id or name.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import model_validator

from zsl_lab.data.benchmark import ImageBenchmark, IntArray
from zsl_lab.data.checks.class_names import listed, match, near_name
from zsl_lab.data.checks.file_classes import check_file_classes
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.datasets.images import ImageDataset, LabelledImages
from zsl_lab.data.files.descriptions import ClassTexts, read_class_texts
from zsl_lab.data.files.image_lists import (
    found_images,
    labels_of_folders,
    read_classes,
    read_image_list,
    read_labelled,
    read_pairs,
)
from zsl_lab.data.files.labels import check_files
from zsl_lab.errors import DataError

#: the split in which no family has both seen and unseen species
EXCLUSIVE = "hard"


class ImageListDataset(ImageDataset):
    """Images and classes in the lists of a public archive.

    Attributes:
        classes: The list of classes in ``folder``; each line has an id and a name, or a name.
        image_list: The list of images in ``folder``; each line has an id and a path below
            ``images``, or a path. None takes every image below ``images``.
        labels: The list of labels in ``folder``; each line has an image id and a class id. None
            where the first folder of an image's path names its class.
        hierarchy: A list in ``folder`` of class ids and the ids of their parents. The classes of
            the dataset are then the parents of the labelled classes, in the order of the
            descriptions: NABirds' 555 labels, which distinguish sex and age, become 404 species
            (Elhoseiny et al., CVPR 2017). None takes the labelled classes.
    """

    classes: str
    image_list: str | None
    labels: str | None
    hierarchy: str | None

    @model_validator(mode="after")
    def _check_lists(self) -> ImageListDataset:
        if self.labels is None and self.hierarchy is not None:
            raise ValueError("found hierarchy without labels, which have the classes to merge")
        if self.labels is not None and self.image_list is None:
            raise ValueError("found labels without image_list, which has the paths of the images")
        return self

    def load_images(self, paths: DataPaths) -> ImageBenchmark:
        """Read lists, texts and split; see :meth:`ImageDataset.load_images`."""
        benchmark = super().load_images(paths)
        if self.split == EXCLUSIVE and self.hierarchy is not None:
            folder = paths.data_dir / (self.folder or self.name)
            _check_families(benchmark, folder / self.classes, folder / self.hierarchy)
        return benchmark

    def _list_keys(self) -> tuple[str, ...]:
        return ("classes", "image_list", "labels", "hierarchy")

    def _read(self, at: Mapping[str, Path]) -> LabelledImages:
        names = read_classes(at["classes"])
        files, ids = self._read_images(at, names)
        texts = read_class_texts(at["descriptions"], self.description_format)
        if "hierarchy" in at:
            ids, names = _consolidated(ids, names, read_pairs(at["hierarchy"], "two class ids"), at)
            names = _in_order_of_texts(names, texts)
        class_names, position = tuple(names.values()), {c: i for i, c in enumerate(names)}
        labels = np.array([position[class_id] for class_id in ids], dtype=np.int64)
        check_files(at["images"], files, at.get("image_list", at["images"]))
        source = at.get("labels", at["classes"])
        check_file_classes(files, labels, class_names, (str(source), "path", "class id"))
        _warn_of_empty_classes(at["classes"], labels, class_names)
        rows = _joined_rows(at, class_names, texts)
        return LabelledImages(
            files,
            labels,
            class_names,
            tuple(texts.texts[row] for row in rows),
            {
                "labels": (str(source), "class id"),
                "class names": (str(at["classes"]), "name"),
                "descriptions": (str(at["descriptions"]), "description"),
            },
        )

    def _read_images(
        self, at: Mapping[str, Path], names: Mapping[str, str]
    ) -> tuple[list[str], list[str]]:
        """Paths of the images, and the class id (a key of ``names``) of each."""
        if "labels" not in at:
            files = (
                read_image_list(at["image_list"])
                if "image_list" in at
                else found_images(at["images"])
            )
            known = list(names)
            found = labels_of_folders(files, list(names.values()), at["images"], at["classes"])
            return files, [known[i] for i in found]
        files, ids = read_labelled(at["image_list"], at["labels"])
        strangers = sorted(set(ids) - names.keys())
        if strangers:
            raise DataError(
                f"{at['labels']}: found class id {strangers[0]}; expected one of the {len(names)} "
                f"ids of {at['classes']}."
            )
        return files, ids


def _consolidated(
    ids: Sequence[str],
    names: Mapping[str, str],
    parent: Mapping[str, str],
    at: Mapping[str, Path],
) -> tuple[list[str], dict[str, str]]:
    """For each image the id of its class's parent, and the names of these parents by id."""
    orphans = [class_id for class_id in dict.fromkeys(ids) if parent.get(class_id) not in names]
    if orphans:
        raise DataError(
            f"{at['hierarchy']}: found no parent of class {orphans[0]} "
            f"('{names[orphans[0]]}') in {at['classes']}; expected one for each labelled class."
        )
    found = [parent[class_id] for class_id in ids]
    used = set(found)
    return found, {class_id: name for class_id, name in names.items() if class_id in used}


def _check_families(benchmark: ImageBenchmark, classes: Path, hierarchy: Path) -> None:
    """Warn if the exclusive split has both seen and unseen species of a family.

    Then the classes are probably in another order than that of the split file, which no file of the
    archive has.
    """
    names, parent = read_classes(classes), read_pairs(hierarchy, "two class ids")
    id_of = {names[above]: above for above in set(parent.values()) if above in names}
    unseen = set(benchmark.unseen_classes.tolist())
    members: dict[str, set[bool]] = {}
    for position, name in enumerate(benchmark.class_names):
        family = parent.get(id_of[name], "")
        # below many orders (of birds) the hierarchy has species without a family between
        if parent.get(family) in parent:
            members.setdefault(names[family], set()).add(position in unseen)
    divided = [family for family, kinds in members.items() if len(kinds) == 2]
    if divided:
        warnings.warn(
            f"dataset.split={EXCLUSIVE}: found seen and unseen species in {len(divided)} families "
            f"({listed(divided)}), which this split keeps apart. The split file numbers the "
            "species in another order than the descriptions do; put the descriptions into that "
            "order.",
            stacklevel=3,
        )


def _in_order_of_texts(names: Mapping[str, str], texts: ClassTexts) -> dict[str, str]:
    """The classes in the order of the texts; those without a text come last."""
    row = match(texts.names, list(names.values())).row
    order = sorted(range(len(names)), key=lambda i: row.get(i, len(texts.names)))
    known = list(names.items())
    return dict(known[i] for i in order)


def _joined_rows(
    at: Mapping[str, Path], class_names: Sequence[str], texts: ClassTexts
) -> list[int]:
    """The row of each class's text: by id if the file has ids and as many classes, else by name."""
    path, found = at["descriptions"], match(texts.names, class_names)
    if texts.has_ids and len(texts.names) == len(class_names):
        wrong = [c for c, row in found.row.items() if c != row]
        if not wrong:
            return list(range(len(class_names)))
    if found.missing:
        names = [class_names[i] for i in found.missing]
        near = near_name(names[0], found.extra) if found.extra else None
        hint = f" Did you mean '{near}' for '{names[0]}'?" if near else ""
        raise DataError(
            f"{path}: found no text for {listed(names)}; expected one for each of the "
            f"{len(class_names)} classes of {at['classes']}, by name or numbered as they are "
            f"there.{hint}"
        )
    if found.extra:
        warnings.warn(
            f"{path}: found texts of {listed(found.extra)}, which {at['classes']} does not have; "
            "they are not used.",
            stacklevel=4,
        )
    return [found.row[i] for i in range(len(class_names))]


def _warn_of_empty_classes(path: Path, labels: IntArray, class_names: Sequence[str]) -> None:
    empty = np.setdiff1d(np.arange(len(class_names)), labels)
    if len(empty):
        warnings.warn(
            f"{path}: found no image of {listed([class_names[i] for i in empty])}; such a class is "
            "unseen with every split, and no metric measures it.",
            stacklevel=4,
        )
