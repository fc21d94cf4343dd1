"""Steps of fine-tuning that are taken together with other runs are those of each run alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.methods.sgal.test_method import SEEN, D, sgal
from zsl_lab.data.batches.base import Batch
from zsl_lab.methods.joint import Updates
from zsl_lab.methods.mmvae.objective import losses
from zsl_lab.methods.sgal import SGAL
from zsl_lab.run import together

#: the runs, which differ in scalars
SCALARS: tuple[dict[str, Any], ...] = ({"g": 0.9}, {"g": 0.4, "p": 1.0}, {"g": 0.0, "gamma": 0.5})
STEPS = 12

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
    ),
]


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """In single precision Adam makes whole steps of gradients that are nothing but rounding."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Run:
    """Trains an SGAL on random batches."""

    def __init__(self, number: int, device: str, **options: Any) -> None:
        self.method = sgal(**{"p": 0.5, "delta": 0.1, **options, **SCALARS[number]}).to(device)
        self.method.semantics = self.method.semantics.double()
        draw = torch.Generator().manual_seed(number)
        self.batches = []
        for step in range(STEPS):
            size = self.method.batch_size_at(step)
            features = torch.randn(size, D, generator=draw).to(device)
            labels = torch.randint(SEEN, (size,), generator=draw).to(device)
            self.batches.append(Batch(features, labels, torch.arange(size)))
        self.number = number
        self.totals: list[float] = []
        self.draw = torch.empty(0)

    def alone(self) -> None:
        torch.manual_seed(self.number)
        for batch in self.batches:
            self.totals.append(self.method.train_on(batch)["total"].item())
            self.method.step += 1
        self.draw = torch.rand(2, device=self.method.device)

    def together(self) -> None:
        torch.manual_seed(self.number)
        ask = together.joint_updates()
        assert ask is not None
        ask(self._updates())
        self.draw = torch.rand(2, device=self.method.device)

    def _updates(self) -> Updates:
        for batch in self.batches:
            losses = yield from self.method.joint_updates(batch)
            self.totals.append(losses["total"].item())
            self.method.step += 1


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"generate_with_dropout": True, "pairs": "classes"},
        {"decoder_samples": 2, "generate_with_dropout": True},
        {"batch_norm": False, "prior_batch_norm": False, "decoder_hidden": []},
    ],
    ids=["mean", "dropout", "several", "no norm"],
)
def test_weights_losses_and_draws_are_those_of_each_run_alone(
    device: str, options: dict[str, Any]
) -> None:
    alone = [Run(number, device, **options) for number in range(3)]
    for run in alone:
        run.alone()
    joint = [Run(number, device, **options) for number in range(3)]
    assert together.Turns([run.together for run in joint]).run() == [None, None, None]
    for one, other in zip(alone, joint, strict=True):
        assert other.totals == pytest.approx(one.totals, rel=1e-8)
        assert torch.equal(other.draw, one.draw)
        for name, value in one.method.state_dict().items():
            torch.testing.assert_close(other.method.state_dict()[name], value, rtol=1e-7, atol=1e-8)


def test_a_subclass_that_trains_in_another_way_is_not_trained_together() -> None:
    class OtherLoss(SGAL):
        def losses(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
            return {"total": super().losses(features, labels)["total"] * 2}

    class OtherStep(SGAL):
        def train_on(self, batch: Batch) -> Mapping[str, Tensor]:
            return super().train_on(batch)

    class Same(SGAL):
        pass

    config = sgal().config
    able = [kind.trains_together(config) for kind in (SGAL, Same, OtherLoss, OtherStep)]
    assert able == [True, True, False, False]


def test_an_update_that_generates_nothing_has_the_losses_of_its_batch() -> None:
    method: SGAL = sgal(g=0.0, encoder_dropout=0.0, decoder_dropout=0.0, prior_dropout=0.0)
    method.semantics = method.semantics.double()
    method.step = method.config.steps
    batch = Batch(torch.randn(32, D), torch.randint(SEEN, (32,)), torch.arange(32))
    update = next(method.joint_updates(batch))
    assert update.scalars["real"] == 16
    features, semantics, labels, noise, _ = update.inputs
    torch.testing.assert_close(features, batch.inputs[:16])
    scalars = {name: torch.tensor(value) for name, value in update.scalars.items()}
    found = update.objective()(*update.inputs, **scalars)
    of_mmvae = {name: value for name, value in update.scalars.items() if name != "real"}
    expected = losses(
        method.networks, features, semantics, labels, noise, pairs="different", **of_mmvae
    )
    assert found["total"].item() == pytest.approx(expected["total"].item())
