"""The base of all ``dataset`` configurations: their keys, the benchmark, and its batches."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from zsl_lab.data.benchmark import (
    B,
    Benchmark,
    ImageBenchmark,
    StoredBenchmark,
    VectorBenchmark,
)
from zsl_lab.data.normalization import Normalization
from zsl_lab.data.splits import Split, redraw
from zsl_lab.data.storage.choice import Storage
from zsl_lab.errors import InputError, nearest
from zsl_lab.keys import AddedLater

if TYPE_CHECKING:
    from zsl_lab.data.batches.base import PhaseDataModule


@dataclass(frozen=True)
class DataPaths:
    """The folders of data and caches.

    Attributes:
        data_dir: The folder that holds one folder per benchmark (``paths.data_dir``).
        cache_dir: A writable folder for converted benchmarks (``paths.cache_dir``).
    """

    data_dir: Path
    cache_dir: Path


def warn_of_pretraining(split: str) -> None:
    """Warn that classes of ImageNet may be among the unseen classes of a drawn split."""
    warnings.warn(
        f"dataset.split={split} draws the unseen classes: they may be classes of ImageNet, on "
        "which most backbones were trained. The proposed split of a benchmark avoids that.",
        stacklevel=3,
    )


def warn_of_counts(
    benchmark: Benchmark, found: Mapping[str, int], published: Mapping[str, int], name: str
) -> None:
    """Warn if counts differ from those of the published benchmark.

    Args:
        benchmark: The benchmark that was read.
        found: Its counts.
        published: The published counts, at least those named in ``found``.
        name: The name of the dataset.
    """
    others = [
        f"{key} {count} (published: {published[key]})"
        for key, count in found.items()
        if count != published[key]
    ]
    if others:
        warnings.warn(
            f"{benchmark.provenance.origin}: these files are not the published {name}: "
            f"{', '.join(others)}. Results cannot be compared with published ones.",
            stacklevel=4,
        )


@dataclass(frozen=True)
class ImageView:
    """How images and texts are prepared for a method.

    Attributes:
        resize: Side, in pixels, of the square that an image is scaled to.
        image_size: Side, in pixels, of the square that is cut from its centre.
        channels: 1 or 3.
        description_format: Template of a class's text, with ``{name}`` and ``{description}``.
    """

    resize: int
    image_size: int
    channels: int
    description_format: str


class DatasetConfig(BaseModel, ABC):
    """The keys that every dataset has; subclasses add their own and load a benchmark.

    Attributes:
        name: The benchmark's name; also the name of its folder below ``paths.data_dir``, unless the
            dataset has a key for that.
        split: One of :attr:`splits`: ``proposed`` (the split in the files), ``random`` (as many
            unseen classes, redrawn), or one that the dataset adds.
        split_seed: Seed of a split that is drawn.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    #: whether the backbone of the features, or of methods that take the images, was pre-trained on
    #: ImageNet
    pretrained: ClassVar[bool] = True

    name: str
    split: str
    split_seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _check_split(self) -> DatasetConfig:
        if self.split not in self.splits:
            near = nearest(self.split, self.splits)
            hint = f"; did you mean {near[0]}" if near else ""
            raise ValueError(
                f"found split '{self.split}'; expected {' or '.join(self.splits)}, the splits of "
                f"{self.name}{hint}"
            )
        return self

    @property
    def splits(self) -> tuple[str, ...]:
        """The values that ``split`` may have."""
        return ("proposed", "random")

    @property
    def applied_later(self) -> set[str]:
        """Keys that do not change the loaded benchmark: splits and batches use them later."""
        return {"split", "split_seed", "normalize", "normalize_semantics"}

    def with_split(self, benchmark: B, paths: DataPaths) -> B:
        """A loaded benchmark with the split that ``split`` names.

        Raises:
            DataError: If a file of the split is missing, damaged or inconsistent.
        """
        if self.split != "random":
            return benchmark
        if self.pretrained:
            warn_of_pretraining(self.split)
        return redraw(benchmark, self.split_seed)

    def sources(self, paths: DataPaths) -> tuple[Path, ...] | None:
        """Every file that loading reads, whether it exists or not; None if they are not known.

        Jobs of a sweep that share a process reuse a loaded benchmark while these files are
        unchanged. If they are not known, each job loads it again.
        """
        return None

    def check_files(self, paths: DataPaths) -> None:
        """Check that no file is missing; quick, to be called before a run.

        Raises:
            DataError: As in loading.
        """

    def stand_in(self, paths: DataPaths) -> DatasetConfig | None:
        """A substitute to try an experiment with if files of this dataset are missing.

        Returns:
            The same dataset with other features that exist, or a synthetic dataset of its shape;
            None if there is neither.
        """
        return None

    def load(self, paths: DataPaths) -> VectorBenchmark:
        """Read and validate the benchmark of feature vectors, with its own (proposed) split."""
        raise InputError(
            f"dataset={self.name} holds images and descriptions, and this method takes feature "
            "vectors. Choose a dataset with features (`python -m zsl_lab.data list`), or another "
            "method.",
            holds="images",
        )

    def load_images(self, paths: DataPaths) -> ImageBenchmark:
        """Read and validate the benchmark of images and texts, with its own (proposed) split."""
        raise self._without_images()

    def image_view(self) -> ImageView:
        """How to prepare new images and texts in the same way as :meth:`load_images` does."""
        raise self._without_images()

    def _without_images(self) -> InputError:
        return InputError(
            f"dataset={self.name} holds feature vectors, and this method takes images and a "
            "description of each class. Choose a dataset with images (`python -m zsl_lab.data "
            "list`), or another method.",
            holds="features",
        )

    @abstractmethod
    def data_module(self, benchmark: Benchmark, split: Split) -> PhaseDataModule:
        """The data module of one phase.

        Args:
            benchmark: As :meth:`load` or :meth:`load_images` returns it.
            split: The samples and classes of the phase.
        """


class FeatureDatasetConfig(DatasetConfig):
    """The keys of a dataset of feature vectors.

    Attributes:
        normalize: How features are scaled, with statistics of the training samples only.
        normalize_semantics: How class semantics are scaled, with statistics of the seen classes
            only.
    """

    normalize: Normalization
    normalize_semantics: Normalization

    def data_module(self, benchmark: Benchmark, split: Split) -> PhaseDataModule:
        """Scaled features: on the training device, or read from disk in blocks."""
        # these need torch
        from zsl_lab.data.batches.features import FeatureDataModule
        from zsl_lab.data.batches.stored import StoredDataModule

        assert isinstance(benchmark, VectorBenchmark)
        module = StoredDataModule if isinstance(benchmark, StoredBenchmark) else FeatureDataModule
        return module(benchmark, split, self.normalize, self.normalize_semantics)


class FileDatasetConfig(FeatureDatasetConfig):
    """The keys of a dataset whose feature vectors are in a file, or in the cache.

    Attributes:
        storage: ``memory`` (features are loaded), ``disk`` (they are read in blocks while training,
            so they may be larger than memory; samples are drawn in another order), or ``auto``
            (``disk`` if they would fill too much of the free memory).
    """

    storage: Annotated[Storage, AddedLater("auto")] = "auto"
