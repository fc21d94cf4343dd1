"""A table of classes: what is read from it, and what is said of one that is wrong."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from zsl_lab.data.files.tables import ClassTable, read_class_table
from zsl_lab.errors import DataError

FULL = """\
class,legs,description,split,wings,pretrained
ant,6,"small, black",seen,0,no
barn owl,2,"a ""ghost"" at night",unseen,1.5e0,
cat,4,soft,,-0.25,yes
"""


def table(folder: Path, content: str | bytes, name: str = "classes.csv") -> ClassTable:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_class_table(path)


def message(folder: Path, content: str | bytes, name: str = "classes.csv") -> str:
    with pytest.raises(DataError) as caught:
        table(folder, content, name)
    text = str(caught.value)
    assert text.startswith(str(folder / name))
    return text.removeprefix(f"{folder / name}: ")


def test_every_column_is_read_and_attributes_keep_their_order(tmp_path: Path) -> None:
    found = table(tmp_path, FULL)
    assert found.path == tmp_path / "classes.csv"
    assert found.names == ("ant", "barn owl", "cat")
    assert found.attribute_names == ("legs", "wings")
    assert found.attributes is not None
    assert found.attributes.dtype == np.float32
    assert found.attributes.tolist() == [[6, 0], [2, 1.5], [4, -0.25]]
    assert found.descriptions == ("small, black", 'a "ghost" at night', "soft")
    assert found.parts == ("seen", "unseen", "")
    assert found.pretrained == (False, False, True)


def test_what_a_table_does_not_have_is_none(tmp_path: Path) -> None:
    found = table(tmp_path, "class,legs\nant,6\n")
    assert (found.descriptions, found.parts, found.pretrained) == (None, None, None)
    assert table(tmp_path, "class,description\nant,small\n").attributes is None


def test_as_spreadsheets_write_it_it_is_the_same_table(tmp_path: Path) -> None:
    """A byte order mark, carriage returns, spaces around cells, rows of commas at the end."""
    spreadsheet = "\ufeff" + FULL.replace(",4,", " , 4,").replace("\n", "\r\n") + ",,,,,\r\n\r\n"
    expected, found = table(tmp_path, FULL), table(tmp_path, spreadsheet)
    assert found.names == expected.names
    assert found.descriptions == expected.descriptions
    assert np.array_equal(found.attributes, expected.attributes)  # type: ignore[arg-type]


def test_names_and_texts_may_be_in_any_script(tmp_path: Path) -> None:
    assert (
        table(
            tmp_path, "class,description\nrotkehlchen,kleine kehle über grün\nコマドリ,赤い\n"
        ).names[1]
        == "コマドリ"
    )


@pytest.mark.parametrize(
    "content",
    [
        {"ant": "small", "owl": "at night"},
        [{"name": "ant", "description": "small"}, {"name": "owl", "description": "at night"}],
    ],
)
def test_json_of_descriptions_is_a_table_too(content: object, tmp_path: Path) -> None:
    found = table(tmp_path, json.dumps(content), "classes.json")
    assert found.names == ("ant", "owl")
    assert found.descriptions == ("small", "at night")
    assert found.attributes is None


@pytest.mark.parametrize(
    "content",
    [
        {"ant": [1, 2.5], "owl": [0, -3]},
        {"ant": {"a": 1, "b": 2.5}, "owl": {"b": -3, "a": 0}},
        [{"class": "ant", "a": 1, "b": 2.5}, {"class": "owl", "a": 0, "b": -3}],
        [{"att": [1, 2.5], "name": "ant"}, {"att": [0, -3], "name": "owl"}],
        [{"class_id": 1, "name": "ant", "a": 1, "b": 2.5}, {"name": "owl", "a": 0, "b": -3}],
        {"classes": ["ant", "owl"], "att": [[1, 2.5], [0, -3]]},
        {"columns": ["a", "b"], "index": ["ant", "owl"], "data": [[1, 2.5], [0, -3]]},
    ],
)
def test_attributes_in_json_are_read_in_every_usual_form(content: object, tmp_path: Path) -> None:
    found = table(tmp_path, json.dumps(content), "classes.json")
    assert found.names == ("ant", "owl")
    assert found.attributes is not None
    assert found.attributes.tolist() == [[1, 2.5], [0, -3]]


@pytest.mark.parametrize(
    "content",
    [
        {"classes": ["ant"], "att": [[1, 2.5], [0, -3]]},
        [{"class": "ant", "a": 1, "b": 2.5}, {"class": "owl", "a": 0}],
        [{"class": "ant", "a": 1}, {"class": "owl", "a": "much"}],
        {"columns": ["a"], "index": ["ant", "owl"], "data": [[1, 2.5], [0]]},
    ],
)
def test_attributes_in_json_that_do_not_fit_are_refused(content: object, tmp_path: Path) -> None:
    assert "expected" in message(tmp_path, json.dumps(content), "classes.json")


def test_a_list_of_names_is_a_table_where_names_suffice(tmp_path: Path) -> None:
    path = tmp_path / "classes.json"
    path.write_text('["ant", "bee"]')
    assert read_class_table(path, names_suffice=True).names == ("ant", "bee")
    with pytest.raises(DataError, match="found a list of names; expected a text or attributes"):
        read_class_table(path)


def test_json_without_a_name_is_refused(tmp_path: Path) -> None:
    said = message(
        tmp_path,
        json.dumps([{"name": "ant", "description": "small"}, {"description": "big"}]),
        "classes.json",
    )
    assert said == (
        "field 'name': found nothing for class 2; expected a text for every class. Correct the "
        "table, "
        "or give another."
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "class,a\n,1\n",
            "line 2, column 'class': found no name; expected one. Name the class, or take the line "
            "out.",
        ),
        (
            "class,a\nant,1\nbee,2\nant,3\n",
            "line 4, column 'class': found 'ant', which line 2 has too; expected each class once."
            " Rename one of them, or take the line out.",
        ),
        (
            "class,a\nant,1\nbee,many\n",
            "line 3, column 'a': found 'many' for 'bee'; expected a number, as every column but "
            "class, description, split, pretrained is an attribute. Put one there, or take the "
            "column out.",
        ),
        ("class,a,b\nant,1,\n", "line 2, column 'b': found nothing for 'ant'; expected a number"),
        ("class,a\nant,nan\n", "line 2, column 'a': found 'nan' for 'ant'; expected a number"),
        ("class,a\nant,-inf\n", "line 2, column 'a': found '-inf' for 'ant'; expected a number"),
        ("class,a\nant,1e39\n", "line 2, column 'a': found '1e39' for 'ant'; expected a number"),
        ("class,a\nant,1_0\n", "line 2, column 'a': found '1_0' for 'ant'; expected a number"),
        ('class,a\nant,"0,5"\n', "Write it with a point as decimal mark, or take the column out."),
        (
            "class,Descriptions\nant,small\n",
            "Rename the column description, if that is what it means, or take the column out.",
        ),
        (
            "class,a,a\nant,1,2\n",
            "line 1: found the column 'a' twice; expected each once. Rename one, or take it out.",
        ),
        (
            "class,a,\nant,1,2\n",
            "line 1: found no name for column 3 of 3; expected one. Name it, or take the column "
            "out.",
        ),
        (
            "class,a\nant,1\nbee,2,3\n",
            "line 3: found 3 cells; expected 2, one for each column of the first line.",
        ),
        ("class,a\nant\n", "line 2: found 1 cell; expected 2"),
        (
            "class,description\nant, \n",
            "line 2, column 'description': found no text for 'ant'; expected one for every class.",
        ),
        (
            "class,a,split\nant,1,unsen\n",
            "line 2, column 'split': found 'unsen' for 'ant'; expected seen, validation, unseen "
            "or nothing. Did you mean unseen? Correct the cell, or leave it empty, and the seed "
            "decides.",
        ),
        (
            "class,a,pretrained\nant,1,true\n",
            "line 2, column 'pretrained': found 'true' for 'ant'; expected yes, no or nothing."
            " Correct the cell (yes: the backbone was trained on this class), or take the column "
            "out.",
        ),
        (
            "class;a\nant;1\n",
            "found columns separated by semicolons; expected commas. Save the table with commas "
            "and points as decimal marks, or give another.",
        ),
        ("class\ta\nant\t1\n", "found columns separated by tabs; expected commas."),
        (
            "name,a\nant,1\n",
            "found the columns name, a; expected one called class. Add it, or give another table.",
        ),
        (
            "clas,a\nant,1\n",
            "found the columns clas, a; expected one called class. Rename the column 'clas', or "
            "give another table.",
        ),
        ("", "found an empty file; expected a CSV file whose first line names the columns"),
        (
            "class,a\n",
            "found a first line and no class below it; expected a line for each. Add them, or give "
            "another table.",
        ),
        (
            "class,split\nant,seen\n",
            "found no column that tells one class from another; expected attributes",
        ),
        (
            'class,description\nant,"small\nbee,big\n',
            "line 2: cannot be read as a row of a table (unexpected end of data).",
        ),
        (
            "class,description\nwasp,grün\n".encode("latin1"),
            "line 2: found the byte 0xfc, which is not UTF-8; expected a table in UTF-8.",
        ),
        ("class,a\nant,1\n".encode("utf-16"), "found UTF-16 or a binary file; expected a CSV file"),
        (b"PK\3\4\0\0", "found a spreadsheet or another binary file; expected a CSV file"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_the_place_and_both_ways_out(
    content: str | bytes, expected: str, tmp_path: Path
) -> None:
    assert expected in message(tmp_path, content)


def test_lines_are_counted_as_editors_count_them(tmp_path: Path) -> None:
    content = 'class,description,a\n\nant,"small\nand black",1\nbee,big,x\n'
    assert message(tmp_path, content).startswith("line 5, column 'a'")


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"none\.csv: cannot be read \(No such file or directory\); expected a CSV file",
    ):
        read_class_table(tmp_path / "none.csv")


def test_equal_descriptions_are_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="found the same text for 'ant' and 'bee'"):
        table(tmp_path, "class,description\nant,small  one\nbee,Small one\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table(tmp_path, "class,description\nant,small one\nbee,big one\n")


def test_equal_attributes_are_a_warning(tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning,
        match=r"found the same attributes for 'ant' and 'bee'; for 'cat' and 'dog'\. Such classes "
        r"cannot be told",
    ):
        table(tmp_path, "class,legs,wings\nant,6,0\nbee,6.0,0\ncat,4,0\ndog,4,0\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table(tmp_path, "class,legs,wings\nant,6,0\nbee,6,1\n")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            "Class,legs,wings",
            "'Class'; expected 'class', in lower case. Write it so, or give it another name if "
            "it is an attribute.",
        ),
        (
            "class,SPLIT,legs",
            "'SPLIT'; expected 'split', in lower case. Write it so, or give it another name if "
            "it is an attribute.",
        ),
        (
            "class,legs,Pre Trained",
            "'Pre Trained'; expected 'pretrained', in lower case. Write it so, or give it",
        ),
        (
            "class,description,Description",
            "'Description'; expected 'description', in lower case. Write it so, or take it out, "
            "since there",
        ),
    ],
)
def test_a_column_that_is_almost_one_of_ours_is_no_attribute(
    header: str, expected: str, tmp_path: Path
) -> None:
    assert message(tmp_path, f"{header}\nant,1,2\nbee,2,3\n").startswith(
        f"line 1: found the column {expected}"
    )
