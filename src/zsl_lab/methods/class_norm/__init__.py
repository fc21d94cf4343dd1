"""Class normalization: prototypes from semantics, with layers standardised over the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["ClassNorm"]

if TYPE_CHECKING:
    from zsl_lab.methods.class_norm.method import ClassNorm
else:

    def __getattr__(name: str) -> Any:
        """Import ``ClassNorm`` on first use: it imports PyTorch, which its keys do not need."""
        if name == "ClassNorm":
            from zsl_lab.methods.class_norm.method import ClassNorm

            return ClassNorm
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
