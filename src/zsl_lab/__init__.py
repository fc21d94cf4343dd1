"""zsl_lab: published methods of zero-shot learning on the same splits, with one evaluation."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from zsl_lab.extraction import torchvision_import

__all__ = ["ZeroShotClassifier", "__version__", "load"]
__version__ = "0.2.0"

torchvision_import.install()

if TYPE_CHECKING:
    from zsl_lab.estimator.classifier import ZeroShotClassifier
    from zsl_lab.predict.load import load
else:
    _PLACES = {
        "ZeroShotClassifier": "zsl_lab.estimator.classifier",
        "load": "zsl_lab.predict.load",
    }

    def __getattr__(name: str) -> Any:
        """Import a name of ``__all__`` on first use: PyTorch takes seconds to import."""
        if name in _PLACES:
            return getattr(import_module(_PLACES[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
