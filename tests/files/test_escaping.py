"""Hostile names: harmless where they are shown, and the same again where they are read."""

from __future__ import annotations

import csv
import io
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zsl_lab.console.messages import console, say
from zsl_lab.files.escaping import csv_cell, csv_row, from_csv_cell, markdown, one_line, printable

MANY = settings(max_examples=300, deadline=None, database=None, derandomize=True)
#: names that do something on a terminal, in a spreadsheet, in Markdown, HTML or LaTeX
HOSTILE = (
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x1b]8;;http://example.org\x1b\\link",
    "\x9b31m",
    "a\rb",
    "a\bb",
    "a\nWarning: forged",
    "a\x00b",
    "\u202egnp.exe",
    "a\u2066b\u2069",
    "\u200b",
    "\ufeffbird",
    "\U000e0041",
    "\ud800",
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "'=1",
    "＝1+1",
    '=HYPERLINK("http://example.org","x")',
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "&lt;img&gt;",
    "[x](javascript:alert(1))",
    "![x](http://example.org/x.png)",
    "`rm -rf`",
    "**bold**",
    "a|b|c",
    "$\\input{/etc/hostname}$",
    "\\write18{id}",
    "%{x}",
    "[bold]x[/bold]",
    "\\",
    "x" * 10_000,
    "\x1b" * 10_000,
    "e" + "\u0301" * 5_000,
)
names = st.one_of(
    st.text(st.characters(codec=None, exclude_categories=())),
    st.sampled_from(HOSTILE),
    st.tuples(st.sampled_from("=+-@\t\r\n'＝"), st.text()).map("".join),
)


def active(text: str) -> set[str]:
    """What a terminal acts on, by Unicode's categories: controls, formats of direction."""
    return {
        one
        for one in text
        if unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(one)
        in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "PDI")
    } - {"\n", "\t"}


@pytest.mark.slow
@MANY
@given(name=names)
def test_no_active_character_is_printed(name: str) -> None:
    assert active(printable(name)) == set()
    assert not {"\n", "\t"} & set(one_line(name))
    assert active(one_line(name)) == set()
    assert len(one_line(name)) <= 60


@pytest.mark.slow
@MANY
@given(name=st.text(st.characters(categories=["L", "M", "N", "P", "S", "Zs"])))
def test_names_of_letters_are_printed_as_they_are(name: str) -> None:
    assert printable(name) == name


@pytest.mark.slow
@MANY
@given(name=names)
def test_a_cell_is_no_formula_and_is_read_back(name: str) -> None:
    cell = str(csv_cell(name))
    assert from_csv_cell(cell) == name
    if cell[:1] in "=+-@＝＋－＠\t\r\n" and cell:
        float(cell)  # a number, which is no formula
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerow(csv_row((name, 1.5, None)))
    [row] = csv.reader(io.StringIO(buffer.getvalue(), newline=""))
    assert (from_csv_cell(row[0]), row[1:]) == (name, ["1.5", ""])


@pytest.mark.parametrize("number", ["-5", "+1.5e-3", "-inf", "nan", "0.5"])
def test_numbers_stay_as_they_are(number: str) -> None:
    assert csv_cell(number) == number
    assert csv_cell(-0.5) == -0.5


@pytest.mark.slow
@MANY
@given(name=names)
def test_markdown_has_no_html_link_or_table_of_a_name(name: str) -> None:
    text = markdown(name)
    assert "\n" not in text
    assert active(text) == set()
    for character in "<|[`*":
        for place, one in enumerate(text):
            if one == character:
                before = text[:place]
                # an odd number of backslashes makes it a text
                assert (len(before) - len(before.rstrip("\\"))) % 2 == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_the_terminal_gets_names_as_text(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"Warning: class '{name}' has no sample.")
    say(name, error=False)
    console().print(f"{name}: 5", soft_wrap=True)
    said = "".join(capsys.readouterr())
    assert active(said) == set()
    if name.startswith("["):
        assert name in said
