"""Training of one phase of a run: on validation splits to select a step, or on all of trainval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from zsl_lab.classifiers.config import OWN
from zsl_lab.data.batches.base import PhaseDataModule
from zsl_lab.data.benchmark import VectorBenchmark
from zsl_lab.data.splits import Split
from zsl_lab.errors import (
    CheckpointError,
    ConfigError,
    InterruptionError,
    TrainingError,
    ZslLabError,
)
from zsl_lab.hardware import distributed
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.methods.module import Check, Spans
from zsl_lab.run import initial_weights, together
from zsl_lab.run.callbacks.checks import ChecksAt
from zsl_lab.run.callbacks.phase_checkpoint import PhaseCheckpoint
from zsl_lab.run.callbacks.stopwatch import Stopwatch
from zsl_lab.run.checkpoints.files import AtomicCheckpointIO, Checkpoint
from zsl_lab.run.checkpoints.state import NOTHING_SPENT, RunState, Spent, StoredCheck, phase_label
from zsl_lab.run.checkpoints.state import Phase as PhaseName
from zsl_lab.run.configuration import limits
from zsl_lab.run.configuration.schema import SelectionConfig
from zsl_lab.run.context import RunContext, make_trainer, set_classifier
from zsl_lab.run.loggers import base as loggers
from zsl_lab.run.pretraining import SharedPretraining
from zsl_lab.run.pretraining import facts as pretraining_facts
from zsl_lab.run.schedule import Schedule, plan, say_if_bounded


@dataclass(frozen=True)
class Selected:
    """What the selection phase selected.

    Attributes:
        step: Number of training steps of the refit; None for the method's whole schedule.
        check: Training step of the selected check; None if no check was selected.
        calibration: Constant added to the scores of unseen classes; None in a phase that selects
            it.
        validation: Metrics of the selected check on validation classes, and ``step``; None where
            validation classes did not select it.
        spans: The training steps that shaped the selected weights; empty if none were undone.
    """

    step: int | None = None
    check: int | None = None
    calibration: float | None = 0.0
    validation: dict[str, Any] | None = None
    spans: Spans = ()

    @classmethod
    def of_check(cls, check: Check, spans: Spans) -> Selected:
        """Select a check: its steps, its constant and its metrics."""
        validation = {**check.metrics, "step": check.effective_step}
        undone = check.step != check.effective_step
        return cls(
            check.effective_step,
            check.step,
            check.calibration,
            validation,
            spans if undone else (),
        )

    @classmethod
    def of_state(cls, state: RunState) -> Selected:
        """What the run of a checkpoint had selected."""
        return cls(
            state.selected,
            state.selected_check,
            state.calibration,
            state.validation,
            tuple((start, end) for start, end in state.selected_spans),
        )


@dataclass(frozen=True)
class Phase:
    """A phase of training.

    Attributes:
        name: ``select`` or ``refit``.
        draw: In ``select``: which draw of validation classes, from 0.
        earlier: In ``select``: the candidate checks of each earlier draw.
        split: The samples to train on, and those to evaluate on.
        selected: What was selected before the phase.
        spent: Training done before the phase.
        resumed: The checkpoint of ``ckpt``, if the phase resumes from it.
        start: Weights to start from; None to train from scratch.
    """

    name: PhaseName
    split: Split
    selected: Selected
    spent: Spent = NOTHING_SPENT
    resumed: Checkpoint | None = None
    start: Checkpoint | None = None
    draw: int = 0
    earlier: tuple[tuple[Check, ...], ...] = ()

    @property
    def label(self) -> str:
        """The phase's name in ``metrics.csv``."""
        return phase_label(self.name, self.draw)


@dataclass(frozen=True)
class PhaseOutcome:
    """The outcome of a phase of training.

    Attributes:
        spent: Training done in the phase.
        best: The best check by the selection metric; None if there was no check.
        candidates: The checks whose weights may be selected, in their order.
    """

    spent: Spent
    best: Check | None
    candidates: tuple[Check, ...] = ()


def train(
    context: RunContext,
    phase: Phase,
    callbacks: Sequence[pl.Callback] = (),
    *,
    writes: bool = True,
) -> PhaseOutcome:
    """Train a method from the start of a phase, or from where it was interrupted, to its end.

    Args:
        context: The run.
        phase: The phase.
        callbacks: Callbacks beside those of the configuration.
        writes: Whether checkpoints are written.

    Raises:
        ConfigError: There is nothing to train.
        TrainingError: Training diverged.
        InterruptionError: The user or the system stopped the run.
    """
    config = context.config
    pl.seed_everything(config.seed, verbose=False)
    data = context.data_module(phase.split)
    with limits.out_of_memory(config.method):
        return _train(context, phase, data, callbacks, writes=writes)


def _train(
    context: RunContext,
    phase: Phase,
    data: PhaseDataModule,
    callbacks: Sequence[pl.Callback],
    *,
    writes: bool,
) -> PhaseOutcome:
    config = context.config
    method = _build(context, phase, data)
    if phase.name == "refit" and config.selection.name == "oracle":
        _check_oracle(context, phase.split)
    schedule = _schedule(context, method, phase)
    batch_size = method.batch_size_at(schedule.first)
    # None: all samples at once
    if isinstance(context.benchmark, VectorBenchmark) and batch_size is not None:
        limits.check_batch(batch_size, context.benchmark.source.shape[1])
    saver = PhaseCheckpoint(
        context.folder,
        _state(context, phase),
        partial(_is_reported, phase=phase, selection=config.selection, schedule=schedule),
        schedule.last,
        every=config.trainer.save_every_n_steps,
        resumed=phase.resumed is not None,
        writes=writes,
    )
    data.plan_training(
        method.batch_size_at,
        schedule.epochs or [schedule.last],
        config.seed,
        schedule.first,
        config.trainer.save_every_n_steps,
        lambda: saver.stop.asked,
        together.runs(),
    )
    clock, source = Stopwatch(), AtomicCheckpointIO(phase.resumed)
    trainer = make_trainer(
        context,
        [saver, clock, ChecksAt(schedule.checks), *callbacks],
        epochs=len(schedule.epochs),
        validate=bool(schedule.checks),
        checkpoint_io=source,
    )
    trained_from = _fit(context, phase, schedule, trainer, method, data, saver, source)
    if phase.resumed is None and trained_from == schedule.last:
        saver.save_end(trainer, method)  # nothing to train: Lightning called no hook
    if method.step != schedule.last:
        raise _out_of_place(phase, method.step, schedule)
    candidates = tuple(c for c in method.checks if c.step >= method.first_candidate)
    spent = Spent(method.step - schedule.first, clock.seconds, clock.check_seconds)
    return PhaseOutcome(spent, method.best, candidates)


def _build(context: RunContext, phase: Phase, data: PhaseDataModule) -> ZeroShotMethod:
    config = context.config
    method = config.method_class.build(config.method, data, cache_dir=config.paths.cache_folder)
    if method.total_steps < 1:
        raise ConfigError("method.steps=0: expected at least one training step.")
    if (
        phase.name == "select"
        and config.method.initial_weights is not None
        and method.first_candidate == 0
    ):
        raise ConfigError(
            "method.steps=0: the given network has seen the validation classes, so "
            "selection=validation pre-trains one of its own to choose the step with. Set "
            "method.steps above 0, or selection=last."
        )
    set_classifier(method, config, data.classes)
    method.phase = phase.label
    method.retraced = phase.selected.spans
    method.calibration = phase.selected.calibration
    method.selection_metric = config.selection.metric
    method.steered_by_checks = phase.name == "select" or config.selection.name == "oracle"
    if method.trains_together(config.method):
        method.joint = together.joint_updates()
    if phase.start is not None:
        initial_weights.load(method, phase.start)
    return method


def _check_oracle(context: RunContext, split: Split) -> None:
    """Raise where the metric that selects on test is undefined."""
    metric = context.config.selection.metric
    lacking = [
        part
        for part, index, needed in (
            ("test_seen", split.eval_seen, metric != "zsl_top1"),
            ("test_unseen", split.eval_unseen, metric != "seen"),
        )
        if needed and not len(index)
    ]
    if lacking:
        raise ConfigError(
            f"selection=oracle selects by {metric} on test samples, and {context.benchmark.name} "
            f"has none in {' and '.join(lacking)}. Give selection=validation or selection=last, or "
            "a selection.metric that its test samples measure."
        )


def _schedule(context: RunContext, method: ZeroShotMethod, phase: Phase) -> Schedule:
    selection, selected = context.config.selection, phase.selected.step
    evaluates = phase.name == "select" or selection.report_oracle or selection.name == "oracle"
    # Lightning calls no hook without a sample to evaluate
    evaluates = evaluates and len(phase.split.eval_seen) + len(phase.split.eval_unseen) > 0
    schedule = plan(method, selection, selected, evaluates=evaluates)
    if selected is not None and selected > method.total_steps:
        origin = f"ckpt={phase.resumed.path}: " if phase.resumed is not None else ""
        raise CheckpointError(
            f"{origin}the selected step is {selected}; the method has {method.total_steps} steps. "
            "Give another checkpoint, or train anew."
        )
    if distributed.is_main() and method.steered_by_checks:
        say_if_bounded(schedule, selection, method.first_candidate)
    return schedule


def _state(context: RunContext, phase: Phase) -> RunState:
    provenance, selected = context.benchmark.provenance, phase.selected
    return RunState(
        config=context.config.plain,
        phase=phase.name,
        selected=selected.step,
        calibration=selected.calibration,
        validation=selected.validation,
        spent=phase.spent,
        splits_sha256=provenance.splits_sha256,
        features_sha256=provenance.features_sha256,
        selected_check=selected.check,
        selected_spans=list(selected.spans),
        draw=phase.draw,
        earlier=[[StoredCheck(**asdict(check)) for check in checks] for checks in phase.earlier],
    )


def _is_reported(
    method: ZeroShotMethod, *, phase: Phase, selection: SelectionConfig, schedule: Schedule
) -> bool:
    """Whether the weights right after a check are the best so far to report."""
    if phase.name == "select":
        return False
    if selection.name == "oracle" and schedule.epochs:
        return method.best is not None and method.best.step == method.step
    selected = phase.selected.step
    return method.step == (schedule.last if selected is None else selected)


def _fit(
    context: RunContext,
    phase: Phase,
    schedule: Schedule,
    trainer: pl.Trainer,
    method: ZeroShotMethod,
    data: PhaseDataModule,
    saver: PhaseCheckpoint,
    source: AtomicCheckpointIO,
) -> int:
    """Train, and return the step that a phase that is not resumed started from."""
    shared, first = _shared_pretraining(context, phase, schedule, method), schedule.first
    path = phase.resumed.path if phase.resumed is not None else None
    if phase.resumed is not None and phase.resumed.step > schedule.last:
        raise _out_of_place(phase, phase.resumed.step, schedule)
    try:
        if shared is not None and _find_pretraining(
            context, shared, trainer, saver, evaluates=bool(schedule.checks)
        ):
            path, first = shared.path, shared.steps
            source.resume_from(shared.found)
        with saver.stop:
            trainer.fit(method, datamodule=data, ckpt_path=path, weights_only=True)
            saver.stop_if_asked(method)
    except (ZslLabError, MemoryError, OSError, torch.OutOfMemoryError) as error:
        if isinstance(error, TrainingError):
            raise TrainingError(f"{error} {saver.last_good}") from error
        raise
    except Exception as error:
        if path is None or saver.started:
            raise
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"ckpt={path}: training cannot go on from this state ({type(error).__name__}: "
            f"{reason:.200}). It is damaged, or of another version. Give another checkpoint, or "
            "train anew."
        ) from error
    except SystemExit as error:
        # Lightning raises it after an interrupt from the keyboard; submitit raises it too, to be
        # requeued
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        raise InterruptionError(saver.how_to_go_on("Interrupted")) from None
    finally:
        if shared is not None:
            shared.release()
    return first


def _out_of_place(phase: Phase, step: int, schedule: Schedule) -> CheckpointError | TrainingError:
    if phase.resumed is None:
        return TrainingError(f"training ended after step {step} of {schedule.last}.")
    return CheckpointError(
        f"ckpt={phase.resumed.path}: its state leads to step {step}, while the phase {phase.name} "
        f"of its configuration ends after step {schedule.last}; the file is damaged. Give another "
        "checkpoint, or train anew."
    )


# ------------------------------------------------------------------------------- pre-training


def _shared_pretraining(
    context: RunContext, phase: Phase, schedule: Schedule, method: ZeroShotMethod
) -> SharedPretraining | None:
    """The shared pre-training of a phase; None where the phase shares none."""
    config = context.config
    pretraining, folder = config.method.pretraining, config.paths.pretrained_dir
    # a resumed phase may have begun on other hardware, or with other versions, than those that its
    # pre-training would be shared under
    if folder is None or pretraining is None or schedule.first > 0 or phase.resumed is not None:
        return None
    facts = pretraining_facts(
        config,
        context.benchmark,
        phase.label,
        phase.selected.calibration,
        context.hardware,
        evaluates=bool(schedule.checks),
        classifies=method.first_candidate < pretraining.steps,
    )
    return SharedPretraining(Path(folder), pretraining.steps, facts)


def _find_pretraining(
    context: RunContext,
    shared: SharedPretraining,
    trainer: pl.Trainer,
    saver: PhaseCheckpoint,
    *,
    evaluates: bool,
) -> bool:
    """Whether the file of a shared pre-training exists; its metrics are then logged as this run's.

    If it does not exist, this run will write it, unless another run does so already.
    """
    several = context.hardware.processes > 1
    if several:
        trainer.strategy.setup_environment()  # connects the processes: the first decides for all
    # while one of several processes waits, the others would time out
    rows = shared.find_or_claim(wait=not several) if distributed.is_main() else None
    theirs = shared.found.state.config.get("classifier", OWN) if shared.found is not None else None
    rows, claimed, theirs = distributed.gather((rows, shared.claimed, theirs))[0]
    if claimed:
        saver.share(shared)
    if rows is None:
        return False
    if evaluates and theirs != context.config.plain["classifier"]:
        saver.repeat_check()
        rows = [
            row
            if int(row["step"]) < shared.steps
            else {name: value for name, value in row.items() if not name.startswith("check/")}
            for row in rows
        ]
    for logger in context.loggers:
        loggers.log_rows(logger, rows)
    return True
