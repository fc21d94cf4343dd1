"""ESZSL: a bilinear map between features and class semantics, solved in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["ESZSL"]

if TYPE_CHECKING:
    from zsl_lab.methods.eszsl.method import ESZSL
else:

    def __getattr__(name: str) -> Any:
        """Import ``ESZSL`` on first use: it imports PyTorch, which its keys do not need."""
        if name == "ESZSL":
            from zsl_lab.methods.eszsl.method import ESZSL

            return ESZSL
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
