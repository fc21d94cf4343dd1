"""Single precision without needless calls, against Lightning's own plugin."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import Precision
from torch import Tensor, nn
from torch.utils.data import DataLoader

from zsl_lab.hardware.precision import HOOKS, SinglePrecision

STEPS = 5


class Line(pl.LightningModule):
    """A line that is fitted by hand, as all methods are."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.line = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad(set_to_none=True)
        self.manual_backward((self.line(batch) - batch).square().mean())
        optimizer.step()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.1)


class Listening(Line):
    """A line that counts the steps of its optimiser."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = 0

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.heard += 1


class Counting(pl.Callback):
    """Counts calls of hooks around updates."""

    def __init__(self) -> None:
        self.called = dict.fromkeys(HOOKS, 0)

    def on_before_backward(self, *_: Any) -> None:
        self.called["on_before_backward"] += 1

    def on_after_backward(self, *_: Any) -> None:
        self.called["on_after_backward"] += 1

    def on_before_optimizer_step(self, *_: Any) -> None:
        self.called["on_before_optimizer_step"] += 1


def trained(
    plugin: Precision, kind: type[Line] = Line, *callbacks: pl.Callback
) -> tuple[Line, pl.Trainer]:
    torch.manual_seed(0)
    module = kind()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        plugins=[plugin],
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches: Any = [torch.full((2, 1), float(step)) for step in range(STEPS)]
    trainer.fit(module, DataLoader(batches, batch_size=None))
    return module, trainer


def test_weights_and_steps_are_those_of_lightnings_plugin() -> None:
    here, trainer = trained(SinglePrecision())
    there, usual = trained(Precision())
    assert torch.equal(here.line.weight, there.line.weight)
    assert trainer.global_step == usual.global_step == STEPS
    assert trainer.precision == usual.precision == "32-true"


@pytest.mark.parametrize("plugin", [SinglePrecision, Precision])
def test_a_callback_that_defines_hooks_is_called_at_every_update(plugin: type[Precision]) -> None:
    counting = Counting()
    trained(plugin(), Line, counting)
    assert counting.called == dict.fromkeys(HOOKS, STEPS)


@pytest.mark.parametrize("plugin", [SinglePrecision, Precision])
def test_a_method_that_defines_a_hook_is_called_at_every_update(plugin: type[Precision]) -> None:
    module, _ = trained(plugin(), Listening)
    assert isinstance(module, Listening)
    assert module.heard == STEPS


def test_hooks_that_nobody_defines_are_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def called(*_: Any, **__: Any) -> None:
        pytest.fail("Lightning's plugin was called")

    for method in ("pre_backward", "post_backward", "optimizer_step"):
        monkeypatch.setattr(Precision, method, called)
    _, trainer = trained(SinglePrecision())
    assert trainer.global_step == STEPS
