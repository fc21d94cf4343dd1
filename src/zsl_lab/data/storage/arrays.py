"""Types of arrays, and the one conversion between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from zsl_lab.files.rows import RowBuffer, is_mapped, row_blocks

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


def float32(array: Array) -> FloatArray:
    """Numbers as runs take them, in C order; not copied where they are that already."""
    if is_mapped(array) and array.dtype != np.float32:
        buffer = RowBuffer()
        with np.errstate(over="ignore"):
            for block in row_blocks(array):
                buffer.append(block.astype(np.float32))
        return buffer.array()
    # a value too large for float32 becomes infinite, which the benchmark refuses
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)
