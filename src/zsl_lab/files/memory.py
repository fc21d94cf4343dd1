"""Sizes that a file declares, checked against the file and the free memory before it is read."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from zsl_lab.errors import DataError

#: numbers may take this many times the bytes that store them (zlib reaches 1032 times) ...
MAX_RATIO = 200
#: ... or this many bytes in any case
ALWAYS_ALLOWED = 2**28
_PROC, _CGROUP = Path("/proc"), Path("/sys/fs/cgroup")


def free_memory() -> int | None:
    """Bytes that this process may still allocate; None where the system does not say.

    The least of what the machine has free, what the control group (a container, a batch job) has
    left, and what the limit on the address space (``ulimit -v``) leaves.
    """
    bounds = [bound for bound in (_of_machine(), _of_group(), _of_limits()) if bound is not None]
    return max(0, min(bounds)) if bounds else None


def check_size(
    declared: int, stored: int, where: str, *, needed: int | None = None, remedy: str = ""
) -> None:
    """Refuse numbers that are too many for the bytes that store them, or for the free memory.

    Args:
        declared: Bytes of the numbers, as the file declares them.
        stored: Bytes that store them in the file.
        where: File and field, for the message.
        needed: Bytes of memory that reading takes; None for ``declared``.
        remedy: What else the user can do: a sentence that ends the message.

    Raises:
        DataError: If there are too many.
    """
    needed = declared if needed is None else needed
    end = f" {remedy}".rstrip()
    if declared > ALWAYS_ALLOWED and declared > MAX_RATIO * stored:
        raise DataError(
            f"{where}: found {size_text(declared)} declared by {size_text(stored)} of the file; "
            f"expected at most {MAX_RATIO} times the stored size. The file is damaged or made to "
            "exhaust the memory; if the numbers are meant, store them without compression, or "
            f"fewer of them.{end}"
        )
    free = free_memory()
    # smaller reads are never refused
    if free is not None and needed > ALWAYS_ALLOWED // 16 and needed > free:
        raise DataError(
            f"{where}: found numbers that take {size_text(needed)} to read; expected at most the "
            f"{size_text(free)} of memory that are free. Store fewer samples or dimensions (or "
            f"float32), or close other programs, or use a machine with more memory.{end}"
        )


def out_of_memory(where: str, remedy: str = "") -> DataError:
    """The error to raise where reading a file raised ``MemoryError``."""
    free = free_memory()
    left = "" if free is None else f", of which {size_text(free)} are free"
    return DataError(
        f"{where}: found more numbers than fit into memory{left}; expected fewer. Store fewer "
        "samples or dimensions (or float32), or close other programs, or use a machine with more "
        f"memory. {remedy}".rstrip()
    )


def size_text(size: int) -> str:
    """A number of bytes in words: ``1.5 GiB``."""
    value = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{size} bytes" if unit == "bytes" else f"{value:,.1f} {unit}"


def _of_machine() -> int | None:
    with suppress(OSError, ValueError):
        for line in (_PROC / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with suppress(AttributeError, OSError, ValueError):  # not Linux: all memory of the machine
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _of_group() -> int | None:
    """Bytes left in the control group, of version 2 or 1."""
    for folder, limit, used in (
        (_CGROUP, "memory.max", "memory.current"),
        (_CGROUP / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):  # ValueError: no limit ("max")
            left = int((folder / limit).read_text()) - int((folder / used).read_text())
            return left + _reclaimable(folder / "memory.stat")
    return None


def _reclaimable(path: Path) -> int:
    """Bytes of cached files, which the system gives up when memory is needed."""
    for line in path.read_text().splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _of_limits() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    with suppress(OSError, ValueError, IndexError):
        pages = int((_PROC / "self" / "statm").read_text().split()[0])
        return limit - pages * resource.getpagesize()
    return None
