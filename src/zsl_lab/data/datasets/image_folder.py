"""A folder of images, a table of labels and a text for each class.

``<data_dir>/<folder>/`` holds ``images/``, ``labels.csv`` and ``descriptions.json``; keys of the
dataset can change these names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zsl_lab.data.checks.file_classes import check_file_classes
from zsl_lab.data.datasets.images import ImageDataset, LabelledImages
from zsl_lab.data.files.descriptions import read_descriptions
from zsl_lab.data.files.labels import check_files, read_labels


class ImageFolderDataset(ImageDataset):
    """A folder of images with a text for each class.

    The file of descriptions defines the classes and their ids. It is a list of ``{"class_id",
    "name", "description"}``, or ``{name: description}``; without ``class_id``, the order gives ids.

    Attributes:
        labels: A CSV file in ``folder`` with the columns ``file`` (below ``images``) and
            ``class_id`` (1-based) or ``class`` (a name).
    """

    labels: str

    def _list_keys(self) -> tuple[str, ...]:
        return ("labels",)

    def _read(self, at: Mapping[str, Path]) -> LabelledImages:
        names, texts = read_descriptions(at["descriptions"], self.description_format)
        files, labels = read_labels(at["labels"], names, at["descriptions"])
        check_files(at["images"], files, at["labels"])
        check_file_classes(files, labels, names, (str(at["labels"]), "file", "class"))
        sources = {
            "labels": (str(at["labels"]), "class_id"),
            "class names": (str(at["descriptions"]), "name"),
            "descriptions": (str(at["descriptions"]), "description"),
        }
        return LabelledImages(files, labels, names, texts, sources)
