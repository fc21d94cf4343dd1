"""The last lines of a run: the result table, the run's folder and a command."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from zsl_lab.console.messages import console
from zsl_lab.result import Result

COLUMNS = ("zsl_top1", "unseen", "seen", "harmonic_mean", "ausuc")
_LABELS = {
    "validation": "validation-selected",
    "oracle": "oracle (selected on test)",
    "last": "last step",
}


def print_result(result: Result, run_folder: Path, command: str) -> None:
    """Print to standard output; without colours where that is not a terminal.

    Args:
        result: The run's result.
        run_folder: The run's folder.
        command: The shell command that evaluates the checkpoint again.
    """
    from rich import box
    from rich.table import Table

    screen = console()
    # on a narrow terminal lines are wrapped, rather than cells cut off
    screen.width = max(screen.width, 100)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    label = _LABELS[result.selection] + (", calibrated" if result.calibration is not None else "")
    table.add_row(label, *_cells(result.metrics), style="bold")
    if result.oracle is not None:
        table.add_row(
            f"oracle (best {result.metric or 'step'} on test, step {result.oracle['step']})",
            *_cells(result.oracle),
            style="dim",
        )
    benchmark = result.benchmark
    screen.print()
    screen.print(
        f"{result.method} on {result.dataset}, seed {result.seed} (per class, %; "
        f"{benchmark['seen']} seen + {benchmark['unseen']} unseen classes)",
        style="bold",
        soft_wrap=True,
    )
    screen.print()
    screen.print(table)
    if result.extra is not None:
        values = ", ".join(
            f"{name} {'-' if math.isnan(value) else f'{value:.1f}'}"
            for name, value in result.extra.items()
        )
        screen.print(values, style="dim", soft_wrap=True)
    screen.print()
    if result.tuned is not None:
        screen.print(
            f"settings:       tuned={result.tuned} (found on validation classes; tuned=none: the "
            "published ones)",
            soft_wrap=True,
        )
    # a path or a command must survive copying: on one line, however narrow the terminal
    screen.print(f"run folder:     {run_folder}", soft_wrap=True)
    screen.print(f"evaluate again: {command}", soft_wrap=True)


def _cells(metrics: Mapping[str, float]) -> list[str]:
    return ["-" if math.isnan(metrics[name]) else f"{metrics[name]:.1f}" for name in COLUMNS]
