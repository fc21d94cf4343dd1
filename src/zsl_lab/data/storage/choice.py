"""``dataset.storage``: whether features are loaded into memory or read from disk."""

from __future__ import annotations

from typing import Literal

from zsl_lab.files.memory import free_memory, size_text

#: with ``auto``, features are read from disk if they would fill too much of the free memory
Storage = Literal["memory", "disk", "auto"]

#: size, in bytes, up to which ``auto`` loads float32 features whatever the free memory
_ALWAYS_LOADED = 2**28
#: copies of the features that a run holds at its peak: as loaded, and a phase's rows scaled
_COPIES = 3


def reads_from_disk(storage: Storage, samples: int, dimensions: int) -> bool:
    """Whether features are read from disk while training.

    Args:
        storage: The value of ``dataset.storage``.
        samples: Number of samples, N.
        dimensions: Dimension of the features, D.
    """
    if storage != "auto":
        return storage == "disk"
    size, free = 4 * samples * dimensions, free_memory()
    return size > _ALWAYS_LOADED and free is not None and _COPIES * size > free


def announcement(storage: Storage, samples: int, dimensions: int) -> str:
    """A line for the user: that features are read from disk, and why."""
    needed = size_text(_COPIES * 4 * samples * dimensions)
    free = free_memory()
    left = "" if free is None else f", {size_text(free)} are free"
    why = f" (dataset.storage=auto: in memory a run takes {needed}{left})"
    return (
        f"features are read from disk in blocks: {samples:,} x {dimensions:,}"
        f"{why if storage == 'auto' else ''}"
    )
