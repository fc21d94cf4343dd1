"""The names of the kinds of scaling; :class:`zsl_lab.data.scaling.Scaler` describes them."""

from __future__ import annotations

from typing import Literal

Normalization = Literal["none", "minmax", "minmax_sqrt", "l2", "standard", "scale", "centered_l2"]
