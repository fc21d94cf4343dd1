"""Search for general settings: one setting of a method for several benchmarks at once.

A trial is validated on all benchmarks below, on draws of validation classes as
``python -m zsl_lab.tune`` makes them; its value is the geometric mean of the metric, so that a
relative gain counts alike everywhere. The first trial is the present general settings. Several
processes that are started with the same folder share the study::

    python experiments/general/search.py FOLDER method=sgal paths.data_dir=DIR --trials 40

At the end it prints the best trials with the value of each
benchmark, and writes ``trials.csv``.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from pathlib import Path
from typing import Any

import optuna
from omegaconf import DictConfig

from zsl_lab.cli import overrides as command
from zsl_lab.cli import settings, tune
from zsl_lab.console.messages import say
from zsl_lab.hardware.trainer import find_hardware
from zsl_lab.methods.module import Check
from zsl_lab.run.config import parse
from zsl_lab.run.context import RunContext, load_benchmark
from zsl_lab.run.experiment import silence_lightning
from zsl_lab.run.validation import mean_check, validate
from zsl_lab.tune import summary, workers
from zsl_lab.tune.search import Budget, Search, _Reporter
from zsl_lab.tune.space import Space, check, read, with_values
from zsl_lab.tune.study import Facts, complete, give_up_lost, open_study

#: the benchmarks, those that take the shortest time first, so that a bad trial ends early
BENCHMARKS = {
    "digits": ["dataset=digits"],
    "synthetic": ["dataset=synthetic", "dataset.difficulty=1.0"],
    "synthetic_wide": [
        *("dataset=synthetic", "dataset.classes=100", "dataset.unseen=25"),
        *("dataset.feature_dim=2048", "dataset.semantic_dim=85"),
        *("dataset.samples_per_class=30", "dataset.difficulty=0.3"),
    ],
    "flo": ["dataset=flo", "dataset.features=efficientnet_lite2"],
    "awa1": ["dataset=awa1", "dataset.features=lampert_pca512"],
}
#: user attribute of a trial: the metric of each benchmark
VALUES = "values"


class JointSearch(Search):
    """Trials of which each is validated on several benchmarks."""

    jobs: dict[str, DictConfig]

    def _validate(self, values: dict[str, Any], reporter: _Reporter) -> Check | None:
        checks: dict[str, Check] = {}
        for number, (name, cfg) in enumerate(self.jobs.items()):
            config = parse(with_values(cfg, values))
            benchmark = load_benchmark(config)
            config = config.for_benchmark(benchmark)
            context = RunContext(config, benchmark, self.folder, self.hardware)
            first = number * config.selection.draws

            def report(draw: int, share: float, best: Check, first: int = first) -> None:
                reporter.report(first + draw, share, best)

            found = validate(context, report, reporter.trained)
            if found is None or not found.metrics[self.metric] > 0:
                return None
            checks[name] = found
        measured = {name: check.metrics[self.metric] for name, check in checks.items()}
        self.study._storage.set_trial_user_attr(reporter._trial._trial_id, VALUES, measured)
        mean = mean_check(list(checks.values()))
        mean.metrics[self.metric] = statistics.geometric_mean(measured.values())
        return mean


def composed(names: list[str], draws: int, overrides: list[str]) -> dict[str, DictConfig]:
    """The configuration of each benchmark, with the present general settings."""
    found = {}
    own = ["settings=general", "callbacks=none", "selection.report_oracle=false"]
    with tune._hydra(None):
        for name in names:
            arguments = [*own, f"selection.draws={draws}", *BENCHMARKS[name], *overrides]
            prepared = command.prepare(arguments)
            _, found[name] = tune._composed(settings.choose(prepared))
    return found


def search(arguments: argparse.Namespace) -> None:
    """Make trials in this process until the budget is spent."""
    silence_lightning()
    names = arguments.benchmarks.split(",")
    jobs = composed(names, arguments.draws, arguments.overrides)
    first = next(iter(jobs.values()))
    space: Space = read(str(first.method.name), arguments.space)
    check(space, first)
    whole = first.copy()
    whole.selection.draws = arguments.draws * len(jobs)  # of all benchmarks, for the reports
    folder: Path = arguments.folder.absolute()
    own = [one for one in arguments.overrides if not one.startswith("paths.")]
    facts = Facts({"names": names, "draws": arguments.draws, "own": own}, space.plain(), {})
    study = open_study(folder, facts, str(first.selection.metric), int(first.seed))
    hardware = find_hardware(parse(first).trainer)
    budget = Budget(arguments.trials, time.monotonic() + 60 * arguments.minutes)
    with workers.beating(folder):
        with workers.turn(folder):
            give_up_lost(study, folder)
            if not study.get_trials(deepcopy=False):
                present = space.present(first)
                if present is None:
                    say("The present settings lie outside the space: no trial has them.")
                for values in [*([{}] if present is not None else []), *_first(arguments.first)]:
                    study.enqueue_trial({**(present or {}), **_parameters(space, values)})
        made = JointSearch(study, space, whole, hardware, folder)
        object.__setattr__(made, "jobs", jobs)  # the parent is a frozen dataclass
        made.run(budget)
    show(study, folder)


def _first(path: Path | None) -> list[dict[str, Any]]:
    """Settings to try before others, each a mapping from dotted keys to values."""
    return json.loads(path.read_text()) if path else []


def _parameters(space: Space, values: dict[str, Any]) -> dict[str, Any]:
    listed = {key for key, domain in space.keys.items() if isinstance(domain, list)}
    return {key: json.dumps(value) if key in listed else value for key, value in values.items()}


def show(study: optuna.Study, folder: Path) -> None:
    """Print the best trials with the value of each benchmark, and write all."""
    summary.write_trials(study, folder)
    summary.print_table(study, study.study_name, summary.importances(study))
    for trial in complete(study)[:8]:
        values = {name: round(value, 1) for name, value in trial.user_attrs[VALUES].items()}
        print(f"trial {trial.number}: {trial.value:.2f} {json.dumps(values)}")
    say(f"trials: {summary.outcome(study)}", error=False)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("overrides", nargs="*", help="method=..., paths.data_dir=..., hardware=...")
    parser.add_argument("--trials", type=int, help="of all processes together")
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--draws", type=int, default=2, help="of each benchmark")
    parser.add_argument("--space", type=Path, help="default: conf/search/METHOD.yaml")
    parser.add_argument("--first", type=Path, help="JSON: a list of settings to try before others")
    parser.add_argument("--benchmarks", default=",".join(BENCHMARKS))
    search(parser.parse_intermixed_args())


if __name__ == "__main__":
    main()
