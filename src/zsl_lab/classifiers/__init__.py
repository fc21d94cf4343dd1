"""Classifiers of ``classifier=``: what scores the classes, given a trained method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["ZLAP", "Means", "Own", "Softmax"]

if TYPE_CHECKING:
    from zsl_lab.classifiers.means import Means
    from zsl_lab.classifiers.own import Own
    from zsl_lab.classifiers.softmax import Softmax
    from zsl_lab.classifiers.zlap import ZLAP
else:

    def __getattr__(name: str) -> Any:
        """Import a classifier on first use: it imports PyTorch, which its keys do not need."""
        if name in __all__:
            from importlib import import_module

            return getattr(import_module(f"zsl_lab.classifiers.{name.lower()}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
