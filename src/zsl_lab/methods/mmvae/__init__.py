"""mmVAE: a VAE whose prior is one Gaussian per class, placed by the class semantics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["MMVAE"]

if TYPE_CHECKING:
    from zsl_lab.methods.mmvae.method import MMVAE
else:

    def __getattr__(name: str) -> Any:
        """Import ``MMVAE`` on first use: it imports PyTorch, which its keys do not need."""
        if name == "MMVAE":
            from zsl_lab.methods.mmvae.method import MMVAE

            return MMVAE
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
