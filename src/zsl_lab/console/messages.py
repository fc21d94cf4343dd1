"""Messages on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO

from zsl_lab.files.escaping import message, printable

if TYPE_CHECKING:
    from rich.console import Console


_quiet = ContextVar("quiet", default=False)


@contextmanager
def quiet(on: bool = True) -> Iterator[None]:
    """Within this context :func:`say` prints nothing; with ``on=False`` nothing changes."""
    token = _quiet.set(on or _quiet.get())
    try:
        yield
    finally:
        _quiet.reset(token)


def say(sentence: str, *, error: bool = True) -> None:
    """Print a sentence, to standard error unless ``error`` is false.

    Control characters in names are escaped, and so is what the terminal's encoding lacks.
    """
    if _quiet.get():
        return
    stream = sys.stderr if error else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    text = message(sentence).encode(encoding, "backslashreplace").decode(encoding)
    print(text, file=stream, flush=True)


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as a sentence: for :data:`warnings.showwarning`."""
    say(f"Warning: {message}")


def duration(seconds: float) -> str:
    """A duration in the largest unit that it fills: ``45 s``, ``4 min``, ``2.5 h``."""
    seconds = max(0.0, seconds)
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 59.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def console(*, stderr: bool = False) -> Console:
    """A rich console that prints names and paths as they are: "[" does not begin markup.

    Control characters in strings are escaped. A :class:`rich.text.Text` is printed as it is.
    """
    from rich.console import Console  # takes a tenth of a second to import
    from rich.text import Text

    class Escaping(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable(text), **options)

    return Escaping(stderr=stderr, highlight=False, markup=False, emoji=False)
