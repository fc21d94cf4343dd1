"""Runs that take turns: each has its own draws, errors and waits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from torch import Tensor, nn

from zsl_lab.errors import InterruptionError
from zsl_lab.methods.joint import Losses, Update, Updates
from zsl_lab.run import together
from zsl_lab.run.together import Turns
from zsl_lab.run.together.training import JointTraining

#: updates that a run asks for at a time
GROUP = 2


class Distance(nn.Module):
    """Squared distance of a linear map from its inputs."""

    def __init__(self, networks: nn.Module) -> None:
        super().__init__()
        self.networks = networks

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"total": (self.networks(inputs) - inputs).square().mean()}


class Run:
    """Draws a batch and updates a linear map with it, some times."""

    def __init__(self, seed: int, steps: int, fails_at: int | None = None) -> None:
        self.seed, self.steps, self.fails_at = seed, steps, fails_at
        self.drawn: list[Tensor] = []
        self.losses: list[float] = []
        torch.manual_seed(seed)
        self.networks = nn.Linear(2, 2)
        self.optimizer = torch.optim.Adam(self.networks.parameters())

    def __call__(self) -> None:
        torch.manual_seed(self.seed)
        ask = together.joint_updates()
        assert ask is not None
        for first in range(0, self.steps, GROUP):
            ask(self.updates(first, min(first + GROUP, self.steps)))

    def updates(self, first: int, last: int) -> Updates:
        for step in range(first, last):
            if step == self.fails_at:
                raise ValueError(f"run {self.seed}")
            self.drawn.append(torch.randn(3, 2))
            losses = yield Update(
                networks=self.networks,
                optimizer=self.optimizer,
                objective=lambda: Distance(self.networks),
                inputs=(self.drawn[-1],),
                scalars={},
                masks=(),
                layers="linear",
                form="distance",
            )
            self.losses.append(losses["total"].item())

    def alone(self) -> tuple[nn.Linear, list[float]]:
        """The linear map after the same updates by torch's own Adam, and their losses."""
        torch.manual_seed(self.seed)
        networks = nn.Linear(2, 2)
        adam = torch.optim.Adam(networks.parameters())
        torch.manual_seed(self.seed)
        losses = []
        for _ in range(self.steps):
            adam.zero_grad()
            loss = Distance(networks)(torch.randn(3, 2))["total"]
            loss.backward()
            adam.step()
            losses.append(loss.item())
        return networks, losses


def test_runs_of_different_lengths_end_as_alone() -> None:
    runs = [Run(0, 5), Run(1, 3), Run(2, 7)]
    assert Turns(runs).run() == [None, None, None]
    for run in runs:
        expected, losses = run.alone()
        for mine, theirs in zip(run.networks.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs)
        assert run.losses == pytest.approx(losses, rel=1e-5)


def test_an_exception_ends_one_run() -> None:
    runs = [Run(0, 4), Run(1, 4, fails_at=2)]
    finished, failed = Turns(runs).run()
    assert finished is None
    assert isinstance(failed, ValueError)
    assert [len(run.drawn) for run in runs] == [4, 2]


def test_all_updates_are_computed_together_where_runs_ask_in_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    compute = JointTraining.__call__

    def counted(self: JointTraining, updates: Mapping[int, Update]) -> dict[int, Losses]:
        sizes.append(len(updates))
        return compute(self, updates)

    monkeypatch.setattr(JointTraining, "__call__", counted)
    Turns([Run(number, 7) for number in range(3)]).run()
    assert sizes == [3] * 7


def test_the_draws_of_the_caller_are_left() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    Turns([Run(0, 2)]).run()
    torch.manual_seed(5)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_that_waits_for_another_lets_it_work(tmp_path: Path) -> None:
    order: list[str] = []

    def holds() -> None:
        with FileLock(str(tmp_path / "lock")):
            Run(0, 3)()
            order.append("released")

    def waits() -> None:
        Run(1, 1)()
        with together.waiting(), FileLock(str(tmp_path / "lock")):
            pass
        order.append("acquired")

    assert Turns([holds, waits]).run() == [None, None]
    assert order == ["released", "acquired"]


def test_an_interruption_ends_every_run_at_its_next_update(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    round_, rounds = Turns._round, []

    def interrupted(self: Turns) -> set[int]:
        rounds.append(1)
        if len(rounds) == 2:
            raise KeyboardInterrupt
        return round_(self)

    monkeypatch.setattr(Turns, "_round", interrupted)
    turns = Turns([Run(0, 9), Run(1, 9)])
    with pytest.raises(KeyboardInterrupt):
        turns.run()
    assert all(isinstance(error, InterruptionError) for error in turns._errors)


def test_a_run_knows_how_many_take_turns() -> None:
    counted: list[int] = []
    Turns([lambda: counted.append(together.runs())] * 3).run()
    assert counted == [3, 3, 3]


def test_a_run_of_its_own_has_no_joint_updates() -> None:
    assert together.joint_updates() is None
    assert together.runs() == 1
