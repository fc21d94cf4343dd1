"""The bilinear family: DeViSE, ALE, SJE and LATEM, ranking losses on ``x^T W a``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["ALE", "LATEM", "SJE", "DeViSE"]

if TYPE_CHECKING:
    from zsl_lab.methods.bilinear.method import ALE, LATEM, SJE, DeViSE
else:

    def __getattr__(name: str) -> Any:
        """Import the methods on first use: they import PyTorch, which their keys do not need."""
        if name in __all__:
            from zsl_lab.methods.bilinear import method

            return getattr(method, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
