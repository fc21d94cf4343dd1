"""Escapes text of unknown origin for a terminal, a spreadsheet and Markdown.

Names of classes, files and datasets may hold anything: control sequences that move a terminal's
cursor or forge lines, what a spreadsheet takes as a formula, HTML. Files keep names as they are;
only what is shown is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

#: characters that a terminal acts on or that change the order of the text around them: controls,
#: line and paragraph separators, directional embeddings and isolates, invisible ones, surrogates
_ACTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_ACTIVE_IN_LINE = re.compile(f"[\t\n]|{_ACTIVE.pattern}")
#: what a spreadsheet takes as the beginning of a formula, in half and full width
_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE)
#: maximum length of a name in a message, a table or a figure
MAX_NAME = 60
#: maximum length of a line of a message
MAX_LINE = 5000


def printable(text: str) -> str:
    r"""A text without active characters: an escape character becomes ``\x1b``; lines remain."""
    return _ACTIVE.sub(_escape, text)


def one_line(text: str, limit: int = MAX_NAME) -> str:
    """A name for a line of a table or message: :func:`printable`, without line breaks, shortened.

    Args:
        text: The name.
        limit: Maximum length; a longer name is cut as :func:`shortened` does.
    """
    # escaping makes at most ten characters of one, so no more of a long name needs to be escaped
    kept = shortened(text, 2 * limit) if len(text) > 2 * limit else text
    return shortened(_ACTIVE_IN_LINE.sub(_escape, kept), limit)


def shortened(text: str, limit: int = MAX_NAME) -> str:
    """A text cut to ``limit`` characters, with ``...`` for what is left out in the middle."""
    if len(text) <= limit:
        return text
    end = (limit - 3) // 3
    return f"{text[: limit - 3 - end]}...{text[len(text) - end :]}"


def csv_cell(value: object) -> object:
    """A CSV cell with an apostrophe before a text that a spreadsheet would take as a formula.

    :func:`from_csv_cell` removes it. Numbers, and texts that are numbers, stay as they are.
    """
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def from_csv_cell(text: str) -> str:
    """The inverse of :func:`csv_cell`: the text without the apostrophe put before it."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def csv_row(values: Iterable[object]) -> list[object]:
    """A row of a CSV file, each value escaped by :func:`csv_cell`."""
    return [csv_cell(value) for value in values]


def message(sentence: str) -> str:
    """A message for the terminal: :func:`printable`, with lines of bounded length.

    A path is at most 4096 characters long, and mostly much shorter; names may be longer.
    """
    return "\n".join(shortened(line, MAX_LINE) for line in printable(sentence).split("\n"))


def markdown(text: str) -> str:
    """A text within a line of Markdown, without HTML, links, emphasis or code."""
    # an underscore within a word is no emphasis
    active = r"([\\`*|<\[~$]|(?<!\w)_|_(?!\w))"
    escaped = re.sub(active, r"\\\1", " ".join(printable(text).split()))
    return re.sub(r"&(?=[\w#]+;)", r"\\&", escaped)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
