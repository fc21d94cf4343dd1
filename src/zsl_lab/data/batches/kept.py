"""What is computed from the samples of a split, kept for further runs of the process.

The jobs of a sweep read one benchmark, and most of them train on the same samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from zsl_lab.data.benchmark import IntArray

T = TypeVar("T")

_kept: WeakKeyDictionary[object, dict[Hashable, Any]] = WeakKeyDictionary()


def kept(owner: object, index: IntArray, name: Hashable, compute: Callable[[], T]) -> T:
    """A result that depends on some samples alone, computed once as long as its owner exists.

    Args:
        owner: The source of the samples, if they stay as they are; else who uses the result.
        index: Which samples, 0-based.
        name: Of the result.
        compute: Computes it.
    """
    results = _kept.setdefault(owner, {})
    key = (name, hashlib.sha256(index.tobytes()).digest())
    if key not in results:
        results[key] = compute()
    found: T = results[key]
    return found
