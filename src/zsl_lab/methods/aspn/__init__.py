"""ASPN: a conditional generator with cycles, a critic, category attention and prototypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["ASPN"]

if TYPE_CHECKING:
    from zsl_lab.methods.aspn.method import ASPN
else:

    def __getattr__(name: str) -> Any:
        """Import ``ASPN`` on first use: it imports PyTorch, which its keys do not need."""
        if name == "ASPN":
            from zsl_lab.methods.aspn.method import ASPN

            return ASPN
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
