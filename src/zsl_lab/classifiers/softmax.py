"""A linear softmax, trained on real samples of seen classes and made ones of the others."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from zsl_lab.classifiers.base import (
    Classifier,
    check_prototypes,
    drawn_points_of,
    generated_points,
    points_of,
    prototypes_of,
    refusal,
    rows_of,
    seeded,
)
from zsl_lab.classifiers.config import SoftmaxConfig
from zsl_lab.data.batches.base import ClassSpace, PhaseDataModule
from zsl_lab.hardware import distributed
from zsl_lab.methods import catalogue
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.methods.config import MethodConfig

#: classes of which samples are made, above which :data:`MOST_NUMBERS` holds
MANY_CLASSES = 1000
#: numbers that all made samples have together: 128 MiB
MOST_NUMBERS = 2**25


class Softmax(Classifier):
    """Scores a class by the logit of a linear softmax.

    Args:
        config: See :class:`SoftmaxConfig`.
        classes: The classes that the method is trained with.
        seed: Seeds generated samples and the order of samples.

    Attributes:
        weight: Of each class that the method is trained with, ``[C, Z]``.
        bias: Likewise, ``[C]``.
        shift: Subtracted from points first, ``[Z]``.
        scale: They are divided by it then, ``[Z]``.
        residuals: What some training samples differ from their class's mean by, ``[n, Z]``; empty
            where samples are generated.
    """

    config_class: ClassVar[type[SoftmaxConfig]] = SoftmaxConfig
    fitted: ClassVar[tuple[str, ...]] = ("weight", "bias", "shift", "scale", "residuals")
    config: SoftmaxConfig
    weight: Tensor
    bias: Tensor
    shift: Tensor
    scale: Tensor
    residuals: Tensor

    def __init__(self, config: SoftmaxConfig, classes: ClassSpace, seed: int) -> None:
        super().__init__(config, classes, seed)
        # weights and biases of the classes that are scored now
        self.register_buffer("_weight", None, persistent=False)
        self.register_buffer("_bias", None, persistent=False)
        self._weight: Tensor | None
        self._bias: Tensor | None

    @classmethod
    def check(
        cls, config: Any, method_class: type[ZeroShotMethod], method_config: MethodConfig
    ) -> None:
        """Check that the method generates, or has prototypes that residuals can be added to.

        Raises:
            ConfigError: It does not.
        """
        assert isinstance(config, SoftmaxConfig)
        check_prototypes(config.name, config.space, method_class, method_config)
        if config.unseen == "generated" and not method_class.generates(method_config):
            lacks = "generates no features (it has prototypes: classifier.unseen=residuals)"
            able = catalogue.names(lambda entry: entry.generates)
            raise refusal(config.name, method_config.name, lacks, able)

    def fit(self, method: ZeroShotMethod, data: PhaseDataModule) -> None:
        """Train the softmax from zero; see :meth:`Classifier.fit`."""
        real, labels = self._real(method, data)
        generates = self._generates(method)
        self.residuals = real[:0] if generates else self._some_residuals(real, labels)
        made = self._samples(method, method.semantics[method.unseen], real.shape[1])
        made_labels = method.unseen.repeat_interleave(made.shape[1])
        self.shift, self.scale = real.mean(0), spread(real)
        points = torch.cat([real, made.flatten(0, 1)]).sub_(self.shift).div_(self.scale)
        del made  # copied
        weight = points.new_zeros(len(self.names), points.shape[1])
        free = torch.ones(len(weight), dtype=torch.bool, device=weight.device)
        self.weight, self.bias = train_softmax(
            points,
            torch.cat([labels, made_labels]),
            weight,
            weight.new_zeros(len(weight)),
            free,
            self.config,
            self.seed,
        )
        # a sum may be rounded otherwise on another device
        distributed.average([self.weight, self.bias, self.shift, self.scale, self.residuals])
        self._weight, self._bias = self.weight, self.bias

    def _real(self, method: ZeroShotMethod, data: PhaseDataModule) -> tuple[Tensor, Tensor]:
        """Points of training samples, with labels, ``([N, Z], [N])``."""
        config = self.config
        batches = list(data.training_batches(method.device))
        inputs, labels = [batch.inputs for batch in batches], [batch.labels for batch in batches]
        if config.seen_samples is not None:
            joined = torch.cat(labels)
            chosen = draws_of_each(joined, config.seen_samples, self.seed)
            inputs, labels = [torch.cat(inputs)[chosen]], [joined[chosen]]
        with seeded(method.device, self.seed):
            points = [drawn_points_of(method, rows, config.space) for rows in inputs]
        return torch.cat(points), torch.cat(labels)

    def scores(self, method: ZeroShotMethod, features: Tensor) -> Tensor:
        """Logits, ``[B, C]``; before a fit the method's own scores."""
        if self._weight is None or self._bias is None:
            return method.class_scores(features)
        points = (points_of(method, features, self.config.space) - self.shift) / self.scale
        return points @ self._weight.T + self._bias

    def set_classes(self, method: ZeroShotMethod, classes: ClassSpace) -> None:
        """Known classes keep their weights; those of new classes are trained beside them."""
        rows, known = (part.to(self.weight.device) for part in rows_of(self.names, classes))
        # what is made in inference mode takes no gradient
        with torch.inference_mode(False), torch.no_grad():
            weight, bias = self.weight[rows], self.bias[rows]
            if not bool(known.all()):
                weight, bias = self._with_new(method, classes, weight, bias, known)
        self._weight, self._bias = weight, bias

    def _with_new(
        self,
        method: ZeroShotMethod,
        classes: ClassSpace,
        weight: Tensor,
        bias: Tensor,
        known: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Weights and biases of classes, trained for those that are not known."""
        semantics = torch.as_tensor(classes.semantics).to(weight.device)
        made = self._samples(method, semantics, weight.shape[1]).sub_(self.shift).div_(self.scale)
        labels = torch.arange(len(weight), device=weight.device)
        return train_softmax(
            made.flatten(0, 1),
            labels.repeat_interleave(made.shape[1]),
            weight * known[:, None],
            bias * known,
            ~known,
            self.config,
            self.seed,
        )

    def load_state(self, state: Mapping[str, Tensor], origin: str) -> None:
        """See :meth:`Classifier.load_state`."""
        super().load_state(state, origin)
        self._weight, self._bias = self.weight, self.bias

    def has_shape_of(self, name: str, found: Tensor) -> bool:
        """Whether a tensor of :attr:`fitted` has a possible shape, as far as it is known."""
        if name == "weight":
            return found.ndim == 2 and len(found) == len(self.names)
        space = self.weight.shape[1]
        if name == "residuals":
            return found.ndim == 2 and found.shape[1] == space
        return tuple(found.shape) == ((len(self.names),) if name == "bias" else (space,))

    def _some_residuals(self, points: Tensor, labels: Tensor) -> Tensor:
        """What n training samples differ from their class's mean by, ``[n, Z]``."""
        sums = points.new_zeros(len(self.names), points.shape[1]).index_add_(0, labels, points)
        means = sums / torch.bincount(labels, minlength=len(sums)).clamp(min=1)[:, None]
        generator = torch.Generator().manual_seed(self.seed)
        chosen = torch.randint(len(points), (self.config.samples,), generator=generator)
        chosen = chosen.to(points.device)
        return points[chosen] - means[labels[chosen]]

    def _generates(self, method: ZeroShotMethod) -> bool:
        """Whether samples of unseen classes are generated."""
        if self.config.unseen == "auto":
            return method.generates(method.config)
        return self.config.unseen == "generated"

    def _samples(self, method: ZeroShotMethod, semantics: Tensor, dim: int) -> Tensor:
        """Made points of each class, ``[K, n, Z]`` for ``[K, Q]`` semantics and Z dimensions."""
        config, count = self.config, self._count(len(semantics), dim)
        if self._generates(method):
            return generated_points(method, semantics, config.space, count, self.seed)
        prototypes = prototypes_of(method, semantics, config.space, config.samples, self.seed)
        return prototypes[:, None] + self.residuals[:count]

    def _count(self, classes: int, dim: int) -> int:
        """Points to make of each class: ``samples``, unless those of many take too much memory."""
        wanted = self.config.samples
        most = max(1, MOST_NUMBERS // (classes * dim))
        if classes <= MANY_CLASSES or wanted <= most:
            return wanted
        warnings.warn(
            f"classifier={self.config.name}: {most} samples of each of {classes} classes are made, "
            f"not classifier.samples={wanted}, which would take "
            f"{classes * wanted * dim * 4 / 1e9:.1f} GB.",
            stacklevel=2,
        )
        return most


def spread(points: Tensor) -> Tensor:
    """The standard deviation of each dimension of ``[N, Z]`` points; 1 where it is 0."""
    found = points.std(0, correction=0)
    return torch.where(found > 0, found, torch.ones_like(found))


def train_softmax(
    points: Tensor,
    labels: Tensor,
    weight: Tensor,
    bias: Tensor,
    free: Tensor,
    config: SoftmaxConfig,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Minimise the cross entropy with Adam.

    In the batches all classes are equally frequent; all points where ``seen_samples`` is given.

    Args:
        points: ``[N, Z]``.
        labels: ``[N]``.
        weight: Initial weights, ``[C, Z]``.
        bias: Initial biases, ``[C]``.
        free: Which classes are trained, bool ``[C]``; the others keep their weights.
        config: Steps, batch size, learning rate and weight decay.
        seed: Seeds the batches.

    Returns:
        Weights and biases.
    """
    shape = (config.steps_for(len(points)), config.batch_size)
    chosen = (
        balanced_draws(labels, *shape, seed)
        if config.seen_samples is None
        else draws(len(points), shape, seed).to(points.device)
    )
    at = None if bool(free.all()) else free.nonzero().squeeze(1)
    given = weight, bias

    def whole(parts: Sequence[Tensor]) -> list[Tensor]:
        """Weights and biases of all classes, of those that are trained."""
        if at is None:
            return list(parts)
        return [all_.index_copy(0, at, part) for all_, part in zip(given, parts, strict=True)]

    with torch.enable_grad():
        trained = [(t if at is None else t[at]).clone().requires_grad_() for t in given]
        optimizer = torch.optim.Adam(
            trained, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        for rows in chosen:
            weights, biases = whole(trained)
            loss = cross_entropy(points[rows] @ weights.T + biases, labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    found = whole([t.detach() for t in trained])
    return found[0], found[1]


def draws(count: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """Indices below ``count``, drawn uniformly with a seed, alike on every device."""
    return torch.randint(count, shape, generator=torch.Generator().manual_seed(seed))


def draws_of_each(labels: Tensor, count: int, seed: int) -> Tensor:
    """Samples of each class that occurs, drawn uniformly, with repetition.

    Args:
        labels: Classes of the samples, ``[N]``.
        count: Samples of each class, n.
        seed: Seeds the draws, which are alike on every device.

    Returns:
        Indices of samples, ``[n * classes]``, class by class.
    """
    order = labels.cpu().argsort(stable=True)
    _, counts = torch.unique_consecutive(labels.cpu()[order], return_counts=True)
    # in double precision, so that the product stays below the count
    share = torch.rand(
        len(counts), count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    within = (share * counts[:, None]).long()
    first = counts.cumsum(0) - counts
    return order[first[:, None] + within].flatten().to(labels.device)


def balanced_draws(labels: Tensor, steps: int, batch_size: int, seed: int) -> Tensor:
    """Samples of batches: each a class drawn uniformly, then a sample of that class, uniformly.

    Args:
        labels: Classes of the samples, ``[N]``.
        steps: Batches.
        batch_size: Samples of a batch.
        seed: Seeds the draws, which are alike on every device.

    Returns:
        Indices of samples, ``[steps, batch_size]``.
    """
    order = labels.cpu().argsort(stable=True)
    _, counts = torch.unique_consecutive(labels.cpu()[order], return_counts=True)
    first = counts.cumsum(0) - counts
    generator = torch.Generator().manual_seed(seed)
    shape = (steps, batch_size)
    classes = torch.randint(len(counts), shape, generator=generator)
    # in double precision, so that the product stays below the count
    within = torch.rand(shape, generator=generator, dtype=torch.float64) * counts[classes]
    return order[first[classes] + within.long()].to(labels.device)
