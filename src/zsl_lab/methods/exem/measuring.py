"""Means and scatter of samples that are read in blocks, for samples that do not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from zsl_lab.methods.exem.config import Whitening
from zsl_lab.methods.exem.selection import HeldOut
from zsl_lab.methods.exem.whitening import Scatter, squares

#: starts a pass over all samples, in blocks of their indices ``[n]`` and features ``[n, D]``
Pass = Callable[[], Iterator[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Groups:
    """The samples that constants are selected on.

    Attributes:
        kept: Samples that means and scatter are computed from, bool ``[N]``.
        scored: Held-out samples that are scored, bool ``[N]``.
        classes: The classes of both, sorted, ``[c]``.
    """

    kept: Tensor
    scored: Tensor
    classes: Tensor


@dataclass(frozen=True)
class Measured:
    """Statistics from two passes over the samples.

    Attributes:
        means: Class means of all samples, ``[C, D]``.
        scatter: Within-class scatter of all samples.
        held: Held-out samples that constants are selected on; None if there are none.
    """

    means: Tensor
    scatter: Scatter
    held: HeldOut | None


def median_skewness(rows: Tensor) -> float:
    """Median skewness of the columns that are not constant; 0 if all are.

    It is invariant to shifting and scaling, and above 0 where columns have a long upper tail.

    Args:
        rows: ``[N, D]``, at least one.
    """
    rows = rows[:, rows.amin(0) < rows.amax(0)].double()
    if not rows.shape[1]:
        return 0.0
    centred = rows - rows.mean(0)
    return float((centred.pow(3).mean(0) / centred.square().mean(0).pow(1.5)).median())


def measure(
    samples: Pass, labels: Tensor, classes: int, kind: Whitening, groups: Groups | None
) -> Measured:
    """Compute class means and scatter, of all samples and of those kept to select constants.

    The first pass sums features, the second one the outer squares of residuals, in single precision
    within a block and in double precision over blocks. Residuals of all samples are taken from the
    class means c of the kept ones; subtracting ``sum n (m - c) (m - c)^T`` gives the scatter about
    the class means m of all samples.

    Args:
        samples: Starts a pass over the samples; called twice.
        labels: Class of each sample, ``[N]``.
        classes: C.
        kind: Which part of the scatter is used.
        groups: The samples that constants are selected on; None if there are none.
    """
    kept = torch.ones_like(labels, dtype=torch.bool) if groups is None else groups.kept
    counts, means, centres = _means(samples, labels, classes, kept)
    others = of_kept = means.new_zeros(())
    # one tensor from the start: pieces kept among large blocks would fragment memory
    features = means.new_empty(0 if groups is None else int(groups.scored.sum()), means.shape[1])
    done = 0
    for numbers, x in samples():
        residuals = x - centres[labels[numbers]].to(x.dtype)
        inside = kept[numbers]
        of_kept = of_kept + squares(residuals[inside], kind)
        others = others + squares(residuals[~inside], kind)
        if groups is not None:
            taken = x[groups.scored[numbers]]
            features[done : done + len(taken)] = taken
            done += len(taken)
    shift = (means - centres) * counts.sqrt()[:, None]
    scatter = Scatter.of_total(others + of_kept - squares(shift, kind), len(labels), kind)
    dtype = x.dtype
    if groups is None:
        return Measured(means.to(dtype), scatter, None)
    place = labels.new_full((classes,), -1)
    place[groups.classes] = torch.arange(len(groups.classes), device=labels.device)
    held = HeldOut(
        features.to(dtype),
        place[labels[groups.scored]],
        centres[groups.classes].to(dtype),
        Scatter.of_total(of_kept, int(kept.sum()), kind),
    )
    return Measured(means.to(dtype), scatter, held)


def _means(
    samples: Pass, labels: Tensor, classes: int, kept: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Class sizes ``[C]``, class means of all samples, and class means of the kept samples.

    All float64; means are ``[C, D]``. A class without kept samples has the mean of all in both.
    """
    sums: list[Tensor] = []
    for numbers, x in samples():
        if not sums:
            shape = (classes, x.shape[1])
            sums = [torch.zeros(shape, dtype=torch.float64, device=x.device) for _ in range(2)]
        for into, inside in zip(sums, (kept[numbers], ~kept[numbers]), strict=True):
            into.index_add_(0, labels[numbers[inside]], x[inside].double())
    counts = torch.bincount(labels, minlength=classes).double()
    of_kept = torch.bincount(labels[kept], minlength=classes).double()
    means = (sums[0] + sums[1]) / counts[:, None]
    centres = torch.where(of_kept[:, None] > 0, sums[0] / of_kept[:, None], means)
    return counts, means, centres


def largest_axes(samples: Pass, count: int) -> Tensor:
    """Directions of largest variance, ``[D, count]``, from two passes over the samples."""
    sums = [(len(x), x.double().sum(0)) for _, x in samples()]
    mean = torch.stack([total for _, total in sums]).sum(0) / sum(rows for rows, _ in sums)
    gram = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=mean.device)
    for _, x in samples():
        centred = x - mean.to(x.dtype)
        gram += (centred.T @ centred).double()
    axes: Tensor = torch.linalg.eigh(gram)[1]
    return axes[:, -count:].to(x.dtype)
