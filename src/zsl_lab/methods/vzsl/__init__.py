"""VZSL: a VAE with one Gaussian prior per class and a margin in KL divergence between classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["VZSL"]

if TYPE_CHECKING:
    from zsl_lab.methods.vzsl.method import VZSL
else:

    def __getattr__(name: str) -> Any:
        """Import ``VZSL`` on first use: it imports PyTorch, which its keys do not need."""
        if name == "VZSL":
            from zsl_lab.methods.vzsl.method import VZSL

            return VZSL
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
