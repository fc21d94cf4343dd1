"""SIGTERM while a run trains: the handler sets a flag, the processes agree at the end of a step."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from zsl_lab.hardware.distributed import world_size

#: seconds between two agreements, about, and most steps between them
_SECONDS, _MOST_STEPS = 0.5, 100


class StopRequest:
    """Whether a process of the run was asked to end.

    A handler that exchanges messages itself could interrupt another exchange, and both would wait
    for ever. So it only sets a flag, which the processes share every few steps.
    """

    def __init__(self) -> None:
        self._asked = False
        self._agreed = False
        self._before: Any = None
        self._handling = False
        self._steps_left = 1
        self._interval = 1
        self._since = time.monotonic()

    def __enter__(self) -> StopRequest:
        """Handle SIGTERM from here on; in another than the main thread, handle nothing."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._on_sigterm)
            self._handling = True
        return self

    def __exit__(self, *exception: object) -> None:
        """Restore the earlier handler."""
        if self._handling:
            signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)
            self._handling = False

    def _on_sigterm(self, signum: int, frame: FrameType | None) -> None:
        self._asked = True

    @property
    def asked(self) -> bool:
        """Whether this process was asked to end."""
        return self._asked

    def agreed(self, device: torch.device, *, last: bool = False) -> bool:
        """Whether the run is to end now; every process must ask after the same steps.

        Args:
            device: The device that messages are exchanged on.
            last: Whether to agree at this step in any case.
        """
        if world_size() == 1:
            return self._asked
        self._steps_left -= 1
        if self._steps_left > 0 and not last:
            return self._agreed
        taken, now = self._interval - self._steps_left, time.monotonic()
        seconds = (now - self._since) / max(taken, 1)
        shared = torch.tensor([float(self._asked), seconds], device=device)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        asked, slowest = shared.tolist()
        self._agreed = self._agreed or asked > 0
        # from shared numbers only, so that all agree on the next step too
        self._interval = self._steps_left = max(
            1, min(_MOST_STEPS, int(_SECONDS / (slowest + 1e-9)))
        )
        self._since = now
        return self._agreed
