"""What jobs of a sweep that share a process need not read again."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class LRUCache(Generic[T]):
    """Values by key, those used last while together they are not too large; the last one always.

    Args:
        limit: Bytes that values may take together.
        size: Bytes that a value takes.
    """

    def __init__(self, limit: int, size: Callable[[T], int]) -> None:
        self._limit = limit
        self._size = size
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._total = 0
        self._lock = threading.RLock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key; made, where it is not there, once even if several threads ask for it."""
        with self._lock:
            if key not in self._values:
                value = make()
                self._total += self._size(value)
                self._values[key] = value
                while self._total > self._limit and len(self._values) > 1:
                    self._total -= self._size(self._values.popitem(last=False)[1])
            self._values.move_to_end(key)
            return self._values[key]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._values.clear()
            self._total = 0


def file_stamp(files: Iterable[Path]) -> tuple[tuple[str, int, int], ...]:
    """What changes when one of the files does: of each that is there its path, size and time of change."""
    found = []
    for file in files:
        try:
            state = os.stat(file)
        except OSError:
            continue
        found.append((str(file), state.st_size, state.st_mtime_ns))
    return tuple(found)
