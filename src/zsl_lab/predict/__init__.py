"""Predictions of a trained method for new samples, from its checkpoint alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["predict"]

if TYPE_CHECKING:
    from zsl_lab.predict.command import predict
else:

    def __getattr__(name: str) -> Any:
        """Import ``predict`` on first use: it imports PyTorch, which takes seconds."""
        if name == "predict":
            from zsl_lab.predict.command import predict

            return predict
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
