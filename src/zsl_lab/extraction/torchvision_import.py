"""Makes torchvision importable if its compiled operators do not load.

They do not load if torchvision was built for another version of PyTorch. Then its import fails
("operator torchvision::nms does not exist"), and so does that of every package that imports it:
torchmetrics, Lightning, transformers, timm. The operators (for object detection) are not needed
here; for the import it is enough to define their schemas.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

#: the operators that torchvision's import needs even if they are not compiled, with equal schemas
_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_NAME = "torchvision"


class _SchemasFirst(MetaPathFinder):
    """Defines the schemas before the first import of torchvision; finds no module itself."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == _NAME:
            sys.meta_path.remove(self)
            _define_missing()
        return None


def install() -> None:
    """Define the schemas when torchvision is imported; imports nothing itself."""
    if _NAME not in sys.modules and not any(
        isinstance(finder, _SchemasFirst) for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, _SchemasFirst())


def _define_missing() -> None:
    spec = PathFinder.find_spec(_NAME)
    if spec is None or spec.origin is None:
        return
    import torch
    from torch import library

    for compiled in sorted(Path(spec.origin).parent.glob("_C.*")):
        try:
            torch.ops.load_library(compiled)  # type: ignore[no-untyped-call]
            return
        except OSError:  # without operators: torchvision's own import ignores this, too
            pass
    for operator in _OPERATORS:
        library.define(f"{_NAME}::{operator}", _SCHEMA)
