"""``python -m zsl_lab.report``: tables and an HTML page of finished runs, one row per setting."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from zsl_lab.console.messages import console, say
from zsl_lab.console.parsers import Parser
from zsl_lab.console.result_table import COLUMNS
from zsl_lab.errors import ConfigError, DataError, ZslLabError, exit_code, nearest
from zsl_lab.files.atomic import atomic_write
from zsl_lab.files.memory import out_of_memory
from zsl_lab.report import latex, tables
from zsl_lab.report.groups import Found, Group, find_runs, group_runs
from zsl_lab.report.tables import Sheet
from zsl_lab.result import RESULT_FILE

DESCRIPTION = (
    "Tables and an HTML page of finished runs. Runs that differ only by seed are one row, "
    "mean ± standard deviation.\n"
    "With --paper: the table of a paper, and the metrics of runs beside it."
)
EXAMPLES = """\
examples:
  python -m zsl_lab -m method=mmvae,sgal seed=0,1,2    six runs, below outputs/sweeps
  python -m zsl_lab.report outputs                     a table of all finished runs below it
  python -m zsl_lab.report outputs --html report.html  a page with curves, recalls and sweeps
  python -m zsl_lab.report RUN RUN --per-class         recall per class, side by side
  python -m zsl_lab.report outputs --csv results.csv --markdown results.md --latex results.tex
  python -m zsl_lab.report --paper sgal_table2         Table 2 of the SGAL paper as it is printed
  python -m zsl_lab.report --paper sgal_table2 outputs --latex table.tex   with your runs beside it

The best metrics among runs with the same dataset, splits, features and selection are bold. Of runs
with the same seed and settings the first is used: folders in the given order, then by name.
Exit code: 0; 1 if a file is damaged (the others are still reported) or no run was found; 2 for a
wrong command.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The command line; None for that of the process.

    Returns:
        The exit code.
    """
    try:
        return _report(_parse(sys.argv[1:] if arguments is None else arguments))
    except MemoryError as error:
        say(f"{out_of_memory('the runs')} Or report fewer folders at once.")
        return exit_code(error)
    except ZslLabError as error:
        say(str(error))
        return exit_code(error)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser("python -m zsl_lab.report", DESCRIPTION, EXAMPLES)
    parser.add_argument(
        "places",
        metavar="RUN_OR_FOLDER",
        nargs="*",
        type=Path,
        help="run folders, or folders of run folders",
    )
    parser.add_argument(
        "--per-class",
        action="store_true",
        help="a table of recall per class instead, one column per group",
    )
    parser.add_argument(
        "--html",
        metavar="FILE",
        type=Path,
        help="write a self-contained page with everything",
    )
    parser.add_argument(
        "--csv", metavar="FILE", type=Path, help="write the table with unrounded values"
    )
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write the table in Markdown")
    parser.add_argument(
        "--latex", metavar="FILE", type=Path, help="write the table in LaTeX, with booktabs"
    )
    parser.add_argument(
        "--paper",
        metavar="TABLE",
        help="the table of a paper instead: what it prints, and what the runs measured, at the "
        "step selected on validation classes and at the best step on test (a wrong name lists "
        "all tables)",
    )
    parser.add_argument(
        "--sort",
        metavar="METRIC",
        default="harmonic_mean",
        help=f"sort by, highest first: {', '.join(COLUMNS)} (default: %(default)s)",
    )
    options = parser.parse(arguments)
    if options.sort not in COLUMNS:
        near = nearest(options.sort, COLUMNS)
        hint = f"Did you mean {near[0]}?" if near else f"Metrics: {', '.join(COLUMNS)}."
        raise ConfigError(f"--sort {options.sort}: there is no such metric. {hint}")
    if options.paper is None and not options.places:
        parser.error("expected a run folder, a folder of runs (e.g. outputs), or --paper TABLE")
    if options.paper is not None:
        _check_paper(options)
    return options


def _check_paper(options: argparse.Namespace) -> None:
    from zsl_lab.report.paper_rows import paper_parts  # pydantic takes 0.2 s to import

    try:
        paper_parts(options.paper)
    except ConfigError as error:
        raise ConfigError(f"--paper {error}") from error
    if options.per_class:
        raise ConfigError(
            "--per-class --paper: the table of a paper has no recall per class. Give one of them."
        )
    if options.html and not options.places:
        raise ConfigError(
            f"--html {options.html}: the page is about runs, and none is given. Give a folder of "
            "runs too, or write the paper's table with --markdown, --csv or --latex."
        )


def _report(options: argparse.Namespace) -> int:
    found = find_runs(options.places)
    groups, repeated = group_runs(found.runs, options.sort)
    if groups or not options.places:
        _show(groups, found, repeated, options)
    for sentence in repeated:
        say(sentence)
    if found.unfinished:
        say(
            f"Unfinished, without {RESULT_FILE}: "
            f"{', '.join(str(folder) for folder in found.unfinished)}."
        )
    for sentence in found.problems:
        say(sentence)
    if not groups and options.places:
        raise DataError(
            f"{', '.join(str(place) for place in options.places)}: no finished run; expected a "
            f"folder with {RESULT_FILE}, here or below. Give the folder that your runs were "
            "written to (paths.output_dir, outputs by default), or make some: python -m zsl_lab "
            "-m method=mmvae,sgal seed=0,1,2."
        )
    return 1 if found.problems else 0


def _show(
    groups: list[Group],
    found: Found,
    repeated: list[str],
    options: argparse.Namespace,
) -> None:
    sheets, csv = _contents(groups, options)
    texts = {}
    if options.html:
        from zsl_lab.report import page

        curves, problems = page.read_curves(run for group in groups for run in group.runs)
        found.problems.extend(problems)
        papers = sheets if options.paper else []
        texts[options.html] = page.make(groups, curves, found, repeated, papers)
    if options.csv:
        texts[options.csv] = csv()
    if options.markdown:
        texts[options.markdown] = "\n".join(tables.as_markdown(sheet) for sheet in sheets)
    if options.latex:
        texts[options.latex] = latex.as_latex_file(sheets)
    for path, text in texts.items():
        # a folder's name may hold bytes that are not UTF-8
        atomic_write(path, text.encode(errors="backslashreplace"))
        runs = sum(len(group.runs) for group in groups)
        counts = (
            f"run groups: {len(groups)}, runs: {runs}" if groups else f"{options.paper}, no runs"
        )
        console().print(f"{path}: {counts}", soft_wrap=True)
    if not texts:
        for sheet in sheets:
            tables.print_sheet(sheet)


def _contents(
    groups: list[Group], options: argparse.Namespace
) -> tuple[list[Sheet], Callable[[], str]]:
    """The tables to show, and a function that makes their CSV file."""
    if options.paper:
        from zsl_lab.report import paper
        from zsl_lab.report.paper_rows import left_out

        for sentence in left_out(options.paper, groups):
            say(sentence)
        return paper.paper_tables(options.paper, groups), lambda: paper.paper_csv(
            options.paper, groups
        )
    if options.per_class:
        limit = None if options.markdown or options.latex else tables.MAX_PRINTED
        return tables.recall_sheets(groups, limit), lambda: tables.recall_csv(groups)
    return [tables.result_sheet(groups)], lambda: tables.result_csv(groups)
