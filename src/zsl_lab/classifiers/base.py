"""The contract of a classifier: it scores all classes with the help of a trained method.

Another package brings one with a class derived from :class:`Classifier` and a yaml in a folder
``classifier`` that ``--config-dir`` names, as for a method.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zsl_lab.classifiers.config import ClassifierConfig, Space
from zsl_lab.data.batches.base import ClassSpace, PhaseDataModule
from zsl_lab.errors import CheckpointError, ConfigError
from zsl_lab.methods import catalogue
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.methods.config import MethodConfig

#: most generated samples in memory at a time, where only the class means are needed
_MOST_SAMPLES = 2**16


class Classifier(nn.Module, ABC):
    """Scores all classes; fitted to training samples, with a method whose weights do not change.

    It is fitted again before each evaluation that may be selected, and once more with the weights
    that the run reports. It is stored with these, so that prediction needs no training samples. Its
    state is the buffers named in :attr:`fitted`, which :meth:`fit` sets.

    Args:
        config: The classifier's own configuration, an instance of :attr:`config_class`.
        classes: The classes that the method is trained with.
        seed: Seeds the classifier's random draws, which must not use PyTorch's global random state.
    """

    #: the pydantic model of the classifier's keys
    config_class: ClassVar[type[ClassifierConfig]]
    #: names of the tensors that are its state
    fitted: ClassVar[tuple[str, ...]] = ()
    config: ClassifierConfig

    def __init__(self, config: ClassifierConfig, classes: ClassSpace, seed: int) -> None:
        super().__init__()
        self.config = config
        self.names = classes.names
        self.seed = seed
        for name in self.fitted:
            # not part of the method's weights: its shape depends on the classes
            self.register_buffer(name, None, persistent=False)

    @classmethod
    def check(
        cls, config: Any, method_class: type[ZeroShotMethod], method_config: MethodConfig
    ) -> None:
        """Check that a method gives what the classifier needs; by default nothing is checked.

        Args:
            config: The classifier's own configuration.
            method_class: The method's class.
            method_config: The method's own configuration.

        Raises:
            ConfigError: The method does not.
        """

    @abstractmethod
    def fit(self, method: ZeroShotMethod, data: PhaseDataModule) -> None:
        """Fit to the training samples of a phase; gradients are off.

        In a distributed run every process calls it, and all must end with equal tensors.

        Args:
            method: The method, in evaluation mode.
            data: The phase. Only ``data.training_batches`` may be read, no evaluation sample.
        """

    @abstractmethod
    def scores(self, method: ZeroShotMethod, features: Tensor) -> Tensor:
        """Score every class: higher is likelier.

        Args:
            method: The method, in evaluation mode.
            features: ``[B, D]``, scaled as in training.

        Returns:
            ``[B, C]``. A row must not depend on the other rows. Before :meth:`fit`, the scores of
            the method itself.
        """

    def set_classes(self, method: ZeroShotMethod, classes: ClassSpace) -> None:
        """Score other classes from now on.

        Args:
            method: The method, in evaluation mode.
            classes: The classes, with semantics scaled as in training. Classes that the method was
                trained with are recognised by name.
        """

    @property
    def is_fitted(self) -> bool:
        """Whether there is a state."""
        return all(getattr(self, name) is not None for name in self.fitted)

    def state(self) -> dict[str, Tensor]:
        """The fitted tensors by name, for a checkpoint."""
        return {name: getattr(self, name) for name in self.fitted}

    def load_state(self, state: Mapping[str, Tensor], origin: str) -> None:
        """Restore :meth:`state`.

        Args:
            state: Finite tensors by name.
            origin: ``KEY=PATH`` of their file, for messages.

        Raises:
            CheckpointError: A tensor is missing or has another shape.
        """
        for name in self.fitted:
            found = state.get(name)
            if found is None or not self.has_shape_of(name, found):
                shape = "missing" if found is None else f"of shape {list(found.shape)}"
                raise CheckpointError(
                    f"{origin}: field 'classifier.{name}' is {shape}, which is not what "
                    f"classifier={self.config.name} stores for {len(self.names)} classes. Give "
                    "another checkpoint, or train anew."
                )
            setattr(self, name, found)

    def has_shape_of(self, name: str, found: Tensor) -> bool:
        """Whether a tensor of :attr:`fitted` has a possible shape, as far as it is known."""
        return True


def rows_of(names: tuple[str, ...], classes: ClassSpace) -> tuple[Tensor, Tensor]:
    """Match classes, by name, to those that the method was trained with.

    Args:
        names: The classes that the method was trained with.
        classes: C other classes.

    Returns:
        Position among ``names`` of each class, 0 for one that is not among them; and whether it is
        among them; ``[C]`` each.
    """
    place = {name: at for at, name in enumerate(names)}
    found = torch.tensor([place.get(name, -1) for name in classes.names])
    return found.clamp(min=0), found >= 0


def generated(method: ZeroShotMethod, semantics: Tensor, samples: int, seed: int) -> Tensor:
    """Generated features of classes, each class from the same random numbers.

    So the features of a class do not depend on the other classes, and from one training step to
    another they differ by the weights alone.

    Args:
        method: A method that generates.
        semantics: Scaled semantics of the classes, ``[K, Q]``.
        samples: Features of each class, n.
        seed: Seeds them; PyTorch's global random state is left as it was.

    Returns:
        ``[K, n, D]``.
    """
    return _by_class(method, semantics, seed, lambda row: method.generate(row, samples))


def _by_class(
    method: ZeroShotMethod, semantics: Tensor, seed: int, sampler: Callable[[Tensor], Tensor]
) -> Tensor:
    """What a sampler returns for each row of ``[K, Q]`` semantics, ``[1, n, ...]``, joined."""
    found = []
    with seeded(method.device, seed):
        for row in semantics:
            torch.manual_seed(seed)
            found.append(sampler(row[None])[0])
    return torch.stack(found)


@contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Seed what is drawn inside; PyTorch's global random state is left as it was.

    Args:
        device: The device of the draws.
        seed: The seed.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def among_features(space: Space, method_class: type[ZeroShotMethod], config: MethodConfig) -> bool:
    """Whether a classifier's points are scaled features; otherwise the method embeds features.

    Args:
        space: The key of the classifier.
        method_class: The method's class.
        config: The method's own configuration.
    """
    if space == "auto":
        by_default = "features" if method_class.generates(config) else "method"
        return (method_class.classified_in or by_default) == "features"
    return space == "features"


def points_of(method: ZeroShotMethod, features: Tensor, space: Space) -> Tensor:
    """``[B, D]`` features as points of a space, ``[B, Z]``."""
    return (
        features if among_features(space, type(method), method.config) else method.embed(features)
    )


def drawn_points_of(method: ZeroShotMethod, features: Tensor, space: Space) -> Tensor:
    """Training samples ``[B, D]`` as points that a classifier is fitted to, ``[B, Z]``.

    As :func:`points_of`, but drawn where the method embeds a feature as a distribution.
    """
    among = among_features(space, type(method), method.config)
    return features if among else method.draw_points(features)


def prototypes_of(
    method: ZeroShotMethod, semantics: Tensor, space: Space, samples: int, seed: int
) -> Tensor:
    """Class prototypes: those of the method, or else the means of generated features.

    Args:
        method: A method that has prototypes or generates.
        semantics: Scaled semantics of the classes, ``[K, Q]``.
        space: The space of the points.
        samples: Generated features of each class.
        seed: Seeds them.

    Returns:
        ``[K, Z]``.
    """
    if not among_features(space, type(method), method.config):
        found = method.prototypes(semantics)
        if found is not None:
            return found
    # of few classes at a time, so that the samples of many need no memory
    parts = semantics.split(max(1, _MOST_SAMPLES // samples))  # type: ignore[no-untyped-call]
    made = (generated_points(method, part, space, samples, seed).mean(1) for part in parts)
    return torch.cat(list(made))


def generated_points(
    method: ZeroShotMethod, semantics: Tensor, space: Space, samples: int, seed: int
) -> Tensor:
    """Generated samples of classes as points of a space, ``[K, n, Z]``; see :func:`generated`.

    They are generated features, unless the method generates points itself.
    """
    own = type(method).generate_points is not ZeroShotMethod.generate_points
    if own and not among_features(space, type(method), method.config):
        return _by_class(method, semantics, seed, lambda row: method.generate_points(row, samples))
    # embedded together, which is faster than class by class
    features = generated(method, semantics, samples, seed)
    return points_of(method, features.flatten(0, 1), space).view(*features.shape[:2], -1)


def check_prototypes(
    name: str, space: Space, method_class: type[ZeroShotMethod], method_config: MethodConfig
) -> None:
    """Check that :func:`prototypes_of` is available.

    Args:
        name: The classifier's name, for the message.
        space: The space of the points.
        method_class: The method's class.
        method_config: The method's own configuration.

    Raises:
        ConfigError: It is not.
    """
    if method_class.generates(method_config):
        return
    if not method_class.has_prototypes(method_config):
        lacks = "has no class prototypes and generates no features"
        able = catalogue.names(lambda entry: entry.has_prototypes or entry.generates)
        raise refusal(name, method_config.name, lacks, able)
    if space == "features":
        lacks = "generates no features, and has prototypes in classifier.space=method only"
        raise refusal(
            name, method_config.name, lacks, catalogue.names(lambda entry: entry.generates)
        )


def refusal(name: str, method: str, lacks: str, able: list[str]) -> ConfigError:
    """The error that a method does not give what a classifier needs.

    Args:
        name: The classifier's name.
        method: The method's name.
        lacks: What the method does not give, as the end of "the method ...".
        able: Methods that do.
    """
    return ConfigError(
        f"classifier={name}: method={method} {lacks}, which this classifier needs. Choose "
        f"classifier=own, or a method that does ({', '.join(able)})."
    )
