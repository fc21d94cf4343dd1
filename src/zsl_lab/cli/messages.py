"""Errors and warnings as the user sees them: sentences, without a stack trace."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

from zsl_lab.cli.overrides import explain
from zsl_lab.errors import ZslLabError, output_error
from zsl_lab.files.escaping import message as escaped

_usual_format = warnings.formatwarning


def sentence(error: Exception, arguments: Sequence[str]) -> str | None:
    """The message for the user; None for an error that the user cannot solve.

    Args:
        error: An error that a run or Hydra raised.
        arguments: The command line, to explain errors about its choices.
    """
    if isinstance(error, ZslLabError):
        return str(error)
    explained = explain(error, arguments)
    if explained is not None:
        return explained
    if isinstance(error, OSError):
        found = output_error(error, "paths.output_dir")
        return str(found) if found else None
    return None


def told(error: Exception, arguments: Sequence[str], *, debug: bool) -> str:
    """The message of :func:`sentence`; the stack trace if it has none, or with ``debug``."""
    return (None if debug else sentence(error, arguments)) or traceback.format_exc().rstrip()


def format_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """This package's warnings as sentences; those of other packages as Python prints them."""
    ours = Path(filename).is_relative_to(Path(__file__).parents[1])
    if issubclass(category, UserWarning) and ours:
        return f"Warning: {escaped(str(message))}\n"
    return _usual_format(message, category, filename, lineno, line)
