"""CADA-VAE: two aligned variational auto-encoders, of features and of class semantics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["CADAVAE"]

if TYPE_CHECKING:
    from zsl_lab.methods.cada_vae.method import CADAVAE
else:

    def __getattr__(name: str) -> Any:
        """Import ``CADAVAE`` on first use: it imports PyTorch, which its keys do not need."""
        if name == "CADAVAE":
            from zsl_lab.methods.cada_vae.method import CADAVAE

            return CADAVAE
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
