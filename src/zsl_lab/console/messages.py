"""Messages on the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def say(sentence: str, *, error: bool = True) -> None:
    """Print a sentence unchanged, to standard error unless ``error`` is false."""
    print(sentence, file=sys.stderr if error else sys.stdout, flush=True)


def console(*, stderr: bool = False) -> Console:
    """A console of rich that prints names and paths unchanged: "[" begins no markup."""
    from rich.console import Console  # takes a tenth of a second to import

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)
