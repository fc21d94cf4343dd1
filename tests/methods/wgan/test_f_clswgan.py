from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.tensors import AtMost
from tests.methods.wgan.conftest import (
    Configure,
    Small,
    assert_same_weights,
    batch,
)
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.splits import test_split as final_split
from zsl_lab.errors import ConfigError
from zsl_lab.methods.wgan.f_clswgan import pretrained_softmax
from zsl_lab.run.config import parse


def plain_round(method: Any, features: Tensor, labels: Tensor) -> None:
    """A round as the authors' loop makes it: batch by batch, every pass on its own."""
    config, semantics = method.config, method.semantics[labels]
    generator, critic = method.generator, method.critic
    others = torch.optim.Adam(generator.parameters(), lr=config.learning_rate, betas=(0.5, 0.999))
    of_critic = torch.optim.Adam(critic.parameters(), lr=config.learning_rate, betas=(0.5, 0.999))
    size = config.batch_size
    noise = torch.randn(3 * size, 3, dtype=torch.float64)
    for step in range(3):
        rows = slice(step * size, (step + 1) * size)
        x, a = features[rows], semantics[rows]
        fake = generator(noise[rows], a).relu().detach()
        share = torch.rand(size, 1, dtype=torch.float64)
        between = (share * x + (1 - share) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(critic(between, a).sum(), between, create_graph=True)
        penalty = ((slope.norm(dim=1) - 1) ** 2).mean()
        loss = critic(fake, a).mean() - critic(x, a).mean() + 10 * penalty
        of_critic.zero_grad()
        loss.backward()
        of_critic.step()
    fake = generator(torch.randn(size, 3, dtype=torch.float64), a).relu()
    of_seen = torch.tensor([0, -1, 1, 2, -1])[labels[rows]]
    logits = fake @ method.softmax_weight.T + method.softmax_bias
    classification = -logits.log_softmax(1)[range(size), of_seen].mean()
    others.zero_grad()
    (-critic(fake, a).mean() + 0.01 * classification).backward()
    others.step()


def test_a_round_is_that_of_a_plain_loop(small: Small) -> None:
    method: Any = small("f_clswgan", "learning_rate=0.01")
    method.softmax_weight.normal_()
    other = copy.deepcopy(method)
    drawn = batch(method)
    torch.manual_seed(5)
    losses = method.train_on(drawn)
    torch.manual_seed(5)
    plain_round(other, drawn.inputs, drawn.labels)
    assert_same_weights(method, other)
    assert set(losses) == {"total", "adversarial", "classification", "distance", "penalty"}
    assert all(parameter.requires_grad for parameter in method.parameters())


def test_a_round_takes_a_batch_for_each_critic_step(small: Small) -> None:
    assert small("f_clswgan").batch_size_at(0) == 3 * 5


def test_the_classification_can_be_left_out(small: Small) -> None:
    method = small("f_clswgan", "classification_weight=0.0")
    found = method.train_on(batch(method))
    assert "classification" not in found


def test_the_softmax_of_the_seen_classes_learns_them(small: Small) -> None:
    method: Any = small("f_clswgan", "softmax_epochs=30", "softmax_learning_rate=0.01")
    labels = torch.arange(300) % 3
    features = nn.functional.one_hot(labels, 6).float() + 0.1 * torch.rand(300, 6)
    torch.manual_seed(0)
    weight, bias = pretrained_softmax(features, labels, method.config)
    assert weight.shape == (3, 6)
    assert not weight.requires_grad
    assert ((features @ weight.T + bias).argmax(1) == labels).float().mean() == 1
    torch.manual_seed(0)
    again, _ = pretrained_softmax(features, labels, method.config)
    assert torch.equal(weight, again)


def test_generated_features_are_not_negative_and_scores_are_cosines(small: Small) -> None:
    method = small("f_clswgan").float()
    found = method.generate(method.semantics[:2], 4)
    assert found.shape == (2, 4, 6)
    assert found.min() == 0
    x = torch.rand(3, 6)
    scores = method.class_scores(x)
    centre = method.synthesize(torch.zeros(3), method.semantics[1])
    torch.testing.assert_close(scores[:, 1], x @ centre / x.norm(dim=1) / centre.norm())


def test_scores_need_no_array_of_samples_times_classes_times_features(small: Small) -> None:
    method = small("f_clswgan").float()
    with torch.no_grad(), AtMost(100 * 8):
        assert method.class_scores(torch.rand(100, 6)).shape == (100, 5)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("f_clswgan", "0 or more, since the generator ends in a ReLU"),
        ("f_vaegan", "from 0 to 1, since the generator ends in a sigmoid and is compared by"),
    ],
)
def test_features_that_the_generator_cannot_reach_are_refused(
    configure: Configure, method: str, expected: str
) -> None:
    config = parse(configure(f"method={method}", "settings=none", "dataset.normalize=standard"))
    benchmark = config.dataset.load(DataPaths(Path("nowhere"), Path("nowhere")))
    data = config.dataset.data_module(benchmark, final_split(benchmark))
    with pytest.raises(ConfigError, match=rf"lie between -.*; expected {expected}.*minmax"):
        config.method_class.build(config.method, data)
