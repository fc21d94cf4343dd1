"""Class means and the scatter within classes, from sums that are gathered batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from zsl_lab.hardware import distributed

#: numbers that are turned into double precision at once
BLOCK = 2**24

#: which second moments are gathered: none, of each dimension, or of each pair of dimensions
Second = Literal["none", "diagonal", "full"]


def blocks(length: int, width: int) -> Iterator[slice]:
    """Slices of a table's rows, so that a block in double precision takes bounded memory.

    Args:
        length: Number of rows.
        width: Numbers in a row.
    """
    size = max(1, BLOCK // max(1, width))
    for start in range(0, length, size):
        yield slice(start, start + size)


def class_sums(rows: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Sum of the rows of each class, float64 ``[C, D]``.

    Args:
        rows: ``[N, D]``.
        labels: Class of each row, 0 to C-1, ``[N]``.
        classes: C.
    """
    sums = torch.zeros(classes, rows.shape[1], dtype=torch.float64, device=rows.device)
    for block in blocks(*rows.shape):
        sums.index_add_(0, labels[block], rows[block].double())
    return sums


def gram(rows: Tensor) -> Tensor:
    """``X^T X`` of ``[N, D]`` rows, or ``X X^T`` where N is below D; float64, the smaller one."""
    samples, dim = rows.shape
    small = min(samples, dim)
    total = torch.zeros(small, small, dtype=torch.float64, device=rows.device)
    if samples >= dim:
        for block in blocks(samples, dim):
            x = rows[block].double()
            total.addmm_(x.T, x)
    else:
        for block in blocks(dim, samples):
            x = rows[:, block].double()
            total.addmm_(x, x.T)
    return total


class ClassMoments:
    """Accumulates class means and within-class scatter of labelled points.

    Args:
        classes: C.
        dimension: Z.
        second: Which second moments are gathered.
        device: Device of the sums; None for the CPU.
    """

    def __init__(
        self, classes: int, dimension: int, second: Second, device: torch.device | None = None
    ) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self._counts = zeros(classes)
        self._sums = zeros(classes, dimension)
        shape = {"none": (0,), "diagonal": (dimension,), "full": (dimension, dimension)}[second]
        self._second = second
        self._squares = zeros(*shape)

    def add(self, points: Tensor, labels: Tensor) -> None:
        """Add ``[B, Z]`` points of the classes ``[B]``."""
        points = points.double()
        self._counts += torch.bincount(labels, minlength=len(self._counts))
        self._sums.index_add_(0, labels, points)
        if self._second == "diagonal":
            self._squares += points.square().sum(0)
        elif self._second == "full":
            self._squares += points.T @ points

    def share(self) -> None:
        """Average the sums over all processes, which gives the means and scatter of all points."""
        distributed.average([self._counts, self._sums, self._squares])

    @property
    def has_points(self) -> Tensor:
        """Whether each class has a point, bool ``[C]``."""
        return self._counts > 0

    def means(self) -> Tensor:
        """Mean of each class, float64 ``[C, Z]``; 0 for a class without points."""
        return self._sums / self._counts.clamp(min=torch.finfo(torch.float32).tiny)[:, None]

    def within(self) -> Tensor:
        """Mean (outer) square of the points about their class means, float64.

        Returns:
            Variances ``[Z]`` of ``diagonal`` moments, the covariance ``[Z, Z]`` of ``full`` ones.
        """
        means, total = self.means(), self._counts.sum()
        weighted = means * self._counts[:, None]
        if self._second == "diagonal":
            return ((self._squares - (weighted * means).sum(0)) / total).clamp(min=0)
        return (self._squares - weighted.T @ means) / total
