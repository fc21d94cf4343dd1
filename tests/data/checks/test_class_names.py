"""Names of classes match where they differ in case, separators or a number before them."""

from __future__ import annotations

import pytest

from zsl_lab.data.checks.class_names import match, near_name, normalized


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("002.Laysan_Albatross", "Laysan Albatross"),
        ("grizzly+bear", "Grizzly-Bear"),
        ("001", "1"),
        ("class 7", "7"),
        ("7.0", "07"),
        ("Bär", "Ba\u0308r"),
        ("apartment_building/outdoor", "apartment building outdoor"),
    ],
)
def test_spellings_of_one_name(one: str, other: str) -> None:
    assert normalized(one) == normalized(other)


@pytest.mark.parametrize(
    ("one", "other"), [("1", "11"), ("ox", "fox"), ("---", "___"), ("3M", "M")]
)
def test_different_names(one: str, other: str) -> None:
    assert normalized(one) != normalized(other)


def test_equal_names_match_before_similar_ones() -> None:
    found = match(["Horse", "horse", "cow"], ["horse", "Cow"])
    assert found.row == {0: 1, 1: 2}
    assert found.spelled == (("Cow", "cow"),)
    assert found.extra == ("Horse",)


def test_a_spelling_of_two_names_matches_neither() -> None:
    assert match(["HORSE", "Horse"], ["horse", "cow"]).missing == (0, 1)
    assert match(["terrier"], ["1.terrier", "2.terrier"]).missing == (0, 1)


def test_the_nearest_name() -> None:
    assert near_name("001", ["1", "2"]) == "1"
    assert near_name("grizly bear", ["grizzly+bear", "ox"]) == "grizzly+bear"
    assert near_name("zebra", ["ox"]) is None
