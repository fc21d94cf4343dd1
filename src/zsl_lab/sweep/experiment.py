"""What an experiment adds to a sweep: the paper's table, and figures that compare its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from zsl_lab.console.messages import say
from zsl_lab.errors import ZslLabError
from zsl_lab.files.atomic import atomic_write
from zsl_lab.report import paper
from zsl_lab.report.groups import Run, group_runs
from zsl_lab.report.latex import as_latex_file
from zsl_lab.report.paper_rows import left_out, paper_names
from zsl_lab.report.tables import as_markdown, print_sheet

#: the paper's table in a sweep's folder: ``paper.md``, ``paper.csv`` and ``paper.tex``
PAPER = "paper"


def report(name: str, figures: Mapping[str, str], runs: Sequence[Run], folder: Path) -> None:
    """Print the table of an experiment's paper with the runs beside it, and draw its figures.

    Args:
        name: The experiment's name, which its table in ``published.yaml`` has too.
        figures: Of each figure the file's name, and the function that draws it: it takes the runs
            and a path.
        runs: The finished runs.
        folder: The sweep's folder, which receives the table and ``figures/``.
    """
    problems = []
    for file, function in figures.items():
        try:
            _draw(function, runs, folder / "figures" / file)
        except ZslLabError as error:  # the other figures and the table are made in any case
            problems.append(f"{file}: {error}")
    if name in paper_names():
        try:
            problems += _table(name, runs, folder)
        except ZslLabError as error:
            problems.append(str(error))
    for problem in problems:
        say(problem)


def _draw(function: str, runs: Sequence[Run], path: Path) -> None:
    from hydra.utils import get_method

    path.parent.mkdir(exist_ok=True)
    get_method(function)(runs, path)
    say(f"figure:         {path}", error=False)


def _table(name: str, runs: Sequence[Run], folder: Path) -> list[str]:
    """Print the table and write it; returns sentences on the groups that belong to no row."""
    groups, _ = group_runs(runs, "zsl_top1")
    sheets = paper.paper_tables(name, groups)
    texts = {
        "md": "\n".join(as_markdown(sheet) for sheet in sheets),
        "csv": paper.paper_csv(name, groups),
        "tex": as_latex_file(sheets),
    }
    for sheet in sheets:
        print_sheet(sheet)
    for ending, text in texts.items():
        atomic_write(folder / f"{PAPER}.{ending}", text.encode(errors="backslashreplace"))
    say(f"\npaper's table:  {folder / PAPER}.md, .csv, .tex", error=False)
    return left_out(name, groups)
