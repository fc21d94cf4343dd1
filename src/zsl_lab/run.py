"""One experiment as a plain function: configuration in, :class:`Result` out. No Hydra globals."""

from __future__ import annotations

import logging
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger

from zsl_lab import checkpoints
from zsl_lab.callbacks.phase_checkpoint import PhaseCheckpoint
from zsl_lab.callbacks.stopwatch import Stopwatch
from zsl_lab.config import RunConfig, parse
from zsl_lab.data.benchmark import Benchmark
from zsl_lab.data.datamodule import PhaseDataModule
from zsl_lab.data.dataset import DataPaths
from zsl_lab.data.splits import Split, redraw, test_split, validation_split
from zsl_lab.errors import CheckpointError, ConfigError, InterruptionError, output_error, quoted
from zsl_lab.files import atomic_write
from zsl_lab.methods.base import Check, ZeroShotMethod
from zsl_lab.methods.complexity import complexity
from zsl_lab.reporting import artifacts, metrics_csv
from zsl_lab.result import Result, git_commit, versions


@dataclass(frozen=True)
class PhaseOutcome:
    """What a phase of training leaves behind.

    Attributes:
        steps: Training steps taken, undone ones included.
        seconds: Seconds spent in them.
        best: The best check by the selection metric; None where no check was made.
    """

    steps: int
    seconds: float
    best: Check | None


@dataclass(frozen=True)
class Chosen:
    """What the selection phase chose.

    Attributes:
        step: How many steps to train for; None if all.
        calibration: Constant added to the scores of unseen classes; None while it is being chosen.
    """

    step: int | None
    calibration: float | None


def run(cfg: DictConfig) -> Result:
    """Train and test, or only test, as the configuration says.

    Args:
        cfg: A composed configuration; ``paths.run_dir`` is the folder that everything is written to.

    Returns:
        What was found; also written to ``result.json``.

    Raises:
        ZslLabError: Anything that the user can mend, as a sentence.
    """
    config = parse(cfg)
    if config.task == "predict":
        raise ConfigError("task=predict is not a run: the command line does it, or zsl_lab.predict.predict.")
    # stored absolute: a checkpoint may be tested from another working folder
    for *place, key in (("paths", "data_dir"), ("method", "init_from"), ("method", "base", "weights"), ("method", "text", "model")):
        section = config.plain
        for name in place:
            section = section.get(name, {})
        path = Path(section.get(key) or "").expanduser()
        if section.get(key) and (key in ("data_dir", "init_from") or path.exists()):  # the others may be names
            section[key] = str(path.absolute())
    _quiet()
    checkpoint = checkpoints.read(config.ckpt, "ckpt") if config.ckpt else None
    if config.task == "test" and checkpoint is None:
        raise ConfigError("task=test needs a checkpoint: ckpt=<run>/checkpoints/best.ckpt.")
    _check_hardware(config)
    folder = Path(config.paths.run_dir)
    resumed = config.task == "fit" and checkpoint is not None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not resumed:
            atomic_write(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config.plain)).encode())
        if config.method_class.takes == "images":
            config.dataset.image_view()  # an error where there are no images, before anything else is missed
        if config.task == "fit":
            config.method.check_files()
        benchmark = _load_benchmark(config)
        if checkpoint is not None:
            _check_same_benchmark(checkpoint["zsl_lab"], benchmark, config)
        experiment = _Experiment(config, benchmark, folder)
        return experiment.test_only(checkpoint) if config.task == "test" and checkpoint else experiment.fit(checkpoint)
    except Exception as error:
        if not resumed and not (folder / "checkpoints").exists():
            for name in ("config.yaml", metrics_csv.FILE):
                with suppress(OSError):  # what cannot be written to holds nothing of ours
                    (folder / name).unlink()
        found = output_error(error, "paths.output_dir") if isinstance(error, OSError) else None
        if found is None:
            raise
        raise found from error


class _Experiment:
    """The steps of a run, with what they share."""

    def __init__(self, config: RunConfig, benchmark: Benchmark, folder: Path) -> None:
        self.config = config
        self.benchmark = benchmark
        self.folder = folder
        self._loggers: list[Logger] = []

    # --------------------------------------------------------------------------- the two tasks

    def fit(self, checkpoint: dict[str, Any] | None) -> Result:
        """Select (where validation does), refit, test once."""
        selection = self.config.selection
        about = checkpoint["zsl_lab"] if checkpoint else None
        resume_phase = about["phase"] if about else None
        if about is not None and checkpoint is not None:
            metrics_csv.rewind(self.folder, about["phase"], checkpoint["method_state"]["step"])
        self._loggers = [instantiate(node) for node in self.config.loggers.values()]
        start = self._start()
        chosen = Chosen(about["selected"], about.get("calibration", 0.0)) if about else Chosen(None, 0.0)
        spent = about["spent"] if about else {"steps": 0, "seconds": 0.0}
        if selection.name == "validation" and resume_phase != "refit":
            split = validation_split(self.benchmark, selection.validation_seed)
            # None: each check finds the constant that suits it
            open_choice = Chosen(None, None if selection.calibrate else 0.0)
            outcome = self._train("select", split, open_choice, spent, None, resume=resume_phase == "select")
            chosen = Chosen(outcome.best.effective_step, outcome.best.calibration) if outcome.best else Chosen(outcome.steps, 0.0)
            spent = {"steps": outcome.steps, "seconds": outcome.seconds}
        outcome = self._train("refit", test_split(self.benchmark), chosen, spent, start, resume=resume_phase == "refit")
        steps, seconds = spent["steps"] + outcome.steps, spent["seconds"] + outcome.seconds
        training = {
            "steps": steps,
            "seconds": round(seconds, 3),
            "steps_per_second": round(steps / seconds, 3) if seconds else 0.0,
            "device": self._device_name(),
            "precision": self.config.trainer.precision,
            "world_size": 1,
        }
        oracle = {**outcome.best.metrics, "step": outcome.best.effective_step} if outcome.best else None
        return self._test(self.folder / "checkpoints" / "best.ckpt", training, oracle)

    def test_only(self, checkpoint: dict[str, Any]) -> Result:
        """Evaluate a checkpoint; what is known of its training comes from the result beside it, where there is one."""
        assert self.config.ckpt is not None
        checkpoints.check_reported(checkpoint, self.config.ckpt)
        beside = self.config.ckpt.parent.parent / "result.json"
        earlier = Result.load(beside) if beside.is_file() else None
        training = (
            earlier.training
            if earlier
            else {
                "steps": checkpoint["method_state"]["step"],
                "seconds": None,
                "steps_per_second": None,
                "device": None,
                "precision": None,
                "world_size": None,
            }
        )
        return self._test(self.config.ckpt, training, earlier.oracle if earlier else None)

    # --------------------------------------------------------------------------- training

    def _train(
        self, phase: str, split: Split, chosen: Chosen, spent: dict[str, Any], start: dict[str, Any] | None, *, resume: bool
    ) -> PhaseOutcome:
        config, selection, selected = self.config, self.config.selection, chosen.step
        pl.seed_everything(config.seed, verbose=False)
        data = self._data(split)
        method = config.method_class.build(config.method, data, cache_dir=config.paths.cache_folder)
        if method.total_steps < 1:
            raise ConfigError("method.steps=0: expected at least one training step.")
        method.phase = phase
        method.calibration = chosen.calibration
        method.selection_metric = selection.metric
        method.steered_by_checks = phase == "select" or selection.name == "oracle"
        if phase == "select" and config.method.initial_weights is not None and method.first_candidate == 0:
            raise ConfigError(
                "method.steps=0: the given network has seen the validation classes, so selection=validation pre-trains one of its own "
                "to choose the step with. Set method.steps above 0, or selection=last."
            )
        if start is not None:
            self._load_start(method, start)
        first_step = method.step
        looks = phase == "select" or selection.report_oracle or selection.name == "oracle"
        last = method.total_steps if looks or selected is None else selected
        checks = set(range(selection.check_every, last, selection.check_every)) | {step for step in method.milestones if 0 < step < last}
        checks |= {last} if selected is None else {last, selected}
        steps = sorted(step for step in checks if step > first_step)
        data.plan_training(method.samples_after, steps or [last], config.seed, first_step)
        about = {
            "format": checkpoints.FORMAT,
            "config": config.plain,
            "phase": phase,
            "selected": selected,
            "calibration": chosen.calibration,
            "spent": spent,
            "splits_sha256": self.benchmark.provenance.splits_sha256,
            "features_sha256": self.benchmark.provenance.features_sha256,
        }

        def is_best(method: ZeroShotMethod) -> bool:
            if phase == "select":
                return False
            if selection.name == "oracle" and steps:
                return method.best is not None and method.best == method.checks[-1]
            return method.step == (last if selected is None else selected)

        saver = PhaseCheckpoint(self.folder / "checkpoints", about, is_best)
        clock = Stopwatch()
        trainer = self._trainer([saver, clock], epochs=len(steps), look=looks)
        try:
            trainer.fit(method, datamodule=data, ckpt_path=config.ckpt if resume else None, weights_only=True)
        except SystemExit:  # how Lightning ends a fit that was interrupted from the keyboard
            raise InterruptionError(self._how_to_go_on(saver)) from None
        if phase == "refit" and not steps:  # nothing to train: Lightning called no hook
            saver.on_train_start(trainer, method)
        return PhaseOutcome(method.step - first_step, clock.seconds, method.best)

    def _start(self) -> dict[str, Any] | None:
        """The checkpoint to start from, looked at before anything is trained; None to train from scratch."""
        config, path = self.config, self.config.method.initial_weights
        if path is None:
            return None
        checkpoint = checkpoints.read(Path(path), "method.init_from")
        about, here = checkpoint["zsl_lab"], self.benchmark.provenance
        if about["phase"] != "refit" or (about["splits_sha256"], about["features_sha256"]) != (here.splits_sha256, here.features_sha256):
            raise CheckpointError(
                f"method.init_from={path}: it was trained on other classes or samples (splits {about['splits_sha256'][:12]}, features "
                f"{about['features_sha256'][:12]}, phase {about['phase']}); expected splits {here.splits_sha256[:12]}, features "
                f"{here.features_sha256[:12]}, phase refit. Train the mmVAE on this dataset and split first, or leave init_from out."
            )
        for key in ("normalize", "normalize_semantics"):
            found, expected = about["config"]["dataset"][key], getattr(config.dataset, key)
            if found != expected:
                raise CheckpointError(
                    f"method.init_from={path}: it was trained with dataset.{key}={found}; this run has {expected}. "
                    f"Set dataset.{key}={found}, or leave init_from out."
                )
        if about["config"]["selection"]["name"] == "oracle" and config.selection.name != "oracle":
            raise CheckpointError(
                f"method.init_from={path}: its step was selected on test, so what starts from it is an oracle's too. "
                "Set selection=oracle, or start from a run with selection=validation or last."
            )
        return checkpoint

    def _load_start(self, method: ZeroShotMethod, checkpoint: dict[str, Any]) -> None:
        try:
            method.load_state_dict(checkpoint["state_dict"])
        except RuntimeError as error:
            problem = str(error).splitlines()[1].strip()
            raise CheckpointError(
                f"method.init_from={self.config.method.initial_weights}: its networks have another shape ({problem}). "
                "Use the same method.* widths as it was trained with, or leave init_from out."
            ) from error
        method.step = method.first_candidate

    def _how_to_go_on(self, saver: PhaseCheckpoint) -> str:
        if not saver.last_path.exists():
            return "Interrupted before the first check: nothing was saved. selection.check_every sets how often a state is."
        return f"Interrupted. Go on with:\n  python -m zsl_lab {quoted('ckpt', str(saver.last_path))}"

    # --------------------------------------------------------------------------- testing

    def _test(self, path: Path, training: dict[str, Any], oracle: dict[str, Any] | None) -> Result:
        config = self.config
        checkpoint = checkpoints.read(path, "ckpt")
        data = self._data(test_split(self.benchmark))
        method = config.method_class.build(config.method, data, cache_dir=config.paths.cache_folder, weights_follow=True)
        try:
            method.load_state_dict(checkpoint["state_dict"])
        except RuntimeError as error:
            raise CheckpointError(
                f"ckpt={path}: its weights do not fit method={config.method.name} on this dataset ({str(error).splitlines()[1].strip()})."
            ) from error
        method.calibration = checkpoint["zsl_lab"].get("calibration", 0.0)
        self._trainer([], epochs=0, look=True).test(method, datamodule=data, verbose=False)
        method.eval()  # Lightning puts it back as it was, with dropout on
        recalls = method.metrics.recalls().cpu().numpy()
        seen = data.classes.seen_mask
        names = np.array(data.classes.names, dtype=object)
        result = Result(
            method=config.method.name,
            dataset=config.dataset.name,
            seed=config.seed,
            selection=config.selection.name,
            metrics=method.test_metrics(),
            oracle=oracle,
            per_class={
                "unseen": {str(n): float(r) for n, r in zip(names[~seen], recalls[~seen], strict=True)},
                "seen": {str(n): float(r) for n, r in zip(names[seen], recalls[seen], strict=True)},
            },
            training=training,
            benchmark={
                "classes": self.benchmark.num_classes,
                "seen": len(self.benchmark.seen_classes),
                "unseen": len(self.benchmark.unseen_classes),
                "samples": self.benchmark.num_samples,
                "splits_sha256": self.benchmark.provenance.splits_sha256,
                "features_sha256": self.benchmark.provenance.features_sha256,
                "splits_version": self.benchmark.provenance.splits_version,
            },
            checkpoint=str(path),
            versions=versions(),
            git_commit=git_commit(),
            model=complexity(method, data.samples(data.split.eval_unseen[:1], method.device).inputs),
            calibration=method.calibration if config.selection.calibrate and config.selection.name == "validation" else None,
            extra=method.extra_figures() or None,
        )
        predicted = method.test_predictions()
        artifacts.write_predictions(self.folder, data, predicted)
        result.save(self.folder)
        artifacts.draw_figures(self.folder, data, method, result, predicted, selected=checkpoint["method_state"]["step"])
        return result

    # --------------------------------------------------------------------------- parts

    def _data(self, split: Split) -> PhaseDataModule:
        return self.config.dataset.data_module(self.benchmark, split)

    def _trainer(self, callbacks: list[pl.Callback], *, epochs: int, look: bool) -> pl.Trainer:
        chosen = self.config.trainer
        extra = [instantiate(node) for node in self.config.callbacks.values()] if epochs else []
        return pl.Trainer(
            accelerator=chosen.accelerator,
            devices=chosen.devices,
            precision=chosen.precision,
            log_every_n_steps=chosen.log_every_n_steps,
            max_epochs=epochs,
            limit_val_batches=None if look else 0,
            num_sanity_val_steps=0,
            logger=self._loggers if epochs else False,
            callbacks=[*extra, *callbacks],
            enable_checkpointing=True,
            plugins=[checkpoints.AtomicCheckpointIO()],
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=str(self.folder),
        )

    def _device_name(self) -> str:
        if self.config.trainer.accelerator == "gpu":
            return torch.cuda.get_device_name()
        return f"cpu ({torch.get_num_threads()} threads)"


def _load_benchmark(config: RunConfig) -> Benchmark:
    load = config.dataset.load_images if config.method_class.takes == "images" else config.dataset.load
    benchmark: Benchmark = load(_data_paths(config))
    return redraw(benchmark, config.dataset.split_seed) if config.dataset.split == "random" else benchmark


def _data_paths(config: RunConfig) -> DataPaths:
    return DataPaths(Path(config.paths.data_dir).expanduser(), config.paths.cache_folder)


def _check_same_benchmark(about: dict[str, Any], benchmark: Benchmark, config: RunConfig) -> None:
    for what in ("splits_sha256", "features_sha256"):
        found = getattr(benchmark.provenance, what)
        if about[what] != found:
            raise CheckpointError(
                f"ckpt={config.ckpt}: it was trained on other data: {what} is {found[:12]} here, {about[what][:12]} in the checkpoint. "
                "Classes it trained on might be tested as unseen. Give the same files (paths.data_dir, dataset.*), or train anew."
            )


def _check_hardware(config: RunConfig) -> None:
    trainer = config.trainer
    if trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError(
            "trainer.accelerator=gpu: PyTorch finds no GPU on this machine. "
            "Use hardware=cpu, or install a PyTorch build with CUDA where there is one."
        )
    if trainer.devices > 1:
        raise ConfigError(f"trainer.devices={trainer.devices}: this version trains on one device. Set trainer.devices=1.")


def _quiet() -> None:
    """Silence what Lightning says about choices that were made on purpose."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
