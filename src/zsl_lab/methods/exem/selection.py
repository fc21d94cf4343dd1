"""Selection of constants by leaving training classes out in turn."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zsl_lab.data.scaling import Scaler
from zsl_lab.methods.exem.config import Constants, Distance, Settings
from zsl_lab.methods.exem.regression import ClassRegression, Kernel, mean_squared_distance, rbf
from zsl_lab.methods.exem.whitening import Scatter, class_means
from zsl_lab.metrics import harmonic_mean
from zsl_lab.metrics.ausuc import area_under, best_of_groups, seen_unseen_curve

#: constants, unseen and seen accuracies, as :func:`seen_unseen_curve` gives them
_Curve = tuple[Tensor, Tensor, Tensor]

#: of this many samples of a class, one is held out: scored, and not used for means and scatter
_HELD_OUT = 5
#: most scores (samples times classes) that are computed for a candidate
MOST_SCORES = 2**23
#: number of offsets that are tried, to find the one with the largest H averaged over folds
_CONSTANTS = 512


@dataclass(frozen=True)
class Choice:
    """The selected constants, and their metrics on the classes that were left out.

    Attributes:
        constants: The best constants.
        offset: The best constant to add to the scores of left-out classes.
        ausuc: Mean area under the seen-unseen curve, in percent; NaN if nothing was compared.
        harmonic_mean: Mean H at ``offset``, in percent; NaN if nothing was compared.
    """

    constants: Constants
    offset: float
    ausuc: float
    harmonic_mean: float


@dataclass(frozen=True)
class HeldOut:
    """Held-out training samples, which are scored, and statistics of the other ones.

    Attributes:
        features: Features of the held-out samples, ``[n, D]``.
        labels: Class of each held-out sample, ``[n]``.
        means: Class means of the other samples, ``[C, D]``.
        scatter: Within-class scatter of the other samples.
    """

    features: Tensor
    labels: Tensor
    means: Tensor
    scatter: Scatter


@dataclass(frozen=True)
class _Products:
    """Inner products in the whitened space of one shrinkage, from which all scores follow.

    Attributes:
        samples_means: Of held-out samples and class means, ``[n, C]``.
        means: Of class means, ``[C, C]``.
        samples: Squared norms of the samples, ``[n]``.
    """

    samples_means: Tensor
    means: Tensor
    samples: Tensor


def kernel_of(kind: str, width: float, semantics: Tensor) -> Kernel | None:
    """The kernel for scaled semantics ``[n, Q]`` of the training classes; None if it is linear."""
    return rbf(width * mean_squared_distance(semantics)) if kind == "rbf" else None


def class_folds(classes: int, folds: int, partitions: int) -> list[Tensor]:
    """Masks of the classes that are left out together, bool ``[C]`` each; none where C is below 3.

    Every partition divides all classes into parts of nearly equal size: ``folds`` (at least 3), or
    fewer where most parts would hold a single class, among which nothing can be confused.
    """
    if classes < 3:
        return []
    count = min(folds, max(3, (classes + 1) // 2))
    generator = torch.Generator().manual_seed(0)
    left_out = []
    for _ in range(partitions):
        order = torch.randperm(classes, generator=generator)
        for part in order.tensor_split(count):
            mask = torch.zeros(classes, dtype=torch.bool)
            mask[part] = True
            left_out.append(mask)
    return left_out


def held_out(labels: Tensor) -> Tensor:
    """A fifth of each class's samples, rounded up, drawn with a fixed seed; bool ``[N]``.

    A class with a single sample keeps it.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    # the samples of each class together, in the drawn order
    ranked, members = labels.cpu()[order].sort(stable=True)
    counts = torch.bincount(ranked)
    place = torch.arange(len(ranked)) - (counts.cumsum(0) - counts)[ranked]
    share = torch.minimum((counts + _HELD_OUT - 1) // _HELD_OUT, counts - 1)
    held = torch.zeros(len(labels), dtype=torch.bool)
    held[order[members]] = place < share[ranked]
    return held.to(labels.device)


def some_classes(classes: int, most: int, device: torch.device) -> Tensor | None:
    """A sorted sample of the classes, drawn with a fixed seed; None for all, if they are few.

    Args:
        classes: C.
        most: The number of classes to draw, if there are more.
        device: Device of the returned tensor.
    """
    if classes <= most:
        return None
    drawn = torch.randperm(classes, generator=torch.Generator().manual_seed(0))[:most]
    return drawn.sort().values.to(device)


def choose(
    features: Tensor,
    labels: Tensor,
    semantics: Tensor,
    candidates: Sequence[Constants],
    settings: Settings,
    dimension: int | None = None,
) -> Choice:
    """Select the candidate with the largest mean AUSUC over folds of left-out classes.

    In each fold the classes left out act as unseen, the others as seen. Means and within-class
    scatter are those of four fifths of the samples of each class; the other samples are scored.
    All scores of all folds and candidates follow from the inner products of samples and class
    means in the whitened space. With very many samples only some are scored, so that at most
    :data:`MOST_SCORES` scores are computed.

    Args:
        features: Scaled training samples, ``[N, D]``.
        labels: Class of each, 0 to C-1, ``[N]``.
        semantics: Semantics of these classes, ``[C, Q]``.
        candidates: Constants to select from; among equally good ones the first is selected.
        settings: The fixed settings.
        dimension: D before features were rotated to the space that they span; None if they were
            not rotated.

    Returns:
        The choice; the first candidate, with no offset, if nothing can be left out.
    """
    held = held_out(labels)
    if not held.any():
        return uninformed(candidates)
    kept, kept_labels = features[~held], labels[~held]
    means = class_means(kept, kept_labels, len(semantics))
    scatter = Scatter.measure(kept, kept_labels, means, settings.whitening, dimension)
    scored = fewer(held, len(semantics))
    return choose_on(
        HeldOut(features[scored], labels[scored], means, scatter), semantics, candidates, settings
    )


def uninformed(candidates: Sequence[Constants]) -> Choice:
    """The first candidate, where nothing can be left out."""
    return Choice(candidates[0], 0.0, float("nan"), float("nan"))


def choose_on(
    held: HeldOut, semantics: Tensor, candidates: Sequence[Constants], settings: Settings
) -> Choice:
    """As :func:`choose`, given the samples that are scored and means and scatter of the others."""
    folds = class_folds(len(semantics), settings.folds, settings.partitions)
    if not folds:
        return uninformed(candidates)
    products, target = _products(held, candidates), held.labels

    def curves(of: Sequence[Constants]) -> Iterator[tuple[Constants, _Curve]]:
        for left_out in folds:
            seen = ~left_out.to(target.device)
            for constants, mixing in _mixings(semantics, seen, of, settings):
                scores = _scores(products[constants.shrinkage], mixing, seen, settings.distance)
                yield constants, _curve(scores, target, seen)

    areas: dict[Constants, list[float]] = {candidate: [] for candidate in candidates}
    for candidate, (_, unseen, seen) in curves(candidates):
        areas[candidate].append(float(area_under(unseen, seen)))
    means = {candidate: float(np.nanmean(values)) for candidate, values in areas.items()}
    best = max(candidates, key=lambda candidate: means[candidate])
    offset, reached = _common_offset([curve for _, curve in curves([best])])
    return Choice(best, offset, 100 * means[best], 100 * reached)


def fewer(held: Tensor, classes: int) -> Tensor:
    """Restrict the mask of scored samples so that at most :data:`MOST_SCORES` are computed.

    The samples that stay are drawn with a fixed seed.
    """
    most = max(1, MOST_SCORES // classes)
    places = held.nonzero().squeeze(1)
    if len(places) <= most:
        return held
    drawn = torch.randperm(len(places), generator=torch.Generator().manual_seed(0))[:most]
    scored = torch.zeros_like(held)
    scored[places[drawn.to(places.device)]] = True
    return scored


def _products(held: HeldOut, candidates: Sequence[Constants]) -> dict[float, _Products]:
    features, means, scatter = held.features, held.means, held.scatter
    values, vectors = scatter.decomposed()
    # relative to a point near all of them, which loses little to rounding
    middle = means.mean(0)
    x, m = features - middle, means - middle
    if vectors is not None:
        x, m = x @ vectors.to(x.dtype), m @ vectors.to(m.dtype)
    x, m = x.double(), m.double()
    found = {}
    for r in dict.fromkeys(c.shrinkage for c in candidates):
        inverse = 1 / ((1 - r) * values + r * scatter.level)
        weighted = m * inverse
        found[r] = _Products(x @ weighted.T, m @ weighted.T, x.square() @ inverse)
    return found


def _mixings(
    semantics: Tensor, seen: Tensor, candidates: Sequence[Constants], settings: Settings
) -> Iterator[tuple[Constants, Tensor]]:
    """For each candidate the weights of the class means in every exemplar, ``[C, C]``."""
    fitted = Scaler.fit(settings.normalize_semantics, semantics[seen].cpu().numpy())
    scaled = fitted.apply(semantics).double()
    places = seen.nonzero().squeeze(1)
    own = torch.zeros(len(seen), len(seen), dtype=torch.float64, device=seen.device)
    own[places, places] = 1
    by_width = itertools.groupby(
        sorted(candidates, key=lambda c: (c.width, c.ridge, c.mixture)), key=lambda c: c.width
    )
    for width, of_width in by_width:
        regression = ClassRegression(scaled[seen], kernel_of(settings.kernel, width, scaled[seen]))
        for ridge, of_ridge in itertools.groupby(of_width, key=lambda c: c.ridge):
            predicted = torch.zeros_like(own)
            predicted[:, seen] = regression.smoothing(scaled, ridge)
            for mixture, same in itertools.groupby(of_ridge, key=lambda c: c.mixture):
                mixed = torch.where(
                    seen[:, None], mixture * own + (1 - mixture) * predicted, predicted
                )
                for constants in same:
                    yield constants, mixed


def _scores(products: _Products, mixing: Tensor, seen: Tensor, distance: Distance) -> Tensor:
    """Scores of the held-out samples, ``[n, C]``; the origin is the mean of the seen means."""
    share = seen.double() / seen.sum()
    # rows sum to 0, so that the origin of the means cancels
    mixing = mixing - share
    inner = (products.samples_means - products.means @ share).float() @ mixing.T.float()
    exemplars = (mixing @ products.means * mixing).sum(1)
    samples = products.samples - 2 * products.samples_means @ share + share @ products.means @ share
    return compare(inner, samples.float(), exemplars.float(), distance)


def compare(inner: Tensor, samples: Tensor, exemplars: Tensor, distance: Distance) -> Tensor:
    """Scores ``[n, C]`` from inner products and the squared norms ``[n]`` and ``[C]``."""
    if distance == "euclidean":
        return 2 * inner - exemplars - samples[:, None]
    tiny = torch.finfo(inner.dtype).tiny
    return inner * samples.clamp(min=tiny).rsqrt()[:, None] * exemplars.clamp(min=tiny).rsqrt()


def _curve(scores: Tensor, target: Tensor, seen: Tensor) -> _Curve:
    places = seen.nonzero().squeeze(1), (~seen).nonzero().squeeze(1)
    best_seen, best_unseen, margins = best_of_groups(scores, *places)
    right = torch.where(seen[target], best_seen, best_unseen) == target
    return seen_unseen_curve(margins, target, right, seen)


def _common_offset(curves: Sequence[_Curve]) -> tuple[float, float]:
    """The constant with the largest H averaged over folds, and that H in [0, 1]."""
    known = torch.cat([constants[1:-1] for constants, _, _ in curves]).sort().values
    if not len(known):
        return 0.0, float("nan")
    grid = known[torch.linspace(0, len(known) - 1, _CONSTANTS).long()]
    means = torch.stack([harmonic_mean(*_accuracies(curve, grid)) for curve in curves]).nanmean(0)
    best = means.argmax()
    return float(grid[best]), float(means[best])


def _accuracies(curve: _Curve, added: Tensor) -> tuple[Tensor, Tensor]:
    constants, unseen, seen = curve
    # the last point of the curve whose constant is not above the added one
    at = torch.searchsorted(constants[1:-1].contiguous(), added, right=True)
    return unseen[at], seen[at]
