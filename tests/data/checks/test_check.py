"""The data check of a benchmark: classes, names and split; nothing is found in sound data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.sound_data import PER_CLASS, one, sound
from zsl_lab.data.checks.check import check


def test_nothing_is_found_in_sound_data() -> None:
    assert check(sound()) == []


def test_one_unseen_class_makes_zsl_top1_meaningless() -> None:
    benchmark = sound()
    single = replace(benchmark, test_unseen=benchmark.test_unseen[:PER_CLASS])
    assert one(check(single), "one_unseen_class").classes == ("e",)


def test_classes_without_samples_are_a_note() -> None:
    benchmark = sound()
    table = np.concatenate([benchmark.semantics, benchmark.semantics[:1] + 1])
    (finding,) = check(replace(benchmark, semantics=table, class_names=tuple("abcdefg")))
    assert (finding.level, finding.classes) == ("note", ("g",))


def test_samples_in_no_part_of_the_split_are_a_note() -> None:
    benchmark = sound()
    (finding,) = check(replace(benchmark, trainval=benchmark.trainval[2:]))
    assert (finding.level, finding.code, finding.rows) == ("note", "samples_unused", (0, 1))


@pytest.mark.parametrize(
    "name", ["A ", "a_", "\N{CYRILLIC SMALL LETTER A}", "a\N{ZERO WIDTH SPACE}", "\uff41"]
)
def test_names_that_look_alike_are_named(name: str) -> None:
    finding = one(check(sound(class_names=(*"abcde", name))), "class_names_alike")
    assert finding.classes == ("a", name)


def test_numbers_tell_names_apart() -> None:
    assert check(sound(class_names=("1.a", "2.a", "a 3", "a4", "5a", "a"))) == []
