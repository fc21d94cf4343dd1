"""DEM: class semantics are mapped into feature space, and the nearest prototype wins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["DEM"]

if TYPE_CHECKING:
    from zsl_lab.methods.dem.method import DEM
else:

    def __getattr__(name: str) -> Any:
        """Import ``DEM`` on first use: it imports PyTorch, which its keys do not need."""
        if name == "DEM":
            from zsl_lab.methods.dem.method import DEM

            return DEM
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
