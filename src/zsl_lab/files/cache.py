"""An LRU cache for values that runs of one process share; a stamp that detects changed files."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class LRUCache(Generic[T]):
    """Thread-safe LRU cache bounded by total bytes; it always keeps the value that was used last.

    Args:
        limit: Largest total size of the values, in bytes.
        size: The size of a value, in bytes.
    """

    def __init__(self, limit: int, size: Callable[[T], int]) -> None:
        self._limit = limit
        self._size = size
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._total = 0
        self._lock = threading.RLock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key; made where it is missing, once even if several threads ask for it."""
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
        """Remove all values."""
        with self._lock:
            self._values.clear()
            self._total = 0


#: path, size and modification time of each of some files
FileStamp = tuple[tuple[str, int, int], ...]


def file_stamp(files: Iterable[Path]) -> FileStamp:
    """Path, size and modification time of each existing file: differs when one of them changes."""
    found = []
    for file in files:
        try:
            state = os.stat(file)
        except OSError:
            continue
        found.append((str(file), state.st_size, state.st_mtime_ns))
    return tuple(found)
