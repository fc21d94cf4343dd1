"""The keys of the cosine baseline; nothing here needs torch."""

from __future__ import annotations

from typing import ClassVar

from zsl_lab.methods.config import MethodConfig


class CosineConfig(MethodConfig):
    """The keys of the cosine baseline: none of its own."""

    one_space: ClassVar[bool] = True
