"""Synthetic stand-ins: their shape, their names, and that their classes can be told apart."""

from __future__ import annotations

import numpy as np
import pytest

from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.datasets.stand_in import SyntheticFeatures, SyntheticImages

FEATURES = {
    "name": "TOY (synthetic)",
    "classes": 10,
    "unseen": 3,
    "feature_dim": 16,
    "semantic_dim": 5,
    "trainval": 71,
    "test_seen": 14,
    "test_unseen": 32,
    "seed": 0,
    "normalize": "none",
    "normalize_semantics": "none",
    "split": "proposed",
    "split_seed": 0,
}
IMAGES = {
    "name": "TOY (synthetic)",
    "classes": 12,
    "unseen": 3,
    "samples_per_class": 4,
    "image_size": 8,
    "seed": 0,
    "split": "n3",
    "split_seed": 0,
}


def test_features_have_the_shape_of_the_benchmark(paths: DataPaths) -> None:
    made = SyntheticFeatures.model_validate(FEATURES).load(paths)
    assert made.features.shape == (117, 16)
    assert made.semantics.shape == (10, 5)
    assert [len(part) for part in (made.trainval, made.test_seen, made.test_unseen)] == [71, 14, 32]
    assert (len(made.seen_classes), len(made.unseen_classes)) == (7, 3)
    assert made.provenance.splits_version == "synthetic"


def test_no_class_of_a_part_has_many_more_samples_than_another(paths: DataPaths) -> None:
    made = SyntheticFeatures.model_validate(FEATURES).load(paths)
    for part in (made.trainval, made.test_seen, made.test_unseen):
        counts = np.unique(made.labels[part], return_counts=True)[1]
        assert counts.max() - counts.min() <= 1


def test_features_are_near_the_mean_of_their_class(paths: DataPaths) -> None:
    made = SyntheticFeatures.model_validate(FEATURES).load(paths)
    means = np.stack([made.features[made.labels == c].mean(0) for c in range(10)])
    distances = ((made.features[:, None] - means) ** 2).sum(2)
    assert (distances.argmin(1) == made.labels).mean() > 0.8


@pytest.mark.parametrize("split", ["standard", "proposed"])
def test_the_generated_split_stands_for_any(paths: DataPaths, split: str) -> None:
    dataset = SyntheticFeatures.model_validate({**FEATURES, "split": split})
    made = dataset.load(paths)
    assert dataset.with_split(made, paths) is made


def test_a_random_split_is_another(paths: DataPaths) -> None:
    dataset = SyntheticFeatures.model_validate({**FEATURES, "split": "random"})
    made = dataset.load(paths)
    drawn = dataset.with_split(made, paths)
    assert len(drawn.unseen_classes) == 3
    assert set(drawn.unseen_classes) != set(made.unseen_classes)


def test_images_show_the_colours_that_their_text_names(paths: DataPaths) -> None:
    colours = {
        "black": (20, 20, 20),
        "blue": (30, 60, 220),
        "green": (30, 160, 60),
        "red": (220, 40, 40),
        "white": (235, 235, 235),
        "yellow": (230, 210, 40),
    }
    made = SyntheticImages.model_validate(IMAGES).load_images(paths)
    assert made.images.shape == (48, 8, 8, 3)
    assert len(set(made.descriptions)) == 12
    for image, label in zip(made.images, made.labels, strict=True):
        corner = image[:4, 4:].reshape(-1, 3).mean(0)
        nearest = min(colours, key=lambda name: np.abs(corner - colours[name]).sum())
        assert f"The top right is {nearest}." in made.descriptions[label]


def test_unseen_classes_of_images_are_only_tested(paths: DataPaths) -> None:
    made = SyntheticImages.model_validate(IMAGES).load_images(paths)
    assert [len(part) for part in (made.trainval, made.test_seen, made.test_unseen)] == [27, 9, 12]
    assert len(made.unseen_classes) == 3
