"""Messages on the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def say(sentence: str, *, error: bool = True) -> None:
    """Print a sentence unchanged, to standard error unless ``error`` is false."""
    print(sentence, file=sys.stderr if error else sys.stdout, flush=True)


def duration(seconds: float) -> str:
    """A duration in the largest unit that it fills: ``45 s``, ``4 min``, ``2.5 h``."""
    seconds = max(0.0, seconds)
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 59.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def console(*, stderr: bool = False) -> Console:
    """A console of rich that prints names and paths unchanged: "[" begins no markup."""
    from rich.console import Console  # takes a tenth of a second to import

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)
