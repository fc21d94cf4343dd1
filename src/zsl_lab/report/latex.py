r"""Sheets as LaTeX tables, ready to paste; they need ``\usepackage{booktabs}`` and no more."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable

from zsl_lab.files.escaping import printable
from zsl_lab.report.tables import Cell, Row, Sheet, folded

_GREEK = {
    **{"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "λ": "lambda"},
    **{"μ": "mu", "µ": "mu", "σ": "sigma", "ϑ": "vartheta", "Δ": "Delta", "Σ": "Sigma"},
}
#: characters that TeX interprets, that form ligatures, or that its text fonts lack
_SPECIAL = {
    **{character: f"\\{character}" for character in "#$%&_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "{''}"},
    # an optional argument or a star after the end of a row
    **{"[": "{[}", "]": "{]}", "*": "{*}"},
    **{"±": r"$\pm$", "–": "--", "—": "---", "×": r"$\times$", "…": r"\ldots{}"},
    **{"’": "'", "“": "``", "”": "''", "\xa0": "~"},
    **{letter: f"$\\{name}$" for letter, name in _GREEK.items()},
}
#: Latin letters that LaTeX's default font encoding (OT1) lacks
_NO_GLYPH = "ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲų"
#: a table of more columns than this is set smaller
_WIDE = 8
#: characters of a text, above which its column is broken into lines, and of a line of a head
_LONG, _HEAD = 40, 10
_SMALL = r"  \scriptsize\setlength{\tabcolsep}{3pt}"


def as_latex(sheet: Sheet) -> str:
    """The sheet as a ``table``: its title is the caption, its note stands below."""
    texts = len(sheet.text_heads)
    columns = "".join(
        [*(_text_column(sheet, i) for i in range(texts)), *("r" for _ in sheet.metric_heads)]
    )
    width = texts + len(sheet.metric_heads)
    sections = [[_row(row, width) for row in rows] for rows in sheet.sections if rows]
    body = itertools.chain(*(["\\midrule", *rows] for rows in sections))
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{latex(sheet.title)}}}",
        *([_SMALL] if width > _WIDE else []),
        rf"  \begin{{tabular}}{{{columns}}}",
        *(f"    {line}" for line in (r"\toprule", *_heads(sheet), *body, r"\bottomrule")),
        r"  \end{tabular}",
        *([rf"  \par\smallskip{{\footnotesize {latex(sheet.note)}\par}}"] if sheet.note else []),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def as_latex_file(sheets: Iterable[Sheet]) -> str:
    """The sheets one after another, and what a document needs for them."""
    return "\n".join([r"% in the preamble: \usepackage{booktabs}", *map(as_latex, sheets)])


def _text_column(sheet: Sheet, column: int) -> str:
    """A column as wide as its texts; one of long texts is broken into lines."""
    texts = [row.texts[column] for rows in sheet.sections for row in rows if row.cells]
    return r"p{5cm}" if max(map(len, texts), default=0) > _LONG else "l"


def _heads(sheet: Sheet) -> list[str]:
    texts = [latex(head) for head in sheet.text_heads]
    if not sheet.spans:
        return [_line([*texts, *map(_head, sheet.metric_heads)])]
    titles, rules = ["" for _ in texts], []
    column = len(texts) + 1
    for title, heads in sheet.spans:
        titles.append(rf"\multicolumn{{{len(heads)}}}{{c}}{{{latex(title)}}}")
        last = column + len(heads) - 1
        rules += [rf"\cmidrule(lr){{{column}-{last}}}"] if title else []
        column = last + 1
    below = [_head(head) for _, own in sheet.spans for head in own]
    return [_line(titles), " ".join(rules), _line([*texts, *below])]


def _head(head: str) -> str:
    """A head, its words below each other where it is long."""
    lines = [latex(line) for line in folded(head, _HEAD).split("\n")]
    stacked = r" \\ ".join(lines)
    return rf"\shortstack[r]{{{stacked}}}" if len(lines) > 1 else stacked


def _row(row: Row, width: int) -> str:
    if not row.cells:
        return _line([rf"\multicolumn{{{width}}}{{l}}{{\textit{{{latex(' '.join(row.texts))}}}}}"])
    return _line([*map(latex, row.texts), *map(_cell, row.cells)])


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cell(cell: Cell) -> str:
    text = latex(f"{cell.text} {cell.sd}".strip())
    return rf"\textbf{{{text}}}" if cell.best else text


def latex(text: str) -> str:
    """A text that LaTeX prints as it is; characters that its fonts lack become ``U+2603``."""
    text = unicodedata.normalize("NFC", " ".join(printable(text).split()))
    # two hyphens would join to a dash, two apostrophes to a quotation mark, ?` to another sign
    apart = re.sub(r"([-'`])(?=\1)|[?!](?=`)", "\\g<0>\0", text)
    return "".join("{}" if character == "\0" else _character(character) for character in apart)


def _character(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    letter = character.isalpha() and "À" <= character <= "ž" and character not in _NO_GLYPH
    return character if character.isascii() or letter else f"U+{ord(character):04X}"
