"""One process of a study, from the data to the file of settings."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from omegaconf import DictConfig

from zsl_lab.console.messages import say
from zsl_lab.data.benchmark import Benchmark, VectorBenchmark
from zsl_lab.errors import TrainingError
from zsl_lab.files.hashing import sha256_arrays
from zsl_lab.hardware.trainer import find_hardware
from zsl_lab.run.config import RunConfig, parse, plain_config
from zsl_lab.run.configuration.settings_files import user_folder
from zsl_lab.run.context import load_checked
from zsl_lab.run.experiment import silence_lightning
from zsl_lab.run.resuming import configuration_of
from zsl_lab.tune import summary, workers
from zsl_lab.tune.search import Budget, Search
from zsl_lab.tune.space import Space, of_parameters, with_values
from zsl_lab.tune.study import Facts, complete, counted, give_up_lost, open_study

#: below paths.output_dir, the folder of studies
STUDIES = "studies"


@dataclass(frozen=True)
class Job:
    """What is tuned.

    Attributes:
        method: The choice of ``method=``.
        dataset: The choice of ``dataset=``.
        cfg: The composed configuration that is varied.
        stock: The configuration with the values of the method's yaml alone.
        space: What is varied.
        study: The study's name; None for that of method, dataset and features.
    """

    method: str
    dataset: str
    cfg: DictConfig
    stock: DictConfig
    space: Space
    study: str | None

    @property
    def name(self) -> str:
        """The name of the file of settings, and the usual one of the study."""
        values: Any = self.cfg.dataset
        return summary.settings_name(self.method, self.dataset, values)


def tune(job: Job, trials: int | None, until: float | None) -> Path:
    """Make trials until the budget is spent, and return the path of the file of settings.

    Args:
        job: What is tuned.
        trials: Trials of the study, of all processes together; None for no limit.
        until: Time of :func:`time.monotonic` after which no trial begins; None for no limit.

    Raises:
        ZslLabError: Anything that the user can fix, as a sentence.
    """
    silence_lightning()
    config = parse(job.cfg)
    hardware = find_hardware(config.trainer)
    benchmark, _ = load_checked(config)
    folder = Path(config.paths.output_dir).expanduser().absolute() / STUDIES
    folder = folder / (job.study or job.name)
    metric = config.selection.metric
    study = open_study(folder, _facts(job, config, benchmark), metric, config.seed)
    with workers.beating(folder):
        _begin(study, job, folder, trials, config)
        search = Search(study, job.space, job.cfg, hardware, folder)
        search.run(Budget(trials, math.inf if until is None else until))
    return _end(study, job, folder, config)


def _facts(job: Job, config: RunConfig, benchmark: Benchmark) -> Facts:
    configuration = configuration_of(job.cfg)
    assert configuration is not None
    values = configuration.settings((*job.space.keys, "callbacks"))
    provenance = benchmark.provenance
    data = {"splits": provenance.splits_sha256, "features": provenance.features_sha256}
    if isinstance(benchmark, VectorBenchmark):
        data["semantics"] = sha256_arrays(benchmark.semantics)
    # where files lie does not matter: the hashes say what they hold
    places = {key for key in values if key in config.marks.places}
    settings = {key: value for key, value in values.items() if key not in places}
    return Facts(settings, job.space.plain(), data)


def _begin(
    study: optuna.Study, job: Job, folder: Path, trials: int | None, config: RunConfig
) -> None:
    with workers.turn(folder):
        lost = give_up_lost(study, folder)
        done = len(counted(study))
        if not study.get_trials(deepcopy=False):
            present = job.space.present(job.cfg)
            if present is not None:  # so that the result is no worse than the current settings
                study.enqueue_trial(present)
    draws = config.selection.draws
    say(
        f"{job.method} on {job.dataset}: {len(job.space.keys)} keys, "
        f"{f'{trials} trials' if trials is not None else 'trials until the time is up'}, each the "
        f"mean of {draws} draw{'s' if draws > 1 else ''} of validation classes. Study: {folder}",
        error=False,
    )
    if done or lost:
        were, are = ("were", "are") if lost > 1 else ("was", "is")
        again = f", {lost} that {were} interrupted {are} repeated" if lost else ""
        say(f"The study goes on: {done} trial{'s' * (done != 1)} so far{again}.", error=False)


def _end(study: optuna.Study, job: Job, folder: Path, config: RunConfig) -> Path:
    best = complete(study)
    summary.write_trials(study, folder)
    if not best:
        raise TrainingError(
            f"study={folder.name}: no trial has a value; {folder / summary.TRIALS_FILE} says why. "
            "Make more trials (trials=N), or vary other keys (space=FILE.yaml)."
        )
    metric = config.selection.metric
    shares = summary.importances(study)
    summary.print_table(study, metric, shares)
    summary.draw(study, folder, metric, shares)
    path = _write_settings(study, job, folder, config)
    say(f"trials:    {summary.outcome(study)}", error=False)
    say(f"study:     {folder} ({summary.TRIALS_FILE}, figures/)", error=False)
    say(f"settings:  {path}", error=False)
    command = f"python -m zsl_lab method={job.method} dataset={job.dataset}"
    say(f"use:       {command} uses them (unless settings=general is given)", error=False)
    return path


def _write_settings(study: optuna.Study, job: Job, folder: Path, config: RunConfig) -> Path:
    best = complete(study)[0]
    plain = plain_config(with_values(job.cfg, of_parameters(best.params)))
    searched = list(job.space.keys)
    sections = summary.found_settings(plain, plain_config(job.stock), searched)
    own: Mapping[str, Any] = config.plain["dataset"]
    about = {
        "method": job.method,
        "dataset_name": job.dataset,
        "dataset": summary.dataset_facts(own, searched),
        "study": {
            "name": folder.name,
            "trials": len(counted(study)),
            "trial": best.number,
            "metric": config.selection.metric,
            "draws": config.selection.draws,
            "value": round(float(best.value or 0.0), 4),
        },
    }
    text = job.cfg.paths.get("settings_dir")
    target = Path(str(text)).expanduser().absolute() if text else user_folder()
    path = summary.write_settings(target, job.name, sections, about)
    summary.write_settings(folder, job.name, sections, about)
    sys.stdout.flush()
    return path
