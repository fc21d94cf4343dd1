"""Conditional Wasserstein GANs of features: f-CLSWGAN, f-VAEGAN-D2 and TF-VAEGAN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["FCLSWGAN", "FVAEGAN", "TFVAEGAN"]

if TYPE_CHECKING:
    from zsl_lab.methods.wgan.f_clswgan import FCLSWGAN
    from zsl_lab.methods.wgan.f_vaegan import FVAEGAN
    from zsl_lab.methods.wgan.tf_vaegan import TFVAEGAN
else:

    def __getattr__(name: str) -> Any:
        """Import a method on first use: it imports PyTorch, which its keys do not need."""
        modules = {"FCLSWGAN": "f_clswgan", "FVAEGAN": "f_vaegan", "TFVAEGAN": "tf_vaegan"}
        if name in modules:
            from importlib import import_module

            return getattr(import_module(f"{__name__}.{modules[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
