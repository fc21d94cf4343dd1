"""The losses of ASPN (paper, Eq. 1 to 4, 7 and 8)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from zsl_lab.methods.aspn.config import Compatibility
from zsl_lab.nn.gaussian import squared_distances
from zsl_lab.nn.gradient_penalty import gradient_penalty


def comparable(
    rows: Tensor, kind: Compatibility, centre: Tensor, whitening: Tensor | None = None
) -> Tensor:
    """Map features or prototypes to the space they are compared in, ``[N, D]``.

    See :func:`compatibility` for the arguments.
    """
    rows = transformed(rows, kind, centre, whitening)
    return rows if kind in ("inner_product", "distance") else normalize(rows, dim=1)


def transformed(
    rows: Tensor, kind: Compatibility, centre: Tensor, whitening: Tensor | None = None
) -> Tensor:
    """As :func:`comparable`, before rows are divided by their norms for a cosine, ``[N, D]``."""
    if kind in ("centered_cosine", "whitened_cosine"):
        rows = rows - centre
    if kind == "whitened_cosine":
        assert whitening is not None
        rows = rows @ whitening
    return rows


def compatibility(
    features: Tensor,
    prototypes: Tensor,
    kind: Compatibility,
    centre: Tensor,
    whitening: Tensor | None = None,
) -> Tensor:
    """Compatibility of each feature with each prototype; higher is better.

    Args:
        features: ``[B, D]``.
        prototypes: ``[C, D]``.
        kind: ``inner_product`` (Eq. 8); ``distance``: minus the squared Euclidean distance (section
            3.5); ``cosine``; ``centered_cosine``: cosine after ``centre`` is subtracted from both;
            ``whitened_cosine``: the same, after a further product with ``whitening``.
        centre: The mean training feature, ``[D]``.
        whitening: See :func:`zsl_lab.nn.whitening.within_class_whitening`, ``[D, D]``; needed for
            ``whitened_cosine`` only.

    Returns:
        ``[B, C]``.
    """
    if kind == "distance":
        return -squared_distances(features, prototypes)
    return (
        comparable(features, kind, centre, whitening)
        @ comparable(prototypes, kind, centre, whitening).T
    )


def prototype_cross_entropy(
    scores: Tensor, labels: Tensor, temperature: float, among: Tensor | None = None
) -> Tensor:
    """Minus the mean log-probability of the true class, softmax of the compatibilities (Eq. 8).

    Args:
        scores: Compatibilities with the prototypes of all classes, ``[B, C]``.
        labels: Class positions, ``[B]``.
        temperature: The compatibilities are divided by it.
        among: Which classes compete, bool ``[C]``; None for all (the paper).
    """
    scores = scores / temperature
    return cross_entropy(
        scores if among is None else scores.masked_fill(~among, float("-inf")), labels
    )


def critic_loss(
    critic: Callable[[Tensor, Tensor], Tensor],
    real: Tensor,
    generated: Tensor,
    semantics: Tensor,
    beta: float,
) -> Tensor:
    """The loss of the critic: minus Eq. 4.

    The penalty is on the norm of the gradient, as in WGAN-GP; Eq. 4 has the norm squared.

    Args:
        critic: Maps ``[B, D]`` features and ``[B, Q]`` semantics to ``[B]``.
        real: ``[B, D]``.
        generated: ``[B, D]``; no gradient flows back into it.
        semantics: Of each row's class, ``[B, Q]``.
        beta: Weight of the penalty.
    """
    generated = generated.detach()
    distance = critic(real, semantics).mean() - critic(generated, semantics).mean()
    return (
        beta * gradient_penalty(lambda points: critic(points, semantics), real, generated)
        - distance
    )
