"""A folder of images, a table of labels and a text for each class.

The split is published, or given by a list of unseen classes.

``<data_dir>/<folder>/`` holds ``images/``, ``labels.csv`` and ``descriptions.json`` (the names are
keys). The pictures are decoded once, into a cache; labels and texts are read anew each time.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, field_validator, model_validator

from zsl_lab.data.benchmark import Benchmark, ImageBenchmark, IntArray, Provenance
from zsl_lab.data.checks.file_classes import check_file_classes
from zsl_lab.data.datasets.base import DataPaths, DatasetConfig, ImageView
from zsl_lab.data.files.benchmark_mat import Splits, read_splits
from zsl_lab.data.files.descriptions import format_fields, read_descriptions
from zsl_lab.data.files.images import cached_images, find_pictures, hash_files
from zsl_lab.data.files.labels import check_files, read_labels
from zsl_lab.data.files.mat import read_mat
from zsl_lab.data.public.sources import split_version
from zsl_lab.data.splits import Split, hold_out
from zsl_lab.errors import ConfigError, DataError, nearest
from zsl_lab.files.hashing import sha256_arrays, sha256_file

if TYPE_CHECKING:
    from zsl_lab.data.batches.images import ImageDataModule

_TEST_SEEN_FRACTION = 0.2
_HOLD_OUT_SEED = 0


class ImageFolderDataset(DatasetConfig):
    """A folder of pictures with a text for each class.

    Attributes:
        folder: The folder below ``paths.data_dir``; None takes ``name``.
        images: The folder of pictures in it.
        labels: A CSV file in it with the columns ``file`` (below ``images``) and ``class_id``
            (1-based) or ``class`` (a name).
        descriptions: A JSON file in it: a list of ``{"class_id", "name", "description"}``, or
            ``{name: description}``, whose order then counts as ids, as that of a list without ids
            does.
        description_format: The text of a class, made of ``{name}`` and ``{description}``.
        image_size: Side of the square that the network sees.
        resize: Side of the square that pictures are kept at; training cuts its squares from
            anywhere in it.
        flip: Whether training mirrors half of the pictures left to right.
        split_file: An ``att_splits.mat`` below ``paths.data_dir``; None where ``unseen_classes``
            names the classes.
        image_order: A ``.mat`` below ``paths.data_dir`` whose ``image_files`` list the samples in
            the order of ``split_file``; None where ``labels`` lists them so.
        unseen_classes: Ids (1-based) or names of the classes that are not trained on; a fifth of
            each other class, always the same samples, is ``test_seen``. Described classes without
            images are unseen whether they are listed or not. None where ``split_file`` says it.
        validation_classes: Ids or names of the seen classes that are held out for tuning; None lets
            the run's seed draw them.
    """

    folder: str | None
    images: str
    labels: str
    descriptions: str
    description_format: str
    image_size: int = Field(ge=1)
    resize: int = Field(ge=1)
    flip: bool
    split_file: str | None
    image_order: str | None
    unseen_classes: list[int | str] | None
    validation_classes: list[int | str] | None

    @field_validator("description_format")
    @classmethod
    def _check_format(cls, description_format: str) -> str:
        try:
            fields = format_fields(description_format)
            description_format.format(name="", description="")
        # a brace without its partner, another name, a part of a name
        except (ValueError, LookupError, AttributeError):
            fields = set()
        if not fields or fields - {"name", "description"}:
            raise ValueError(
                f"found description_format '{description_format}'; expected a text with "
                f"{{description}} or {{name}} in it"
            )
        return description_format

    @model_validator(mode="after")
    def _check_keys(self) -> ImageFolderDataset:
        if self.resize < self.image_size:
            raise ValueError(
                f"found resize {self.resize}, image_size {self.image_size}; expected resize to be "
                "at least image_size, which is cut from it"
            )
        if (self.split_file is None) == (self.unseen_classes is None):
            found = "neither" if self.split_file is None else "both"
            raise ValueError(
                f"found {found} of split_file and unseen_classes; expected one of them to say "
                "which classes are unseen"
            )
        for key, other in (("image_order", "split_file"), ("validation_classes", "unseen_classes")):
            if getattr(self, key) is not None and getattr(self, other) is None:
                raise ValueError(
                    f"found {key} without {other}, to which it belongs; set {key} to null"
                )
        return self

    def sources(self, paths: DataPaths) -> tuple[Path, ...]:
        """Labels, texts, split and pictures."""
        at = self._places(paths.data_dir.absolute())
        return (*at.values(), *find_pictures(at["images"]))

    def check_files(self, paths: DataPaths) -> None:
        """Check that every file and the folder of pictures are there."""
        self._locate(paths.data_dir.absolute())

    def load_images(self, paths: DataPaths) -> ImageBenchmark:
        """Read labels, texts and split; the decoded images are a memory map of the cache.

        Raises:
            DataError: If a file is missing, damaged or inconsistent.
            ConfigError: If a class that a key names is not there.
            OutputError: If the cache cannot be written.
        """
        at = self._locate(paths.data_dir.absolute())
        try:
            return self._build(at, paths.cache_dir)
        except DataError as error:
            split = "" if self.split_file is None else ", dataset.split_file, dataset.image_order"
            raise DataError(
                f"{error} Correct the file, or use others: set paths.data_dir (environment "
                "variable "
                "ZSL_LAB_DATA), dataset.folder, dataset.images, dataset.labels, "
                f"dataset.descriptions{split}."
            ) from error

    def image_view(self) -> ImageView:
        """The centre of a picture in colours."""
        return ImageView(self.resize, self.image_size, 3, self.description_format)

    def data_module(self, benchmark: Benchmark, split: Split) -> ImageDataModule:
        """Squares cut from the pictures."""
        assert isinstance(benchmark, ImageBenchmark)
        from zsl_lab.data.batches.images import ImageDataModule  # it needs torch

        return ImageDataModule(benchmark, split, self.image_size, self.flip)

    def _places(self, data_dir: Path) -> dict[str, Path]:
        folder = data_dir / (self.folder or self.name)
        at = {
            "images": folder / self.images,
            "labels": folder / self.labels,
            "descriptions": folder / self.descriptions,
        }
        return at | {
            key: data_dir / name
            for key in ("split_file", "image_order")
            if (name := getattr(self, key)) is not None
        }

    def _locate(self, data_dir: Path) -> dict[str, Path]:
        """The file or folder of each key that is not null."""
        at = self._places(data_dir)
        for key, path in at.items():
            if not (path.is_dir() if key == "images" else path.is_file()):
                raise self._missing(key, path, data_dir)
        return at

    def _build(self, at: dict[str, Path], cache_dir: Path) -> ImageBenchmark:
        names, texts = read_descriptions(at["descriptions"], self.description_format)
        files, labels = read_labels(at["labels"], names, at["descriptions"])
        check_files(at["images"], files, at["labels"])
        check_file_classes(files, labels, names, (str(at["labels"]), "file", "class"))
        if "image_order" in at:
            order = _read_order(at["image_order"], files, labels, at["labels"])
            files, labels = [files[i] for i in order], labels[order]
        published = read_splits(at["split_file"]) if "split_file" in at else None
        parts = (
            self._own_parts(labels, names)
            if published is None
            else self._published_parts(published, at, len(labels))
        )
        splits_sha256 = (
            sha256_arrays(*parts.values()) if published is None else sha256_file(at["split_file"])
        )
        pictures = [at["images"] / file for file in files]
        sha256 = hash_files(pictures)
        images = cached_images(self.name, pictures, sha256, self.resize, cache_dir)
        benchmark = ImageBenchmark(
            name=self.name,
            images=images,
            labels=labels,
            class_names=names,
            descriptions=texts,
            provenance=Provenance(
                origin=str(at["images"].parent),
                splits_sha256=splits_sha256,
                # of the pictures and their classes, as a feature file holds both, and of the texts:
                # a method learns from these
                features_sha256=hashlib.sha256(
                    json.dumps([sha256, sha256_arrays(labels), texts]).encode()
                ).hexdigest(),
                splits_version="unseen classes of the configuration"
                if published is None
                else split_version(splits_sha256),
                sources={
                    "labels": (str(at["labels"]), "class_id"),
                    "class names": (str(at["descriptions"]), "name"),
                    "descriptions": (str(at["descriptions"]), "description"),
                    **({} if published is None else published.sources),
                },
            ),
            **parts,
        )
        validation = (
            self._own_validation(benchmark)
            if published is None
            else published.validation_classes(labels, names)
        )
        return replace(benchmark, validation_classes=validation)

    def _published_parts(
        self, split: Splits, at: dict[str, Path], count: int
    ) -> dict[str, IntArray]:
        """The samples of each part, from the split file."""
        parts = split.test_parts()
        total = sum(len(part) for part in parts.values())
        if total != count:
            raise DataError(
                f"{at['split_file']}: found {total} samples in its parts; expected {count}, the "
                f"images that {at.get('image_order', at['labels'])} lists."
            )
        return parts

    def _own_parts(self, labels: IntArray, names: tuple[str, ...]) -> dict[str, IntArray]:
        """The samples of each part, from ``unseen_classes``; classes without images have none."""
        assert self.unseen_classes is not None
        unseen = _class_ids("unseen_classes", self.unseen_classes, names)
        seen = np.setdiff1d(labels, unseen)
        if len(seen) < 2:
            raise ConfigError(
                f"dataset.unseen_classes lists {len(unseen)} of the {len(unseen) + len(seen)} "
                "classes with images; expected at least 2 to be left to train on."
            )
        is_unseen = np.isin(labels, unseen)
        trainval, test_seen = hold_out(
            np.flatnonzero(~is_unseen),
            labels,
            _TEST_SEEN_FRACTION,
            np.random.default_rng(_HOLD_OUT_SEED),
        )
        return {
            "trainval": trainval,
            "test_seen": test_seen,
            "test_unseen": np.flatnonzero(is_unseen),
        }

    def _own_validation(self, benchmark: ImageBenchmark) -> IntArray | None:
        if self.validation_classes is None:
            return None
        classes = _class_ids("validation_classes", self.validation_classes, benchmark.class_names)
        strangers = np.setdiff1d(classes, benchmark.seen_classes)
        if len(strangers):
            raise ConfigError(
                f"dataset.validation_classes lists '{benchmark.class_names[strangers[0]]}', which "
                "has no training image; expected classes that are not in dataset.unseen_classes."
            )
        return classes

    def _missing(self, key: str, path: Path, data_dir: Path) -> DataError:
        """Name the missing file and the keys that choose another one."""
        what = "folder" if key == "images" else "file"
        text = [
            f"{path}: no such {what}; expected the {key.replace('_', ' ')} of dataset "
            f"'{self.name}'."
        ]
        folder = self.folder or self.name
        if not (data_dir / folder).is_dir():
            text.append(f"The folder {data_dir / folder} does not exist.")
            for candidate in (data_dir / "data", data_dir.parent, data_dir.parent.parent):
                if (candidate / folder / self.labels).is_file():
                    text.append(
                        f"Hint: there is one in {candidate}: set paths.data_dir={candidate}."
                    )
                    break
        inside = (
            "" if key in ("split_file", "image_order") else f", dataset.folder (now '{folder}')"
        )
        text.append(
            "Either put it there, or set paths.data_dir (environment variable ZSL_LAB_DATA; now "
            f"{data_dir}){inside} or dataset.{key} (now '{getattr(self, key)}')."
        )
        return DataError(" ".join(text))


def _read_order(path: Path, files: list[str], labels: IntArray, labels_file: Path) -> IntArray:
    """For each sample of the split file its row in the labels, matched by the file's last name."""
    order = read_mat(path, ["image_files"], ["labels"])
    if order["image_files"].dtype.kind != "U":
        raise DataError(
            f"{path}: field 'image_files': found numbers; expected a cell array of file names."
        )
    listed = [PurePosixPath(name).name for name in order["image_files"].ravel(order="F")]
    line_of = {PurePosixPath(file).name: line for line, file in enumerate(files)}
    for where, field, names in (
        (path, "image_files", listed),
        (labels_file, "file", [PurePosixPath(file).name for file in files]),
    ):
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(
                f"{where}: field '{field}': found '{twice}' more than once; expected a name of its "
                "own for each image."
            )
    strangers = sorted(set(listed) ^ set(line_of))
    if strangers:
        found, lacking = (path, labels_file) if strangers[0] in listed else (labels_file, path)
        raise DataError(
            f"{path}: field 'image_files': found '{strangers[0]}' in {found} and not in {lacking}; "
            f"expected the same images in both ({len(listed)} there, {len(files)} here)."
        )
    lines = np.array([line_of[name] for name in listed])
    if "labels" in order:
        theirs = order["labels"].ravel(order="F")
        if theirs.shape != lines.shape or (theirs != labels[lines] + 1).any():
            about = f"{len(theirs)} labels"
            if theirs.shape == lines.shape:
                first = int(np.argmax(theirs != labels[lines] + 1))
                about = (
                    f"class {theirs[first]} for {listed[first]}, which is of class "
                    f"{labels[lines[first]] + 1} in {labels_file}"
                )
            raise DataError(
                f"{path}: field 'labels': found {about}; expected the same label in both for each "
                f"of the {len(lines)} images."
            )
    return lines


def _class_ids(key: str, classes: list[int | str], names: tuple[str, ...]) -> IntArray:
    """Sorted 0-based ids of classes that a key lists by id or by name."""
    found = []
    for entry in classes:
        if isinstance(entry, int) and 1 <= entry <= len(names):
            found.append(entry - 1)
        elif isinstance(entry, str) and entry in names:
            found.append(names.index(entry))
        else:
            near = nearest(entry, names) if isinstance(entry, str) else []
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise ConfigError(
                f"dataset.{key}: found {entry!r}; expected ids from 1 to {len(names)}, or names of "
                f"described classes.{hint}"
            )
    return np.unique(np.array(found, dtype=np.int64))
