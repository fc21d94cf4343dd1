"""The trials that one process makes for a study."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from omegaconf import DictConfig
from optuna.trial import TrialState

from zsl_lab.console.messages import duration, say
from zsl_lab.errors import InterruptionError, ZslLabError, is_out_of_memory
from zsl_lab.hardware.trainer import Hardware
from zsl_lab.methods.module import Check
from zsl_lab.run.config import parse
from zsl_lab.run.context import RunContext, load_benchmark
from zsl_lab.run.validation import validate
from zsl_lab.tune.space import Space, with_values
from zsl_lab.tune.study import (
    POINTS,
    SECONDS,
    WHY,
    claim,
    complete,
    counted,
    give_up,
    give_up_lost,
    has_ended,
    running,
)
from zsl_lab.tune.workers import turn

#: seconds between two checks of the trials of other processes
_POLL = 1.0
#: message of a trial that another process has ended, as after this process was suspended for long
_TAKEN = "trial {}: given up, since another process considered this one lost and repeats the trial"


@dataclass(frozen=True)
class Budget:
    """When a study ends.

    Attributes:
        trials: Trials of all processes together; None for no limit.
        until: Time of :func:`time.monotonic` after which this process begins no trial.
    """

    trials: int | None
    until: float = math.inf

    def reached(self, study: optuna.Study) -> bool:
        """Whether the study has its trials, those included that are running."""
        return self.trials is not None and len(counted(study)) >= self.trials

    def left(self, study: optuna.Study, begun: float, made: int) -> str:
        """About how long the rest takes, as text; empty where nothing is known."""
        seconds = [self.until - time.monotonic()]
        if self.trials is not None and made:
            trials = study.get_trials(deepcopy=False)
            processes = len(running(study)) + 1
            rest = max(0, self.trials - sum(trial.state.is_finished() for trial in trials))
            seconds.append((time.monotonic() - begun) / made * rest / processes)
        least = min(seconds)
        return f", {duration(least)} left" if math.isfinite(least) else ""


@dataclass(frozen=True)
class Search:
    """What a process needs to make trials.

    Attributes:
        study: The study.
        space: What is varied.
        cfg: The composed configuration that is varied.
        hardware: Devices.
        folder: The study's folder.
    """

    study: optuna.Study
    space: Space
    cfg: DictConfig
    hardware: Hardware
    folder: Path

    @property
    def metric(self) -> str:
        """The metric that is maximised."""
        return str(self.cfg.selection.metric)

    def run(self, budget: Budget) -> None:
        """Make trials until the budget is spent.

        Raises:
            KeyboardInterrupt: The user stopped it; the trial's values are in the queue again.
            InterruptionError: The user or the system stopped it; the values are in the queue too.
        """
        begun, made = time.monotonic(), 0
        while (trial := self._next(budget)) is not None:
            try:
                said = self._make(trial)
            except (KeyboardInterrupt, InterruptionError):
                give_up(self.study, trial)
                raise
            made += 1
            ended = sum(one.state.is_finished() for one in counted(self.study))
            of = f" of {budget.trials}" if budget.trials is not None else ""
            best = complete(self.study)[:1]
            top = f"; best {best[0].value:.2f} (trial {best[0].number})" if best else ""
            say(f"{ended}{of}: {said}{top}{budget.left(self.study, begun, made)}", error=False)

    def _next(self, budget: Budget) -> optuna.Trial | None:
        """Begin a trial; None if the budget is spent.

        If the number of trials is limited, it waits for those of other processes, and repeats those
        whose process is lost, so that the study reaches the number.
        """
        waits = False
        while time.monotonic() < budget.until:
            with turn(self.folder):
                give_up_lost(self.study, self.folder)
                if not budget.reached(self.study):
                    trial = self.study.ask()
                    claim(trial)
                    return trial
                others = len(running(self.study))
            if not others:
                return None
            if not waits:
                what = "a trial" if others == 1 else f"{others} trials"
                say(f"Waiting for {what} of other processes.", error=False)
                waits = True
            time.sleep(_POLL)
        return None

    def _make(self, trial: optuna.Trial) -> str:
        """Run a trial and store its outcome; returns a message about it."""
        reporter = _Reporter(trial, self.metric, int(self.cfg.selection.draws))
        begun = time.monotonic()
        state, value, said = TrialState.FAIL, None, ""
        try:
            found = self._validate(self.space.suggest(trial), reporter)
            if found is None or math.isnan(found.metrics[self.metric]):
                said = f"failed: no check has the metric {self.metric}"
            else:
                state, value = TrialState.COMPLETE, found.metrics[self.metric]
                said = f"{self.metric} {value:.2f}"
        except optuna.TrialPruned:
            state = TrialState.PRUNED
            said = f"pruned after {100 * reporter.point // POINTS} % of its training"
        except InterruptionError:
            raise
        except Exception as error:
            if has_ended(self.study, trial):
                return _TAKEN.format(trial.number)
            if not isinstance(error, ZslLabError) and not is_out_of_memory(error):
                give_up(self.study, trial)
                raise
            said = f"failed: {error}"
        if has_ended(self.study, trial):
            return _TAKEN.format(trial.number)
        if state == TrialState.FAIL:
            trial.set_user_attr(WHY, said)
        trial.set_user_attr(SECONDS, [time.monotonic() - begun, reporter.training_seconds])
        self.study.tell(trial, value, state)
        return f"trial {trial.number}: {said}"

    def _validate(self, values: dict[str, Any], reporter: _Reporter) -> Check | None:
        config = parse(with_values(self.cfg, values))
        benchmark = load_benchmark(config)  # of the first trial: it is kept in memory
        config = config.for_benchmark(benchmark)
        context = RunContext(config, benchmark, self.folder, self.hardware)
        return validate(context, reporter.report, reporter.trained)


class _Reporter:
    """Reports the progress of a trial to Optuna, and ends a trial that Optuna prunes.

    Trials may differ in their number of steps, so they are compared at fractions of the training.

    Args:
        trial: The trial.
        metric: The selection metric.
        draws: Draws of validation classes.

    Attributes:
        point: The last point that was reported, of :data:`zsl_lab.tune.study.POINTS`.
        training_seconds: Seconds of training and its checks.
    """

    def __init__(self, trial: optuna.Trial, metric: str, draws: int) -> None:
        self._trial, self._metric, self._draws = trial, metric, draws
        self._best: dict[int, float] = {}
        self.point = 0
        self.training_seconds = 0.0

    def trained(self, seconds: float) -> None:
        """Count seconds of training."""
        self.training_seconds += seconds

    def report(self, draw: int, share: float, best: Check) -> None:
        """Report the mean over the draws so far of the best check of each.

        Raises:
            optuna.TrialPruned: The trial is to end.
        """
        value = best.metrics[self._metric]
        self._best[draw] = 0.0 if math.isnan(value) else value
        mean = statistics.fmean(self._best.values())
        reached = int(POINTS * (draw + share) / self._draws)
        for point in range(self.point + 1, reached + 1):
            self._trial.report(mean, point)
        self.point = max(self.point, reached)
        if self.point < POINTS and self._trial.should_prune():
            raise optuna.TrialPruned
