"""EXEM: class exemplars predicted from class semantics by ridge regression, in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["EXEM"]

if TYPE_CHECKING:
    from zsl_lab.methods.exem.method import EXEM
else:

    def __getattr__(name: str) -> Any:
        """Import ``EXEM`` on first use: it imports PyTorch, which its keys do not need."""
        if name == "EXEM":
            from zsl_lab.methods.exem.method import EXEM

            return EXEM
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
