"""What is computed from the samples of a split, kept for further runs of the process.

The jobs of a sweep read one benchmark, and most of them train on the same samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from zsl_lab.data.benchmark import IntArray
from zsl_lab.data.storage.source import FeatureSource

T = TypeVar("T")

_kept: WeakKeyDictionary[FeatureSource, dict[Hashable, Any]] = WeakKeyDictionary()


def kept(source: FeatureSource, index: IntArray, name: Hashable, compute: Callable[[], T]) -> T:
    """A result that depends on some samples alone, computed once as long as their source exists.

    Args:
        source: The samples.
        index: Which of them, 0-based.
        name: Of the result.
        compute: Computes it.
    """
    results = _kept.setdefault(source, {})
    key = (name, hashlib.sha256(index.tobytes()).digest())
    if key not in results:
        results[key] = compute()
    found: T = results[key]
    return found
