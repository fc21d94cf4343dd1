"""Schedules that are free of scale: steps from epochs, learning rates that fall to 0."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from tests.conftest import SHORT_FIT
from zsl_lab.data.batches.base import Batch
from zsl_lab.errors import ConfigError
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.methods.config import GradientMethodConfig, decayed
from zsl_lab.methods.mmvae.method import MMVAE
from zsl_lab.methods.sgal.method import SGAL
from zsl_lab.run.config import parse
from zsl_lab.run.experiment import run

Configure = Callable[..., DictConfig]


def config(**keys: object) -> GradientMethodConfig:
    return GradientMethodConfig.model_validate(
        {"name": "any", "steps": None, "batch_size": 64, "learning_rate": 0.1, **keys}
    )


@pytest.mark.parametrize(
    ("epochs", "samples", "batch_size", "steps"),
    [
        (1, 640, 64, 10),
        (1, 641, 64, 11),
        (0.5, 640, 64, 5),
        (20, 5631, 64, 1760),
        (0.001, 5, 64, 1),
    ],
)
def test_epochs_are_passes_over_the_training_samples(
    epochs: float, samples: int, batch_size: int, steps: int
) -> None:
    found = config(epochs=epochs, batch_size=batch_size).for_samples(samples)
    assert found.steps == steps
    assert found.steps * batch_size >= epochs * samples


def test_steps_win_over_epochs() -> None:
    found = config(steps=7, epochs=3)
    assert (found.steps, found.epochs) == (7, None)
    assert found.for_samples(10**6).steps == 7


def test_one_of_both_is_needed() -> None:
    with pytest.raises(ValueError, match="steps and epochs are both null; give one of them"):
        config()


@pytest.mark.slow
def test_both_phases_take_the_steps_of_all_training_samples(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals: dict[str, int] = {}
    begin = ZeroShotMethod.on_train_start

    def record(self: ZeroShotMethod) -> None:
        totals[self.phase] = self.total_steps
        begin(self)

    monkeypatch.setattr(ZeroShotMethod, "on_train_start", record)
    epochs = ("method.steps=null", "method.epochs=2", "selection.check_every=50")
    cfg = configure("method=mmvae", *SHORT_FIT["mmvae"], *epochs)
    result = run(cfg)
    with pytest.raises(KeyError):
        result.benchmark["trainval"]
    from zsl_lab.run.context import load_benchmark

    samples = len(load_benchmark(parse(cfg)).trainval)
    assert set(totals.values()) == {math.ceil(2 * samples / 64)}
    assert set(totals) == {"select", "refit"}


@pytest.mark.slow
def test_each_stage_of_sgal_has_its_own_epochs(configure: Configure) -> None:
    keys = ("method.steps=null", "method.epochs=3", "method.fine_tune_steps=null")
    more = ("method.fine_tune_epochs=2", "method.fine_tune_batch_size=100")
    found = parse(configure(*SHORT_FIT["sgal"], *keys, *more)).method.for_samples(1000)
    assert found.model_dump()["steps"] == 47
    assert found.model_dump()["fine_tune_steps"] == 20


def test_a_cosine_falls_from_1_to_0() -> None:
    assert [round(decayed("cosine", step, 4), 4) for step in range(6)] == [
        *(1.0, 0.8536, 0.5, 0.1464, 0.0, 0.0)
    ]
    assert decayed(None, 3, 4) == 1.0


def rates(configure: Configure, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> list[float]:
    """The learning rate of each step of a run's last phase."""
    found: list[float] = []
    cls = MMVAE if "method=mmvae" in overrides else SGAL
    take = cls.train_on

    def record(self: ZeroShotMethod, batch: Batch) -> object:
        losses = take(self, batch)  # type: ignore[arg-type]
        if self.phase == "refit":
            found.extend(group["lr"] for group in self.trainer.optimizers[0].param_groups)
        return losses

    monkeypatch.setattr(cls, "train_on", record)
    run(configure(*overrides, "selection=last"))
    return found


@pytest.mark.slow
def test_learning_rates_follow_the_cosine(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ("method=mmvae", *SHORT_FIT["mmvae"], "method.learning_rate=0.01")
    found = rates(configure, monkeypatch, *keys, "method.learning_rate_schedule=cosine")
    assert found == pytest.approx([0.01 * decayed("cosine", step, 12) for step in range(12)])


@pytest.mark.slow
def test_sgal_begins_the_cosine_anew_in_fine_tuning(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = ("method.learning_rate=0.01", "method.fine_tune_learning_rate=0.001")
    cosine = "method.learning_rate_schedule=cosine"
    found = rates(configure, monkeypatch, "method=sgal", *SHORT_FIT["sgal"], *rate, cosine)
    first = [0.01 * decayed("cosine", step, 12) for step in range(12)]
    second = [0.001 * decayed("cosine", step, 12) for step in range(12)]
    # in the first step of fine-tuning the method itself sets the rate
    assert found == pytest.approx([*first, *second])


@pytest.mark.slow
def test_a_wrong_schedule_is_answered_with_a_sentence(configure: Configure) -> None:
    with pytest.raises(ConfigError, match=r"method\.learning_rate_schedule=linear: .*'cosine'"):
        parse(configure("method=mmvae", "method.learning_rate_schedule=linear"))
    with pytest.raises(ConfigError, match="method: steps and epochs are both null"):
        parse(configure("method=mmvae", "method.steps=null"))


@pytest.mark.slow
def test_checks_are_spread_over_the_candidates(configure: Configure, tmp_path: Path) -> None:
    keys = (*SHORT_FIT["sgal"], "selection.checks=4", "selection.report_oracle=false")
    run(configure(*keys))
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["method_state"]["step"] > 0
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    head = rows[0].split(",")
    at = head.index("check/harmonic_mean")
    steps = [
        int(row.split(",")[1])
        for row in rows[1:]
        if row.startswith("select") and row.split(",")[at]
    ]
    candidates = [step for step in steps if step >= 12]
    assert candidates == [12, 15, 18, 21, 24]
