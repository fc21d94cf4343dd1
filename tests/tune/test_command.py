"""Studies: trials on validation classes, shared, interrupted, resumed; the settings they leave."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState

from tests.helpers import children
from tests.helpers.forked import Forked
from tests.tune.conftest import SHORT, SPACE, Tune
from zsl_lab.cli import settings as cli_settings
from zsl_lab.data.benchmark import FeatureBenchmark
from zsl_lab.data.datasets.digits import DigitsDataset
from zsl_lab.errors import TerminationError, TrainingError
from zsl_lab.methods.module import Check
from zsl_lab.run import context as run_context
from zsl_lab.run.configuration import settings_files
from zsl_lab.run.context import RunContext
from zsl_lab.run.validation import OnCheck
from zsl_lab.tune import search, summary, workers
from zsl_lab.tune.study import JOURNAL_FILE, STALE, Facts, complete, counted, give_up, open_study
from zsl_lab.tune.workers import PROCESS

NAME = "mmvae_digits_strokes"


def study_of(folder: Path) -> optuna.Study:
    """The study in a folder, whatever it searches."""
    facts = json.loads((folder / "study.json").read_text())
    return open_study(folder, Facts(**facts), "harmonic_mean", 0)


class Trials:
    """Stands for the training of trials.

    Attributes:
        values: The selection metric by the learning rate of a trial; by itself its logarithm.
        events: What the trial of that number ends with, from 0 in each process.
    """

    def __init__(self) -> None:
        self.made = 0
        self.values: Callable[[float], float] = lambda rate: 90 + 10 * math.log10(rate)
        self.events: dict[int, BaseException] = {}

    def __call__(
        self, context: RunContext, on_check: OnCheck, on_end: Callable[[float], None]
    ) -> Check:
        event = self.events.pop(self.made, None)
        self.made += 1
        if event is not None:
            raise event
        config = context.config
        value = self.values(config.method.model_dump()["learning_rate"])
        check = Check(10, 10, {config.selection.metric: value, "ausuc": value})
        for draw in range(config.selection.draws):
            for share in (0.25, 0.5, 0.75, 1.0):
                on_check(draw, share, check)
            on_end(0.01)
        return check


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Trials:
    """Trials that take no time."""
    made = Trials()
    monkeypatch.setattr(search, "validate", made)
    return made


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    return tmp_path / "outputs" / "studies"


@pytest.mark.usefixtures("figures")
def test_a_study_leaves_a_table_figures_and_settings_that_runs_take(
    command: Tune,
    studies: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trials: Trials,
) -> None:
    code, out, err = command("trials=6")
    assert (code, err) == (0, "")
    folder = studies / NAME
    study = study_of(folder)
    assert len(study.trials) == 6
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert {"trials.csv", "study.json", JOURNAL_FILE} <= found
    assert {"figures/history.png", "figures/importance.png"} <= found
    assert "Best trials (harmonic_mean on validation classes, %)" in out
    assert "mean of 2 draws of validation classes" in out
    rows = (folder / "trials.csv").read_text().splitlines()
    assert len(rows) == 7
    path = tmp_path / "settings" / "tuned" / f"{NAME}.yaml"
    stored: Any = OmegaConf.load(path)
    best = complete(study)[0]
    assert stored.method.learning_rate == best.params["method.learning_rate"]
    assert stored.method.steps is None
    assert stored.settings.study.value == pytest.approx(best.value, abs=1e-4)
    assert stored.settings.dataset.semantics == "strokes"
    # what the command gave counts too
    assert stored.method.latent_dim == 8
    monkeypatch.setenv(settings_files.VARIABLE, str(tmp_path / "settings"))
    taken = settings_files.best("mmvae", "digits")
    assert taken is not None
    assert taken.path == path
    other = cli_settings.choose(["method=mmvae", "dataset.semantics=segments"])
    assert "tuned=mmvae_digits" in other


def test_the_first_trial_is_the_settings_that_the_study_begins_with(
    command: Tune, studies: Path, space: Path, trials: Trials
) -> None:
    space.write_text(SPACE.replace("high: 3}", "high: 30}").replace("[0.01, 0.1]", "[0.005, 0.5]"))
    command("trials=1", "method.epochs=2")
    (trial,) = study_of(studies / NAME).trials
    assert trial.params["method.epochs"] == 2
    assert trial.params["method.gamma"] == "0.005"


def test_the_objective_is_the_mean_over_the_draws(
    command: Tune, studies: Path, tmp_path: Path
) -> None:
    command("trials=1")
    (trial,) = study_of(studies / NAME).trials
    from tests.conftest import composed
    from zsl_lab.run.experiment import run

    values = [
        f"{key}={json.loads(v) if isinstance(v, str) else v}" for key, v in trial.params.items()
    ]
    steps = ["method.steps=null", "selection.report_oracle=false", "callbacks=none"]
    result = run(composed(tmp_path / "run", *SHORT, "settings=general", *steps, *values))
    assert result.validation is not None
    assert result.validation["harmonic_mean"] == pytest.approx(trial.value)


def test_no_test_sample_has_any_effect(
    command: Tune, studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("trials=1", "study=whole")
    load = DigitsDataset.load

    def without_test(self: DigitsDataset, paths: Any) -> FeatureBenchmark:
        benchmark = load(self, paths)
        features = np.array(benchmark.features)
        features[np.concatenate([benchmark.test_seen, benchmark.test_unseen])] = 1e6
        return replace(benchmark, features=features)

    monkeypatch.setattr(DigitsDataset, "load", without_test)
    run_context.benchmarks.clear()
    command("trials=1", "study=blind")
    whole, blind = study_of(studies / "whole"), study_of(studies / "blind")
    first = [study.trials[0] for study in (whole, blind)]
    assert first[0].params == first[1].params
    assert first[0].value == first[1].value


def test_the_same_command_goes_on_and_ends_at_once_when_all_is_done(
    command: Tune, studies: Path, trials: Trials
) -> None:
    command("trials=2")
    code, out, _ = command("trials=4")
    assert code == 0
    assert "The study goes on: 2 trials so far." in out
    assert len(study_of(studies / NAME).trials) == 4
    code, out, _ = command("trials=4")
    assert code == 0
    assert len(study_of(studies / NAME).trials) == 4
    assert "settings:" in out


def test_a_trial_that_diverges_leaves_the_others(
    command: Tune, studies: Path, trials: Trials
) -> None:
    trials.events[0] = TrainingError("the loss 'kl' is nan.")
    code, out, _ = command("trials=3")
    assert code == 0
    assert "trial 0: failed: the loss 'kl' is nan." in out
    states = [trial.state for trial in study_of(studies / NAME).trials]
    assert states == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    assert "2 with a value, 0 pruned, 1 failed" in out


def test_a_study_whose_trials_all_fail_says_where_to_look(command: Tune, trials: Trials) -> None:
    trials.events |= {0: TrainingError("the loss is nan."), 1: TrainingError("the loss is nan.")}
    code, _, err = command("trials=2")
    assert code == 1
    assert "no trial has a value" in err
    assert "trials.csv says why" in err


def test_an_error_of_the_program_is_no_outcome_of_a_trial(
    command: Tune, studies: Path, trials: Trials
) -> None:
    trials.events[1] = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        command("trials=3")
    assert len(counted(study_of(studies / NAME))) == 1


def test_bad_trials_are_pruned_at_their_checks(
    command: Tune, studies: Path, space: Path, trials: Trials
) -> None:
    space.write_text("method.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}\n")
    code, out, _ = command("trials=40")
    assert code == 0
    study = study_of(studies / NAME)
    pruned = [t for t in study.trials if t.state == TrialState.PRUNED]
    assert pruned
    best = study.best_trial.params["method.learning_rate"]
    assert max(t.params["method.learning_rate"] for t in pruned) < best
    assert "pruned after 25 % of its training; best " in out


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (TerminationError("stopped"), 143)]
)
def test_an_interrupted_trial_is_made_again(
    command: Tune, studies: Path, trials: Trials, error: BaseException, code: int
) -> None:
    trials.events[2] = error
    found, _, err = command("trials=6")
    assert found == code
    assert "No finished trial is lost; the same command goes on" in err
    study = study_of(studies / NAME)
    (stale,) = [t for t in study.trials if t.user_attrs.get(STALE)]
    assert len(complete(study)) == 2
    found, out, _ = command("trials=3")
    assert found == 0
    assert "The study goes on: 2 trials so far." in out
    again = study_of(studies / NAME)
    assert next(t.params for t in again.trials if t.number > stale.number) == stale.params
    assert len(counted(again)) == 3


def test_a_trial_of_a_process_that_is_no_more_is_made_again(
    command: Tune, studies: Path, trials: Trials
) -> None:
    command("trials=1")
    study = study_of(studies / NAME)
    lost = study.ask()
    lost.suggest_int("method.epochs", 1, 3)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    lost.set_user_attr(PROCESS, [socket.gethostname(), ended.pid])
    _, out, _ = command("trials=2")
    assert "The study goes on: 1 trial so far, 1 that was interrupted is repeated." in out
    states = [t.state for t in study_of(studies / NAME).trials]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]


def test_the_time_may_be_the_budget(command: Tune, studies: Path, trials: Trials) -> None:
    code, out, _ = command("minutes=0.03")
    assert code == 0
    assert "trials until the time is up" in out
    assert complete(study_of(studies / NAME))


def test_a_torn_last_line_of_the_journal_is_taken_away(
    command: Tune, studies: Path, trials: Trials
) -> None:
    command("trials=2")
    journal = studies / NAME / JOURNAL_FILE
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "worker_')
    code, _, err = command("trials=3")
    assert (code, err) == (0, "")
    assert len(complete(study_of(studies / NAME))) == 3


def test_a_damaged_journal_is_answered_with_a_sentence(
    command: Tune, studies: Path, trials: Trials
) -> None:
    command("trials=1")
    journal = studies / NAME / JOURNAL_FILE
    journal.write_bytes(b"nonsense\n" + journal.read_bytes())
    code, _, err = command("trials=2")
    assert code == 1
    assert "journal.log: it is damaged" in err
    assert "study=NAME" in err


@pytest.mark.parametrize(
    ("argument", "what"),
    [
        ("method.batch_size=32", "other settings: method.batch_size is 64 there, 32 here"),
        ("seed=1", "other settings: seed is 0 there, 1 here"),
        ("selection.draws=1", "other settings: selection.draws is 2 there, absent here"),
        ("dataset.split=random", "other data: splits is "),
    ],
)
def test_a_study_of_other_settings_or_data_is_refused(
    command: Tune, argument: str, what: str, trials: Trials
) -> None:
    command("trials=1", "study=mine")
    code, _, err = command("trials=2", "study=mine", argument)
    assert code == 2
    assert f"holds a study of {what}" in err
    assert "or another name: study=NAME" in err


def test_a_study_of_another_space_is_refused(command: Tune, space: Path, trials: Trials) -> None:
    command("trials=1")
    space.write_text(SPACE.replace("high: 3}", "high: 4}"))
    code, _, err = command("trials=2")
    assert code == 2
    assert "holds a study of other search space: method.epochs is " in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trials=0",), "trials=0: expected a number above 0."),
        (("trials=many",), "trials=many: expected a number above 0."),
        (("trials=1.5",), "trials=1.5: expected a whole number."),
        (("minutes=-1",), "minutes=-1: expected a number above 0."),
        (("study=a/b",), "study=a/b: expected a name, not a path."),
        (("space=nowhere.yaml",), "space=nowhere.yaml: it cannot be read"),
        (("mmvae",), "mmvae: expected KEY=VALUE."),
        (("task=test",), "leave ckpt, task and resume out"),
        (("selection=last",), "selection=last: settings are found on validation classes only"),
        (("trainer.devices=2",), "Start the command several times instead"),
        (("method=nope",), "method=nope: there is no such choice."),
        (("method.gama=1",), "method.gama: there is no such key. Did you mean method.gamma"),
        (("method.gamma=x",), "method.gamma=x: input should be a valid number."),
        (("dataset=awa2",), "awa2"),
        (("settings=sgal_flo",), "it sets method.fine_tune_steps, which method=mmvae"),
    ],
)
def test_a_wrong_command_is_answered_with_a_sentence(
    command: Tune, studies: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = command(*arguments)
    assert (code != 0, out) == (True, "")
    assert message in err
    assert "Traceback" not in err
    assert not studies.exists()


def test_help_names_its_keys(command: Tune, capsys: pytest.CaptureFixture[str]) -> None:
    from zsl_lab.cli import tune

    assert tune.main(["--help"]) == 0
    printed = capsys.readouterr().out
    for key in ("trials=", "minutes=", "study=", "space=", "paths.settings_dir="):
        assert key in printed


@pytest.mark.slow
def test_the_table_has_as_many_trials_as_fit_with_whole_keys_and_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = optuna.create_study(direction="maximize")
    keys = {"method.fine_tune_learning_rate": 0.000123, "dataset.normalize": "centered_l2"}
    params = {key: json.dumps(value) for key, value in keys.items()}
    choices = optuna.distributions.CategoricalDistribution
    kinds: dict[str, Any] = {key: choices([value]) for key, value in params.items()}
    for value in range(9):
        trial = optuna.trial.create_trial(value=value, params=params, distributions=kinds)
        study.add_trial(trial)
    summary.print_table(study, "harmonic_mean", {})
    heading, _, metric, *rows = capsys.readouterr().out.splitlines()[3:]
    assert heading.split() == ["key", "importance", "8", "7", "6", "5"]
    assert metric.split() == ["harmonic_mean", "8.00", "7.00", "6.00", "5.00"]
    assert [row.split() for row in rows if row] == [
        [key, *[str(value)] * 4] for key, value in keys.items()
    ]


@pytest.mark.slow
def test_importance_is_that_of_the_key_that_matters() -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(
        lambda trial: trial.suggest_float("a", 0, 1) + 0.01 * trial.suggest_float("b", 0, 1),
        n_trials=40,
    )
    shares = summary.importances(study)
    assert list(shares) == ["a", "b"]
    assert shares["a"] > 0.9
    assert sum(shares.values()) == pytest.approx(1)


def test_a_trial_on_a_machine_that_does_not_answer_is_made_again(
    command: Tune, studies: Path, trials: Trials
) -> None:
    command("trials=1")
    study = study_of(studies / NAME)
    for host, age in (("answers", 0.0), ("lost", workers.LOST + 10)):
        trial = study.ask()
        trial.suggest_int("method.epochs", 1, 3)
        trial.set_user_attr(PROCESS, [host, 1])
        (studies / NAME / workers.FOLDER / f"{host}_1").touch()
        os.utime(studies / NAME / workers.FOLDER / f"{host}_1", (time.time() - age,) * 2)
    # the budget is time: with trials=3 the command would wait for the one that answers
    _, out, _ = command("minutes=0.02")
    assert "1 that was interrupted is repeated" in out
    first = [t.state for t in study_of(studies / NAME).trials[:4]]
    assert first == [
        *(TrialState.COMPLETE, TrialState.RUNNING, TrialState.FAIL),
        TrialState.COMPLETE,
    ]


def test_a_trial_that_was_given_up_while_its_process_was_suspended_does_not_count(
    command: Tune, studies: Path, trials: Trials
) -> None:
    def suspended(rate: float) -> float:
        if trials.made == 1:
            study = study_of(studies / NAME)
            give_up(study, study.trials[0])
        return 50.0

    trials.values = suspended
    code, out, _ = command("trials=2")
    assert code == 0
    assert "trial 0: given up, since another process considered this one lost" in out
    states = [t.state for t in study_of(studies / NAME).trials]
    assert states == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]


@pytest.mark.slow
def test_a_study_of_two_processes_reaches_its_trials_though_one_is_killed(
    tmp_path: Path, space: Path
) -> None:
    command = [*SHORT, f"space={space}", "selection.draws=1", "trials=5"]
    command += [f"paths.output_dir={tmp_path}/outputs", f"paths.settings_dir={tmp_path}/settings"]
    environment = {"ZSL_LAB_CACHE": str(tmp_path / "cache")}
    folder = tmp_path / "outputs" / "studies" / NAME
    both = [Forked(children.tune, command, cwd=tmp_path, env=environment) for _ in range(2)]

    def of(process: Forked, state: TrialState) -> list[Any]:
        if not (folder / JOURNAL_FILE).exists():
            return []
        own = [t for t in study_of(folder).trials if t.state == state]
        return [t for t in own if t.user_attrs.get(PROCESS, [0, 0])[1] == process.pid]

    killed, other = both
    try:
        # it has finished a trial and is in the middle of another
        while not (of(killed, TrialState.COMPLETE) and of(killed, TrialState.RUNNING)):
            assert killed.poll() is None, killed.communicate()
            time.sleep(0.02)
        killed.kill()
        finished = {t.number: t.value for t in complete(study_of(folder))}
        text = other.communicate()
    finally:
        for process in both:
            process.kill()
    assert other.returncode == 0, text
    study = study_of(folder)
    after = {t.number: t.value for t in complete(study)}
    assert finished.items() <= after.items()
    assert len(counted(study)) == 5
    (lost,) = [t for t in study.trials if t.user_attrs.get(STALE)]
    assert lost.user_attrs[PROCESS][1] == killed.pid
    assert lost.state == TrialState.FAIL
    assert f"{NAME}.yaml" in {p.name for p in (tmp_path / "settings" / "tuned").iterdir()}
