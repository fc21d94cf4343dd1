"""Datasets of images with a text for each class.

The split comes from a published split file, a key with the unseen classes, or class lists. Images
are decoded once, into the cache; labels and texts are read each time.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from zsl_lab.data.benchmark import B, Benchmark, ImageBenchmark, IntArray, Provenance
from zsl_lab.data.datasets.base import DataPaths, ImageView, warn_of_counts
from zsl_lab.data.datasets.class_splits import ClassSplitConfig
from zsl_lab.data.datasets.stand_in import SUFFIX, SyntheticImages
from zsl_lab.data.files.benchmark_mat import Splits, read_splits
from zsl_lab.data.files.class_lists import has_lists
from zsl_lab.data.files.descriptions import format_fields
from zsl_lab.data.files.images import cached_images, find_pictures, hash_files
from zsl_lab.data.files.mat import read_mat
from zsl_lab.data.public.sources import FEATURES, IMAGES, SPLITS, origin, split_version
from zsl_lab.data.splits import Split, hold_out
from zsl_lab.errors import ConfigError, DataError, nearest
from zsl_lab.files.hashing import sha256_arrays, sha256_file
from zsl_lab.keys import AddedLater

if TYPE_CHECKING:
    from zsl_lab.data.batches.images import ImageDataModule

_TEST_SEEN_FRACTION = 0.2
_HOLD_OUT_SEED = 0


class ImageCounts(BaseModel):
    """The published counts, to recognise files of another version.

    Attributes:
        samples: Number of samples, N.
        classes: Number of classes, C.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    samples: int = Field(ge=1)
    classes: int = Field(ge=1)


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """The images and classes that a dataset's lists and texts define.

    Attributes:
        files: Paths of the N images, relative to the folder of images.
        labels: 0-based class ids, int64 ``[N]``.
        class_names: Names of the C classes.
        descriptions: Texts of the C classes.
        sources: File and field of labels, class names and descriptions, for messages.
    """

    files: list[str]
    labels: IntArray
    class_names: tuple[str, ...]
    descriptions: tuple[str, ...]
    sources: dict[str, tuple[str, str]]


class ImageDataset(ClassSplitConfig):
    """Images with a text for each class; subclasses read the lists of images.

    Attributes:
        folder: The folder below ``paths.data_dir``; None takes ``name``.
        images: The folder of images, in ``folder``.
        descriptions: A JSON file in ``folder``
            (:func:`zsl_lab.data.files.descriptions.read_descriptions`).
        description_format: Template of a class's text, with ``{name}`` and ``{description}``.
        image_size: Side, in pixels, of the square that the network sees.
        resize: Side, in pixels, of the square to which images are scaled in the cache; training
            cuts its squares from anywhere in it.
        flip: Whether training mirrors half of the images left to right.
        split_file: An ``att_splits.mat`` below ``paths.data_dir``; None where another key gives
            the unseen classes. If it or ``image_order`` does not exist, ``class_splits.proposed``
            is used instead.
        image_order: A ``.mat`` below ``paths.data_dir`` whose ``image_files`` list the samples in
            the order of ``split_file``; None where the dataset's own list has this order.
        unseen_classes: Ids (1-based) or names of the unseen classes; a fifth of the samples of each
            seen class, always the same, is ``test_seen``. Classes with a text but without images
            are unseen whether they are listed or not. None where another key gives them.
        validation_classes: Ids or names of the seen classes that are held out for tuning; None
            draws them with the run's seed.
        only_classes: Ids or names of the classes to use; None uses all.
        counts: The published counts; if those of the files differ, a warning is given. None for no
            check.
    """

    folder: str | None
    images: str
    descriptions: str
    description_format: str
    image_size: int = Field(ge=1)
    resize: int = Field(ge=1)
    flip: bool
    split_file: str | None
    image_order: str | None
    unseen_classes: list[int | str] | None
    validation_classes: list[int | str] | None
    only_classes: Annotated[list[int | str] | None, AddedLater(None)] = None
    counts: Annotated[ImageCounts | None, AddedLater(None)] = None

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
    def _check_keys(self) -> ImageDataset:
        if self.resize < self.image_size:
            raise ValueError(
                f"found resize {self.resize}, image_size {self.image_size}; expected resize to be "
                "at least image_size, which is cut from it"
            )
        given = [key for key in ("split_file", "unseen_classes") if getattr(self, key) is not None]
        if len(given) == 2 or not (given or self.class_splits or self.class_counts):
            found = "both" if given else "neither"
            raise ValueError(
                f"found {found} of split_file and unseen_classes; expected one of them to say "
                "which classes are unseen"
            )
        if self.split_file is not None and self.only_classes is not None:
            raise ValueError(
                "found only_classes and split_file, which numbers the images of all classes; set "
                "split_file and image_order to null"
            )
        for key, other in (("image_order", "split_file"), ("validation_classes", "unseen_classes")):
            if getattr(self, key) is not None and getattr(self, other) is None:
                raise ValueError(
                    f"found {key} without {other}, to which it belongs; set {key} to null"
                )
        return self

    @property
    def has_proposed(self) -> bool:
        """Whether ``proposed`` is the split of the loaded benchmark."""
        if self.split_file is not None or self.unseen_classes is not None:
            return True
        # without any split, _check_keys raises the error
        return not (self.class_splits or self.class_counts)

    @property
    def loads_proposed(self) -> bool:
        """Whether the loaded benchmark has the proposed split; else it has that of ``split``."""
        return self.has_proposed and self.split in ("proposed", "random")

    @property
    def applied_later(self) -> set[str]:
        """Keys that do not change the loaded benchmark."""
        return {"split", "split_seed"} if self.loads_proposed else set()

    def sources(self, paths: DataPaths) -> tuple[Path, ...]:
        """The lists, the texts, the files of the split, and the images."""
        at = self._places(paths.data_dir.absolute())
        return (*at.values(), *find_pictures(at["images"]), *self.split_files(paths))

    def check_files(self, paths: DataPaths) -> None:
        """Check that every file and the folder of images exist."""
        self._locate(paths)
        self.check_split(paths)

    def with_split(self, benchmark: B, paths: DataPaths) -> B:
        """A loaded benchmark with the split that ``split`` names."""
        return super().with_split(benchmark, paths) if self.loads_proposed else benchmark

    def stand_in(self, paths: DataPaths) -> SyntheticImages | None:
        """Synthetic images of as many classes, four small images each; None without ``counts``."""
        if self.counts is None:
            return None
        classes = self.counts.classes
        return SyntheticImages(
            name=f"{self.name}{SUFFIX}",
            classes=classes,
            unseen=self.class_counts.test if self.class_counts else max(1, classes // 5),
            samples_per_class=4,
            image_size=32,
            seed=0,
            split=self.split,
            split_seed=self.split_seed,
        )

    def load_images(self, paths: DataPaths) -> ImageBenchmark:
        """Read lists, texts and split; the decoded images are a memory map of the cache.

        Raises:
            DataError: If a file is missing, damaged or inconsistent.
            ConfigError: If a key names a class that does not exist.
            OutputError: If the cache cannot be written.
        """
        at = self._locate(paths)
        try:
            benchmark = self._build(at, paths)
        except DataError as error:
            keys = ["folder", *(key for key in at if key != "folder")]
            raise DataError(
                f"{error} Correct the file, or use others: set paths.data_dir (environment "
                f"variable ZSL_LAB_DATA), {', '.join(f'dataset.{key}' for key in keys)}."
            ) from error
        self._check_counts(benchmark)
        if self._falls_back(at, paths):
            place = self.list_place("proposed", paths)
            warnings.warn(
                f"{at['split_file']}: the split file or its order of images is not there; the "
                f"unseen classes of the proposed split are those of {place}, and "
                f"{self.test_seen_fraction:.0%} of each seen class is held out for testing "
                "(dataset.test_seen_fraction).",
                stacklevel=2,
            )
            return self.by_lists("proposed", benchmark, paths)
        return benchmark if self.loads_proposed else super().with_split(benchmark, paths)

    def image_view(self) -> ImageView:
        """Centres of colour images, and texts of ``description_format``."""
        return ImageView(self.resize, self.image_size, 3, self.description_format)

    def data_module(self, benchmark: Benchmark, split: Split) -> ImageDataModule:
        """Batches of squares cut from the images."""
        assert isinstance(benchmark, ImageBenchmark)
        from zsl_lab.data.batches.images import ImageDataModule  # it needs torch

        return ImageDataModule(benchmark, split, self.image_size, self.flip)

    @abstractmethod
    def _read(self, at: Mapping[str, Path]) -> LabelledImages:
        """The images and classes of the dataset's lists, whose paths ``at`` gives by key."""

    def _list_keys(self) -> tuple[str, ...]:
        """The keys, besides ``descriptions``, that name a file in ``folder``."""
        return ()

    def _places(self, data_dir: Path) -> dict[str, Path]:
        folder = data_dir / (self.folder or self.name)
        inside = ("images", *self._list_keys(), "descriptions")
        places = [(key, folder) for key in inside]
        if self.loads_proposed:
            places += [(key, data_dir) for key in ("split_file", "image_order")]
        return {
            key: base / name for key, base in places if (name := getattr(self, key)) is not None
        }

    def _falls_back(self, at: Mapping[str, Path], paths: DataPaths) -> bool:
        """Whether class lists give the proposed split because the split file does not exist."""
        if "proposed" not in self.class_splits or not self.loads_proposed:
            return False
        published = [at[key] for key in ("split_file", "image_order") if key in at]
        lacking = not all(path.is_file() for path in published)
        return lacking and has_lists(self.list_place("proposed", paths))

    def _locate(self, paths: DataPaths) -> dict[str, Path]:
        """The file or folder of each key that is not null."""
        data_dir = paths.data_dir.absolute()
        at = self._places(data_dir)
        optional = ("split_file", "image_order") if self._falls_back(at, paths) else ()
        for key, path in at.items():
            if not (path.is_dir() if key == "images" else path.is_file() or key in optional):
                raise self._missing(key, path, data_dir)
        return at

    def _build(self, at: dict[str, Path], paths: DataPaths) -> ImageBenchmark:
        """The benchmark with its proposed split, or a provisional one where it has none."""
        found = self._read(at)
        if self.only_classes is not None:
            found = _restricted(found, self.only_classes)
        published = None
        if "split_file" in at and not self._falls_back(at, paths):
            found, published = _in_published_order(found, at)
        files, labels, names = found.files, found.labels, found.class_names
        parts = self._parts(found, published, at)
        splits_sha256 = (
            sha256_arrays(*parts.values()) if published is None else sha256_file(at["split_file"])
        )
        pictures = [at["images"] / file for file in files]
        sha256 = hash_files(pictures)
        benchmark = ImageBenchmark(
            name=self.name,
            images=cached_images(self.name, pictures, sha256, self.resize, paths.cache_dir),
            labels=labels,
            class_names=names,
            descriptions=found.descriptions,
            provenance=Provenance(
                origin=str(at["images"].parent),
                splits_sha256=splits_sha256,
                # of images and labels, as a feature file has both, and of the texts, which a method
                # learns from too
                features_sha256=hashlib.sha256(
                    json.dumps([sha256, sha256_arrays(labels), found.descriptions]).encode()
                ).hexdigest(),
                splits_version="unseen classes of the configuration"
                if published is None
                else split_version(splits_sha256),
                sources={**found.sources, **({} if published is None else published.sources)},
            ),
            trainval=parts["trainval"],
            test_seen=parts["test_seen"],
            test_unseen=parts["test_unseen"],
        )
        validation = (
            self._own_validation(benchmark)
            if published is None
            else published.validation_classes(labels, names)
        )
        return replace(benchmark, validation_classes=validation)

    def _parts(
        self, found: LabelledImages, published: Splits | None, at: dict[str, Path]
    ) -> dict[str, IntArray]:
        """The samples of each part; provisional where class lists give the split afterwards."""
        if published is not None:
            return self._published_parts(published, at, len(found.labels))
        if self.unseen_classes is not None and self.loads_proposed:
            return self._own_parts(found.labels, found.class_names)
        classes = np.unique(found.labels)
        count = self.class_counts.test if self.class_counts else len(classes) // 5
        count = max(min(count, len(classes) - 2), 1)
        is_unseen = np.isin(found.labels, classes[-count:])
        return {
            "trainval": np.flatnonzero(~is_unseen),
            "test_seen": np.zeros(0, dtype=np.int64),
            "test_unseen": np.flatnonzero(is_unseen),
        }

    def _published_parts(
        self, split: Splits, at: dict[str, Path], count: int
    ) -> dict[str, IntArray]:
        """The samples of each part, from the split file."""
        parts = split.test_parts()
        total = sum(len(part) for part in parts.values())
        if total != count:
            raise DataError(
                f"{at['split_file']}: found {total} samples in its parts; expected {count}, the "
                f"images that {at.get('image_order', at['images'].parent)} lists."
            )
        return parts

    def _own_parts(self, labels: IntArray, names: tuple[str, ...]) -> dict[str, IntArray]:
        """The samples of each part, from ``unseen_classes``."""
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
        if self.validation_classes is None or not self.loads_proposed:
            return None
        classes = _class_ids("validation_classes", self.validation_classes, benchmark.class_names)
        strangers = np.setdiff1d(classes, benchmark.seen_classes)
        if len(strangers):
            raise ConfigError(
                f"dataset.validation_classes lists '{benchmark.class_names[strangers[0]]}', which "
                "has no training image; expected classes that are not in dataset.unseen_classes."
            )
        return classes

    def _check_counts(self, benchmark: ImageBenchmark) -> None:
        if self.counts is None:
            return
        found = {"samples": benchmark.num_samples, "classes": benchmark.num_classes}
        warn_of_counts(benchmark, found, self.counts.model_dump(), self.name)

    def _missing(self, key: str, path: Path, data_dir: Path) -> DataError:
        """An error that names the missing file and the keys that choose another one."""
        what = "folder" if key == "images" else "file"
        text = [
            f"{path}: no such {what}; expected the {key.replace('_', ' ')} of dataset "
            f"'{self.name}'."
        ]
        folder = self.folder or self.name
        if not (data_dir / folder).is_dir():
            text.append(f"The folder {data_dir / folder} does not exist.")
            for candidate in (data_dir / "data", data_dir.parent, data_dir.parent.parent):
                if (candidate / folder / self.descriptions).is_file():
                    text.append(
                        f"Hint: there is one in {candidate}: set paths.data_dir={candidate}."
                    )
                    break
        inside = (
            "" if key in ("split_file", "image_order") else f", dataset.folder (now '{folder}')"
        )
        text += self._where(key, path)
        if key in ("split_file", "image_order") and "proposed" in self.class_splits:
            lists = self.class_splits["proposed"]
            text.append(f"A list of the unseen classes in {lists} would do instead.")
        text.append(
            "Either put it there, or set paths.data_dir (environment variable ZSL_LAB_DATA; now "
            f"{data_dir}){inside} or dataset.{key} (now '{getattr(self, key)}')."
        )
        return DataError(" ".join(text))

    def _where(self, key: str, path: Path) -> list[str]:
        """A sentence on where to get a missing file; empty if that is not known."""
        if key == "descriptions":
            return [
                "No archive has it: write it, as JSON, a list of {class_id, name, description} or "
                "{name: description}."
            ]
        if key in ("split_file", "image_order"):
            known = path.name in (FEATURES, SPLITS)
            return [f"It is in {origin(path.parent.name, path.parents[1])}."] if known else []
        source = IMAGES.get(self.name)
        if source is None:
            return []
        return [
            f"The images are at {source.page}; conf/dataset/{self.name}.yaml says what belongs "
            "beside them."
        ]


def _in_published_order(
    found: LabelledImages, at: Mapping[str, Path]
) -> tuple[LabelledImages, Splits]:
    """The images in the order of the split file, and the split."""
    if "image_order" in at:
        source = Path(found.sources["labels"][0])
        order = _read_order(at["image_order"], found.files, found.labels, source)
        files, labels = [found.files[i] for i in order], found.labels[order]
        found = replace(found, files=files, labels=labels)
    return found, read_splits(at["split_file"])


def _restricted(found: LabelledImages, classes: list[int | str]) -> LabelledImages:
    """The images of some classes, whose ids become 0 to C-1 in their former order."""
    kept = _class_ids("only_classes", classes, found.class_names)
    inside = np.isin(found.labels, kept)
    return replace(
        found,
        files=[file for file, keep in zip(found.files, inside, strict=True) if keep],
        labels=np.searchsorted(kept, found.labels[inside]),
        class_names=tuple(found.class_names[i] for i in kept),
        descriptions=tuple(found.descriptions[i] for i in kept),
    )


def _read_order(path: Path, files: list[str], labels: IntArray, labels_file: Path) -> IntArray:
    """For each sample of the split file its row in the labels, matched by the image's file name."""
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
