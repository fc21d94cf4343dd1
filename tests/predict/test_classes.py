"""Candidate classes: known ones, new ones, or both."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zsl_lab
from tests.helpers.predict import UNSEEN, Load, ShortRun, altered, described
from zsl_lab.data.batches.base import ClassSpace
from zsl_lab.data.benchmark import FeatureBenchmark, ImageBenchmark
from zsl_lab.errors import ConfigError, DataError
from zsl_lab.predict.classes import choose_candidates


@pytest.mark.filterwarnings("ignore:classes. found the same numbers")
@pytest.mark.parametrize("method", ["sgal", "n3"])
def test_new_classes_stand_beside_the_known_ones(
    load: Load,
    digits: FeatureBenchmark,
    pictures: ImageBenchmark,
    samples: Callable[[str, Any], Any],
    method: str,
) -> None:
    x, classes = samples(method, digits.test_unseen[:20]), described(method, digits, pictures)
    every = load(method).predict(x, classes, among="all")
    assert every.names == (*digits.class_names, *UNSEEN.values())
    assert (
        every.kinds
        == tuple("unseen" if name in UNSEEN else "seen" for name in digits.class_names)
        + ("new",) * 3
    )
    assert every.seen.tolist() == [kind == "seen" for kind in every.kinds]
    np.testing.assert_allclose(
        every.scores[:, 10:], every.scores[:, [2, 4, 5]], rtol=1e-4, atol=1e-5
    )
    few = load(method).predict(x, classes, among="unseen")
    assert few.names == (*UNSEEN, *UNSEEN.values())
    if method == "n3":  # a network of its own, of which each row of probabilities adds up to 1
        np.testing.assert_allclose([every.scores.sum(1), few.scores.sum(1)], 1, rtol=1e-5)
    else:
        np.testing.assert_allclose(
            few.scores, every.scores[:, [2, 4, 5, 10, 11, 12]], rtol=1e-4, atol=1e-5
        )
    # asking about others leaves nothing behind
    assert load(method).predict(x).names == digits.class_names


def test_the_digits_are_told_apart_better_than_by_chance_by_classes_given_only_now(
    load: Load, digits: FeatureBenchmark, pictures: ImageBenchmark
) -> None:
    x, labels = digits.features[digits.test_unseen], digits.labels[digits.test_unseen]
    found = load("eszsl").predict(x, described("eszsl", digits, pictures)).predicted
    right = np.array(
        [name == UNSEEN[str(label)] for name, label in zip(found, labels, strict=True)]
    )
    recalls = [right[labels == int(name)].mean() for name in UNSEEN]
    assert np.mean(recalls) > 0.38  # a third by chance


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        ({}, "^classes: found none; expected a name and a description of each. Leave classes out"),
        (
            {"a": [0.0] * 29},
            r"^classes: found 1 class; expected at least 2, to tell them apart\. Give more "
            r"classes, or choose among=all\.$",
        ),
        (
            {"a": [0.0] * 28, "b": [0.0] * 29},
            r"found shape \[28\] for 'a'; expected \[29\], 29 numbers for each class .* Give "
            r"vectors "
            r"like",
        ),
        (
            {"a": [0.0] * 29, "b": [float("nan")] * 29},
            "found a value for 'b' that is not finite",
        ),
        ({"a": [0.0] * 29, "b": [None] * 29}, "found a value for 'b' that is not finite"),
        (
            {"a": [0.0] * 29, "b": ["x", 1.0]},
            "for 'b'; expected a vector of numbers, or a text for every class",
        ),
        (
            {"a": [0.0] * 29, "b": "a text"},
            "found texts for some and vectors for others; expected one kind",
        ),
        (
            {"a": "a text", "b": "another"},
            "^classes: found texts; the classes of digits are described by 29 numbers",
        ),
        (
            {"a": "a text", "b": "  "},
            "found an empty text for 'b'; expected a description of every class. Write one",
        ),
        ({" ": [0.0] * 29, "b": [1.0] * 29}, "found ' ' as a name"),
        (
            ["eagle"],
            r"^classes: found a value of type list; expected the file of a table, or a mapping .*; "
            r"or leave classes out",
        ),
        (5, "^classes: found a value of type int; expected the file of a table"),
        ("none.csv", r"^classes=none\.csv: cannot be read \(No such file"),
    ],
)
def test_classes_that_cannot_be_used_are_refused(
    load: Load, digits: FeatureBenchmark, classes: Any, sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        load("sgal").predict(digits.features[:2], classes)


def test_a_single_unseen_class_is_not_enough_to_choose_among(
    short_run: ShortRun, digits: FeatureBenchmark, tmp_path: Path
) -> None:
    def all_but_one_seen(checkpoint: dict[str, Any]) -> None:
        checkpoint["FeatureDataModule"]["classes"]["seen"][:9] = True
        checkpoint["FeatureDataModule"]["classes"]["seen"][9] = False

    predictor = zsl_lab.load(altered(short_run("eszsl"), tmp_path / "one.ckpt", all_but_one_seen))
    with pytest.raises(
        DataError, match=r"^among=unseen: found 1 class; expected at least 2, to tell them apart\."
    ):
        predictor.predict(digits.features[:2], among="unseen")


def test_a_name_that_the_checkpoint_knows_is_new_only_by_itself(
    load: Load, digits: FeatureBenchmark
) -> None:
    x, classes = digits.features[:2], {"2": digits.semantics[2], "two": digits.semantics[4]}
    assert load("sgal").predict(x, classes).kinds == ("new", "new")
    for among in ("all", "unseen"):
        with pytest.raises(
            ConfigError,
            match=r"^classes: '2' is the name of a class of the checkpoint\. Give it another "
            r"name, or choose",
        ):
            load("sgal").predict(x, classes, among)
    assert load("sgal").predict(x, {"0": digits.semantics[0]}, "unseen").names == (
        "2",
        "4",
        "5",
        "0",
    )


def test_among_which_classes_must_be_one_of_three_words(
    load: Load, digits: FeatureBenchmark
) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^among=new: no new classes were given\. Give some with classes=\.\.\., or choose "
        r"among=all",
    ):
        load("sgal").predict(digits.features[:2], among="new")
    with pytest.raises(
        ConfigError, match=r"^among=some: input should be 'all', 'unseen' or 'new'\.$"
    ):
        load("sgal").predict(digits.features[:2], among="some")


@pytest.mark.parametrize("name", ["Ant", "ant ", "a_nt", "\N{CYRILLIC SMALL LETTER A}nt"])
def test_a_new_class_that_is_spelled_nearly_as_a_known_one_is_warned_of(name: str) -> None:
    def space(*names: str) -> ClassSpace:
        count = len(names)
        semantics = np.random.default_rng(count).random((count, 3)).astype(np.float32)
        return ClassSpace(np.arange(count), semantics, np.zeros(count, dtype=bool), names)

    known = space("ant", "bee")
    with pytest.warns(UserWarning, match=r"found '.*' beside 'ant' of the checkpoint"):
        choose_candidates(known, space(name, "cow", "dog"), "all")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choose_candidates(known, space(name, "cow", "dog"), "new")
        choose_candidates(known, space("ant 2", "cow", "dog"), "all")
