"""Updates computed together are those that each run would take alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from zsl_lab.methods.joint import Update
from zsl_lab.methods.mmvae import objective
from zsl_lab.methods.mmvae.config import MMVAEConfig
from zsl_lab.methods.mmvae.networks import MMVAENetworks, Widths
from zsl_lab.methods.mmvae.objective import JointRun
from zsl_lab.run.together.training import JointTraining

SIZES = (7, 5)  # D, Q
#: batches of a run, by size
BATCHES = (6, 6, 4, 6)


def config(**values: object) -> MMVAEConfig:
    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        cfg = compose("config", ["method=mmvae", "settings=none"])
    plain = OmegaConf.to_container(cfg.method, resolve=True)
    assert isinstance(plain, dict)
    known = {key: plain[key] for key in MMVAEConfig.model_fields if key in plain}
    return MMVAEConfig.model_validate({**known, **values})


def networks(seed: int) -> MMVAENetworks:
    torch.manual_seed(seed)
    return MMVAENetworks(
        *SIZES,
        Widths(3, [6], [6], [4]),
        encoder_dropout=0.5,
        decoder_dropout=0.25,
        prior_dropout=0.2,
        batch_norm=True,
        prior_batch_norm=True,
    )


def batches(seed: int) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(size, SIZES[0], generator=draw),
            torch.randn(size, SIZES[1], generator=draw),
            torch.randint(4, (size,), generator=draw),
        )
        for size in BATCHES
    ]


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """In single precision Adam makes whole steps of gradients that are nothing but rounding."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module", params=["different", "classes"])
def configs(request: pytest.FixtureRequest) -> list[MMVAEConfig]:
    first = config(latent_dim=3, pairs=request.param)
    scalars = ({"gamma": 0.1, "d": 2.0}, {"gamma": 0.5, "d": 1.0}, {"kl_weight": 0.3})
    return [first.model_copy(update=values) for values in scalars]


RATES = (1e-2, 3e-3, 1e-3)


def alone(run: int, of_run: MMVAEConfig) -> tuple[MMVAENetworks, list[float], torch.Tensor]:
    """The networks after all batches, the losses, and a random number drawn afterwards."""
    network = networks(run)
    adam = torch.optim.Adam(network.parameters(), lr=RATES[run])
    found = []
    for features, semantics, labels in batches(run):
        total = objective.losses(
            network,
            features,
            semantics,
            labels,
            None,
            pairs=objective.pairs_of(of_run),
            **objective.scalars(of_run),
        )["total"]
        adam.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        adam.step()
        found.append(total.item())
    return network, found, torch.rand(2)


@pytest.mark.slow
def test_weights_losses_statistics_and_draws_are_those_of_each_run_alone(
    configs: list[MMVAEConfig],
) -> None:
    nets = [networks(run) for run in range(3)]
    states = []
    for run in range(3):
        networks(run)  # what a run has drawn before its first step
        states.append(torch.get_rng_state())
    adams = [torch.optim.Adam(net.parameters(), lr=RATES[run]) for run, net in enumerate(nets)]
    training: JointTraining | None = None
    losses: list[list[float]] = [[], [], []]
    for number in range(len(BATCHES)):
        updates = {}
        for run, net in enumerate(nets):
            torch.set_rng_state(states[run])
            features, semantics, labels = batches(run)[number]
            updates[run] = JointRun(net, configs[run], adams[run]).update(
                features, semantics, labels
            )
            states[run] = torch.get_rng_state()
        training = training or JointTraining(updates[0], 3)
        # the third step: a part of the runs, then the others
        parts = [[0, 2], [1]] if number == 2 else [[0, 1, 2]]
        for part in parts:
            for run, named in training({run: updates[run] for run in part}).items():
                losses[run].append(named["total"].item())
    for run in range(3):
        expected, found, draw = alone(run, configs[run])
        assert losses[run] == pytest.approx(found, rel=1e-9)
        for name, value in expected.state_dict().items():
            torch.testing.assert_close(nets[run].state_dict()[name], value, rtol=1e-8, atol=1e-9)
        torch.set_rng_state(states[run])
        assert torch.equal(torch.rand(2), draw)
        assert {float(s["step"]) for s in adams[run].state.values()} == {float(len(BATCHES))}


def test_a_fresh_optimiser_begins_with_its_first_step(configs: list[MMVAEConfig]) -> None:
    net, reference = networks(0), networks(0)
    adam = torch.optim.Adam(net.parameters(), lr=1e-2)
    features, semantics, labels = batches(0)[0]

    def update() -> None:
        training({0: requested()})

    def requested() -> Update:
        return JointRun(net, configs[0], adam).update(features, semantics, labels)

    training = JointTraining(requested(), 1)
    update()
    reference.load_state_dict(net.state_dict())
    adam.state = type(adam.state)(dict)
    draws = torch.get_rng_state()
    update()
    torch.set_rng_state(draws)
    fresh = torch.optim.Adam(reference.parameters(), lr=1e-2)
    pairs, scalars = objective.pairs_of(configs[0]), objective.scalars(configs[0])
    objective.losses(reference, features, semantics, labels, None, pairs=pairs, **scalars)[
        "total"
    ].backward()  # type: ignore[no-untyped-call]
    fresh.step()
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(net.state_dict()[name], value, rtol=1e-8, atol=1e-9)
