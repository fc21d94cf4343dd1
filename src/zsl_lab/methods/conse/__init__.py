"""ConSE: a sample's semantics are the convex combination of those of likely seen classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["ConSE"]

if TYPE_CHECKING:
    from zsl_lab.methods.conse.method import ConSE
else:

    def __getattr__(name: str) -> Any:
        """Import ``ConSE`` on first use: it imports PyTorch, which its keys do not need."""
        if name == "ConSE":
            from zsl_lab.methods.conse.method import ConSE

            return ConSE
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
