r"""Sheets in LaTeX, read by a strict parser of the part of LaTeX that they use.

``pdflatex`` with booktabs takes the same files (tried by hand, with every text of this module).
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from zsl_lab.report.latex import as_latex, as_latex_file, latex
from zsl_lab.report.paper import paper_tables
from zsl_lab.report.paper_rows import paper_names
from zsl_lab.report.tables import Cell, Row, Sheet

HOSTILE = (
    r"""50% of a_b & c#d \x{y} $z$ ~^ [0] *star <b> | "q" -- --- ''x'' ?` !` γ=0.5 µ ☃ Łódź ą „"""
)
#: every command that a table may use
COMMANDS = {
    *("begin", "end", "centering", "caption", "scriptsize", "footnotesize", "setlength"),
    *("tabcolsep", "toprule", "midrule", "bottomrule", "cmidrule", "multicolumn", "shortstack"),
    *("textbf", "textit", "par", "smallskip", "pm", "times", "ldots", "gamma", "mu"),
    *("textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar"),
}


def tokens(text: str) -> list[str]:
    r"""Commands, escaped characters, ``\\``, and single characters; comments are left out."""
    lines = (line for line in text.split("\n") if not line.startswith("%"))
    return re.findall(r"\\[a-zA-Z]+|\\.|.", "\n".join(lines), flags=re.DOTALL)


def check(text: str) -> None:
    """Braces, environments and dollars are balanced, and commands are known ones."""
    depth, math, environments = 0, False, []
    for token in tokens(text):
        depth += (token == "{") - (token == "}")
        assert depth >= 0
        math ^= token == "$"
        if re.fullmatch(r"\\[a-zA-Z]+", token):
            assert token[1:] in COMMANDS
            assert math == (token[1:] in ("pm", "times", "gamma", "mu"))
        else:
            assert token in (r"\\", r"\#", r"\$", r"\%", r"\&", r"\_", r"\{", r"\}") or (
                token[0] not in "\\%#^~_"
            )
        # beyond letters with accents, pdflatex needs more packages
        assert all(ord(character) < 0x180 for character in token)
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            environments.append(name)
        else:
            assert environments.pop() == name
    assert (depth, math, environments) == (0, False, [])


def columns(line: str) -> int:
    r"""Cells of a row: one more than its ``&``, a ``\multicolumn{n}`` counting as n."""
    spans = [int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
    return 1 + len(re.findall(r"(?<!\\)&", line)) + sum(spans)


def check_rows(text: str) -> int:
    """Every row has as many cells as the table has columns; returns how many there are."""
    [specification] = re.findall(r"\\begin\{tabular\}\{((?:[lr]|p\{5cm\})+)\}", text)
    width = len(re.sub(r"p\{5cm\}", "l", specification))
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0].strip().split("\n")
    rows = [line for line in map(str.strip, body) if not re.match(r"\\(midrule|cmidrule)", line)]
    assert all(line.endswith(r" \\") for line in rows)
    assert {columns(line) for line in rows} == {width}
    for start, stop in re.findall(r"\\cmidrule\(lr\)\{(\d+)-(\d+)\}", text):
        assert 1 <= int(start) <= int(stop) <= width
    return len(rows)


def sheet(*texts: str, spans: bool = False) -> Sheet:
    rows = tuple(Row((text,), (Cell("1.5", "± 0.2"), Cell("-"))) for text in texts)
    return Sheet(
        title="A & B",
        text_heads=("method",),
        metric_heads=("validation H", "paper H"),
        sections=(rows, (Row(("x",), (Cell("2.0", best=True), Cell("3"))),)),
        note="100 %",
        spans=(("validation", ("H",)), ("paper", ("H",))) if spans else (),
    )


@pytest.mark.parametrize("name", paper_names())
def test_tables_of_papers_are_complete_latex(name: str) -> None:
    for one in paper_tables(name, []):
        text = as_latex(one)
        check(text)
        assert check_rows(text) == 2 + sum(map(len, one.sections))


def test_any_text_is_printed_as_it_is() -> None:
    text = as_latex(sheet(HOSTILE))
    check(text)
    check_rows(text)
    assert latex("50% of a_b & c#d") == r"50\% of a\_b \& c\#d"
    assert latex("a -- b ''") == "a -{}- b '{}'"
    # after the end of a row these would be read as its options
    assert latex("[x]*") == "{[}x{]}{*}"
    assert latex("γ, ☃, ą, é") == r"$\gamma$, U+2603, U+0105, é"
    assert latex("a\nb\x1b") == r"a b\textbackslash{}x1b"


def test_every_character_is_one_that_latex_takes() -> None:
    for character in map(chr, (*range(1, 0x250), 0x391, 0x1F600)):
        check(latex(f"a{character}{character}b"))


def test_rows_deviations_and_best_metrics() -> None:
    lines = [line.strip() for line in as_latex(sheet("m")).split("\n")]
    assert r"m & 1.5 $\pm$ 0.2 & - \\" in lines
    assert r"x & \textbf{2.0} & 3 \\" in lines
    assert lines.count(r"\midrule") == 2
    assert r"\caption{A \& B}" in lines
    assert r"\par\smallskip{\footnotesize 100 \%\par}" in lines


def test_a_heading_goes_over_all_columns() -> None:
    one = sheet("m")
    text = as_latex(replace(one, sections=(*one.sections, (Row(("[a_b]",), ()),))))
    assert r"\multicolumn{3}{l}{\textit{{[}a\_b{]}}} \\" in text
    check(text)
    assert check_rows(text) == 4


def test_two_lines_of_heads_where_columns_belong_together() -> None:
    lines = [line.strip() for line in as_latex(sheet("m", spans=True)).split("\n")]
    assert r"& \multicolumn{1}{c}{validation} & \multicolumn{1}{c}{paper} \\" in lines
    assert r"\cmidrule(lr){2-2} \cmidrule(lr){3-3}" in lines
    assert r"method & H & H \\" in lines


def test_long_names_and_heads_are_broken_into_lines() -> None:
    text = as_latex(sheet("m" * 41))
    assert r"\begin{tabular}{p{5cm}rr}" in text
    assert r"\shortstack[r]{validation \\ H}" in text


def test_a_file_says_what_the_preamble_needs() -> None:
    text = as_latex_file([sheet("a"), sheet("b")])
    assert text.startswith("% in the preamble: \\usepackage{booktabs}\n")
    assert text.count(r"\begin{table}") == 2
    check(text)
