"""Peak memory of a run."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch

_PROC = Path("/proc/self")


def begin_peak(accelerator: str) -> None:
    """Reset the peak, to measure it from now on; a process may make several runs.

    Args:
        accelerator: ``cpu`` or ``gpu``.
    """
    if accelerator == "gpu":
        torch.cuda.reset_peak_memory_stats()
        return
    try:
        (_PROC / "clear_refs").write_text("5")
    except OSError:  # not Linux, or not permitted: the peak is that of the whole process
        return


def peak(accelerator: str) -> int | None:
    """Peak memory of this process since :func:`begin_peak`.

    Args:
        accelerator: ``cpu`` or ``gpu``.

    Returns:
        Bytes: on a GPU the memory that PyTorch allocated there; on the CPU resident memory,
        including libraries and data. None if the system does not tell.
    """
    if accelerator == "gpu":
        return int(torch.cuda.max_memory_allocated())
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", (_PROC / "status").read_text(), re.MULTILINE)
    except OSError:
        return _peak_of_process()
    return int(found[1]) * 1024 if found else None


def _peak_of_process() -> int | None:
    """The peak of the process's whole life, where there is no ``/proc``."""
    if sys.platform == "win32":
        return None
    import resource  # Windows has none

    kilobytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobytes
