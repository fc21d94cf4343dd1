"""``python -m zsl_lab.report``: one table over finished runs, a row for each group of runs that differ only by seed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from zsl_lab.errors import ConfigError, DataError, ZslLabError, nearest
from zsl_lab.files import atomic_write
from zsl_lab.reporting import tables
from zsl_lab.reporting.console import COLUMNS
from zsl_lab.result import RESULT_FILE

DESCRIPTION = "One table over finished runs: a row for each group of runs that differ only by seed, mean ± standard deviation."
EXAMPLES = """\
examples:
  python -m zsl_lab -m method=mmvae,sgal seed=0,1,2       six runs, below outputs/sweeps
  python -m zsl_lab.report outputs                        every finished run below it
  python -m zsl_lab.report RUN RUN --per-class            recall per class, side by side
  python -m zsl_lab.report outputs --csv results.csv --markdown results.md

Best figures are bold, among runs with the same dataset, splits, features and selection. Of runs with the same seed and
settings the first counts: folders in the order given, then by name.
Exit code: 0; 1 where a file is damaged (the others are still reported) or nothing was found; 2 for a wrong command.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message[0].upper()}{message[1:]}. `{self.prog} --help` shows examples.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: What was typed; None takes the process's.

    Returns:
        The exit code.
    """
    try:
        return _report(_parse(sys.argv[1:] if arguments is None else arguments))
    except ZslLabError as error:
        _say(str(error))
        return 2 if isinstance(error, ConfigError) else 1


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m zsl_lab.report",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("places", metavar="RUN_OR_FOLDER", nargs="*", type=Path, help="run folders, or folders that hold such")
    parser.add_argument("--per-class", action="store_true", help="the table of recall per class instead, groups side by side")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="write it unrounded, for programs")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write it in Markdown")
    parser.add_argument(
        "--sort",
        metavar="METRIC",
        default="harmonic_mean",
        help=f"highest first: {', '.join(COLUMNS)} (default: %(default)s)",
    )
    options, unknown = parser.parse_known_intermixed_args(arguments)
    if unknown:
        name = unknown[0].partition("=")[0]
        known = ["--help", "--per-class", "--csv", "--markdown", "--sort"]
        near = nearest(name, known)
        hint = f"Did you mean {near[0]}?" if near else f"Options: {', '.join(known)}."
        raise ConfigError(f"{name}: there is no such option. {hint}")
    if options.sort not in COLUMNS:
        near = nearest(options.sort, COLUMNS)
        hint = f"Did you mean {near[0]}?" if near else f"Metrics: {', '.join(COLUMNS)}."
        raise ConfigError(f"--sort {options.sort}: there is no such metric. {hint}")
    if not options.places:
        parser.error("expected the folder of a run, or a folder of runs (outputs, say)")
    return options


def _report(options: argparse.Namespace) -> int:
    found = tables.find_runs(options.places)
    groups, repeated = tables.group_runs(found.runs, options.sort)
    if groups:
        _show(groups, options)
    for sentence in repeated:
        _say(sentence)
    if found.unfinished:
        _say(f"Unfinished, without {RESULT_FILE}: {', '.join(str(folder) for folder in found.unfinished)}.")
    for sentence in found.problems:
        _say(sentence)
    if not groups:
        raise DataError(
            f"{', '.join(str(place) for place in options.places)}: no finished run; expected a folder with {RESULT_FILE}, here or below. "
            "Give the folder that your runs were written to (paths.output_dir, outputs by default), "
            "or make some: python -m zsl_lab -m method=mmvae,sgal seed=0,1,2."
        )
    return 1 if found.problems else 0


def _show(groups: list[tables.Group], options: argparse.Namespace) -> None:
    sheets = tables.recall_sheets(groups) if options.per_class else [tables.result_sheet(groups)]
    texts = {}
    if options.csv:
        texts[options.csv] = tables.recall_csv(groups) if options.per_class else tables.result_csv(groups)
    if options.markdown:
        texts[options.markdown] = "\n".join(tables.as_markdown(sheet) for sheet in sheets)
    for path, text in texts.items():
        atomic_write(path, text.encode())
        runs = sum(len(group.runs) for group in groups)
        _console().print(f"{path}: run groups: {len(groups)}, runs: {runs}", soft_wrap=True)
    if not texts:
        for sheet in sheets:
            tables.print_sheet(sheet)


def _say(sentence: str) -> None:
    _console(stderr=True).print(sentence, soft_wrap=True)


def _console(*, stderr: bool = False) -> Console:
    # names and paths are printed as they are: "[" begins no markup
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


if __name__ == "__main__":
    sys.exit(main())
