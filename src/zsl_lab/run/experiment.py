"""One experiment as a plain function: configuration in, :class:`Result` out. No Hydra globals."""

from __future__ import annotations

import logging
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger

from zsl_lab.data.batches.features import PhaseDataModule
from zsl_lab.data.benchmark import Benchmark, IntArray
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.splits import Split, redraw, test_split, validation_split
from zsl_lab.errors import (
    CheckpointError,
    ConfigError,
    InterruptionError,
    TrainingError,
    output_error,
)
from zsl_lab.files.atomic import atomic_write
from zsl_lab.files.cache import LRUCache, file_stamp
from zsl_lab.hardware import distributed
from zsl_lab.hardware.trainer import (
    Hardware,
    check_processes,
    check_started,
    find_hardware,
    processor,
)
from zsl_lab.methods.base import Check, ZeroShotMethod
from zsl_lab.methods.complexity import complexity
from zsl_lab.result import RESULT_FILE, Result, git_commit, versions
from zsl_lab.run import checkpoints
from zsl_lab.run.callbacks.phase_checkpoint import PhaseCheckpoint
from zsl_lab.run.callbacks.stopwatch import Stopwatch
from zsl_lab.run.config import RunConfig, parse
from zsl_lab.run.loggers import base as loggers
from zsl_lab.run.pretraining import SharedPretraining
from zsl_lab.run.pretraining import facts as pretraining_facts
from zsl_lab.run.records import artifacts, metrics_csv, tradeoff_csv
from zsl_lab.run.records.artifacts import PREDICTIONS_FILE


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
        validation: The figures of that step on validation classes, and ``step``; None where these
            did not choose.
    """

    step: int | None
    calibration: float | None
    validation: dict[str, Any] | None = None


def run(cfg: DictConfig) -> Result:
    """Train and test, or only test, as the configuration says.

    Args:
        cfg: A composed configuration; ``paths.run_dir`` is the folder that everything is written
            to.

    Returns:
        What was found; also written to ``result.json``.

    Raises:
        ZslLabError: Anything that the user can mend, as a sentence.
    """
    config = parse(cfg)
    if config.task == "predict":
        raise ConfigError(
            "task=predict is not a run: the command line does it, or "
            "zsl_lab.predict.command.predict."
        )
    _quiet()
    checkpoint = checkpoints.read(config.ckpt, "ckpt") if config.ckpt else None
    if config.task == "test" and checkpoint is None:
        raise ConfigError("task=test needs a checkpoint: ckpt=<run>/checkpoints/best.ckpt.")
    check_started(config.trainer)
    hardware = find_hardware(config.trainer)
    check_processes(config.trainer, hardware)
    folder = Path(config.paths.run_dir)
    resumed = config.task == "fit" and checkpoint is not None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if config.method_class.takes == "images":
            # an error where there are no images, before anything else is missed
            config.dataset.image_view()
        if config.task == "fit":
            config.method.check_files()
        benchmark = _load_benchmark(config)
        if checkpoint is not None:
            _check_same_benchmark(checkpoint["zsl_lab"], benchmark, config)
        if config.task == "test" and distributed.is_main():
            _write_config(folder, config)
        experiment = _Experiment(config, benchmark, folder, hardware)
        return (
            experiment.test_only(checkpoint)
            if config.task == "test" and checkpoint
            else experiment.fit(checkpoint)
        )
    except Exception as error:
        if not resumed and distributed.is_main() and not (folder / "checkpoints").exists():
            for name in ("config.yaml", metrics_csv.FILE):
                with suppress(OSError):  # what cannot be written to holds nothing of ours
                    (folder / name).unlink()
        found = output_error(error, "paths.output_dir") if isinstance(error, OSError) else None
        if found is None:
            raise
        raise found from error
    finally:
        distributed.disconnect()


def _begin(folder: Path, config: RunConfig) -> None:
    """Begin a run: what another left in this folder is no part of it, and nobody shall take it for its own."""
    for name in (RESULT_FILE, PREDICTIONS_FILE, tradeoff_csv.FILE, metrics_csv.FILE):
        (folder / name).unlink(missing_ok=True)
    for path in (folder / "checkpoints").glob("*.ckpt"):
        path.unlink()
    _write_config(folder, config)


def _write_config(folder: Path, config: RunConfig) -> None:
    text = config.marks.header() + OmegaConf.to_yaml(OmegaConf.create(config.plain))
    atomic_write(folder / "config.yaml", text.encode())


class _Experiment:
    """The steps of a run, with what they share."""

    def __init__(
        self, config: RunConfig, benchmark: Benchmark, folder: Path, hardware: Hardware
    ) -> None:
        self.config = config
        self.hardware = hardware
        self.benchmark = benchmark
        self.folder = folder
        self._loggers: list[Logger] = []

    # --------------------------------------------------------------------------- the two tasks

    def fit(self, checkpoint: dict[str, Any] | None) -> Result:
        """Select (where validation does), refit, test once; the loggers learn of all of it."""
        start = self._start()
        if checkpoint is None and distributed.is_main():
            _begin(self.folder, self.config)
        if checkpoint is not None and distributed.is_main():
            metrics_csv.rewind(
                self.folder, checkpoint["zsl_lab"]["phase"], checkpoint["method_state"]["step"]
            )
        plain = self.config.plain
        named = {**plain, "dataset": {**plain["dataset"], "name": self.benchmark.name}}
        facts = loggers.RunFacts(self.folder, named, resumed=checkpoint is not None)
        with loggers.opened(facts, self.config.loggers) as self._loggers:
            result = self._fit(checkpoint, start)
            loggers.log_result(self._loggers, result)
        return result

    def _fit(self, checkpoint: dict[str, Any] | None, start: dict[str, Any] | None) -> Result:
        selection = self.config.selection
        about = checkpoint["zsl_lab"] if checkpoint else None
        resume_phase = about["phase"] if about else None
        resumed_at = (
            {about["phase"]: int(checkpoint["method_state"]["step"])}
            if checkpoint and about
            else {}
        )
        chosen = (
            Chosen(about["selected"], about.get("calibration", 0.0), about.get("validation"))
            if about
            else Chosen(None, 0.0)
        )
        spent = about["spent"] if about else {"steps": 0, "seconds": 0.0}
        if selection.name == "validation" and resume_phase != "refit":
            split = validation_split(self.benchmark, selection.validation_seed)
            # None: each check finds the constant that suits it
            open_choice = Chosen(None, None if selection.calibrate else 0.0)
            outcome = self._train(
                "select", split, open_choice, spent, None, resumed_at.get("select")
            )
            chosen = Chosen(outcome.steps, 0.0)
            if outcome.best:
                best = outcome.best
                chosen = Chosen(
                    best.effective_step,
                    best.calibration,
                    {**best.metrics, "step": best.effective_step},
                )
            spent = {"steps": outcome.steps, "seconds": outcome.seconds}
        outcome = self._train(
            "refit", test_split(self.benchmark), chosen, spent, start, resumed_at.get("refit")
        )
        steps, seconds = spent["steps"] + outcome.steps, spent["seconds"] + outcome.seconds
        training = {
            "steps": steps,
            "seconds": round(seconds, 3),
            "steps_per_second": round(steps / seconds, 3) if seconds else 0.0,
            "device": self._device_name(),
            "precision": self.config.trainer.precision,
            "world_size": self.hardware.processes,
        }
        oracle = (
            {**outcome.best.metrics, "step": outcome.best.effective_step} if outcome.best else None
        )
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
        self,
        phase: str,
        split: Split,
        chosen: Chosen,
        spent: dict[str, Any],
        start: dict[str, Any] | None,
        resumed_at: int | None,
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
        if (
            phase == "select"
            and config.method.initial_weights is not None
            and method.first_candidate == 0
        ):
            raise ConfigError(
                "method.steps=0: the given network has seen the validation classes, so "
                "selection=validation pre-trains one of its own "
                "to choose the step with. Set method.steps above 0, or selection=last."
            )
        if start is not None:
            self._load_start(method, start)
        first_step = method.step
        looks = phase == "select" or selection.report_oracle or selection.name == "oracle"
        last = method.total_steps if looks or selected is None else selected
        checks = set(range(selection.check_every, last, selection.check_every)) | {
            step for step in method.milestones if 0 < step < last
        }
        checks |= {last} if selected is None else {last, selected}
        steps = sorted(step for step in checks if step > first_step)
        data.plan_training(method.batch_size_at, steps or [last], config.seed, first_step)
        about = {
            "format": checkpoints.FORMAT,
            "config": config.plain,
            "phase": phase,
            "selected": selected,
            "calibration": chosen.calibration,
            "validation": chosen.validation,
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

        resumed = resumed_at is not None
        saver = PhaseCheckpoint(
            self.folder, about, is_best, every=config.trainer.save_every_n_steps, resumed=resumed
        )
        clock = Stopwatch()
        trainer = self._trainer([saver, clock], epochs=len(steps), look=looks)
        # what was resumed may have begun on other hardware, or with other versions, than the facts
        # that it is shared by
        place = (
            self._place_of_pretraining(phase, chosen, looks)
            if first_step == 0 and not resumed
            else None
        )
        try:
            pretrained = place if place and self._find_pretraining(place, trainer, saver) else None
            state = pretrained.path if pretrained else config.ckpt if resumed else None
            trainer.fit(method, datamodule=data, ckpt_path=state, weights_only=True)
        except TrainingError as error:
            raise TrainingError(f"{error} {saver.last_good}") from error
        except SystemExit:  # how Lightning ends a fit that was interrupted from the keyboard
            raise InterruptionError(saver.how_to_go_on("Interrupted")) from None
        finally:
            if place is not None:
                place.release()
        if not resumed and (pretrained.steps if pretrained else first_step) == last:
            saver.save_end(trainer, method)  # nothing to train: Lightning called no hook
        return PhaseOutcome(method.step - first_step, clock.seconds, method.best)

    def _place_of_pretraining(
        self, phase: str, chosen: Chosen, looks: bool
    ) -> SharedPretraining | None:
        """Where the pre-training of a phase is shared; None where it is not, or where there is none."""
        config = self.config
        if config.paths.pretrained_dir is None or config.method.pretraining is None:
            return None
        facts = pretraining_facts(
            config, self.benchmark, phase, chosen.calibration, self.hardware, evaluates=looks
        )
        return SharedPretraining(
            Path(config.paths.pretrained_dir), config.method.pretraining.steps, facts
        )

    def _find_pretraining(
        self, place: SharedPretraining, trainer: pl.Trainer, saver: PhaseCheckpoint
    ) -> bool:
        """Whether to start from what was done before; it is logged as if it had been done here. Else this run may leave its own."""
        several = self.hardware.processes > 1
        if several:
            trainer.strategy.setup_environment()  # connects the processes: the first looks for all
        # of several processes the others would lose patience
        rows = place.find_or_claim(wait=not several) if distributed.is_main() else None
        rows, claimed = distributed.gather((rows, place.claimed))[0]
        if claimed:
            saver.share(place)
        if rows is None:
            return False
        for logger in self._loggers:
            loggers.log_rows(logger, rows)
        return True

    def _start(self) -> dict[str, Any] | None:
        """The checkpoint to start from, looked at before anything is trained; None to train from scratch."""
        config, path = self.config, self.config.method.initial_weights
        if path is None:
            return None
        if Path(path).resolve().is_relative_to(self.folder.resolve()):
            raise ConfigError(
                f"method.init_from={path}: it lies in the folder of this run, which would write "
                "over it. Give this run another hydra.run.dir, or move the checkpoint."
            )
        checkpoint = checkpoints.read(Path(path), "method.init_from")
        about, here = checkpoint["zsl_lab"], self.benchmark.provenance
        if about["phase"] != "refit" or (about["splits_sha256"], about["features_sha256"]) != (
            here.splits_sha256,
            here.features_sha256,
        ):
            raise CheckpointError(
                f"method.init_from={path}: it was trained on other classes or samples (splits "
                f"{about['splits_sha256'][:12]}, features {about['features_sha256'][:12]}, phase "
                f"{about['phase']}); expected splits {here.splits_sha256[:12]}, features "
                f"{here.features_sha256[:12]}, phase refit. Train the mmVAE on this dataset and "
                "split first, or leave init_from out."
            )
        for key in ("normalize", "normalize_semantics"):
            found, expected = about["config"]["dataset"][key], getattr(config.dataset, key)
            if found != expected:
                raise CheckpointError(
                    f"method.init_from={path}: it was trained with dataset.{key}={found}; this run "
                    f"has {expected}. Set dataset.{key}={found}, or leave init_from out."
                )
        if about["config"]["selection"]["name"] == "oracle" and config.selection.name != "oracle":
            raise CheckpointError(
                f"method.init_from={path}: its step was selected on test, so what starts from it "
                "is an oracle's too. Set selection=oracle, or start from a run with "
                "selection=validation or last."
            )
        return checkpoint

    def _load_start(self, method: ZeroShotMethod, checkpoint: dict[str, Any]) -> None:
        try:
            method.load_state_dict(checkpoint["state_dict"])
        except RuntimeError as error:
            problem = str(error).splitlines()[1].strip()
            raise CheckpointError(
                f"method.init_from={self.config.method.initial_weights}: its networks have another "
                f"shape ({problem}). Use the same method.* widths as it was trained with, or leave "
                "init_from out."
            ) from error
        method.step = method.first_candidate

    # --------------------------------------------------------------------------- testing

    def _test(self, path: Path, training: dict[str, Any], oracle: dict[str, Any] | None) -> Result:
        config = self.config
        checkpoint = checkpoints.read(path, "ckpt")
        data = self._data(test_split(self.benchmark))
        method = config.method_class.build(
            config.method, data, cache_dir=config.paths.cache_folder, weights_follow=True
        )
        try:
            method.load_state_dict(checkpoint["state_dict"])
        except RuntimeError as error:
            raise CheckpointError(
                f"ckpt={path}: its weights do not fit method={config.method.name} on this dataset "
                f"({str(error).splitlines()[1].strip()})."
            ) from error
        method.calibration = checkpoint["zsl_lab"].get("calibration", 0.0)
        self._trainer([], epochs=0, look=True).test(method, datamodule=data, verbose=False)
        method.eval()  # Lightning puts it back as it was, with dropout on
        recalls = method.metrics.recalls().cpu().numpy()
        tradeoff = method.metrics.tradeoff(method.calibration or 0.0)
        seen = data.classes.seen_mask
        names = np.array(data.classes.names, dtype=object)
        result = Result(
            method=config.method.name,
            dataset=self.benchmark.name,
            seed=config.seed,
            selection=config.selection.name,
            metrics=method.test_metrics(),
            oracle=oracle,
            per_class={
                "unseen": {
                    str(n): float(r) for n, r in zip(names[~seen], recalls[~seen], strict=True)
                },
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
            model=complexity(
                method, data.samples(data.split.eval_unseen[:1], method.device).inputs
            ),
            calibration=method.calibration
            if config.selection.calibrate and config.selection.name == "validation"
            else None,
            extra=method.extra_figures() or None,
            validation=checkpoint["zsl_lab"].get("validation"),
        )
        predicted = _in_order(method.test_predictions(), data.evaluation_index)
        if not distributed.is_main():
            return result
        artifacts.write_predictions(self.folder, data, predicted)
        tradeoff_csv.write(self.folder, tradeoff)
        result.save(self.folder)
        artifacts.draw_figures(
            self.folder,
            data,
            method,
            result,
            predicted,
            selected=checkpoint["method_state"]["step"],
        )
        return result

    # --------------------------------------------------------------------------- parts

    def _data(self, split: Split) -> PhaseDataModule:
        return self.config.dataset.data_module(self.benchmark, split)

    def _trainer(self, callbacks: list[pl.Callback], *, epochs: int, look: bool) -> pl.Trainer:
        chosen, hardware = self.config.trainer, self.hardware
        environment: list[Any] = []
        if (
            chosen.launch == "slurm"
            # resume=auto goes on after a requeue; Lightning's own way would load a state of another
            # phase
        ):
            environment = [SLURMEnvironment(auto_requeue=False)]
        elif hardware.nodes == 1:
            environment = [LightningEnvironment()]
        extra = (
            [instantiate(node) for node in self.config.callbacks.values()]
            if epochs and distributed.is_main()
            else []
        )
        return pl.Trainer(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            num_nodes=hardware.nodes,
            strategy=distributed.GradientAveraging() if hardware.processes > 1 else "auto",
            use_distributed_sampler=False,  # the data modules give each process its share
            precision=chosen.precision,
            deterministic=self.config.deterministic,
            log_every_n_steps=chosen.log_every_n_steps,
            max_epochs=epochs,
            limit_val_batches=None if look else 0,
            num_sanity_val_steps=0,
            logger=self._loggers if epochs else False,
            callbacks=[*extra, *callbacks],
            enable_checkpointing=True,
            plugins=[checkpoints.AtomicCheckpointIO(), *environment],
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=str(self.folder),
        )

    def _device_name(self) -> str:
        threads = torch.get_num_threads()
        cpu = f"cpu ({processor()}, {threads} thread{'s' if threads > 1 else ''})"
        name = torch.cuda.get_device_name() if self.hardware.accelerator == "gpu" else cpu
        return f"{self.hardware.processes} x {name}" if self.hardware.processes > 1 else name


def _load_benchmark(config: RunConfig) -> Benchmark:
    dataset, paths = config.dataset, _data_paths(config)
    load = dataset.load_images if config.method_class.takes == "images" else dataset.load
    sources = dataset.sources(paths)
    if sources is None:
        benchmark: Benchmark = load(paths)
    else:
        read = dataset.model_dump_json(exclude=_APPLIED_LATER)
        places = (paths.data_dir.absolute(), paths.cache_dir.absolute())
        key = (type(dataset), config.method_class.takes, read, places, file_stamp(sources))
        benchmark = _benchmarks.get(key, lambda: _protected(load(paths)))
    return (
        redraw(benchmark, config.dataset.split_seed)
        if config.dataset.split == "random"
        else benchmark
    )


def _arrays(benchmark: Benchmark) -> list[npt.NDArray[Any]]:
    return [
        array
        for name in ("features", "semantics", "images", "labels")
        if (array := getattr(benchmark, name, None)) is not None
    ]


def _size(benchmark: Benchmark) -> int:
    return sum(array.nbytes for array in _arrays(benchmark) if not isinstance(array, np.memmap))


def _protected(benchmark: Benchmark) -> Benchmark:
    for array in _arrays(benchmark):
        array.flags.writeable = False
    return benchmark


#: benchmarks that the next job of a sweep need not read again, up to a gibibyte
_benchmarks: LRUCache[Benchmark] = LRUCache(2**30, _size)
#: what a benchmark's phases depend on, and its reading does not
_APPLIED_LATER = {"split", "split_seed", "normalize", "normalize_semantics"}


def _data_paths(config: RunConfig) -> DataPaths:
    return DataPaths(Path(config.paths.data_dir).expanduser(), config.paths.cache_folder)


def _check_same_benchmark(about: dict[str, Any], benchmark: Benchmark, config: RunConfig) -> None:
    for what in ("splits_sha256", "features_sha256"):
        found = getattr(benchmark.provenance, what)
        if about[what] != found:
            raise CheckpointError(
                f"ckpt={config.ckpt}: it was trained on other data: {what} is {found[:12]} here, "
                f"{about[what][:12]} in the checkpoint. Classes it trained on might be tested as "
                "unseen. Give the same files (paths.data_dir, dataset.*), or train anew."
            )


def _in_order(predicted: artifacts.Predicted, index: IntArray) -> artifacts.Predicted:
    """Predictions in the order of the samples ``index``, whichever process made them."""
    sorter = np.argsort(index)
    place = sorter[np.searchsorted(index, predicted[0].numpy(), sorter=sorter)]
    order = torch.from_numpy(np.argsort(place))
    return predicted[0][order], predicted[1][order], predicted[2][order]


def _quiet() -> None:
    """Silence what Lightning says about choices that were made on purpose."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
