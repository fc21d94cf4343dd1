"""The embedded digits and the generator."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.helpers.benchmark_files import BASE
from zsl_lab.data import splits
from zsl_lab.data.batches.features import FeatureDataModule
from zsl_lab.data.batches.images import ImageDataModule
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.datasets.digits import DigitsDataset
from zsl_lab.data.datasets.synthetic import SyntheticDataset

SIZES = {
    "classes": 30,
    "unseen": 6,
    "feature_dim": 32,
    "semantic_dim": 8,
    "samples_per_class": 50,
    "difficulty": 0.5,
    "seed": 0,
}
NOWHERE = DataPaths(Path("/nonexistent"), Path("/nonexistent"))


def digits(unseen: list[int], **keys: Any) -> DigitsDataset:
    return DigitsDataset.model_validate({**BASE, "name": "digits", "unseen": unseen, **keys})


def synthetic(**sizes: Any) -> SyntheticDataset:
    return SyntheticDataset.model_validate({**BASE, "name": "synthetic", **SIZES, **sizes})


def test_digits_are_scaled_and_split() -> None:
    b = digits([2, 4, 5]).load(NOWHERE)
    assert b.features.shape == (1797, 64)
    assert (b.features.min(), b.features.max()) == (0, 1)
    np.testing.assert_array_equal(b.unseen_classes, [2, 4, 5])
    assert b.class_names == tuple("0123456789")
    assert len(b.trainval) + len(b.test_seen) + len(b.test_unseen) == 1797
    for digit in b.seen_classes:
        assert np.sum(b.labels[b.test_seen] == digit) == pytest.approx(
            0.2 * np.sum(b.labels == digit), abs=0.5
        )
    assert len(splits.validation_split(b, 0).unseen_classes) == 2


def test_without_the_key_digits_are_described_by_a_display() -> None:
    # as a checkpoint has it that was stored before there was a choice
    b = digits([2]).load(NOWHERE)
    assert b.semantics.shape == (10, 9)
    assert b.recipe.attributes[:2] == ["top", "upper_right"]
    assert b.semantics[:, :7].sum(axis=1).tolist() == [6, 2, 5, 5, 4, 5, 6, 3, 7, 6]
    assert len(np.unique(b.semantics[:, :7], axis=0)) == 10
    assert 0 <= b.semantics.min() < b.semantics.max() <= 1


def test_strokes_say_how_each_digit_is_written() -> None:
    b = digits([2], semantics="strokes").load(NOWHERE)
    assert b.semantics.shape == (10, 29) == (10, len(set(b.recipe.attributes)))
    assert set(np.unique(b.semantics)) == {0, 0.5, 1}
    assert len(np.unique(b.semantics, axis=0)) == 10
    column = {name: b.semantics[:, i] for i, name in enumerate(b.recipe.attributes)}

    def always(name: str) -> list[int]:
        return np.flatnonzero(column[name] == 1).tolist()

    assert always("top_bar") == [5, 7]
    assert always("middle_bar") == [4]
    assert always("base_bar") == always("base_corner") == [2]
    assert always("upright") == [1]
    assert always("crossing") == [4, 8]
    # what is closed has no end
    ends = sum(column[name] for name in column if name.startswith("end_"))
    assert np.flatnonzero(ends == 0).tolist() == [0, 8]
    assert np.flatnonzero(column["middle_centre"] == 0).tolist() == [0]


def test_glyphs_lie_in_the_space_of_the_features() -> None:
    b = digits([2], semantics="glyphs").load(NOWHERE)
    assert b.semantics.shape == (10, 64)
    unit = b.features / np.linalg.norm(b.features, axis=1, keepdims=True)
    nearest = (unit @ (b.semantics / np.linalg.norm(b.semantics, axis=1, keepdims=True)).T).argmax(
        1
    )
    # guessing is right in one of ten
    assert (nearest == b.labels).mean() > 0.4


def test_the_table_of_a_digit_changes_neither_samples_nor_split() -> None:
    display, strokes = (
        digits([2, 4, 5], semantics=kind).load(NOWHERE).provenance
        for kind in ("segments", "strokes")
    )
    assert display == strokes


def test_digits_as_images_are_the_same_pixels_labels_and_split() -> None:
    config = digits([2, 4, 5])
    features, images = config.load(NOWHERE), config.load_images(NOWHERE)
    assert images.images.shape == (1797, 8, 8, 1)
    np.testing.assert_allclose(
        images.images.reshape(1797, 64) / 255, features.features, atol=0.5 / 255
    )
    assert (images.images.min(), images.images.max()) == (0, 255)
    for name in ("labels", "trainval", "test_seen", "test_unseen"):
        np.testing.assert_array_equal(getattr(images, name), getattr(features, name))
    assert images.provenance.splits_sha256 == features.provenance.splits_sha256
    assert images.provenance.features_sha256 != features.provenance.features_sha256


def test_sentences_say_where_on_a_clocks_face_the_line_passes() -> None:
    sentences = digits([2]).load_images(NOWHERE).descriptions
    passed = [
        re.findall(r"eleven|twelve|one|three|five|six|seven|nine|hub", sentence)
        for sentence in sentences
    ]
    assert passed[1] == ["twelve", "hub", "six"]
    assert all(
        "twelve" in places for places in (passed[digit] for digit in (0, 1, 2, 3, 5, 6, 7, 8, 9))
    )
    assert ["hub" in places for places in passed] == [digit != 0 for digit in range(10)]
    # whoever counts words, whatever their order, can tell any two digits apart
    assert len({tuple(sorted(places)) for places in passed}) == 10


def test_digits_come_as_features_or_as_whole_images() -> None:
    config = digits([2])
    features, images = config.load(NOWHERE), config.load_images(NOWHERE)
    assert isinstance(config.data_module(features, splits.test_split(features)), FeatureDataModule)
    data = config.data_module(images, splits.test_split(images))
    assert isinstance(data, ImageDataModule)
    (batch,) = data.training_stream(lambda step: 50, [1], 0, torch.device("cpu"))
    assert torch.equal(
        batch.inputs[:, 0], torch.from_numpy(images.images[batch.rows.numpy(), :, :, 0])
    )


@pytest.mark.parametrize(
    ("unseen", "sentence"),
    [
        ([], "found 0 unseen digits; expected 1 to 7"),
        (list(range(10)), "found 10 unseen digits; expected 1 to 7"),
        ([2, 2], "found the same digit more than once"),
        ([2, 10], "found 10 among the unseen digits; expected digits from 0 to 9"),
        ([-1], "found -1 among the unseen digits"),
    ],
)
def test_bad_lists_of_unseen_digits_are_refused(unseen: list[int], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        digits(unseen)


def test_every_list_of_unseen_digits_can_be_validated() -> None:
    for unseen in ([0], [3, 4, 5, 6, 7, 8, 9]):
        assert len(splits.validation_split(digits(unseen).load(NOWHERE), 0).seen_classes) >= 2


def test_generated_samples_scatter_around_the_true_means() -> None:
    config = synthetic(samples_per_class=2000)
    world, b = config.world(), config.load(NOWHERE)
    for class_id in range(3):
        x = b.features[b.labels == class_id]
        np.testing.assert_allclose(
            x.mean(axis=0), world.class_means[class_id], atol=5 * world.noise / math.sqrt(2000)
        )
        assert x.std(axis=0).mean() == pytest.approx(world.noise, rel=0.02)
    assert b.features.std() == pytest.approx(1, rel=0.05)
    np.testing.assert_array_equal(b.unseen_classes, world.unseen_classes)


@pytest.mark.parametrize("semantic_dim", [4, 85])
def test_seen_classes_determine_the_means_of_unseen_ones(semantic_dim: int) -> None:
    config = synthetic(semantic_dim=semantic_dim)
    world = config.world()
    seen = np.setdiff1d(np.arange(30), world.unseen_classes)
    w = np.linalg.lstsq(world.semantics[seen], world.class_means[seen], rcond=1e-4)[0]
    np.testing.assert_allclose(
        world.semantics[world.unseen_classes] @ w,
        world.class_means[world.unseen_classes],
        atol=1e-3,
    )


@pytest.mark.slow
def test_bayes_accuracy_is_that_of_the_nearest_true_mean() -> None:
    config = synthetic(samples_per_class=2000, difficulty=1.0)
    world, b, best = config.world(), config.load(NOWHERE), config.bayes_accuracy(4000)
    distances = ((b.features[:, None] - world.class_means[None]) ** 2).sum(axis=2)
    right = distances.argmin(axis=1) == b.labels
    recall = np.array([right[b.labels == class_id].mean() for class_id in range(30)])
    unseen = world.unseen_classes
    among_unseen = unseen[distances[:, unseen].argmin(axis=1)] == b.labels
    assert best.seen == pytest.approx(100 * np.delete(recall, unseen).mean(), abs=1)
    assert best.unseen == pytest.approx(100 * recall[unseen].mean(), abs=2)
    assert best.zsl_top1 == pytest.approx(
        100 * among_unseen[np.isin(b.labels, unseen)].mean(), abs=2
    )
    assert best.harmonic_mean == pytest.approx(
        2 * best.seen * best.unseen / (best.seen + best.unseen)
    )


def test_bayes_accuracy_of_two_lone_neighbours_is_the_textbook_one() -> None:
    # one dimension of factors: the means lie on a line, each of them errs towards its neighbours
    # only
    config = synthetic(classes=4, unseen=1, semantic_dim=1, feature_dim=2, difficulty=0.7)
    world = config.world()
    direction = np.linalg.svd(world.class_means - world.class_means.mean(axis=0))[2][0]
    order = np.sort(world.class_means @ direction)
    gaps = np.diff(order) / (2 * world.noise)
    beyond = [0.5 * math.erfc(gap / math.sqrt(2)) for gap in gaps]
    expected = np.array(
        [1 - beyond[0], 1 - beyond[0] - beyond[1], 1 - beyond[1] - beyond[2], 1 - beyond[2]]
    )
    best = config.bayes_accuracy(40_000)
    assert (3 * best.seen + best.unseen) / 4 == pytest.approx(100 * expected.mean(), abs=0.5)


def test_difficulty_lowers_the_best_accuracy() -> None:
    accuracies = [
        synthetic(difficulty=difficulty).bayes_accuracy() for difficulty in (0.05, 0.5, 1.0, 5.0)
    ]
    seen = [accuracy.seen for accuracy in accuracies]
    assert seen == sorted(seen, reverse=True)
    assert seen[0] > 99
    assert seen[-1] < 40


def test_the_seed_decides_everything() -> None:
    first, again, other = (synthetic(seed=seed).load(NOWHERE).provenance for seed in (0, 0, 1))
    assert first == again
    assert first.features_sha256 != other.features_sha256
    assert first.splits_sha256 != other.splits_sha256


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("unseen", 28, "at least 3 seen"),
        ("unseen", 0, "greater than or equal to 1"),
        ("classes", 3, "greater than or equal to 4"),
        ("difficulty", 0, "greater than 0"),
        ("samples_per_class", 1, "greater than or equal to 2"),
        ("feature_dim", 0, "greater than or equal to 1"),
        ("semantic_dim", 2.5, "valid integer"),
        ("seed", -1, "greater than or equal to 0"),
        ("colour", 1, "Extra inputs are not permitted"),
    ],
)
def test_values_out_of_range_are_refused(key: str, value: float, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        synthetic(**{key: value})
