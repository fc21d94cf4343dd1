"""Classes for new samples, from a checkpoint alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["predict"]

if TYPE_CHECKING:
    from zsl_lab.predict.command import predict
else:

    def __getattr__(name: str) -> Any:
        """``predict``, imported on first use: it brings PyTorch."""
        if name == "predict":
            from zsl_lab.predict.command import predict

            return predict
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
