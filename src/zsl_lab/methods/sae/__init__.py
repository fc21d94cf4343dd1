"""SAE: a linear auto-encoder whose code is the class semantics, in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["SAE"]

if TYPE_CHECKING:
    from zsl_lab.methods.sae.method import SAE
else:

    def __getattr__(name: str) -> Any:
        """Import ``SAE`` on first use: it imports PyTorch, which its keys do not need."""
        if name == "SAE":
            from zsl_lab.methods.sae.method import SAE

            return SAE
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
