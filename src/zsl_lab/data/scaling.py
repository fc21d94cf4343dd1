"""Scaling of features and class semantics, with statistics of the fitted rows only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from zsl_lab.data.benchmark import FloatArray
from zsl_lab.data.checks.statistics import ColumnStatistics
from zsl_lab.data.normalization import Normalization

#: sums of squares of numbers between these neither overflow nor underflow in float32
_LARGE, _SMALL = 1e15, 1e-10
#: smaller than the length of any float32 vector but 0
_TINY = 1e-100


@dataclass(frozen=True)
class Scaler:
    """An affine map per dimension; some kinds add a square root or normalise each row.

    Attributes:
        kind: ``none``; ``minmax`` (each dimension to [0, 1]); ``minmax_sqrt`` (the square root
            after ``minmax``, so that large values count for less; values below the smallest fitted
            one become 0); ``l2`` (rows of norm 1); ``standard`` (each dimension to mean 0 and
            standard deviation 1); ``scale`` (all values divided by their common standard deviation,
            which keeps zeros and the proportions of dimensions); ``centered_l2`` (the mean row
            subtracted, which removes what all classes have in common, then rows of norm 1).
        shift: Subtracted from each row, ``[D]``.
        scale: The difference is divided by it, ``[D]``.
    """

    kind: Normalization
    shift: Tensor
    scale: Tensor

    @classmethod
    def fit(cls, kind: Normalization, rows: FloatArray) -> Scaler:
        """Take the statistics that ``kind`` needs from ``rows`` ``[N, D]``."""
        table = torch.from_numpy(rows)
        shift, scale = torch.zeros(table.shape[1]), torch.ones(table.shape[1])
        if kind in ("minmax", "minmax_sqrt"):
            shift = table.amin(0)
            scale = table.amax(0) - shift
        elif kind == "standard":
            scale, shift = _std_mean(table)
        elif kind == "scale":
            scale = _std(table).expand_as(scale)
        elif kind == "centered_l2":
            shift = _mean(table)
        # a constant dimension has no information; dividing it by 1 leaves it at 0
        return cls(kind, shift, torch.where(scale > 0, scale, torch.ones_like(scale)))

    @classmethod
    def fit_blocks(cls, kind: Normalization, blocks: Iterable[FloatArray], columns: int) -> Scaler:
        """Like :meth:`fit`, from rows in blocks; statistics are computed in double precision.

        Args:
            kind: The kind.
            blocks: Rows ``[n, D]``; not read for ``none`` and ``l2``, which need no statistics.
            columns: D.
        """
        if kind in ("none", "l2"):
            return cls(kind, torch.zeros(columns), torch.ones(columns))
        return cls.of_statistics(kind, ColumnStatistics.of_blocks(blocks, columns))

    @classmethod
    def of_statistics(cls, kind: Normalization, found: ColumnStatistics) -> Scaler:
        """Like :meth:`fit`, from the rows' statistics in double precision."""
        low, high = torch.from_numpy(found.low), torch.from_numpy(found.high)
        mean, std = torch.from_numpy(found.mean), torch.from_numpy(found.std)
        shift, scale = torch.zeros_like(mean), torch.ones_like(mean)
        if kind in ("minmax", "minmax_sqrt"):
            shift, scale = low, high - low
        elif kind == "standard":
            shift, scale = mean, std
        elif kind == "scale":
            between = (mean - mean.mean()).square().mean()
            scale = (std.square().mean() + between).sqrt().expand_as(mean)
        elif kind == "centered_l2":
            shift = mean
        if kind == "standard":  # sums leave a rounding error where a column is constant
            scale = scale * (high > low)
        scale = scale.float()
        return cls(kind, shift.float(), torch.where(scale > 0, scale, torch.ones_like(scale)))

    def apply(self, rows: Tensor) -> Tensor:
        """Scale ``[N, D]`` rows; the argument is left as it is."""
        if self.kind == "none":
            return rows
        rows = (rows - self.shift.to(rows.device)) / self.scale.to(rows.device)
        if self.kind == "minmax_sqrt":
            return rows.clamp(min=0).sqrt()
        return _unit_rows(rows) if self.kind.endswith("l2") else rows

    def invert(self, rows: Tensor) -> Tensor:
        """Undo :meth:`apply` for rows ``[N, D]``; the argument is left as it is.

        Exact up to rounding, with two exceptions. For ``minmax_sqrt``, values below 0, which
        :meth:`apply` never returns, are taken as 0. For ``l2`` and ``centered_l2``, the original
        length of a row is lost: the result has the length of the given row.
        """
        if self.kind == "none":
            return rows
        if self.kind == "minmax_sqrt":
            rows = rows.clamp(min=0).square()
        return rows * self.scale.to(rows.device) + self.shift.to(rows.device)

    def state(self) -> dict[str, str | Tensor]:
        """Plain values for a checkpoint."""
        return {"kind": self.kind, "shift": self.shift, "scale": self.scale}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Scaler:
        """The scaler that :meth:`state` describes.

        Raises:
            ValueError: If ``state`` is not of this form.
        """
        kind, shift, scale = state.get("kind"), state.get("shift"), state.get("scale")
        if (
            isinstance(shift, Tensor)
            and isinstance(scale, Tensor)
            and shift.ndim == 1
            and shift.shape == scale.shape
        ):
            for known in get_args(Normalization):
                if kind == known:
                    return cls(known, shift, scale)
        raise ValueError(f"the kind of scaling is {kind!r}, or its statistics are missing")


def _extreme_columns(table: Tensor) -> Tensor:
    """Indices of the columns whose sums of squares overflow or underflow in float32."""
    largest = table.abs().amax(0)
    return ((largest > _LARGE) | (largest < _SMALL)).nonzero().flatten()


def _std_mean(table: Tensor) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean of each column."""
    scale, shift = torch.std_mean(table, dim=0, correction=0)
    extreme = _extreme_columns(table)
    if len(extreme):
        exact, mean = torch.std_mean(table[:, extreme].double(), dim=0, correction=0)
        scale[extreme], shift[extreme] = exact.float(), mean.float()
    return scale, shift


def _mean(table: Tensor) -> Tensor:
    """Mean of each column."""
    shift, extreme = table.mean(0), _extreme_columns(table)
    shift[extreme] = table[:, extreme].double().mean(0).float()
    return shift


def _std(table: Tensor) -> Tensor:
    """Standard deviation of all numbers."""
    largest = float(table.abs().max())
    if _SMALL <= largest <= _LARGE:
        return table.std(correction=0)
    return table.double().std(correction=0).float()


def _unit_rows(rows: Tensor) -> Tensor:
    """Rows divided by their length; a row of length 0 stays as it is.

    Lengths are computed in float64 where they would overflow or underflow in float32.
    """
    lengths = torch.linalg.vector_norm(rows, dim=1)
    unit = torch.nn.functional.normalize(rows, dim=1)
    extreme = (~((lengths >= _SMALL) & (lengths <= _LARGE))).nonzero().flatten()
    if len(extreme):
        exact = rows[extreme].double()
        unit = unit.index_copy(0, extreme, torch.nn.functional.normalize(exact, eps=_TINY).to(unit))
    return unit
