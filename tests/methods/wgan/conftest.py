"""Small instances of the three methods, and their steps without a trainer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.methods.wgan.base import ConditionalWGAN
from zsl_lab.run.config import parse

Configure = Callable[..., DictConfig]
#: a method and its two optimisers, which :meth:`ConditionalWGAN.train_on` uses
Small = Callable[..., ConditionalWGAN]

SEEN_MASK = np.array([True, False, True, True, False])
FEATURES, SEMANTICS = 6, 4
WIDTHS = ("noise_dim=3", "generator_hidden=8", "critic_hidden=7", "batch_size=5", "critic_steps=3")


def class_space() -> ClassSpace:
    semantics = np.random.default_rng(0).random((5, SEMANTICS), dtype=np.float32)
    names = tuple(f"class {i}" for i in range(5))
    return ClassSpace(np.arange(5), semantics, SEEN_MASK, names)


def without_trainer(method: ConditionalWGAN) -> ConditionalWGAN:
    """A method in double precision whose updates need no trainer."""
    double: Any = method.double().train()
    optimizers = double.configure_optimizers()

    def descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    double.descend, double.optimizers = descend, lambda: optimizers
    return method


@pytest.fixture
def small(configure: Configure) -> Small:
    """A small method of five classes, of which three are seen."""

    def small(name: str, *keys: str) -> ConditionalWGAN:
        given = (f"method.{key}" for key in (*WIDTHS, *keys))
        config = parse(configure(f"method={name}", "settings=none", *given))
        torch.manual_seed(0)
        method = config.method_class(config.method, FEATURES, class_space())
        assert isinstance(method, ConditionalWGAN)
        with torch.no_grad():
            for parameter in method.parameters():  # larger than N(0, 0.02): every term counts
                parameter.copy_(0.5 * torch.randn_like(parameter))
        return without_trainer(method)

    return small


def batch(method: ConditionalWGAN, seed: int = 1) -> Batch:
    """A batch for a round, features in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    size = method.batch_size_at(0)
    features = torch.rand(size, FEATURES, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 2, 3])[torch.randint(3, (size,), generator=generator)]
    return Batch(features, labels, torch.arange(size))


def assert_same_weights(first: ConditionalWGAN, second: ConditionalWGAN) -> None:
    """Two methods must have equal weights but for rounding."""
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=1e-6, atol=1e-8)
