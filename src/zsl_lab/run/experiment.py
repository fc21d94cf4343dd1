"""One experiment as a plain function: configuration in, :class:`Result` out; no Hydra globals."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path

from omegaconf import DictConfig

from zsl_lab.data.benchmark import Benchmark
from zsl_lab.data.checks.findings import Finding
from zsl_lab.data.splits import Split, test_split, validation_split
from zsl_lab.errors import (
    CheckpointError,
    ConfigError,
    OutOfMemoryError,
    ZslLabError,
    is_out_of_memory,
    output_error,
)
from zsl_lab.files import fast_yaml
from zsl_lab.files.atomic import atomic_write, remove_leftovers
from zsl_lab.hardware import distributed, memory
from zsl_lab.hardware.processes import REPORT
from zsl_lab.hardware.trainer import (
    Hardware,
    check_processes,
    check_started,
    device_name,
    find_hardware,
)
from zsl_lab.methods.module import Check
from zsl_lab.result import ORACLE_METRICS, RESULT_FILE, Result
from zsl_lab.run import initial_weights
from zsl_lab.run.checkpoints import files as checkpoints
from zsl_lab.run.checkpoints.files import Checkpoint
from zsl_lab.run.checkpoints.places import PREVIOUS
from zsl_lab.run.checkpoints.state import NOTHING_SPENT, Spent
from zsl_lab.run.config import RunConfig, parse
from zsl_lab.run.configuration.checks import check_task, naming_methods
from zsl_lab.run.context import RunContext, check_classifier, load_checked
from zsl_lab.run.folder import Claim, held
from zsl_lab.run.loggers import base as loggers
from zsl_lab.run.phase import Phase, PhaseOutcome, Selected, train
from zsl_lab.run.records import metrics_csv, predictions_csv, tradeoff_csv
from zsl_lab.run.testing import TrainingRecord, test
from zsl_lab.run.validation import best_on_average, retraced


def run(cfg: DictConfig, benchmark: Benchmark | None = None) -> Result:
    """Train and test, or only test, as the configuration says.

    Args:
        cfg: A composed configuration; ``paths.run_dir`` is the folder that everything is written
            to.
        benchmark: A benchmark in memory, used in place of the one that ``cfg.dataset`` reads. How
            it is split and scaled is still read from there.

    Returns:
        The result, which is also written to ``result.json``.

    Raises:
        ZslLabError: Anything that the user can fix, as a sentence.
    """
    config = parse(cfg)
    _check_task(config)
    check_classifier(config)
    silence_lightning()
    checkpoint = _checkpoint(config)
    hardware = _hardware(config)
    memory.begin_peak(hardware.accelerator)
    folder = Path(config.paths.run_dir)
    try:
        with _held(config, folder) as claim:
            try:
                benchmark, findings = _load_data(config, benchmark)
                config = config.for_benchmark(benchmark)
                context = RunContext(config, benchmark, folder, hardware, findings=findings)
                if checkpoint is not None:
                    _check_same_benchmark(checkpoint, context.benchmark)
                if config.task == "test" and checkpoint is not None:
                    return _test_only(context, checkpoint)
                return _fit(context, checkpoint)
            except Exception:
                if config.task == "test" or checkpoint is None:
                    _remove_traces(folder, claim.earlier if claim else set())
                raise
    except Exception as error:
        found: ZslLabError | None = None
        if isinstance(error, OSError):
            found = output_error(error, "paths.output_dir")
        elif is_out_of_memory(error):
            found = _memory_error(config, hardware, error)
        if found is None:
            raise
        raise found from error
    finally:
        distributed.disconnect()


# ------------------------------------------------------------------------------- the two tasks


def _fit(context: RunContext, checkpoint: Checkpoint | None) -> Result:
    """Select a step where validation does, refit, test once, and report to the loggers."""
    start = initial_weights.read(context)
    _prepare_folder(context, checkpoint)
    with loggers.opened(_logged_facts(context, checkpoint), context.config.loggers) as opened:
        context = replace(context, loggers=opened)
        selected, spent = _select(context, checkpoint)
        outcome = _refit(context, selected, spent, start, checkpoint)
        record = _record(context, spent, outcome)
        result = test(context, context.folder / "checkpoints" / "best.ckpt", record)
        if distributed.is_main():  # a finished run is not resumed
            (context.folder / "checkpoints" / PREVIOUS).unlink(missing_ok=True)
        loggers.log_result(opened, result)
    return result


def _select(context: RunContext, checkpoint: Checkpoint | None) -> tuple[Selected, Spent]:
    """Train on a part of the seen classes and select a step on the others.

    With several draws of validation classes each is a phase; the mean over them selects.
    """
    selection = context.config.selection
    if checkpoint is not None and checkpoint.state.phase == "refit":
        return Selected.of_state(checkpoint.state), checkpoint.state.spent
    if selection.name != "validation":
        return Selected(), NOTHING_SPENT
    draws, spent = _finished_draws(checkpoint)
    while len(draws) < selection.draws:
        split = validation_split(context.benchmark, selection.validation_seed, len(draws))
        if not draws:
            _warn_of_one_class(context, split)
        phase = Phase(
            "select",
            split,
            # None: each check finds its own constant
            Selected(calibration=None if selection.calibrate else 0.0),
            spent,
            resumed=checkpoint,
            draw=len(draws),
            earlier=draws,
        )
        checkpoint, outcome = None, train(context, phase)
        draws = (*draws, outcome.candidates)
        spent = spent + outcome.spent
    best = best_on_average(draws, selection.metric)
    if best is None:
        return Selected(spent.steps // len(draws)), spent
    # draws may have undone different steps: retrace the one whose steps are nearest to the mean
    nearest = min(draws, key=lambda checks: abs(_at(checks, best.step) - best.effective_step))
    return Selected.of_check(best, retraced(nearest, best.step, selection.metric)), spent


def _warn_of_one_class(context: RunContext, split: Split) -> None:
    """Warn if a key selects by accuracy among unseen classes, and validation has one such class."""
    selection = context.config.selection
    keys = ["selection.calibrate=true"] if selection.calibrate else []
    if selection.metric == "zsl_top1":
        keys.append("selection.metric=zsl_top1")
    if len(split.unseen_classes) > 1 or not keys or not distributed.is_main():
        return
    name = context.benchmark.class_names[split.unseen_classes[0]]
    warnings.warn(
        f"{context.benchmark.name}: found one validation class, '{name}'; expected several for "
        f"{' and '.join(keys)}. Among one class no prediction can be wrong, so that it selects "
        "poorly. Use a split with more validation classes, or selection=last.",
        stacklevel=2,
    )


def _at(checks: Sequence[Check], step: int) -> int:
    """The effective step of the check at a training step."""
    return next(check.effective_step for check in checks if check.step == step)


def _finished_draws(checkpoint: Checkpoint | None) -> tuple[tuple[tuple[Check, ...], ...], Spent]:
    """The candidate checks of the draws before the one that a run resumes, and their training."""
    if checkpoint is None:
        return (), NOTHING_SPENT
    state = checkpoint.state
    draws = tuple(tuple(Check(**asdict(c)) for c in checks) for checks in state.earlier)
    return draws, state.spent


def _refit(
    context: RunContext,
    selected: Selected,
    spent: Spent,
    start: Checkpoint | None,
    checkpoint: Checkpoint | None,
) -> PhaseOutcome:
    """Train on all seen classes for the selected number of steps."""
    resumed = checkpoint if checkpoint and checkpoint.state.phase == "refit" else None
    split = test_split(context.benchmark)
    return train(context, Phase("refit", split, selected, spent, resumed=resumed, start=start))


def _record(context: RunContext, spent: Spent, outcome: PhaseOutcome) -> TrainingRecord:
    total = spent + outcome.spent
    training = {
        "steps": total.steps,
        "seconds": round(total.seconds, 3),
        "check_seconds": round(total.check_seconds, 3),
        "steps_per_second": round(total.steps / total.seconds, 3) if total.seconds else 0.0,
        "device": device_name(context.hardware),
        "precision": context.config.trainer.precision,
        "world_size": context.hardware.processes,
        "peak_memory": memory.peak(context.hardware.accelerator),
    }
    checks = {name: best_on_average([outcome.candidates], name) for name in ORACLE_METRICS}
    by_metric = {
        name: {**check.metrics, "step": check.effective_step}
        for name, check in checks.items()
        if check is not None
    }
    best = outcome.best
    return TrainingRecord(
        training,
        {**best.metrics, "step": best.effective_step} if best else None,
        by_metric or None,
    )


def _test_only(context: RunContext, checkpoint: Checkpoint) -> Result:
    """Evaluate a checkpoint; how it was trained is read from the ``result.json`` of its run."""
    if distributed.is_main():
        _write_config(context)
    checkpoint.check_reported()
    beside = checkpoint.path.parent.parent / RESULT_FILE
    if beside.is_file():
        earlier = Result.load(beside)
        record = TrainingRecord(earlier.training, earlier.oracle, earlier.oracle_by_metric)
    else:
        unknown = (
            *("seconds", "check_seconds", "steps_per_second"),
            *("device", "precision", "world_size", "peak_memory"),
        )
        record = TrainingRecord({"steps": checkpoint.step, **dict.fromkeys(unknown)})
    return test(context, checkpoint.path, record)


def _memory_error(config: RunConfig, hardware: Hardware, error: Exception) -> OutOfMemoryError:
    """The sentence for memory that could not be allocated: what to lower."""
    values = config.method.model_dump()
    sizes = [f"method.{key} (now {values[key]})" for key in values if key.endswith("batch_size")]
    where = "Memory" if hardware.accelerator == "cpu" else "The memory of the GPU"
    brief = (str(error).splitlines() or [""])[0] or type(error).__name__
    return OutOfMemoryError(
        f"{where} is too small for method={config.method.name} ({brief[:200]}). "
        f"Lower {', '.join([*sizes, 'the widths of the networks'])}, use fewer samples, or a "
        "machine with more memory."
    )


# ------------------------------------------------------------------------------- before the phases


def _check_task(config: RunConfig) -> None:
    if config.task == "predict":
        raise ConfigError(
            "task=predict is not a run: the command line does it, or "
            "zsl_lab.predict.command.predict."
        )
    check_task(config)


def _checkpoint(config: RunConfig) -> Checkpoint | None:
    if config.ckpt is None:
        return None
    if config.task == "test":
        return checkpoints.read(config.ckpt, "ckpt")
    checkpoint = checkpoints.read_to_resume(config.ckpt, "ckpt")
    checkpoint.check_resumable()
    return checkpoint


def silence_lightning() -> None:
    """Silence Lightning's comments on choices that were made on purpose."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")


def _hardware(config: RunConfig) -> Hardware:
    check_started(config.trainer)
    hardware = find_hardware(config.trainer)
    check_processes(config.trainer, hardware)
    return hardware


def _load_data(config: RunConfig, given: Benchmark | None) -> tuple[Benchmark, tuple[Finding, ...]]:
    """The benchmark and its findings; missing files are reported before anything is read."""
    with naming_methods():
        if config.takes == "images":
            config.dataset.image_view()
        if config.task == "fit":
            config.method.check_files()
        return load_checked(config, given)


def _check_same_benchmark(checkpoint: Checkpoint, benchmark: Benchmark) -> None:
    for name in ("splits_sha256", "features_sha256"):
        found, stored = getattr(benchmark.provenance, name), getattr(checkpoint.state, name)
        if stored != found:
            raise CheckpointError(
                f"ckpt={checkpoint.path}: it was trained on other data: {name} is {found[:12]} "
                f"here, {stored[:12]} in the checkpoint. Classes it trained on might be tested as "
                "unseen. Give the same files (paths.data_dir, dataset.*), or train anew."
            )


# ------------------------------------------------------------------------------- the run's folder


def _held(config: RunConfig, folder: Path) -> AbstractContextManager[Claim | None]:
    """The folder, claimed for this process; nothing in the other processes of a run."""
    if not distributed.is_main() or REPORT in os.environ:  # the launcher has claimed it
        folder.mkdir(parents=True, exist_ok=True)
        return nullcontext()
    state = config.ckpt.expanduser().absolute() if config.ckpt and config.task == "fit" else None
    goes_on = state is not None and state.parent.parent.resolve() == folder.resolve()
    return held(folder, overwrite=config.overwrite, goes_on=goes_on)


def _prepare_folder(context: RunContext, checkpoint: Checkpoint | None) -> None:
    """Remove the files of another run, or what the run logged after its checkpoint."""
    folder = context.folder
    if not distributed.is_main():
        return
    for place in (folder, folder / "checkpoints", folder / "figures"):
        remove_leftovers(place)
    if checkpoint is not None:
        metrics_csv.rewind(folder, checkpoint.state.label, checkpoint.step)
        return
    for module in (predictions_csv, tradeoff_csv, metrics_csv):
        (folder / module.FILE).unlink(missing_ok=True)
    (folder / RESULT_FILE).unlink(missing_ok=True)
    for name in checkpoints.FILES:
        (folder / "checkpoints" / name).unlink(missing_ok=True)
    _write_config(context)


def _write_config(context: RunContext) -> None:
    config = context.config
    text = config.marks.header() + fast_yaml.dump(config.plain)
    atomic_write(context.folder / "config.yaml", text.encode())


def _remove_traces(folder: Path, earlier: Collection[str]) -> None:
    """Remove the files of a run that failed before its first checkpoint, but no ``earlier`` one."""
    if not distributed.is_main() or (folder / "checkpoints").exists():
        return
    for name in {"config.yaml", metrics_csv.FILE}.difference(earlier):
        with suppress(OSError):  # a folder that cannot be written to holds nothing of this run
            (folder / name).unlink()


def _logged_facts(context: RunContext, checkpoint: Checkpoint | None) -> loggers.RunFacts:
    plain = context.config.plain
    named = {**plain, "dataset": {**plain["dataset"], "name": context.benchmark.name}}
    return loggers.RunFacts(context.folder, named, resumed=checkpoint is not None)
