"""Scaling of features and class semantics; every statistic comes from the rows it is fitted on, and only those."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zsl_lab.data.benchmark import FloatArray
from zsl_lab.data.dataset import Normalization


@dataclass(frozen=True)
class Scaler:
    """An affine map per dimension, or a division of each row by its norm.

    Attributes:
        kind: ``none``, ``minmax`` (to [0, 1]), ``l2`` (rows of norm 1) or ``standard`` (mean 0, standard deviation 1).
        shift: Subtracted first, ``[D]``; empty for ``none`` and ``l2``.
        scale: Divided by then, ``[D]``; empty for ``none`` and ``l2``.
    """

    kind: Normalization
    shift: Tensor
    scale: Tensor

    @classmethod
    def fit(cls, kind: Normalization, rows: FloatArray) -> Scaler:
        """Take the statistics that ``kind`` needs from ``rows`` ``[N, D]``."""
        if kind == "minmax":
            shift, high = (torch.from_numpy(value) for value in (rows.min(0), rows.max(0)))
            scale = high - shift
        elif kind == "standard":
            scale, shift = torch.std_mean(torch.from_numpy(rows), dim=0, correction=0)
        else:
            return cls(kind, torch.empty(0), torch.empty(0))
        # a constant dimension carries nothing; dividing it by 1 leaves it at 0
        return cls(kind, shift, torch.where(scale > 0, scale, torch.ones_like(scale)))

    def apply(self, rows: Tensor) -> Tensor:
        """Scale ``[N, D]`` rows; the argument is left as it is."""
        if self.kind == "l2":
            return torch.nn.functional.normalize(rows, dim=1)
        if self.kind == "none":
            return rows
        return (rows - self.shift.to(rows.device)) / self.scale.to(rows.device)

    def state(self) -> dict[str, str | Tensor]:
        """Plain values for a checkpoint."""
        return {"kind": self.kind, "shift": self.shift, "scale": self.scale}
