"""Synthetic stand-ins for benchmarks whose files are missing, with the same numbers of classes.

With them a whole experiment can be tried without its data. Results and tables show their names,
which end in ``(synthetic)``; their metrics say nothing about the benchmark.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from zsl_lab.data.benchmark import (
    Benchmark,
    FeatureBenchmark,
    ImageBenchmark,
    IntArray,
    Provenance,
)
from zsl_lab.data.datasets.base import (
    DataPaths,
    DatasetConfig,
    FeatureDatasetConfig,
    ImageView,
)
from zsl_lab.data.datasets.synthetic import SyntheticDataset
from zsl_lab.data.splits import Split
from zsl_lab.files.hashing import sha256_arrays

#: end of the name of a stand-in
SUFFIX = " (synthetic)"
#: noise of features, as ``dataset.difficulty`` of ``dataset=synthetic``
_DIFFICULTY = 0.5
#: red, green and blue of the colours that images are made of
_COLOURS = {
    "black": (20, 20, 20),
    "blue": (30, 60, 220),
    "green": (30, 160, 60),
    "red": (220, 40, 40),
    "white": (235, 235, 235),
    "yellow": (230, 210, 40),
}
_PLACES = ("top left", "top right", "bottom left", "bottom right")
#: standard deviation of the noise of a pixel, whose values are 0 to 255
_PIXEL_NOISE = 40.0


class _StandIn(DatasetConfig):
    """The base of stand-ins, which accept any name of a split.

    The generated split is used for every name but ``random``, which draws other unseen classes.
    """

    pretrained: ClassVar[bool] = False

    @property
    def splits(self) -> tuple[str, ...]:
        """The values that ``split`` may have."""
        return tuple(dict.fromkeys(("proposed", "random", self.split)))

    def sources(self, paths: DataPaths) -> tuple[Path, ...]:
        """Empty: no file is read."""
        return ()


class SyntheticFeatures(_StandIn, FeatureDatasetConfig):
    """Features of a benchmark's shape, drawn like those of ``dataset=synthetic``.

    Attributes:
        classes: Number of classes, seen and unseen, C.
        unseen: Number of unseen classes.
        feature_dim: Dimension of a feature, D.
        semantic_dim: Dimension of a class's semantics, Q.
        trainval: Number of samples of seen classes that are trained on.
        test_seen: Number of samples of seen classes that are only tested on.
        test_unseen: Number of samples of unseen classes.
        seed: Seed of all that is drawn.
    """

    classes: int = Field(ge=4)
    unseen: int = Field(ge=1)
    feature_dim: int = Field(ge=1)
    semantic_dim: int = Field(ge=1)
    trainval: int = Field(ge=1)
    test_seen: int = Field(ge=0)
    test_unseen: int = Field(ge=1)
    seed: int = Field(ge=0)

    def load(self, paths: DataPaths) -> FeatureBenchmark:
        """Draw the samples; no file is read."""
        world = SyntheticDataset(
            name=self.name,
            classes=self.classes,
            unseen=self.unseen,
            feature_dim=self.feature_dim,
            semantic_dim=self.semantic_dim,
            samples_per_class=2,  # without effect: world() draws no samples
            difficulty=_DIFFICULTY,
            seed=self.seed,
            normalize="none",
            normalize_semantics="none",
            split="proposed",
            split_seed=0,
        ).world()
        labels, parts = _balanced(
            np.setdiff1d(np.arange(self.classes), world.unseen_classes),
            world.unseen_classes,
            {
                "trainval": self.trainval,
                "test_seen": self.test_seen,
                "test_unseen": self.test_unseen,
            },
        )
        rng = np.random.default_rng([self.seed, 1])
        features = rng.standard_normal((len(labels), self.feature_dim), dtype=np.float32)
        features *= np.float32(world.noise)
        for class_id, mean in enumerate(world.class_means):
            features[labels == class_id] += mean
        return FeatureBenchmark(
            name=self.name,
            features=features,
            labels=labels,
            semantics=world.semantics,
            class_names=_class_names(self.classes),
            provenance=_provenance(self.name, parts, sha256_arrays(features)),
            trainval=parts["trainval"],
            test_seen=parts["test_seen"],
            test_unseen=parts["test_unseen"],
        )


class SyntheticImages(_StandIn):
    """Squares of four coloured fields, and a text for each class that names its colours.

    Attributes:
        classes: Number of classes, seen and unseen, C; at most the number of possible colourings.
        unseen: Number of unseen classes.
        samples_per_class: Number of images of each class; of seen classes a quarter is
            ``test_seen``.
        image_size: Side of an image, in pixels.
        seed: Seed of all that is drawn.
    """

    classes: int = Field(ge=4, le=len(_COLOURS) ** len(_PLACES))
    unseen: int = Field(ge=1)
    samples_per_class: int = Field(ge=4)
    image_size: int = Field(ge=2)
    seed: int = Field(ge=0)

    def load_images(self, paths: DataPaths) -> ImageBenchmark:
        """Draw the images, uint8 ``[N, image_size, image_size, 3]``; no file is read."""
        rng = np.random.default_rng(self.seed)
        every = list(product(_COLOURS, repeat=len(_PLACES)))
        chosen = [every[i] for i in rng.permutation(len(every))[: self.classes]]
        unseen = np.sort(rng.choice(self.classes, self.unseen, replace=False))
        seen = np.setdiff1d(np.arange(self.classes), unseen)
        tested = self.samples_per_class // 4
        labels, parts = _balanced(
            seen,
            unseen,
            {
                "trainval": len(seen) * (self.samples_per_class - tested),
                "test_seen": len(seen) * tested,
                "test_unseen": len(unseen) * self.samples_per_class,
            },
        )
        colours = np.array([[_COLOURS[name] for name in names] for names in chosen], np.float32)
        half = (np.arange(self.image_size) * 2) // self.image_size
        fields = 2 * half[:, None] + half  # 0 to 3, as in _PLACES
        images = np.empty((len(labels), self.image_size, self.image_size, 3), dtype=np.uint8)
        for i, label in enumerate(labels):
            noise = _PIXEL_NOISE * rng.standard_normal(images.shape[1:], dtype=np.float32)
            images[i] = np.clip(colours[label][fields] + noise, 0, 255)
        descriptions = tuple(
            "".join(f"The {place} is {name}. " for place, name in zip(_PLACES, names, strict=True))
            for names in chosen
        )
        return ImageBenchmark(
            name=self.name,
            images=images,
            descriptions=descriptions,
            labels=labels,
            class_names=_class_names(self.classes),
            provenance=_provenance(self.name, parts, sha256_arrays(images)),
            trainval=parts["trainval"],
            test_seen=parts["test_seen"],
            test_unseen=parts["test_unseen"],
        )

    def image_view(self) -> ImageView:
        """Whole colour images."""
        return ImageView(self.image_size, self.image_size, 3, "{description}")

    def data_module(self, benchmark: Benchmark, split: Split) -> Any:
        """Batches of whole images, not mirrored: a mirrored image would be of another class."""
        assert isinstance(benchmark, ImageBenchmark)
        from zsl_lab.data.batches.images import ImageDataModule  # it needs torch

        return ImageDataModule(benchmark, split, self.image_size, flip=False)


def _balanced(
    seen: IntArray, unseen: IntArray, counts: dict[str, int]
) -> tuple[IntArray, dict[str, Any]]:
    """Labels in which a part's classes are about equally frequent, and the samples of each part."""
    labels: list[IntArray] = []
    parts: dict[str, IntArray] = {}
    begun = 0
    for part, count in counts.items():
        classes = unseen if part == "test_unseen" else seen
        labels.append(np.resize(classes, count).astype(np.int64))
        parts[part] = np.arange(begun, begun + count, dtype=np.int64)
        begun += count
    return np.concatenate(labels), parts


def _class_names(count: int) -> tuple[str, ...]:
    return tuple(f"class {class_id + 1}" for class_id in range(count))


def _provenance(name: str, parts: dict[str, IntArray], features_sha256: str) -> Provenance:
    return Provenance(
        origin=f"the generator of '{name}'",
        splits_sha256=sha256_arrays(*parts.values()),
        features_sha256=features_sha256,
        splits_version="synthetic",
    )
