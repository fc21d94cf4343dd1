from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from tests.methods.wgan.conftest import Configure, Small, assert_same_weights, batch
from zsl_lab.classifiers.base import among_features
from zsl_lab.methods.wgan.f_vaegan import lambda_factor
from zsl_lab.methods.wgan.tf_vaegan import TFVAEGAN
from zsl_lab.run.config import parse

VAEGAN = ("learning_rate=0.01", "encoder_hidden=9")
TF = (
    *VAEGAN,
    *("decoder_hidden=10", "decoder_weight=0.3", "decoder_learning_rate=0.02"),
    *("feedback_learning_rate=0.005", "feedback_period=2", "a1=0.7", "a2=0.4"),
)


def gaussian(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


class PlainLoop:
    """The authors' loop: every pass on its own, an optimiser for each network.

    With a decoder it is TF-VAEGAN's.
    """

    def __init__(self, method: Any) -> None:
        self.method = method
        self.factor = 10.0
        rates = {
            "generator": 0.01,
            "encoder": 0.01,
            "critic": 0.01,
            "decoder": 0.02,
            "feedback": 0.005,
        }
        self.adam = {
            name: torch.optim.Adam(getattr(method, name).parameters(), lr=rate, betas=(0.5, 0.999))
            for name, rate in rates.items()
            if hasattr(method, name)
        }

    def step(self, name: str, loss: Tensor, *others: str) -> None:
        for optimizer in self.adam.values():
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for each in (name, *others):
            self.adam[each].step()

    def decode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.method.decoder(x)  # type: ignore[no-any-return]

    def semantic_error(self, x: Tensor, a: Tensor) -> Tensor:
        error = self.decode(x)[1] - normalize(a, dim=1)
        weights = error**2 / (error**2).sum(1, keepdim=True).sqrt()
        return (weights * error.abs()).sum() / len(x)

    def made(self, z: Tensor, a: Tensor, feeds_back: bool) -> Tensor:
        generator = self.method.generator
        first: Tensor = generator(z, a).sigmoid()
        if not feeds_back:
            return first
        added = self.method.feedback(self.decode(first)[0].detach())
        return generator.output(generator.hidden(z, a) + 0.7 * added).sigmoid()  # type: ignore[no-any-return]

    def round(self, features: Tensor, labels: Tensor, *, feeds_back: bool = False) -> None:
        method, size = self.method, self.method.config.batch_size
        semantics = method.semantics[labels]
        critic, encoded = method.critic, method.config.encoded_noise
        noise = gaussian(3 * size, 3)
        penalties = []
        for step in range(3):
            rows = slice(step * size, (step + 1) * size)
            x, a = features[rows], semantics[rows]
            if hasattr(method, "decoder"):
                self.step("decoder", 0.3 * self.semantic_error(x, a))
            mean, log_variance = method.encoder(x, a)
            drawn = noise[rows]
            z = mean + (0.5 * log_variance).exp() * drawn if encoded else drawn
            fake = self.made(z, a, feeds_back).detach()
            share = torch.rand(size, 1, dtype=torch.float64)
            between = (share * x + (1 - share) * fake).requires_grad_()
            (slope,) = torch.autograd.grad(critic(between, a).sum(), between, create_graph=True)
            penalty = ((slope.norm(dim=1) - 1) ** 2).mean()
            distance = critic(x, a).mean() - critic(fake, a).mean()
            self.step("critic", 10 * (self.factor * penalty - distance))
            penalties.append(penalty.item())
        if sum(penalties) / 3 > 1.05:
            self.factor *= 1.1
        elif sum(penalties) / 3 < 1.001:
            self.factor /= 1.1
        mean, log_variance = method.encoder(x, a)
        z = mean + (0.5 * log_variance).exp() * gaussian(size, 3)
        again = self.made(z, a, feeds_back)
        fake = again if encoded else self.made(gaussian(size, 3), a, feeds_back)
        cross_entropy = -(x * again.log() + (1 - x) * (1 - again).log()).sum() / size
        kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum() / size
        loss = cross_entropy + kl - 10 * critic(fake, a).mean()
        names = ["encoder"]
        if hasattr(method, "decoder"):
            loss = loss + 0.3 * self.semantic_error(fake, a)
            names += [] if method.config.freeze_decoder else ["decoder"]
            names += ["feedback"] if feeds_back else []
        self.step("generator", loss, *names)


def assert_rounds_agree(method: Any, feeds_back: list[bool]) -> None:
    other = copy.deepcopy(method)
    loop = PlainLoop(other)
    before = copy.deepcopy(method)
    for number, feeds in enumerate(feeds_back):
        drawn = batch(method, seed=number)
        torch.manual_seed(number)
        method.train_on(drawn)
        method.step += 1
        torch.manual_seed(number)
        loop.round(drawn.inputs, drawn.labels, feeds_back=feeds)
    assert method.penalty_lambda.item() == pytest.approx(loop.factor, rel=1e-9)
    other.penalty_lambda.copy_(method.penalty_lambda)
    assert_same_weights(method, other)
    trained = dict(method.named_parameters())
    changed = {n.split(".")[0] for n, p in before.named_parameters() if not trained[n].equal(p)}
    assert {"generator", "critic", "encoder"} <= changed
    assert all(parameter.requires_grad for parameter in method.parameters())


@pytest.mark.parametrize("encoded", ["true", "false"])
def test_rounds_of_f_vaegan_are_those_of_a_plain_loop(small: Small, encoded: str) -> None:
    method = small("f_vaegan", *VAEGAN, f"encoded_noise={encoded}")
    assert_rounds_agree(method, 4 * [False])


@pytest.mark.slow
@pytest.mark.parametrize("encoded", ["true", "false"])
@pytest.mark.parametrize("frozen", ["true", "false"])
def test_rounds_of_tf_vaegan_are_those_of_a_plain_loop_that_feeds_back_in_every_second_pass(
    small: Small, encoded: str, frozen: str
) -> None:
    method = small("tf_vaegan", *TF, f"encoded_noise={encoded}", f"freeze_decoder={frozen}")
    assert_rounds_agree(method, [False, False, True, True, False])


@pytest.mark.parametrize(("penalty", "factor"), [(1.06, 1.1), (1.02, 1.0), (0.5, 1 / 1.1)])
def test_lambda_rises_where_the_penalty_is_large_and_falls_where_it_is_small(
    penalty: float, factor: float
) -> None:
    assert lambda_factor(torch.tensor(penalty)).item() == pytest.approx(factor)


def test_lambda_can_stay_as_it_is(small: Small) -> None:
    method: Any = small("f_vaegan", *VAEGAN, "adapt_lambda=false", "lambda_=3.0")
    assert method.train_on(batch(method))["lambda"].item() == 3
    assert small("f_vaegan", *VAEGAN).train_on(batch(method))["lambda"].item() != 10


def test_an_epoch_has_a_pass_without_and_one_with_feedback(configure: Configure) -> None:
    given = ("settings=none", "method.epochs=3", "method.batch_size=64")
    plain = parse(configure("method=f_vaegan", *given)).method.for_samples(650)
    fed: Any = parse(configure("method=tf_vaegan", *given)).method.for_samples(650)
    assert plain.steps == 31  # type: ignore[attr-defined]
    assert (fed.steps, fed.feedback_period) == (62, 11)
    short: Any = parse(configure("method=tf_vaegan", *given, "method.steps=5")).method
    assert short.for_samples(650).steps == 5


def test_every_network_keeps_its_share_of_the_learning_rate(small: Small) -> None:
    method: Any = small("tf_vaegan", *TF, "steps=100", "learning_rate_schedule=cosine")
    method.step = 50
    method.train_on(batch(method))
    rates = [group["lr"] for optimizer in method.optimizers() for group in optimizer.param_groups]
    assert rates == pytest.approx([0.005, 0.0025, 0.01, 0.005])


def test_features_are_generated_with_feedback_and_classified_with_what_the_decoder_makes(
    small: Small,
) -> None:
    method: Any = small("tf_vaegan", *TF)
    z, a = gaussian(5, 3), method.semantics[:1]
    first = method.generator(z, a).sigmoid()
    hidden, semantics = method.decoder(first)
    raised = method.generator.hidden(z, a) + 0.4 * method.feedback(hidden)
    torch.testing.assert_close(method.synthesize(z, a), method.generator.output(raised).sigmoid())
    torch.testing.assert_close(method.embed(first), torch.cat([first, hidden, semantics], 1))
    assert not among_features("auto", TFVAEGAN, method.config)
    assert among_features("features", TFVAEGAN, method.config)
    found = method.float().generate(method.semantics[:2], 4)
    assert found.shape == (2, 4, 6)
    assert 0 < found.min() < found.max() < 1
