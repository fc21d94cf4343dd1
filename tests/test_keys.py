from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from zsl_lab.errors import ConfigError
from zsl_lab.keys import (
    AfterPretraining,
    Irrelevant,
    Marks,
    Place,
    Section,
    checked,
    is_below,
    marked,
    marks_of,
    with_absolute_places,
    without,
)


class Inner(Section):
    weights: Annotated[str | None, Place(names=("imagenet",))]


class Example(Section):
    vectors: Annotated[str, Place()]
    start: Annotated[str, Place(per_seed=True)] | None = None
    model: Annotated[str, Place(any_name=True)] = "bert"
    chunk: Annotated[int, Irrelevant()] = Field(default=1, ge=1)
    later: Annotated[int, AfterPretraining()] = 0
    inner: Inner | None = None


def test_marks_are_found_wherever_they_stand_in_an_annotation() -> None:
    assert set(marked(Example, Place)) == {"vectors", "start", "model", "inner.weights"}
    assert set(marked(Example, AfterPretraining, "method")) == {"method.later"}
    assert marks_of(Example, "method") == Marks(
        frozenset({"method.vectors", "method.start", "method.model", "method.inner.weights"}),
        frozenset({"method.start"}),
        frozenset({"method.chunk"}),
    )


def test_the_limits_of_a_marked_key_still_hold() -> None:
    with pytest.raises(ConfigError, match=r"method\.chunk=0: input should be greater than"):
        checked(Example, {"vectors": "v", "chunk": 0}, "method")


@pytest.mark.parametrize("marks", [Marks(), marks_of(Example, "method")])
def test_marks_are_read_from_the_header_that_keeps_them(marks: Marks) -> None:
    assert Marks.of_header(f"{marks.header()}seed: 0\n") == marks


@pytest.mark.parametrize("text", ["", "seed: 0\n", "# a comment\nseed: 0\n", "a:\n  b: 1\nc: 2\n"])
def test_a_file_without_the_header_has_no_marks(text: str) -> None:
    assert Marks.of_header(text) is None


def test_places_become_absolute_and_names_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "imagenet").mkdir()
    section = {"vectors": "~/v.txt", "start": None, "inner": {"weights": "imagenet"}, "later": 1}
    assert with_absolute_places({**section, "model": "bert"}, Example) == {
        **section,
        "vectors": str(tmp_path / "home/v.txt"),
        "model": "bert",
    }
    (tmp_path / "bert").mkdir()
    found = with_absolute_places({"model": "bert", "inner": {"weights": "w.pth"}}, Example)
    assert found == {
        "model": str(tmp_path / "bert"),
        "inner": {"weights": str(tmp_path / "w.pth")},
    }


def test_keys_are_left_out_by_their_dotted_names() -> None:
    section = {"a": 1, "b": {"c": 2, "d": 3}}
    assert without(section, ["a", "b.c"]) == {"b": {"d": 3}}
    assert section == {"a": 1, "b": {"c": 2, "d": 3}}


def test_a_key_is_below_a_section_by_whole_names() -> None:
    assert is_below("paths.data_dir", ["paths"])
    assert is_below("paths", ["paths"])
    assert not is_below("pathways", ["paths"])
