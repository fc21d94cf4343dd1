"""HTML as it is needed for a report: elements that escape what they are given, and are XML as well."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

#: characters that neither HTML nor XML may hold
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Html(str):
    """Text that is markup already, and is not escaped again."""

    __slots__ = ()


Child = str | Iterable[str] | None


def escaped(text: str) -> Html:
    """Text as markup; markup as it is."""
    return text if isinstance(text, Html) else Html(html.escape(_FORBIDDEN.sub("\ufffd", text)))


def joined(*children: Child) -> Html:
    """Children one after the other; None is none."""
    parts: list[str] = []
    for child in children:
        if child is not None:
            parts += [escaped(child)] if isinstance(child, str) else map(escaped, child)
    return Html("".join(parts))


def element(tag: str, /, *children: Child, **attributes: str | float | bool | None) -> Html:
    """An element.

    Args:
        tag: What it is.
        children: Texts, markup, or lists of these; None is none.
        attributes: By name; underscores become hyphens, and one at the end goes. None and False
            leave one out, True gives it without a value of its own.
    """
    shown = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        shown.append(f' {key}="{key if value is True else escaped(str(value))}"')
    content = joined(*children)
    if not content and tag in ("meta", "path", "circle", "rect", "line", "img"):
        return Html(f"<{tag}{''.join(shown)}/>")
    return Html(f"<{tag}{''.join(shown)}>{content}</{tag}>")
