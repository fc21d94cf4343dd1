"""One run: configuration in, a trained and tested method and its result out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["run"]

if TYPE_CHECKING:
    from zsl_lab.run.experiment import run
else:

    def __getattr__(name: str) -> Any:
        """``run``, imported on first use: it brings PyTorch."""
        if name == "run":
            from zsl_lab.run.experiment import run

            return run
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
