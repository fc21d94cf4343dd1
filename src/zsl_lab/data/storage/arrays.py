"""Types of arrays, and the one conversion between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


def float32(array: Array) -> FloatArray:
    """Numbers as runs take them, in C order; not copied where they are that already."""
    # a value too large for float32 becomes infinite, which the benchmark refuses
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)
