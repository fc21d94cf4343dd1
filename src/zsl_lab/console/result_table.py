"""The last lines of a run: the result table, the run's folder and a command."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zsl_lab.console.messages import console
from zsl_lab.files.escaping import one_line
from zsl_lab.result import Result

COLUMNS = ("zsl_top1", "unseen", "seen", "harmonic_mean", "ausuc")
_LABELS = {
    "validation": "validation-selected",
    "oracle": "oracle (selected on test)",
    "last": "last step",
}

#: beginnings of the names of a dataset's own splits, for which no line is printed
_USUAL_SPLITS = ("proposed", "unknown", "unseen", "generated")
_ORACLE = "oracle: at the step that is best on test by this metric; a biased estimate."


def print_result(result: Result, run_folder: Path, command: str) -> None:
    """Print the table to standard output; without colours where that is not a terminal.

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
    oracles = _oracles(result)
    for metric, metrics in oracles.items():
        name = "H" if metric == "harmonic_mean" else metric
        table.add_row(f"oracle {name}, step {metrics['step']}", *_cells(metrics), style="dim")
    screen.print()
    screen.print(
        f"{one_line(result.method)}{classified(result)} on {one_line(result.dataset)}, "
        f"seed {result.seed} "
        f"(per class, %; {class_counts(result.benchmark)})",
        style="bold",
        soft_wrap=True,
    )
    screen.print()
    screen.print(table)
    if oracles:
        screen.print(_ORACLE, style="dim", soft_wrap=True)
    for note in undefined(result):
        screen.print(note, style="dim", soft_wrap=True)
    if result.extra is not None:
        values = ", ".join(
            f"{name} {'-' if math.isnan(value) else f'{value:.1f}'}"
            for name, value in result.extra.items()
        )
        screen.print(values, style="dim", soft_wrap=True)
    screen.print()
    split = str(result.benchmark.get("splits_version", "unknown"))
    if not split.startswith(_USUAL_SPLITS):
        screen.print(f"split:          {one_line(split, 200)}", soft_wrap=True)
    settings = settings_text(result)
    if settings is not None:
        screen.print(f"settings:       {settings}", soft_wrap=True)
    # a path or a command must survive copying: on one line, however narrow the terminal
    screen.print(f"run folder:     {run_folder}", soft_wrap=True)
    screen.print(f"evaluate again: {command}", soft_wrap=True)


def _oracles(result: Result) -> dict[str, Mapping[str, float]]:
    """The oracle's metrics by the metric it selects on; that of the run's selection comes last."""
    found: dict[str, Mapping[str, float]] = dict(result.oracle_by_metric or {})
    if result.oracle is not None:
        metric = result.metric or "harmonic_mean"
        found.pop(metric, None)
        found[metric] = result.oracle
    return found


def classified(result: Result) -> str:
    """`` with classifier=NAME``; empty for the method's own scores."""
    return "" if result.classifier == "own" else f" with classifier={one_line(result.classifier)}"


#: description of the settings by the value of ``settings``
_SETTINGS = {
    "best": "found on validation classes of this dataset",
    "general": "general settings, for any dataset",
    "published": "published for this dataset",
    "file": "from a file",
}


def settings_text(result: Result) -> str | None:
    """The settings that a run began with, in a line; None where its result does not name them."""
    choice = "best" if result.tuned is not None else None
    name = result.tuned
    if result.settings is not None:
        choice, name = result.settings["choice"], result.settings["name"]
    if choice is None:
        return None
    if name is None:
        return f"those of conf/method/{one_line(result.method)}.yaml (settings={one_line(choice)})"
    return f"{one_line(name, 500)} ({_SETTINGS.get(choice, one_line(choice))})"


def class_counts(benchmark: Mapping[str, Any]) -> str:
    """The numbers of classes in words, from the section ``benchmark`` of ``result.json``."""
    untested = benchmark.get("untested", 0)
    which = f" ({untested} of them without test samples)" if untested else ""
    return f"{benchmark['seen']} seen + {benchmark['unseen']} unseen classes{which}"


def undefined(result: Result) -> list[str]:
    """A sentence for each reason why test metrics are undefined (``-``) or cover fewer classes."""
    metrics, facts = result.metrics, result.benchmark
    untested = facts.get("untested", 0)
    no_seen, no_unseen = math.isnan(metrics["seen"]), untested == facts["unseen"]
    notes = []
    if no_unseen and no_seen:
        notes.append("-: the benchmark has no test sample, so nothing is measured.")
    elif no_unseen:
        notes.append("-: no test sample is of an unseen class, so only 'seen' is measured.")
    elif no_seen:
        notes.append(
            "-: no test sample is of a seen class (conventional zero-shot learning), so only "
            "zsl_top1 is measured."
        )
    if not no_unseen and facts["unseen"] - untested == 1:
        notes.append(
            "zsl_top1 -: with test samples of a single unseen class every prediction is right."
        )
    elif not no_unseen and untested:
        notes.append(
            f"zsl_top1: among the {facts['unseen'] - untested} unseen classes with test samples; "
            "the other metrics: among all classes."
        )
    return notes


def _cells(metrics: Mapping[str, float]) -> list[str]:
    return ["-" if math.isnan(metrics[name]) else f"{metrics[name]:.1f}" for name in COLUMNS]
