"""Cosine of features and class semantics that lie in one space; nothing is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["Cosine"]

if TYPE_CHECKING:
    from zsl_lab.methods.cosine.method import Cosine
else:

    def __getattr__(name: str) -> Any:
        """Import ``Cosine`` on first use: it imports PyTorch, which its keys do not need."""
        if name == "Cosine":
            from zsl_lab.methods.cosine.method import Cosine

            return Cosine
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
