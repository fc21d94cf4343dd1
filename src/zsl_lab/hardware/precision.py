"""Single precision without Lightning's hooks around updates where none is defined.

Lightning's own plugin calls three hooks of every callback and of the method at each backward pass
and each step of an optimiser, which takes a noticeable part of a quick step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins import Precision
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor

#: hooks that Lightning calls around an update
HOOKS = ("on_before_backward", "on_after_backward", "on_before_optimizer_step")


class SinglePrecision(Precision):
    """Lightning's plugin for ``precision=32-true``; calls hooks only where one is defined."""

    def __init__(self) -> None:
        self._hooked: bool | None = None

    def pre_backward(self, tensor: Tensor, module: pl.LightningModule) -> Tensor:  # type: ignore[override]
        """Call the hooks before a backward pass, if one is defined."""
        if self._hooked is None:
            self._hooked = _defines_hooks(module)
        if self._hooked:
            super().pre_backward(tensor, module)
        return tensor

    def post_backward(self, tensor: Tensor, module: pl.LightningModule) -> Tensor:  # type: ignore[override]
        """Call the hooks after a backward pass, if one is defined."""
        if self._hooked:
            super().post_backward(tensor, module)
        return tensor

    def optimizer_step(  # type: ignore[override]
        self, optimizer: Any, model: pl.LightningModule, closure: Callable[[], Any], **kwargs: Any
    ) -> Any:
        """Take a step of an optimiser; in manual optimisation the closure does nothing."""
        if self._hooked:
            return super().optimizer_step(optimizer, model, closure, **kwargs)
        return optimizer.step(**kwargs)


def _defines_hooks(module: pl.LightningModule) -> bool:
    """Whether a method, or a callback of its trainer, defines a hook around updates."""
    callbacks = module.trainer.callbacks  # type: ignore[attr-defined]
    return any(
        is_overridden(hook, callback, parent=pl.Callback)
        for hook in HOOKS
        for callback in callbacks
    ) or any(is_overridden(hook, module) for hook in HOOKS)
