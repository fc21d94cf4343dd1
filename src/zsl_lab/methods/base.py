"""The contract of a method: what it must define and what it may define.

The smallest method defines its networks, :meth:`ZeroShotMethod.class_scores` and
:meth:`ZeroShotMethod.loss`. Evaluation, selection of a step, checkpoints, exact resume, logs and
figures are done for it by :class:`zsl_lab.methods.module.MethodModule`.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from zsl_lab.data.batches.base import Batch, ClassSpace, PhaseDataModule
from zsl_lab.data.batches.features import FeatureDataModule
from zsl_lab.errors import ConfigError
from zsl_lab.methods import catalogue
from zsl_lab.methods.config import (
    GradientMethodConfig,
    MethodConfig,
    Pretraining,
    Width,
    decayed,
)
from zsl_lab.methods.joint import JointUpdates, Losses, Update, Updates
from zsl_lab.methods.module import MethodModule, class_tensors
from zsl_lab.nn.comparison import Comparison

__all__ = [
    "Comparison",
    "ExportedNetwork",
    "GradientMethodConfig",
    "MethodConfig",
    "Pretraining",
    "Width",
    "ZeroShotMethod",
]


@dataclass(frozen=True)
class ExportedNetwork:
    """A network that was made for the candidate classes, for use without this package.

    Attributes:
        state: Its state dict, tensors on the CPU.
        description: The architecture that loads it, in words.
    """

    state: Mapping[str, Tensor]
    description: str


def _definer(cls: type, name: str) -> type:
    """The class that an attribute of a class comes from."""
    return next(parent for parent in cls.__mro__ if name in vars(parent))


class ZeroShotMethod(MethodModule):
    """A zero-shot learner: trains on seen classes, scores all classes.

    A subclass sets :attr:`config_class`, defines :meth:`class_scores`, and either :meth:`loss` or
    :meth:`train_on`. Everything else has a default. For use in these methods there are
    ``self.semantics`` ``[C, Q]``, ``self.seen_mask`` ``[C]``, ``self.unseen`` (positions),
    ``self.step``, :meth:`descend` and :meth:`common_draws`.

    Args:
        config: The method's own configuration, an instance of :attr:`config_class`.
        feature_dim: D, the dimension of a feature vector.
        classes: Semantics of all classes and which of them are seen.
    """

    #: the pydantic model of the method's keys
    config_class: ClassVar[type[MethodConfig]]
    #: what a sample is: a feature vector, or an image (a text then describes each class)
    takes: ClassVar[Literal["features", "images"]] = "features"
    #: the meaning of ``classifier.space=auto``; None: ``features`` if the method generates, else
    #: ``method``
    classified_in: ClassVar[Literal["features", "method"] | None] = None
    config: MethodConfig
    #: computes the updates of several runs at once; None for a run that is trained alone
    joint: JointUpdates | None = None

    def __dir__(self) -> list[str]:
        """Attributes without properties, some of which torch.jit cannot read outside training."""
        cls = type(self)
        return [
            name
            for name in super().__dir__()  # type: ignore[no-untyped-call]
            if not isinstance(inspect.getattr_static(cls, name, None), property | cached_property)
        ]

    def __init__(self, config: MethodConfig, feature_dim: int, classes: ClassSpace) -> None:
        super().__init__(classes)
        self.config = config

    # --------------------------------------------------------------------- what a method must do

    @abstractmethod
    def class_scores(self, features: Tensor) -> Tensor:
        """Score every class: higher is likelier.

        Args:
            features: ``[B, D]``, scaled as in training.

        Returns:
            ``[B, C]``. A row must not depend on the other rows.
        """

    def forward(self, features: Tensor) -> Tensor:
        """Scores of every class by the run's classifier, for evaluation, prediction and export.

        Args:
            features: ``[B, D]``, scaled as in training.

        Returns:
            ``[B, C]``: :meth:`class_scores`, unless ``classifier=`` chose another classifier.
        """
        if self.classifier is None:
            return self.class_scores(features)
        return self.classifier.scores(self, features)

    def loss(self, batch: Batch) -> Tensor | Mapping[str, Tensor]:
        """The loss of a batch of training samples, which the default :meth:`train_on` minimises.

        Args:
            batch: :meth:`batch_size_at` training samples: ``inputs`` ``[B, D]`` and ``labels``
                ``[B]``, positions of classes.

        Returns:
            A scalar; or named scalars for the logs, of which ``total`` is minimised.
        """
        raise NotImplementedError(f"{type(self).__name__} must define loss(batch) or train_on.")

    # ------------------------------------------------------------------------------------- training

    def train_on(self, batch: Batch) -> Mapping[str, Tensor]:
        """Take one training step, optimiser included; by default one update with :meth:`loss`.

        Args:
            batch: As of :meth:`loss`.

        Returns:
            Named scalar losses, for the logs.
        """
        loss = self.loss(batch)
        losses = {"total": loss} if isinstance(loss, Tensor) else loss
        self.descend(losses["total"], self.optimizers())
        return losses

    def configure_optimizers(self) -> torch.optim.Optimizer | list[torch.optim.Optimizer]:
        """Adam over all parameters that require gradients; no optimiser if none does."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        if not parameters:
            return []
        # the fused kernel computes the same update
        return torch.optim.Adam(parameters, lr=self._schedule.learning_rate, fused=True)

    def learning_rate_at(self, step: int) -> float | None:
        """Learning rate of every optimiser at a step, from 0; None leaves it unchanged."""
        config = self.config
        if not isinstance(config, GradientMethodConfig) or config.learning_rate_schedule is None:
            return None
        return config.learning_rate * decayed(config.learning_rate_schedule, step, self.total_steps)

    @property
    def total_steps(self) -> int:
        """Training steps of the whole schedule; a step is one batch."""
        return self._schedule.steps

    def batch_size_at(self, step: int) -> int | None:
        """Batch size at a step (the first is 0); None for all training samples at once."""
        return self._schedule.batch_size

    @property
    def _schedule(self) -> GradientMethodConfig:
        if not isinstance(self.config, GradientMethodConfig):
            raise TypeError(
                f"{type(self.config).__name__} has no steps, batch_size and learning_rate: derive "
                f"it from GradientMethodConfig, or define total_steps, batch_size_at and "
                f"configure_optimizers in {type(self).__name__}."
            )
        return self.config

    @property
    def milestones(self) -> tuple[int, ...]:
        """Steps after which a check (an evaluation in training) is made with every selection."""
        return ()

    @property
    def first_candidate(self) -> int:
        """The first step whose weights may be selected.

        Before it only a few checks are made, for the training curve.
        """
        return 0

    @property
    def effective_step(self) -> int:
        """Training steps that shaped the present weights; fewer than taken if some were undone."""
        return self.step

    def after_check(self, *, improved: bool) -> None:
        """React to a check of weights that may be selected; called where checks may steer training.

        Args:
            improved: Whether this check is the best so far.
        """

    def extra_state(self) -> dict[str, Any]:
        """State for exact resume beside weights and optimisers: plain containers and tensors."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`extra_state` returned."""

    # ----------------------------------------------------------------- construction, new classes

    @classmethod
    def build(
        cls,
        config: MethodConfig,
        data: PhaseDataModule,
        *,
        cache_dir: Path | None = None,
        weights_follow: bool = False,
    ) -> ZeroShotMethod:
        """Construct the method for a phase; override it if it needs more of the data.

        Args:
            config: The method's own configuration.
            data: The samples and classes of the phase.
            cache_dir: A writable folder for what is costly to compute again; None caches nothing.
            weights_follow: Whether weights of a checkpoint will be loaded into the method, so that
                it need not read initial weights.
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
        """Construct the method for a checkpoint's weights, without samples or files of weights.

        Args:
            config: The method's own configuration.
            inputs: D, the dimension of a feature vector; for images the number of channels.
            classes: The classes that it was trained with.
            cache_dir: As in :meth:`build`.
        """
        return cls(config, inputs, classes)

    def set_classes(self, classes: ClassSpace, *, cache_dir: Path | None = None) -> None:
        """Make :meth:`class_scores` score other classes; it cannot be trained afterwards.

        Args:
            classes: Their semantics scaled as in training.
            cache_dir: As in :meth:`build`.
        """
        for name, tensor in class_tensors(classes).items():
            setattr(self, name, tensor.to(self.device))
        if self.classifier is not None:
            self.classifier.set_classes(self, classes)

    # ------------------------------------------------------------- for classifiers other than own

    def embed(self, features: Tensor) -> Tensor:
        """Features in the space that the method compares them with classes in.

        Args:
            features: ``[B, D]``, scaled as in training.

        Returns:
            ``[B, Z]``; the features themselves by default.
        """
        return features

    def draw_points(self, features: Tensor) -> Tensor:
        """Training samples as points that a classifier is fitted to.

        Args:
            features: ``[B, D]``, scaled as in training.

        Returns:
            ``[B, Z]``; by default the output of :meth:`embed`. Where that is the mean of a
            distribution, a method may return draws from the distribution.
        """
        return self.embed(features)

    def generate_points(self, semantics: Tensor, samples: int) -> Tensor:
        """Sample points of any classes in the space of :meth:`embed`.

        Args:
            semantics: Scaled class semantics, ``[K, Q]``.
            samples: Points per class, n.

        Returns:
            ``[K, n, Z]``; embedded generated features by default.
        """
        features = self.generate(semantics, samples)
        return self.embed(features.flatten(0, 1)).view(*features.shape[:2], -1)

    def prototypes(self, semantics: Tensor) -> Tensor | None:
        """The point that the method expects each class at, in the space of :meth:`embed`.

        Args:
            semantics: Scaled class semantics, ``[K, Q]``.

        Returns:
            ``[K, Z]``. None, the default, if the method has no such points; a classifier then uses
            the means of generated features, if the method generates.
        """
        return None

    @property
    def comparison(self) -> Comparison:
        """How points of :meth:`embed` are compared with prototypes."""
        return "whitened_cosine"

    @property
    def embedding_is_fixed(self) -> bool:
        """Whether :meth:`embed` stays the same while the method is trained."""
        return type(self).embed is ZeroShotMethod.embed

    @classmethod
    def has_prototypes(cls, config: MethodConfig) -> bool:
        """Whether :meth:`prototypes` is available with a configuration."""
        return cls.prototypes is not ZeroShotMethod.prototypes

    # --------------------------------------------------------------------- optional capabilities

    @classmethod
    def trains_together(cls, config: MethodConfig) -> bool:
        """Whether :meth:`joint_updates` takes the steps that :meth:`train_on` takes alone.

        Runs that differ in seeds and scalars are then trained together (``sweep.together``). A
        subclass that trains in another way must define both.
        """
        return cls.joint_updates is not ZeroShotMethod.joint_updates and all(
            issubclass(_definer(cls, "joint_updates"), _definer(cls, name))
            for name in ("train_on", "loss")
        )

    def joint_updates(self, batch: Batch) -> Generator[Update, Losses, Losses]:
        """The updates of one training step, to be computed together with those of other runs.

        Args:
            batch: As of :meth:`train_on`, which takes the same step alone.

        Returns:
            Yields each update and receives its losses; returns the losses of the step.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no joint_updates.")

    def training_step(self, batches: Iterable[Batch], batch_idx: int) -> None:
        """Train on some batches, a step each, alone or together with other runs."""
        if self.joint is None:
            super().training_step(batches, batch_idx)
        else:
            self.joint(self._updates(batches))

    def _updates(self, batches: Iterable[Batch]) -> Updates:
        for batch in batches:
            self.begin_step()
            self.end_step((yield from self.joint_updates(batch)))

    @classmethod
    def generates(cls, config: MethodConfig) -> bool:
        """Whether :meth:`generate` is available with a configuration."""
        return cls.generate is not ZeroShotMethod.generate

    @classmethod
    def trains_on_generated(cls, config: MethodConfig) -> bool:
        """Whether it trains on generated unseen features, and so fits new classes less well."""
        return False

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
        able = ", ".join(catalogue.names(lambda method: method.generates))
        raise ConfigError(
            f"method={self.config.name} generates no features. Take a checkpoint of a method that "
            f"does ({able}), or only predict with this one."
        )

    def latent_space(self, features: Tensor) -> tuple[Tensor, Tensor] | None:
        """Latent points of ``[B, D]`` features and of the classes, ``([B, Z], [C, Z])``, if any."""
        return None

    def export(self) -> ExportedNetwork | None:
        """The network generated for the current classes; None if the method generates none."""
        return None

    def plots(self) -> Mapping[str, Callable[[Path], object]]:
        """Figures that only this method has: file name and the function that draws it to a path."""
        return {}

    def own_metrics(self) -> dict[str, float]:
        """Metrics of the last evaluation, in percent, that replace those of the same name."""
        return {}

    def extra_metrics(self) -> dict[str, float]:
        """Metrics of the last test, in percent, that only this method has or measures itself."""
        return {}
