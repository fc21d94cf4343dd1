"""SGAL: an mmVAE that goes on learning from features it generates for the unseen classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["SGAL"]

if TYPE_CHECKING:
    from zsl_lab.methods.sgal.method import SGAL
else:

    def __getattr__(name: str) -> Any:
        """Import ``SGAL`` on first use: it imports PyTorch, which its keys do not need."""
        if name == "SGAL":
            from zsl_lab.methods.sgal.method import SGAL

            return SGAL
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
