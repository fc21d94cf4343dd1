"""Types of arrays, and the conversion to float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from zsl_lab.files.rows import RowBuffer, is_mapped, row_blocks

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


def float32(array: Array) -> FloatArray:
    """An array as float32 in C order; not copied if it is so already.

    A mapped array of another type is converted in blocks, if large into a mapped temporary file.
    """
    if is_mapped(array) and array.dtype != np.float32:
        buffer = RowBuffer()
        with np.errstate(over="ignore"):
            for block in row_blocks(array):
                buffer.append(block.astype(np.float32))
        return buffer.array()
    # a value too large for float32 becomes infinite, which the benchmark refuses
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)
