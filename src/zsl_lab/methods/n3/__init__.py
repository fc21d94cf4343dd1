"""N3: a generator that reads descriptions of classes and adapts a pretrained network to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["N3"]

if TYPE_CHECKING:
    from zsl_lab.methods.n3.method import N3
else:

    def __getattr__(name: str) -> Any:
        """Import ``N3`` on first use: it imports PyTorch, which its keys do not need."""
        if name == "N3":
            from zsl_lab.methods.n3.method import N3

            return N3
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
