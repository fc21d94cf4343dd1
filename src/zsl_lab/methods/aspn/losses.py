"""The losses of ASPN (paper, Eq. 1 to 4, 7 and 8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from zsl_lab.nn.gaussian import squared_distances
from zsl_lab.nn.gradient_penalty import gradient_penalty

Compatibility = Literal["inner_product", "distance", "cosine"]


def compatibility(features: Tensor, prototypes: Tensor, kind: Compatibility) -> Tensor:
    """How well each feature fits each prototype, higher is better.

    Args:
        features: ``[B, D]``.
        prototypes: ``[C, D]``.
        kind: ``inner_product`` (Eq. 8), ``distance`` (minus the squared Euclidean distance, section 3.5), ``cosine``.

    Returns:
        ``[B, C]``.
    """
    if kind == "distance":
        return -squared_distances(features, prototypes)
    if kind == "cosine":
        features, prototypes = normalize(features, dim=1), normalize(prototypes, dim=1)
    return features @ prototypes.T


def prototype_cross_entropy(features: Tensor, prototypes: Tensor, labels: Tensor, kind: Compatibility, temperature: float) -> Tensor:
    """Minus the mean log-probability of the true class among all classes, softmax of the compatibilities (Eq. 8).

    Args:
        features: ``[B, D]``.
        prototypes: One for each class, seen and unseen, ``[C, D]``.
        labels: Class positions, ``[B]``.
        kind: See :func:`compatibility`.
        temperature: The compatibilities are divided by it.
    """
    return cross_entropy(compatibility(features, prototypes, kind) / temperature, labels)


def critic_loss(critic: Callable[[Tensor, Tensor], Tensor], real: Tensor, generated: Tensor, semantics: Tensor, beta: float) -> Tensor:
    """What the critic minimises: minus Eq. 4, the penalty on the norm of its gradient (not on the norm squared, see METHODS).

    Args:
        critic: Maps ``[B, D]`` features and ``[B, Q]`` semantics to ``[B]``.
        real: ``[B, D]``.
        generated: ``[B, D]``; no gradient flows back into it.
        semantics: Of each row's class, ``[B, Q]``.
        beta: Weight of the penalty.
    """
    generated = generated.detach()
    distance = critic(real, semantics).mean() - critic(generated, semantics).mean()
    return beta * gradient_penalty(lambda points: critic(points, semantics), real, generated) - distance
