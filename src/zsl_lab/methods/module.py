"""The Lightning side of a method: training loop, checks, checkpoints and exact resume.

A method's author reads :mod:`zsl_lab.methods.base` instead; what :class:`MethodModule` asks of a
method is documented there.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from zsl_lab.data.batches.base import Batch, ClassSpace, PhaseDataModule
from zsl_lab.errors import CheckpointError, TrainingError
from zsl_lab.hardware import distributed
from zsl_lab.metrics import ExtraAccuracies, ZeroShotMetrics, predict
from zsl_lab.nn.many_classes import FEW_CLASSES

#: spans of training steps, first and last (exclusive)
Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Check:
    """The metrics of the evaluation samples at one step.

    Attributes:
        step: Training steps taken when they were measured.
        effective_step: Steps that shaped the weights; fewer than ``step`` where steps were undone.
        metrics: ``zsl_top1, unseen, seen, harmonic_mean, ausuc``, in percent.
        calibration: The constant that was added to the scores of unseen classes.
    """

    step: int
    effective_step: int
    metrics: dict[str, float]
    calibration: float = 0.0


class FittedClassifier(Protocol):
    """The interface that a method needs of a :class:`zsl_lab.classifiers.base.Classifier`.

    Attributes:
        fitted: Names of the tensors that :meth:`fit` sets; empty if there is nothing to fit.
    """

    fitted: ClassVar[tuple[str, ...]]

    def fit(self, method: Any, data: PhaseDataModule) -> None:
        """Fit to the training samples of a phase."""

    def scores(self, method: Any, features: Tensor) -> Tensor:
        """Score every class, ``[B, C]``."""

    def set_classes(self, method: Any, classes: ClassSpace) -> None:
        """Score other classes from now on."""


def rank(check: Check, metric: str) -> tuple[float, float]:
    """Sort key of a check: a metric, then AUSUC; NaN is below every number.

    Early in training every harmonic mean may be 0, and AUSUC still differs.
    """
    values = (check.metrics[metric], check.metrics["ausuc"])
    first, second = (value if value == value else -math.inf for value in values)
    return first, second


class MethodModule(pl.LightningModule, ABC):
    """Trains, evaluates and stores a method.

    Args:
        classes: Semantics of all classes and which of them are seen.

    Attributes:
        step: Training steps taken.
        checks: Every check made so far, in order.
        best: The best check by :attr:`selection_metric` from :attr:`first_candidate` on; AUSUC
            decides between equals.
        selection_metric: The metric that decides which check is the best.
        steered_by_checks: Whether checks may influence training; never set where the checks use
            test samples and the result is not labelled an oracle's.
        calibration: Constant added to the scores of unseen classes (calibrated stacking, Chao et
            al., ECCV 2016); None lets each check find its own.
        classifier: Scores the classes in evaluation and prediction; None for
            :meth:`class_scores`. Its tensors are not part of the weights.
        classifier_step: Training steps taken when the classifier was fitted; None if it was not.
        retraced: Spans of steps of the selection phase, first and last (exclusive), whose learning
            rates a refit repeats in order; empty if no step was undone there.
        phase: ``select`` (``select_2`` for a second draw of validation classes) or ``refit``, the
            prefix of every logged name.
        last_losses: The losses that were last read from the device.
        semantics: Scaled semantics of the classes, ``[C, Q]``.
        seen_mask: Whether each class is seen, bool ``[C]``.
        unseen: Positions of the unseen classes.
    """

    #: whether the losses of every step are logged, whatever ``trainer.log_every_n_steps`` says
    logs_every_step: ClassVar[bool] = False

    def __init__(self, classes: ClassSpace) -> None:
        super().__init__()
        # manual optimisation: a step may take several updates with several optimisers, and it is
        # faster
        self.automatic_optimization = False
        self.semantics: Tensor
        self.seen_mask: Tensor
        self.unseen: Tensor
        # not part of the weights: other classes may be set later
        for name, tensor in class_tensors(classes).items():
            self.register_buffer(name, tensor, persistent=False)
        tested = None if classes.tested_mask is None else torch.as_tensor(classes.tested_mask)
        self.metrics = ZeroShotMetrics(torch.as_tensor(classes.seen_mask), tested)
        self.extra_accuracies = ExtraAccuracies(torch.as_tensor(classes.seen_mask), tested)
        self.step = 0
        self.checks: list[Check] = []
        self.best: Check | None = None
        self.selection_metric = "harmonic_mean"
        self.steered_by_checks = False
        self.calibration: float | None = 0.0
        self.classifier: FittedClassifier | None = None
        self.classifier_step: int | None = None
        self.phase = "refit"
        self.retraced: Spans = ()
        self.last_losses: dict[str, float] = {}
        self._losses: dict[str, Tensor] = {}
        self._of_classes: tuple[list[tuple[Tensor, int]], Tensor] | None = None
        self._predictions: list[tuple[Tensor, Tensor, Tensor]] = []
        self._random_states: list[dict[str, Any]] = []
        self._common_seed: int | None = None

    # -------------------------------------------- what is asked of a method, see ZeroShotMethod

    @abstractmethod
    def class_scores(self, features: Tensor) -> Tensor:
        """Score every class, ``[B, C]``."""

    @abstractmethod
    def train_on(self, batch: Batch) -> Mapping[str, Tensor]:
        """Take one training step and return its named losses."""

    @abstractmethod
    def learning_rate_at(self, step: int) -> float | None:
        """Learning rate at a step; None leaves it unchanged."""

    @property
    @abstractmethod
    def first_candidate(self) -> int:
        """The first step whose weights may be selected."""

    @property
    @abstractmethod
    def total_steps(self) -> int:
        """Training steps."""

    @property
    @abstractmethod
    def effective_step(self) -> int:
        """Training steps that shaped the present weights."""

    @abstractmethod
    def after_check(self, *, improved: bool) -> None:
        """React to a check."""

    @abstractmethod
    def own_metrics(self) -> dict[str, float]:
        """Metrics of the last evaluation that replace those of the same name."""

    @abstractmethod
    def extra_metrics(self) -> dict[str, float]:
        """Further metrics of the last test."""

    @abstractmethod
    def extra_state(self) -> dict[str, Any]:
        """State beside weights and optimisers."""

    @abstractmethod
    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore :meth:`extra_state`."""

    # ------------------------------------------------------------------------------- training

    def descend(self, loss: Tensor, optimizer: Any) -> None:
        """Update the weights once: zero the gradients, back-propagate, step.

        Args:
            loss: Scalar.
            optimizer: One of those that :meth:`optimizers` returns.
        """
        optimizer.zero_grad(set_to_none=True)
        self.manual_backward(loss)
        if distributed.world_size() > 1:
            gradients = [
                p.grad
                for group in optimizer.param_groups
                for p in group["params"]
                if p.grad is not None
            ]
            distributed.average([*gradients, *self._running_statistics()])
        optimizer.step()

    def _running_statistics(self) -> list[Tensor]:
        """The running statistics of batch normalisation, which all processes must share."""
        norms = (
            module
            for module in self.modules()
            if isinstance(module, _BatchNorm) and module.training
        )
        return [t for norm in norms for t in (norm.running_mean, norm.running_var) if t is not None]

    def common_draws(self, count: int) -> Tensor:
        """Uniform random numbers that are equal in every process of a run.

        For choices that all processes must make alike. The numbers are on the CPU, so that reading
        them does not wait for a GPU.

        Args:
            count: How many.

        Returns:
            ``[count]``, in [0, 1).
        """
        if self._common_seed is None:
            return torch.rand(count)
        generator = torch.Generator().manual_seed(
            distributed.derived_seed(self._common_seed, self.step)
        )
        return torch.rand(count, generator=generator)

    def training_step(self, batches: Iterable[Batch], batch_idx: int) -> None:
        """Train on some batches (:mod:`zsl_lab.data.batches.groups`), a step each."""
        for batch in batches:
            self.take_step(batch)

    def take_step(self, batch: Batch) -> None:
        """Train on a batch."""
        self.begin_step()
        self.end_step({name: loss.detach() for name, loss in self.train_on(batch).items()})

    def begin_step(self) -> None:
        """Set the learning rate of the step."""
        rate = self.learning_rate_at(self.schedule_step)
        if rate is not None:
            for optimizer in self.trainer.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate

    def end_step(self, losses: dict[str, Tensor]) -> None:
        """Count the step, and log its losses every ``trainer.log_every_n_steps`` steps.

        They are read from the device only then, since reading waits for it.
        """
        self._losses = losses
        self.step += 1
        every = 1 if self.logs_every_step else self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self.step % every == 0:
            self._log_losses()

    @property
    def schedule_step(self) -> int:
        """The step of the schedule whose learning rate the current step uses.

        A refit repeats the steps that shaped the selected weights, each with the learning rate that
        it had in the selection phase; steps that were undone there are skipped.
        """
        left = self.step
        for start, end in self.retraced:
            if left < end - start:
                return start + left
            left -= end - start
        last = self.retraced[-1][1] if self.retraced else 0
        return min(last + left, max(self.total_steps - 1, 0))

    def _read_losses(self) -> None:
        names = list(self._losses)
        values = torch.stack([self._losses[name].float() for name in names])
        distributed.average([values])
        self.last_losses = dict(zip(names, values.tolist(), strict=True))

    def _check_losses(self) -> None:
        bad = [name for name, value in self.last_losses.items() if not math.isfinite(value)]
        if not bad:
            return
        # name a term rather than the sum of all
        name, *others = sorted(bad, key=lambda name: name == "total")
        more = [f"so is '{other}'" for other in others if other != "total"]
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every > 1:  # weights that are not finite make every later loss so
            more.append(
                f"it may have begun up to {every - 1} steps earlier: trainer.log_every_n_steps=1 "
                "finds the step"
            )
        raise _divergence(
            f"the loss '{name}' is {self.last_losses[name]} at step {self.step}", "; ".join(more)
        )

    def check_finite(self) -> None:
        """Check that the weights and the optimisers' state are finite.

        Raises:
            TrainingError: A number among them is not finite. The message names the term of the last
                loss that is not finite either, if there is one.
        """
        states = (
            state for optimizer in self.trainer.optimizers for state in optimizer.state.values()
        )
        tensors = [
            *self.state_dict().values(),
            *(value for state in states for value in state.values()),
        ]
        extremes: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
        for tensor in tensors:
            if torch.is_tensor(tensor) and tensor.is_floating_point() and tensor.numel():
                # these two are not finite if any number is not; isfinite() would need memory
                lowest, highest = torch.aminmax(tensor)
                extremes.setdefault((tensor.device, tensor.dtype), []).extend((lowest, highest))
        if all(bool(torch.stack(found).isfinite().all()) for found in extremes.values()):
            return
        if self._losses:
            self._read_losses()
            self._check_losses()
        raise _divergence(
            f"weights are not finite after step {self.step}, while every term of the loss still is"
        )

    def _log_losses(self) -> None:
        self._read_losses()
        self._check_losses()
        for logger in self.loggers:
            logger.log_metrics(
                {f"{self.phase}/loss/{name}": value for name, value in self.last_losses.items()},
                step=self.step,
            )

    def on_train_start(self) -> None:
        """Restore the random state; this is done last, so that loading does not change it.

        Processes of one run draw equal numbers while they build their networks, and different ones
        from here on.
        """
        if distributed.world_size() > 1:
            self._common_seed = torch.initial_seed()
            if self.global_rank > 0:
                torch.manual_seed(distributed.derived_seed(self._common_seed, self.global_rank))
        states, self._random_states = self._random_states, []
        # a run may be resumed with more processes than it had
        if self.global_rank < len(states):
            state = states[self.global_rank]
            torch.set_rng_state(state["cpu"])
            if state["cuda"] is not None and self.device.type == "cuda":
                torch.cuda.set_rng_state(state["cuda"])

    # ------------------------------------------------------------------------------- evaluation

    def for_batches(self, compute: Callable[[], Tensor]) -> Tensor:
        """Cache a tensor that depends on the classes alone between batches of an evaluation.

        With very many classes a batch has few samples, and computing the tensor for each batch
        would take time quadratic in the number of classes. It is computed at every call while
        gradients are enabled and with few classes, and again after a change of weights, classes or
        mode.

        Args:
            compute: Computes the tensor from this method's parameters and buffers.
        """
        if torch.is_grad_enabled() or self.training or len(self.semantics) <= FEW_CLASSES:
            return compute()
        tensors = (*self.parameters(), *self.buffers(recurse=True))
        # in-place changes raise the version of a tensor
        state = [(tensor, tensor._version) for tensor in tensors if not tensor.is_inference()]
        known = self._of_classes
        if known is not None and len(known[0]) == len(state):
            pairs = zip(known[0], state, strict=True)
            if all(a is b and one == two for (a, one), (b, two) in pairs):
                return known[1]
        found = compute()
        self._of_classes = (state, found)
        return found

    def fit_classifier(self) -> None:
        """Fit the classifier to the training samples of the phase, unless this step did already."""
        classifier = self.classifier
        if classifier is None or not classifier.fitted or self.classifier_step == self.step:
            return
        # in single precision, as scores are; a classifier may need gradients of its own weights
        with (
            self._evaluating(),
            torch.inference_mode(False),
            torch.no_grad(),
            torch.autocast(self.device.type, enabled=False),
        ):
            classifier.fit(self, self.trainer.datamodule)  # type: ignore[attr-defined]
        self.classifier_step = self.step

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Evaluation mode; afterwards each module goes back to the mode that it had."""
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training

    def on_validation_epoch_start(self) -> None:
        """Reset the metrics; fit the classifier where this check may be selected."""
        self.metrics.reset()
        if self.step >= self.first_candidate:
            self.fit_classifier()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch of evaluation samples."""
        self.metrics.update(self._scores(batch), batch.labels)

    def on_validation_epoch_end(self) -> None:
        """Record the check; call :meth:`after_check` if checks may influence training."""
        constant, computed = (
            self.metrics.calibrated()
            if self.calibration is None
            else (self.calibration, self.metrics.compute())
        )
        metrics = self._with_own(computed)
        check = Check(self.step, self.effective_step, metrics, constant)
        self.checks.append(check)
        metric = self.selection_metric
        is_candidate = self.step >= self.first_candidate
        lowest = (-math.inf, -math.inf) if self.best is None else rank(self.best, metric)
        # a check without any metric to compare is not selected
        improved = is_candidate and rank(check, metric) > lowest
        if improved:
            self.best = check
        for logger in self.loggers:
            logger.log_metrics(
                {f"{self.phase}/check/{name}": value for name, value in metrics.items()},
                step=self.step,
            )
        if self.steered_by_checks and is_candidate:
            self.after_check(improved=improved)

    def repeat_check(self) -> None:
        """Repeat the last check with the current classifier and weights."""
        self.checks.pop()
        # no earlier check can have been the best
        self.best = None
        with self._evaluating(), torch.no_grad():
            self.on_validation_epoch_start()
            for number, batch in enumerate(self.trainer.datamodule.val_dataloader()):  # type: ignore[attr-defined]
                self.validation_step(batch, number)
        self.on_validation_epoch_end()

    def _scores(self, batch: Batch) -> Tensor:
        # in single precision whatever training uses, so that metrics do not depend on the hardware
        with torch.autocast(self.device.type, enabled=False):
            scores: Tensor = self(batch.inputs)
        return scores + self.calibration * ~self.seen_mask if self.calibration else scores

    def on_test_epoch_start(self) -> None:
        """Reset the metrics and the predictions."""
        self.metrics.reset()
        self.extra_accuracies.reset()
        self._predictions = []

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch of test samples and keep the predictions."""
        scores = self._scores(batch)
        self.metrics.update(scores, batch.labels)
        self.extra_accuracies.update(scores, batch.labels)
        gzsl, zsl = predict(scores, self.seen_mask, self.metrics.zsl_ids)
        if (gzsl < 0).any():
            raise TrainingError(
                "the scores of some test samples are not numbers: training diverged. Lower "
                "method.learning_rate."
            )
        self._predictions.append((batch.rows.cpu(), gzsl.cpu(), zsl.cpu()))

    def test_metrics(self) -> dict[str, float]:
        """The five metrics of the last test, in percent; NaN for one without samples."""
        return self._with_own(self.metrics.compute())

    def test_extra_metrics(self) -> dict[str, float]:
        """Further metrics of the last test, in percent; those of the method replace others."""
        return {**self.extra_accuracies.compute(), **self.extra_metrics()}

    def _with_own(self, computed: Mapping[str, Tensor]) -> dict[str, float]:
        """Metrics merged with the method's own; NaN for those that have no meaning here."""
        metrics = {**{name: float(value) for name, value in computed.items()}, **self.own_metrics()}
        if len(self.metrics.zsl_ids) == 1:  # every prediction among a single class is right
            metrics["zsl_top1"] = math.nan
        # without seen test samples a bias towards unseen classes would cost nothing
        if math.isnan(metrics["seen"]):
            metrics["unseen"] = math.nan
        return metrics

    def test_predictions(self) -> tuple[Tensor, Tensor, Tensor]:
        """The predictions of the last test, gathered from all processes; each must call it.

        Returns:
            Of every test sample, each ``[N]``: its index in the benchmark, the class position
            predicted among all classes, and the one among the unseen classes.
        """
        of_all = [
            batch for predictions in distributed.gather(self._predictions) for batch in predictions
        ]
        parts = zip(*of_all, strict=True) if of_all else [[torch.zeros(0, dtype=torch.int64)]] * 3
        index, gzsl, zsl = (torch.cat(list(part)) for part in parts)
        return index, gzsl, zsl

    # ------------------------------------------------------------------------------- checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what exact resume needs, as plain containers and tensors.

        ``torch.load(weights_only=True)`` loads them.
        """
        distributed.check_agreement(self.parameters())
        on_gpu = self.device.type == "cuda"
        random = {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if on_gpu else None,
        }
        first, *others = distributed.gather(random)
        checkpoint["method_state"] = {
            "step": self.step,
            "checks": [asdict(check) for check in self.checks],
            "best": asdict(self.best) if self.best else None,
            "random": first,
            "random_of_other_processes": others,
            "extra": self.extra_state(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what :meth:`on_save_checkpoint` added."""
        try:
            state = checkpoint["method_state"]
        except KeyError:
            raise CheckpointError(
                "the checkpoint has no 'method_state': it was not written by this project."
            ) from None
        self.step = state["step"]
        self.checks = [Check(**check) for check in state["checks"]]
        self.best = Check(**state["best"]) if state["best"] else None
        self._random_states = [state["random"], *state.get("random_of_other_processes", [])]
        self.load_extra_state(state["extra"])


def class_tensors(classes: ClassSpace) -> dict[str, Tensor]:
    """The buffers of a method that describe the classes, by name."""
    seen_mask = torch.as_tensor(classes.seen_mask)
    # computed once: nonzero() on a GPU waits for it
    return {
        "semantics": torch.as_tensor(classes.semantics),
        "seen_mask": seen_mask,
        "unseen": (~seen_mask).nonzero().squeeze(1),
    }


def _divergence(problem: str, more: str = "") -> TrainingError:
    detail = f" ({more})" if more else ""
    return TrainingError(
        f"{problem}: training diverged{detail}. Lower method.learning_rate, or scale the input "
        "(dataset.normalize, dataset.normalize_semantics)."
    )
