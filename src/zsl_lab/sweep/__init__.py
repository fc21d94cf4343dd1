"""Many runs from one command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["SweepCallback"]

if TYPE_CHECKING:
    from zsl_lab.sweep.sweep import SweepCallback
else:

    def __getattr__(name: str) -> Any:
        """``SweepCallback``, imported on first use: conf/config.yaml names it."""
        if name == "SweepCallback":
            from zsl_lab.sweep.sweep import SweepCallback

            return SweepCallback
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
