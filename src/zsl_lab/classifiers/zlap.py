"""Zero-shot logit adjustment: a network of class prototypes, trained with generated features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear, normalize

from zsl_lab.classifiers.base import (
    Classifier,
    generated_points,
    points_of,
    refusal,
)
from zsl_lab.classifiers.config import ZLAPConfig
from zsl_lab.classifiers.softmax import MANY_CLASSES, MOST_NUMBERS
from zsl_lab.data.batches.base import PhaseDataModule
from zsl_lab.data.benchmark import FloatArray
from zsl_lab.files.rows import RowBuffer, release
from zsl_lab.hardware import distributed
from zsl_lab.methods import catalogue
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.methods.config import MethodConfig

#: standard deviation of initial weights, times the square root of a layer's inputs: He et al.
_GAIN = 2**0.5
#: generated samples that are made at a time
_AT_A_TIME = 2**10
#: points of norm 1 ``[B, Z]`` of some samples, by their indices ``[B]``
Points = Callable[[Tensor], Tensor]


class ZLAP(Classifier):
    """Scores a class by the cosine of a point with a prototype computed from its semantics.

    The prototypes are trained on real samples of seen classes and generated ones of unseen classes.
    In training only, the logarithm of how much more frequent seen classes are is added to their
    logits, so that few generated samples suffice (Chen et al., IJCAI 2022). New classes have
    prototypes as well.

    Args:
        config: See :class:`ZLAPConfig`.
        classes: The classes that the method is trained with.
        seed: Seeds the network, generated samples and the order of samples.

    Attributes:
        hidden_weight: Weights of the network's hidden layer, ``[H, Q]``.
        hidden_bias: Biases of the hidden layer, ``[H]``.
        output_weight: Weights of the output layer, ``[Z, H]``.
        output_bias: Biases of the output layer, ``[Z]``.
    """

    config_class: ClassVar[type[ZLAPConfig]] = ZLAPConfig
    fitted: ClassVar[tuple[str, ...]] = (
        "hidden_weight",
        "hidden_bias",
        "output_weight",
        "output_bias",
    )
    config: ZLAPConfig
    hidden_weight: Tensor
    hidden_bias: Tensor
    output_weight: Tensor
    output_bias: Tensor

    @classmethod
    def check(
        cls, config: Any, method_class: type[ZeroShotMethod], method_config: MethodConfig
    ) -> None:
        """Check that the method generates.

        Raises:
            ConfigError: It does not.
        """
        if not method_class.generates(method_config):
            able = catalogue.names(lambda entry: entry.generates)
            raise refusal(config.name, method_config.name, "generates no features", able)

    def fit(self, method: ZeroShotMethod, data: PhaseDataModule) -> None:
        """Train the network from its initial weights; see :meth:`Classifier.fit`."""
        config = self.config
        batches = list(data.training_batches(method.device))
        real = torch.cat([points_of(method, batch.inputs, config.space) for batch in batches])
        labels = torch.cat(
            [*(batch.labels for batch in batches), method.unseen.repeat_interleave(config.samples)]
        )
        del batches
        found = train_prototypes(
            self._points(method, real),
            real.shape[1],
            labels,
            method.semantics,
            log_priors(method.seen_mask, labels, config.ratio),
            config,
            self.seed,
        )
        for name, tensor in zip(self.fitted, found, strict=True):
            setattr(self, name, tensor)
        # a sum may be rounded differently on another device
        distributed.average(self.state().values())

    def _points(self, method: ZeroShotMethod, real: Tensor) -> Points:
        """Access by index to the real points ``[N, Z]``, followed by generated ones class by class.

        Generated points of many classes are kept in a temporary file.
        """
        config, unseen = self.config, method.semantics[method.unseen]

        def generate(semantics: Tensor) -> Tensor:
            found = generated_points(method, semantics, config.space, config.samples, self.seed)
            return found.flatten(0, 1)

        numbers = len(unseen) * config.samples * real.shape[1]
        if len(unseen) <= MANY_CLASSES or numbers <= MOST_NUMBERS:
            return in_memory(torch.cat([real, generate(unseen)]))
        made = RowBuffer(large=0)
        for part in unseen.split(max(1, _AT_A_TIME // config.samples)):  # type: ignore[no-untyped-call]
            made.append(generate(part).cpu().numpy())
        return in_file(real, made.array())

    def scores(self, method: ZeroShotMethod, features: Tensor) -> Tensor:
        """Cosines with prototypes, ``[B, C]``; before a fit the method's own scores."""
        if not self.is_fitted:
            return method.class_scores(features)
        prototypes = prototypes_from(method.semantics, *self.state().values())
        points = points_of(method, features, self.config.space)
        return normalize(points, dim=1) @ normalize(prototypes, dim=1).T

    def has_shape_of(self, name: str, found: Tensor) -> bool:
        """Whether a tensor of :attr:`fitted` has a possible shape, as far as it is known."""
        if found.ndim != (2 if name.endswith("weight") else 1):
            return False
        return name.startswith("output") or len(found) == self.config.hidden_dim


def prototypes_from(
    semantics: Tensor,
    hidden_weight: Tensor,
    hidden_bias: Tensor,
    output_weight: Tensor,
    output_bias: Tensor,
) -> Tensor:
    """Prototypes ``[C, Z]`` of ``[C, Q]`` semantics: two dense layers with a ReLU between."""
    hidden = linear(semantics, hidden_weight, hidden_bias).relu()
    return linear(hidden, output_weight, output_bias)


def log_priors(seen_mask: Tensor, labels: Tensor, ratio: float | str) -> Tensor:
    """Constants added to the logits in training, ``[C]``: ``log ratio`` for seen classes, else 0.

    Args:
        seen_mask: Bool ``[C]``.
        labels: Classes of the training samples, real and generated, ``[N]``.
        ratio: Frequency of all seen classes over that of all unseen classes; ``auto``: number of
            real samples over that of generated ones.
    """
    if ratio == "auto":
        real = seen_mask[labels].sum()
        value = real / (len(labels) - real).clamp(min=1)
    else:
        value = torch.as_tensor(float(ratio), device=labels.device)
    return torch.where(seen_mask, value.log(), torch.zeros_like(value))


def in_memory(points: Tensor) -> Points:
    """Access by index to points ``[N, Z]`` in memory, divided by their norms."""
    points = normalize(points, dim=1)
    return lambda rows: points[rows]


def in_file(real: Tensor, made: FloatArray) -> Points:
    """As :func:`in_memory`, for real points in memory and generated ones in a file.

    Args:
        real: Real points, ``[N, Z]``.
        made: Generated points mapped from a file, ``[M, Z]``; the first has the index N.
    """

    def points_of_rows(rows: Tensor) -> Tensor:
        is_made = rows >= len(real)
        points = real.new_empty(len(rows), real.shape[1])
        points[~is_made] = real[rows[~is_made]]
        read = made[(rows[is_made] - len(real)).cpu().numpy()]
        release(made)
        points[is_made] = torch.from_numpy(read).to(real.device)
        return normalize(points, dim=1)

    return points_of_rows


def train_prototypes(
    points: Points,
    dim: int,
    labels: Tensor,
    semantics: Tensor,
    priors: Tensor,
    config: ZLAPConfig,
    seed: int,
) -> tuple[Tensor, ...]:
    """Minimise the adjusted cross entropy with Adam, on shuffled passes over the samples.

    The learning rate is halved after half of the steps.

    Args:
        points: Access to the points by index.
        dim: Z, their dimension.
        labels: Class of each of the N points, ``[N]``.
        semantics: Semantics of all classes, ``[C, Q]``.
        priors: Added to the logits, ``[C]``.
        config: Width, temperature, steps, batch size, learning rate and weight decay.
        seed: Seeds the initial weights and the passes.

    Returns:
        Weights and biases of both layers.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = (semantics.shape[1], config.hidden_dim, dim)
    trained = []
    for inputs, outputs in ((sizes[0], sizes[1]), (sizes[1], sizes[2])):
        drawn = torch.randn(outputs, inputs, generator=generator) * _GAIN / inputs**0.5
        trained += [drawn.to(labels.device), torch.zeros(outputs, device=labels.device)]
    rows = shuffled_passes(len(labels), config.steps * config.batch_size, generator)
    with torch.enable_grad():
        trained = [tensor.requires_grad_() for tensor in trained]
        optimizer = torch.optim.Adam(
            trained, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        for step, chosen in enumerate(rows.to(labels.device).view(config.steps, -1)):
            if step == config.steps // 2:
                optimizer.param_groups[0]["lr"] /= 2
            prototypes = normalize(prototypes_from(semantics, *trained), dim=1)
            logits = points(chosen) @ prototypes.T / config.temperature + priors
            loss = cross_entropy(logits, labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return tuple(tensor.detach() for tensor in trained)


def shuffled_passes(samples: int, draws: int, generator: torch.Generator) -> Tensor:
    """Indices of samples in the order of shuffled passes over all of them, ``[draws]``."""
    passes = -(-draws // samples)
    order = [torch.randperm(samples, generator=generator) for _ in range(passes)]
    return torch.cat(order)[:draws]
