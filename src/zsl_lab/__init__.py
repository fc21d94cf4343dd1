"""zsl_lab: published methods of zero-shot learning on the same splits, with one evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zsl_lab.extraction import torchvision_import

__all__ = ["__version__", "load"]
__version__ = "0.2.0"

torchvision_import.install()

if TYPE_CHECKING:
    from zsl_lab.predict.load import load
else:

    def __getattr__(name: str) -> Any:
        """Import ``load`` on first use: it imports PyTorch, which takes seconds."""
        if name == "load":
            from zsl_lab.predict.load import load

            return load
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
