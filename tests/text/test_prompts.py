"""Prompts of classes: templates, where they come from, and what they are filled with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zsl_lab.errors import ConfigError
from zsl_lab.text.prompts import (
    OF_DESCRIPTORS,
    OF_NAMES,
    OF_SENTENCES,
    clause,
    default_templates,
    prompts,
    read_templates,
)


def test_each_template_is_filled_with_each_text() -> None:
    templates = ["a photo of a {name}.", "{name}: {description}"]
    assert prompts("barn_owl", ["white face ", "brown back"], templates) == [
        "a photo of a barn owl.",
        "barn owl: white face",
        "barn owl: brown back",
    ]


@pytest.mark.parametrize(
    ("descriptor", "expected"),
    [
        ("a seabird", "which is a seabird"),
        ("an orange bill", "which is an orange bill"),
        ("black feet", "which has black feet"),
        ("has black feet", "which has black feet"),
        ("often found near water", "which often found near water"),
        ("used for cutting", "which is used for cutting"),
        ("jmhj, !J#m", "which has jmhj, !J#m"),
    ],
)
def test_a_descriptor_becomes_a_clause(descriptor: str, expected: str) -> None:
    assert clause(descriptor) == expected


def test_the_default_template_fits_the_texts() -> None:
    cupl = [["A barn owl has a white face.", "The barn owl is pale."], ["Its head is grey."]]
    dclip = [["a bird of prey", "white face"], ["grey head", "long tail"]]
    waffle = [["jmhj, !J#m"], ["3vKl, q"]]
    names = ["barn_owl", "jay"]
    assert default_templates(names, cupl) == [OF_SENTENCES]
    assert default_templates(names, dclip) == default_templates(names, waffle) == [OF_DESCRIPTORS]
    assert default_templates(names, [[], []]) == [OF_NAMES]
    assert prompts("barn_owl", dclip[0], [OF_DESCRIPTORS]) == [
        "barn owl, which is a bird of prey",
        "barn owl, which has white face",
    ]


def test_templates_come_from_the_command_and_from_files(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a drawing of a {}.\n\na photo of a {}.\n")
    (tmp_path / "list.json").write_text(json.dumps(["art of the {name}."]))
    given = ["a photo of a {name}.", str(tmp_path / "list.txt"), str(tmp_path / "list.json")]
    assert read_templates(given, "--template ") == [
        "a photo of a {name}.",
        "a drawing of a {name}.",
        "art of the {name}.",
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            "a {colour} {name}",
            r"--template 'a {colour} {name}': found the field {colour}; exp",
        ),
        ("a {name", r"--template 'a {name': .* Correct it; a brace that is meant is written twice"),
        ("a {{name}}", "found no field; expected {name}"),
        ("nowhere.txt", r"--template nowhere.txt: cannot be read \(No such file or directory\)"),
    ],
)
def test_a_wrong_template_is_refused(given: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        read_templates([given], "--template ")


@pytest.mark.parametrize(
    ("content", "found"), [('{"a": 1}', "no list of texts"), ("[1", "no valid JSON"), ("[]", "no")]
)
def test_a_file_without_templates_is_refused(content: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(content)
    with pytest.raises(ConfigError, match=f"found {found}"):
        read_templates([str(tmp_path / "list.json")], "--template ")
