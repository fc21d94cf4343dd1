"""The last lines of a run: the result table, the run's folder, the command that evaluates the checkpoint again."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from zsl_lab.result import Result

COLUMNS = ("zsl_top1", "unseen", "seen", "harmonic_mean", "ausuc")
_LABELS = {
    "validation": "validation-selected",
    "oracle": "oracle (selected on test)",
    "last": "last step",
}


def say(sentence: str, *, error: bool = True) -> None:
    """Print a sentence as it is, to standard error unless it is no complaint."""
    print(sentence, file=sys.stderr if error else sys.stdout, flush=True)


def print_result(result: Result, run_folder: Path, command: str) -> None:
    """Print to standard output; without colours where that is no terminal.

    Args:
        result: What the run found.
        run_folder: Where it wrote everything.
        command: The shell command that evaluates the checkpoint again.
    """
    # names and paths are printed as they are: "[" begins no markup
    console = Console(highlight=False, markup=False, emoji=False)
    # a narrow terminal breaks the lines of the table itself, rather than the table losing figures
    console.width = max(console.width, 100)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    label = _LABELS[result.selection] + (", calibrated" if result.calibration is not None else "")
    table.add_row(label, *_cells(result.metrics), style="bold")
    if result.oracle is not None:
        table.add_row(
            f"oracle (best step on test, {result.oracle['step']})",
            *_cells(result.oracle),
            style="dim",
        )
    facts = result.benchmark
    console.print()
    console.print(
        f"{result.method} on {result.dataset}, seed {result.seed} (per class, %; {facts['seen']} "
        f"seen + {facts['unseen']} unseen classes)",
        style="bold",
        soft_wrap=True,
    )
    console.print()
    console.print(table)
    if result.extra is not None:
        figures = ", ".join(
            f"{name} {'-' if math.isnan(value) else f'{value:.1f}'}"
            for name, value in result.extra.items()
        )
        console.print(figures, style="dim", soft_wrap=True)
    console.print()
    # a path or a command must survive copying: on one line, however narrow the terminal
    console.print(f"run folder:     {run_folder}", soft_wrap=True)
    console.print(f"evaluate again: {command}", soft_wrap=True)


def _cells(metrics: Mapping[str, float]) -> list[str]:
    return ["-" if math.isnan(metrics[name]) else f"{metrics[name]:.1f}" for name in COLUMNS]
