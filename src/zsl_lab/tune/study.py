"""A study: its folder, what it searches, and its trials, which several processes may share."""

from __future__ import annotations

import json
import logging
import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from zsl_lab.errors import ConfigError, DataError, OutputError
from zsl_lab.files.atomic import atomic_write, reason
from zsl_lab.files.bounded import read_bounded
from zsl_lab.run.configuration.settings import shown_value
from zsl_lab.tune.workers import PROCESS, is_lost, own_name

#: what the study searches, and its trials
FACTS_FILE, JOURNAL_FILE = "study.json", "journal.log"
_JOURNAL_LOCK = ".journal.lock"
_MAX_BYTES = 2**20
#: differing facts that a message names
_MOST_SHOWN = 3
#: seconds after which a trial that names no process counts as lost
_GRACE = 60.0
#: user attributes of trials
STALE, WHY, SECONDS = "stale", "why", "seconds"
#: random trials before TPE begins, and finished trials before the median prunes
STARTUP, BEFORE_PRUNING = 10, 5
#: points of a trial at which it is compared with others
POINTS = 20


@dataclass(frozen=True)
class Facts:
    """What a study searches: two studies with equal facts are one.

    Attributes:
        settings: The settings that are not searched, by dotted key.
        space: The searched keys (:meth:`zsl_lab.tune.space.Space.plain`).
        data: Hashes of the benchmark.
    """

    settings: Mapping[str, Any]
    space: Mapping[str, Any]
    data: Mapping[str, str]

    def plain(self) -> dict[str, Any]:
        """As ``study.json`` holds them."""
        # through JSON, like the stored facts that they are compared with
        found: dict[str, Any] = json.loads(
            json.dumps({"settings": self.settings, "space": self.space, "data": self.data})
        )
        return found


class _JournalLock:
    """A lock that the system releases if its holder dies; Optuna's own files would stay."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(str(path))

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


def open_study(folder: Path, facts: Facts, metric: str, seed: int) -> optuna.Study:
    """Create a study, or open the one in a folder.

    Args:
        folder: The study's folder.
        facts: What it searches.
        metric: Name of what is maximised.
        seed: Seed of the sampler.

    Raises:
        ConfigError: The folder holds a study of other data or settings.
        DataError: Its files are damaged.
        OutputError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(str(folder / ".study.lock")):
            _check_facts(folder, facts)
        with FileLock(str(folder / _JOURNAL_LOCK)):
            _cut_torn_line(folder / JOURNAL_FILE)
    except OSError as error:
        raise OutputError(
            f"{folder}: {reason(error)}. Give another folder: paths.output_dir=FOLDER."
        ) from error
    optuna.logging.set_verbosity(logging.ERROR)
    # each process draws other values than those that share the study
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=STARTUP,
            multivariate=True,
            constant_liar=True,
            seed=(seed * 100_003 + os.getpid()) % 2**32,
        )
    lock: Any = _JournalLock(folder / _JOURNAL_LOCK)
    try:
        backend = JournalFileBackend(str(folder / JOURNAL_FILE), lock_obj=lock)
        study = optuna.create_study(
            study_name=metric,
            storage=JournalStorage(backend),
            direction="maximize",
            sampler=sampler,
            pruner=optuna.pruners.MedianPruner(
                n_startup_trials=BEFORE_PRUNING, n_warmup_steps=POINTS // 4, n_min_trials=3
            ),
            load_if_exists=True,
        )
    except (ValueError, KeyError) as error:
        raise DataError(
            f"{folder / JOURNAL_FILE}: it is damaged ({type(error).__name__}: {error!s:.100}). "
            "Restore it, or begin another study: study=NAME."
        ) from error
    return study


def _check_facts(folder: Path, facts: Facts) -> None:
    path = folder / FACTS_FILE
    if not path.exists():
        text = json.dumps(facts.plain(), indent=2, ensure_ascii=False, sort_keys=True)
        atomic_write(path, (text + "\n").encode())
        return
    try:
        there = json.loads(read_bounded(path, _MAX_BYTES))
        parts = {part: dict(there[part]) for part in ("settings", "space", "data")}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}: it is damaged ({type(error).__name__}). Restore it, or begin another study: "
            "study=NAME."
        ) from error
    here = facts.plain()
    for part, what in (("data", "data"), ("settings", "settings"), ("space", "search space")):
        differing = [
            f"{key} is {_shown(parts[part].get(key))} there, {_shown(here[part].get(key))} here"
            for key in sorted({*parts[part], *here[part]})
            if parts[part].get(key) != here[part].get(key)
        ]
        if differing:
            more = len(differing) - _MOST_SHOWN
            shown = ", ".join(differing[:_MOST_SHOWN]) + (f", {more} more" if more > 0 else "")
            raise ConfigError(
                f"study={folder.name}: {folder} holds a study of other {what}: {shown}. Give the "
                "same to go on with it, or another name: study=NAME."
            )


def _shown(value: Any) -> str:
    return "absent" if value is None else f"{shown_value(value)!s:.60}"


def _cut_torn_line(journal: Path) -> None:
    """Take away a last line that was not written to its end, as a killed process leaves it."""
    if not journal.exists():
        return
    with journal.open("r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)


# --------------------------------------------------------------------------- trials


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that count for the budget: running or ended, also failed, but not given up."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state != TrialState.WAITING and not trial.user_attrs.get(STALE)
    ]


def complete(study: optuna.Study) -> list[FrozenTrial]:
    """The trials with a value, the best first."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(trials, key=lambda trial: (-(trial.value or 0.0), trial.number))


def claim(trial: optuna.Trial) -> None:
    """Record which process runs a trial."""
    trial.set_user_attr(PROCESS, own_name())


def has_ended(study: optuna.Study, trial: optuna.Trial | FrozenTrial) -> bool:
    """Whether a trial has an outcome; another process may have given it up."""
    return bool(study._storage.get_trial(trial._trial_id).state.is_finished())


def give_up(study: optuna.Study, trial: optuna.Trial | FrozenTrial) -> None:
    """End a trial that was interrupted, and put its values first in the queue again."""
    if has_ended(study, trial):
        return
    number, parameters = trial.number, dict(trial.params)
    study._storage.set_trial_user_attr(trial._trial_id, STALE, True)
    study.tell(number, state=TrialState.FAIL)
    if parameters:
        study.enqueue_trial(parameters)


def give_up_lost(study: optuna.Study, folder: Path) -> int:
    """Give up the trials whose process no longer runs; returns how many there were.

    Args:
        study: The study.
        folder: Its folder.
    """
    lost = [trial for trial in running(study) if _is_lost(trial, folder)]
    for trial in lost:
        give_up(study, trial)
    return len(lost)


def running(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that have begun and not ended, as far as is known."""
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def _is_lost(trial: FrozenTrial, folder: Path) -> bool:
    if PROCESS in trial.user_attrs:
        return is_lost(trial, folder)
    begun = trial.datetime_start
    return begun is not None and time.time() - begun.timestamp() > _GRACE
