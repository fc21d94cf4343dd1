"""The contract between a method and everything around it.

A method says how it trains on a batch (:meth:`ZeroShotMethod.train_on`) and how likely each class
is (:meth:`ZeroShotMethod.class_scores`). Evaluation, selection, checkpoints and exact resume are
done here, once.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytorch_lightning as pl
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from zsl_lab.data.batches.features import Batch, ClassSpace, FeatureDataModule, PhaseDataModule
from zsl_lab.errors import CheckpointError, ConfigError, TrainingError
from zsl_lab.hardware import distributed
from zsl_lab.keys import AfterPretraining
from zsl_lab.metrics import ZeroShotMetrics, predict

#: the width of a layer, as a configuration key
Width = Annotated[int, Field(ge=1)]


class MethodConfig(BaseModel):
    """What every method's configuration has.

    Attributes:
        name: The method's name, as in ``method=...`` and in ``result.json``.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Annotated[str, AfterPretraining()]

    @property
    def initial_weights(self) -> str | None:
        """A checkpoint to start from instead of training up to the first candidate; None to train from scratch."""
        return None

    @property
    def pretraining(self) -> Pretraining | None:
        """The part of training that runs may share; None where there is no such part."""
        return None

    def check_files(self) -> None:
        """Look at the files that training needs beside the data, so that a missing one is noticed before data are read."""


@dataclass(frozen=True)
class Pretraining:
    """A first part of training, which runs may share that differ only in what comes after it.

    Attributes:
        steps: Its last step, which is also a milestone (:attr:`ZeroShotMethod.milestones`). Keys
            without effect before it carry the mark :class:`zsl_lab.keys.AfterPretraining`.
    """

    steps: int


@dataclass(frozen=True)
class Check:
    """What one look at the evaluation samples found.

    Attributes:
        step: Training steps taken when it was made.
        effective_step: Steps that shaped the weights; fewer than ``step`` where steps were undone.
        metrics: ``zsl_top1, unseen, seen, harmonic_mean, ausuc``, in percent.
        calibration: The constant that was added to the scores of unseen classes.
    """

    step: int
    effective_step: int
    metrics: dict[str, float]
    calibration: float = 0.0


@dataclass(frozen=True)
class ExportedNetwork:
    """A network that was made for the candidate classes, for use without this package.

    Attributes:
        state: Its state dict, tensors on the CPU.
        description: The architecture that loads it, in words.
    """

    state: Mapping[str, Tensor]
    description: str


class ZeroShotMethod(pl.LightningModule, ABC):
    """A zero-shot learner: trains on seen classes, scores all classes.

    Args:
        config: The method's own configuration, an instance of :attr:`config_class`.
        feature_dim: D, the dimension of a feature vector.
        classes: Semantics of all classes and which of them are seen.

    Attributes:
        step: Training steps taken.
        checks: Every check made so far, in order.
        best: The best check by :attr:`selection_metric` (and by AUSUC among equals) from
            :attr:`first_candidate` on.
        selection_metric: The metric that ``best`` goes by.
        steered_by_checks: Whether checks may influence training; never set where the checks look at
            test samples and the result is not labelled an oracle's.
        calibration: Constant added to the scores of unseen classes (calibrated stacking, Chao et
            al., ECCV 2016); None for each check to find its own.
        phase: ``select`` or ``refit``; begins every logged name.
        last_losses: The losses last looked at.
        semantics: Scaled semantics of the classes, ``[C, Q]``.
        seen_mask: Whether each class is seen, bool ``[C]``.
        unseen: Positions of the unseen classes.
    """

    config_class: ClassVar[type[MethodConfig]]
    #: what a sample is to the method: a feature vector, or an image while a text describes each
    #: class
    takes: ClassVar[Literal["features", "images"]] = "features"
    config: MethodConfig

    def __init__(self, config: MethodConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__()
        # a step may take several updates with several optimisers; manual optimisation is also
        # faster
        self.automatic_optimization = False
        self.config = config
        # not part of the weights: see set_classes
        for name, tensor in _facts(classes).items():
            self.register_buffer(name, tensor, persistent=False)
        self.semantics: Tensor
        self.seen_mask: Tensor
        self.unseen: Tensor
        self.metrics = ZeroShotMetrics(torch.as_tensor(classes.seen_mask))
        self.step = 0
        self.checks: list[Check] = []
        self.best: Check | None = None
        self.selection_metric = "harmonic_mean"
        self.steered_by_checks = False
        self.calibration: float | None = 0.0
        self.phase = "refit"
        self.last_losses: dict[str, float] = {}
        self._losses: dict[str, Tensor] = {}
        self._predictions: list[tuple[Tensor, Tensor, Tensor]] = []
        self._random_states: list[dict[str, Any]] = []
        self._common_seed: int | None = None

    # ------------------------------------------------------------------------------- what a method
    # says

    @abstractmethod
    def class_scores(self, features: Tensor) -> Tensor:
        """Score every class: higher is likelier.

        Args:
            features: ``[B, D]``, scaled as in training.

        Returns:
            ``[B, C]``. A row must not depend on the other rows.
        """

    @abstractmethod
    def train_on(self, batch: Batch) -> Mapping[str, Tensor]:
        """Take one training step, optimiser included (see :meth:`descend`).

        Args:
            batch: :meth:`batch_size_at` training samples.

        Returns:
            Named scalar losses, for the logs.
        """

    @property
    @abstractmethod
    def total_steps(self) -> int:
        """Training steps of the whole schedule; a step is one batch."""

    @abstractmethod
    def batch_size_at(self, step: int) -> int | None:
        """How many training samples the step is given that follows ``step`` steps; None for all of them (a closed form)."""

    @classmethod
    def build(
        cls,
        config: MethodConfig,
        data: PhaseDataModule,
        *,
        cache_dir: Path | None = None,
        weights_follow: bool = False,
    ) -> ZeroShotMethod:
        """A method for the samples and classes of a data module; one that needs more of the data takes it here.

        Args:
            config: The method's own configuration.
            data: The phase that it is for.
            cache_dir: A writable folder for what is costly to compute again; None keeps nothing.
            weights_follow: Whether a checkpoint's weights will be put into it, so that none need be
                read to start from.
        """
        assert isinstance(data, FeatureDataModule)
        return cls(config, data.feature_dim, data.classes)

    @classmethod
    def empty_for_checkpoint(
        cls,
        config: MethodConfig,
        inputs: int,
        classes: ClassSpace,
        *,
        cache_dir: Path | None = None,
    ) -> ZeroShotMethod:
        """A method that a checkpoint's weights will be put into: neither samples nor files of weights are needed.

        Args:
            config: The method's own configuration.
            inputs: D; of images the number of channels.
            classes: The classes that it was trained with.
            cache_dir: As in :meth:`build`.
        """
        return cls(config, inputs, classes)

    def set_classes(self, classes: ClassSpace, *, cache_dir: Path | None = None) -> None:
        """Let :meth:`class_scores` score other classes than those it was trained with, from now on; training is over then.

        Args:
            classes: Their semantics scaled as in training.
            cache_dir: As in :meth:`build`.
        """
        for name, tensor in _facts(classes).items():
            setattr(self, name, tensor.to(self.device))

    def generate(self, semantics: Tensor, samples: int) -> Tensor:
        """Sample features of any classes, seen, unseen or new, with networks in evaluation mode.

        Args:
            semantics: Scaled class semantics, ``[K, Q]``.
            samples: Features per class, n.

        Returns:
            Scaled features, ``[K, n, D]``.

        Raises:
            ConfigError: The method generates no features.
        """
        raise ConfigError(
            f"method={self.config.name} generates no features. Take a checkpoint of a method that "
            "does (mmvae, sgal, vzsl, aspn), or only predict with this one."
        )

    @property
    def milestones(self) -> tuple[int, ...]:
        """Steps at which a check is made whatever ``selection.check_every`` says."""
        return ()

    @property
    def first_candidate(self) -> int:
        """The first step whose weights may be selected."""
        return 0

    @property
    def effective_step(self) -> int:
        """Training steps that shaped the present weights."""
        return self.step

    def after_check(self, *, improved: bool) -> None:
        """React to a check; only called where checks may influence training.

        Args:
            improved: Whether this check is the best so far.
        """

    def extra_state(self) -> dict[str, Any]:
        """What the method needs, beside weights and optimisers, to go on exactly where it stopped: plain containers."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`extra_state` gave."""

    def own_figures(self) -> dict[str, float]:
        """Figures of the last evaluation, in percent, that the method measures in its own way; they replace those of the same name."""
        return {}

    def extra_figures(self) -> dict[str, float]:
        """Figures of the last test, in percent, that no other method has."""
        return {}

    def plots(self) -> Mapping[str, Callable[[Path], object]]:
        """Figures that no other method has: file name and the function that draws it to a path."""
        return {}

    def export(self) -> ExportedNetwork | None:
        """The network that the method made for the present classes; None where it makes none."""
        return None

    def latent_space(self, features: Tensor) -> tuple[Tensor, Tensor] | None:
        """Latent points of ``[B, D]`` features and of the classes, ``([B, Z], [C, Z])``; None where there is no such space."""
        return None

    # ------------------------------------------------------------------------------- training

    def descend(self, loss: Tensor, optimizer: Any) -> None:
        """One update: zero the gradients, back-propagate through the precision plugin, step.

        Args:
            loss: Scalar.
            optimizer: As :meth:`optimizers` returns it.
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
        """What batch normalisation has gathered, which is part of the weights that all processes must share."""
        norms = (
            module
            for module in self.modules()
            if isinstance(module, _BatchNorm) and module.training
        )
        return [t for norm in norms for t in (norm.running_mean, norm.running_var) if t is not None]

    def common_draws(self, count: int) -> Tensor:
        """Uniform numbers for what decides how a step goes, the same in every process of a run; on the CPU, so that a GPU need not wait."""
        if self._common_seed is None:
            return torch.rand(count)
        generator = torch.Generator().manual_seed(
            distributed.derived_seed(self._common_seed, self.step)
        )
        return torch.rand(count, generator=generator)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Train on a batch; look at the losses only every ``trainer.log_every_n_steps`` steps, since looking costs."""
        self._take_step(batch)
        if self.step % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._log_losses()

    def _take_step(self, batch: Batch) -> None:
        self._losses = {name: loss.detach() for name, loss in self.train_on(batch).items()}
        self.step += 1

    def _look_at_losses(self) -> None:
        names = list(self._losses)
        values = torch.stack([self._losses[name].float() for name in names])
        distributed.average([values])
        self.last_losses = dict(zip(names, values.tolist(), strict=True))

    def _check_losses(self) -> None:
        bad = [name for name, value in self.last_losses.items() if not math.isfinite(value)]
        if not bad:
            return
        name, *others = sorted(
            bad, key=lambda name: name == "total"
        )  # the sum last: a term says more
        more = [f"so is '{other}'" for other in others if other != "total"]
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every > 1:  # once weights are no numbers, every term is none
            more.append(
                f"it may have begun up to {every - 1} steps before: trainer.log_every_n_steps=1 "
                "tells"
            )
        raise _divergence(
            f"the loss '{name}' is {self.last_losses[name]} at step {self.step}", "; ".join(more)
        )

    def check_finite(self) -> None:
        """Look at the weights and what the optimisers remember; a state that is not finite is nothing to go on from.

        Raises:
            TrainingError: Something in them is no finite number; it names the term of the last loss
                that is none either.
        """
        remembered = (
            state for optimizer in self.trainer.optimizers for state in optimizer.state.values()
        )
        tensors = [
            *self.state_dict().values(),
            *(value for state in remembered for value in state.values()),
        ]
        found = [
            tensor.isfinite().all().to(self.device)
            for tensor in tensors
            if torch.is_tensor(tensor) and tensor.is_floating_point()
        ]
        if not found or bool(torch.stack(found).all()):
            return
        if self._losses:
            self._look_at_losses()
            self._check_losses()
        raise _divergence(
            f"weights are no finite numbers after step {self.step}, while every term of the loss "
            "still is"
        )

    def _log_losses(self) -> None:
        self._look_at_losses()
        self._check_losses()
        for logger in self.loggers:
            logger.log_metrics(
                {f"{self.phase}/loss/{name}": value for name, value in self.last_losses.items()},
                step=self.step,
            )

    def on_train_start(self) -> None:
        """Put the random state back, last of all, so that nothing between loading and training draws from it.

        Processes of one run draw alike while they build their networks, and differently from here
        on.
        """
        if distributed.world_size() > 1:
            self._common_seed = torch.initial_seed()
            if self.global_rank > 0:
                torch.manual_seed(distributed.derived_seed(self._common_seed, self.global_rank))
        states, self._random_states = self._random_states, []
        # a run may go on with more processes than it had
        if self.global_rank < len(states):
            state = states[self.global_rank]
            torch.set_rng_state(state["cpu"])
            if state["cuda"] is not None and self.device.type == "cuda":
                torch.cuda.set_rng_state(state["cuda"])

    # ------------------------------------------------------------------------------- evaluation

    def on_validation_epoch_start(self) -> None:
        """Forget the last check."""
        self.metrics.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch of evaluation samples."""
        self.metrics.update(self._scores(batch), batch.labels)

    def on_validation_epoch_end(self) -> None:
        """Record the check, and tell the method where it may know."""
        constant, figures = (
            self.metrics.calibrated()
            if self.calibration is None
            else (self.calibration, self.metrics.compute())
        )
        metrics = {**{name: float(value) for name, value in figures.items()}, **self.own_figures()}
        check = Check(self.step, self.effective_step, metrics, constant)
        self.checks.append(check)
        improved = self.step >= self.first_candidate and (
            self.best is None or self._merit(check) > self._merit(self.best)
        )
        if improved:
            self.best = check
        for logger in self.loggers:
            logger.log_metrics(
                {f"{self.phase}/check/{name}": value for name, value in metrics.items()},
                step=self.step,
            )
        if self.steered_by_checks:
            self.after_check(improved=improved)

    def _merit(self, check: Check) -> tuple[float, float]:
        # where nothing is recognised yet every harmonic mean is 0, and AUSUC still tells better
        # from worse
        values = (check.metrics[self.selection_metric], check.metrics["ausuc"])
        return tuple(value if value == value else float("-inf") for value in values)  # type: ignore[return-value]

    def _scores(self, batch: Batch) -> Tensor:
        # in single precision whatever training uses, so that a figure does not depend on the
        # hardware it was measured on
        with torch.autocast(self.device.type, enabled=False):
            scores = self.class_scores(batch.inputs)
        return scores + self.calibration * ~self.seen_mask if self.calibration else scores

    def on_test_epoch_start(self) -> None:
        """Forget earlier figures and predictions."""
        self.metrics.reset()
        self._predictions = []

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch of test samples and keep what was predicted."""
        scores = self._scores(batch)
        self.metrics.update(scores, batch.labels)
        gzsl, zsl = predict(scores, self.seen_mask)
        if (zsl < 0).any():
            raise TrainingError(
                "the scores of some test samples are not numbers: training diverged. Lower "
                "method.learning_rate."
            )
        self._predictions.append((batch.rows.cpu(), gzsl.cpu(), zsl.cpu()))

    def test_metrics(self) -> dict[str, float]:
        """The five figures of the last test, in percent."""
        return {
            **{name: float(value) for name, value in self.metrics.compute().items()},
            **self.own_figures(),
        }

    def test_predictions(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of every test sample: its index in the benchmark, and the class position predicted over all and over unseen classes.

        In a run of several processes each must call it, as it gathers what all have predicted.
        """
        of_all = [
            batch for predictions in distributed.gather(self._predictions) for batch in predictions
        ]
        index, gzsl, zsl = zip(*of_all, strict=True)
        return torch.cat(index), torch.cat(gzsl), torch.cat(zsl)

    # ------------------------------------------------------------------------------- checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what exact resume needs, as plain containers and tensors (``weights_only=True`` loads them)."""
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
        """Take back what :meth:`on_save_checkpoint` added."""
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


def _facts(classes: ClassSpace) -> dict[str, Tensor]:
    seen_mask = torch.as_tensor(classes.seen_mask)
    # the positions are found once: looking for them on a GPU would make every step wait for it
    return {
        "semantics": torch.as_tensor(classes.semantics),
        "seen_mask": seen_mask,
        "unseen": (~seen_mask).nonzero().squeeze(1),
    }


def _divergence(found: str, more: str = "") -> TrainingError:
    detail = f" ({more})" if more else ""
    return TrainingError(
        f"{found}: training diverged{detail}. Lower method.learning_rate, or scale the input "
        "(dataset.normalize, dataset.normalize_semantics)."
    )
