"""DAP: a probabilistic classifier per attribute; the class whose attributes fit best wins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["DAP"]

if TYPE_CHECKING:
    from zsl_lab.methods.dap.method import DAP
else:

    def __getattr__(name: str) -> Any:
        """Import ``DAP`` on first use: it imports PyTorch, which its keys do not need."""
        if name == "DAP":
            from zsl_lab.methods.dap.method import DAP

            return DAP
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
