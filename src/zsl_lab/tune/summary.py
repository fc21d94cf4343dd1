"""The end of a study: a table, the importance of each key, figures, and a file of settings."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from omegaconf import OmegaConf
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from zsl_lab.console.messages import console as make_console
from zsl_lab.console.messages import say
from zsl_lab.files.atomic import atomic_write
from zsl_lab.files.escaping import csv_row
from zsl_lab.run.configuration.settings import shown_value
from zsl_lab.run.configuration.settings_files import SECTIONS, TUNED
from zsl_lab.tune.space import of_parameters
from zsl_lab.tune.study import STALE, WHY, complete

TRIALS_FILE = "trials.csv"
#: most trials in the table
_MOST_ROWS = 8
#: fewest trials with a value that the importance of keys is computed from
_LEAST_TRIALS = 4
#: keys of how settings are evaluated, which are not settings to be found
_MEASURING = {
    "selection.name",
    "selection.draws",
    "selection.validation_seed",
    "selection.report_oracle",
}
#: keys of a dataset that only scale it
_SCALING = ("normalize", "normalize_semantics")


def importances(study: optuna.Study) -> dict[str, float]:
    """The share of the variance of the metric that each key explains, the largest first.

    After Hutter, Hoos & Leyton-Brown, ICML 2014 (fANOVA). Empty with too few trials, or where all
    have the same value.
    """
    trials = complete(study)
    if len(trials) < _LEAST_TRIALS or len({trial.value for trial in trials}) == 1:
        return {}
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return {key: float(share) for key, share in found.items()}


def print_table(study: optuna.Study, metric: str, shares: Mapping[str, float]) -> None:
    """Print the best trials, as many as fit side by side, and the importance of each key."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    screen = make_console()
    screen.width = max(screen.width, 100)
    best = complete(study)[:_MOST_ROWS]
    keys = [*shares, *(key for key in best[0].params if key not in shares)] if best else []
    columns = [["key", metric, *keys]]
    columns.append(["importance", "", *(_percent(shares.get(key)) for key in keys)])
    for trial in best:
        values = of_parameters(trial.params)
        column = [f"{trial.number}", f"{trial.value:.2f}", *(_short(values.get(k)) for k in keys)]
        if trial is not best[0] and sum(map(_width, [*columns, column])) > screen.width:
            break
        columns.append(column)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for at, (heading, *_) in enumerate(columns):
        justify, style = ("right" if at else "left"), ("bold" if at == 2 else "")
        table.add_column(heading, justify=justify, style=style, no_wrap=True)  # type: ignore[arg-type]
    for row, cells in enumerate(zip(*(cells for _, *cells in columns), strict=True)):
        table.add_row(*cells, style="" if row else "bold")
    screen.print()
    screen.print(Text(f"Best trials ({metric} on validation classes, %)", style="bold"))
    screen.print()
    screen.print(table)
    screen.print()


def _width(column: Sequence[str]) -> int:
    """Characters that a column takes, with its padding and the space between two."""
    return max(map(len, column)) + 2


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else shown_value(_tuple(value))


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value


def write_trials(study: optuna.Study, folder: Path) -> None:
    """Write ``trials.csv``: a row a trial, with its state, its value and its settings."""
    trials = [t for t in study.get_trials(deepcopy=False) if not t.user_attrs.get(STALE)]
    keys = list(dict.fromkeys(key for trial in trials for key in trial.params))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["trial", "state", "value", *csv_row(keys), "why"])
    for trial in trials:
        values = of_parameters(trial.params)
        row = [trial.number, trial.state.name.lower(), trial.value]
        row += [shown_value(_tuple(values[key])) if key in values else "" for key in keys]
        writer.writerow(csv_row([*row, trial.user_attrs.get(WHY, "")]))
    atomic_write(folder / TRIALS_FILE, buffer.getvalue().encode())


def outcome(study: optuna.Study) -> str:
    """How many trials ended in which way, and the seconds that they took, as a sentence."""
    trials = [t for t in study.get_trials(deepcopy=False) if not t.user_attrs.get(STALE)]
    counts = {state: sum(trial.state == state for trial in trials) for state in TrialState}
    parts = [
        f"{counts[TrialState.COMPLETE]} with a value",
        f"{counts[TrialState.PRUNED]} pruned",
        f"{counts[TrialState.FAIL]} failed",
    ]
    seconds = [trial.user_attrs["seconds"] for trial in trials if "seconds" in trial.user_attrs]
    total, training = (sum(column) for column in zip(*seconds, strict=True)) if seconds else (0, 0)
    outside = f"; {100 * (1 - training / total):.1f} % of it outside training" if total else ""
    return f"{', '.join(parts)}; {total:.0f} s of trials{outside}."


# --------------------------------------------------------------------------- the file of settings


def settings_name(method: str, dataset: str, values: Mapping[str, Any]) -> str:
    """The name of the file of settings for a method on a dataset.

    Args:
        method: The choice of ``method=``.
        dataset: The choice of ``dataset=``.
        values: The dataset's keys.
    """
    path = values.get("path")
    tag = Path(str(path)).stem if path else values.get("features") or values.get("semantics")
    return f"{method}_{dataset}_{re.sub(r'[^A-Za-z0-9_-]+', '-', str(tag or 'tuned'))[:60]}"


def found_settings(
    plain: Mapping[str, Any], stock: Mapping[str, Any], searched: Sequence[str]
) -> dict[str, Any]:
    """The settings that differ from those of the method's yaml, and all that were searched.

    Args:
        plain: The best trial's configuration, plain containers.
        stock: The configuration with ``settings=none``.
        searched: The searched keys.

    Returns:
        The sections of a file of settings.
    """
    found: dict[str, Any] = {}
    for section in SECTIONS:
        for key, value in plain[section].items():
            dotted = f"{section}.{key}"
            may_differ = section != "dataset" or key in _SCALING or dotted in searched
            differs = value != stock[section].get(key)
            if dotted not in _MEASURING and may_differ and (differs or dotted in searched):
                found.setdefault(section, {})[key] = value
    return found


def dataset_facts(dataset: Mapping[str, Any], searched: Sequence[str]) -> dict[str, Any]:
    """The keys of a dataset that settings were found for."""
    return {
        key: value
        for key, value in dataset.items()
        if key not in ("_target_", *_SCALING) and f"dataset.{key}" not in searched
    }


def write_settings(
    folder: Path, name: str, sections: Mapping[str, Any], about: Mapping[str, Any]
) -> Path:
    """Write a file of settings that runs find by themselves.

    Args:
        folder: The user's folder of settings.
        name: The file's name, without ending.
        sections: Of :func:`found_settings`.
        about: The section ``settings``.

    Returns:
        The file.
    """
    study = about["study"]
    head = (
        "# @package _global_\n"
        f"# Found by zsl_lab.tune: {study['metric']} {study['value']} on validation classes, mean "
        f"of {study['draws']} draws of them, {study['trials']} trials.\n"
    )
    text = OmegaConf.to_yaml(OmegaConf.create({"settings": dict(about), **sections}))
    return atomic_write(folder / TUNED / f"{name}.yaml", (head + text).encode())


def draw(study: optuna.Study, folder: Path, metric: str, shares: Mapping[str, float]) -> None:
    """Draw the importance of each key, and the metric of each trial, below a study's folder."""
    from zsl_lab.tune import figures

    target = folder / "figures"
    target.mkdir(exist_ok=True)
    trials: list[FrozenTrial] = complete(study)
    if trials:
        values = [(trial.number, float(trial.value or math.nan)) for trial in trials]
        figures.history(sorted(values), metric, target / "history.png")
    if shares:
        figures.importance(shares, metric, target / "importance.png")
    else:
        needed = f"it needs {_LEAST_TRIALS} trials with different values"
        say(f"Importance of keys: {needed}.", error=False)
