"""What an experiment leaves beside an ordinary sweep: figures that compare its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from zsl_lab.console.messages import say
from zsl_lab.errors import ZslLabError
from zsl_lab.report.groups import Run


def report(
    name: str, figures: Mapping[str, str], runs: Sequence[Run], folder: Path
) -> None:
    """Draw the figures of an experiment from the runs that have a result.

    Args:
        name: The experiment's name.
        figures: Of each figure the file's name, and the function that draws it: it takes the runs
            and a path.
        runs: The finished runs.
        folder: The sweep's folder.
    """
    for file, function in figures.items():
        _draw(file, function, runs, folder / "figures")


def _draw(file: str, function: str, runs: Sequence[Run], folder: Path) -> None:
    from hydra.utils import get_method

    folder.mkdir(exist_ok=True)
    try:
        get_method(function)(runs, folder / file)
    except ZslLabError as error:  # the other figures and the table are made in any case
        say(f"{file}: {error}")
