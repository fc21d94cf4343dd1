"""A method as small as it gets, and the training samples of a phase."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from zsl_lab.data.batches.base import WHOLE, Batch, ClassSpace, Shard
from zsl_lab.methods.base import Comparison, GradientMethodConfig, ZeroShotMethod

SEEN = (True, False, True, True, False)


class Halves(ZeroShotMethod):
    """Compares halved features with semantics, and generates around doubled semantics."""

    config_class = GradientMethodConfig

    def class_scores(self, features: Tensor) -> Tensor:
        return features @ self.semantics.T

    def embed(self, features: Tensor) -> Tensor:
        return features / 2

    def prototypes(self, semantics: Tensor) -> Tensor:
        return semantics.clone()

    @property
    def comparison(self) -> Comparison:
        return "distance"

    def generate(self, semantics: Tensor, samples: int) -> Tensor:
        noise = torch.randn(len(semantics), samples, semantics.shape[1])
        return 2 * semantics[:, None] + noise


class Samples:
    """The training samples of a phase in batches of four."""

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        self.features, self.labels = features, labels

    def training_batches(self, device: torch.device, shard: Shard = WHOLE) -> Iterator[Batch]:
        for start in range(0, len(self.labels), 4):
            rows = torch.arange(start, min(start + 4, len(self.labels)))
            yield Batch(self.features[rows], self.labels[rows], rows)


def space_of(semantics: Tensor, seen: tuple[bool, ...] = SEEN, prefix: str = "class") -> ClassSpace:
    names = tuple(f"{prefix} {i}" for i in range(len(seen)))
    return ClassSpace(np.arange(len(seen)), semantics.numpy(), np.array(seen), names)


@pytest.fixture
def classes() -> ClassSpace:
    """Three seen classes and two unseen ones, with semantics in three dimensions."""
    return space_of(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))


@pytest.fixture
def method(classes: ClassSpace) -> Halves:
    config = GradientMethodConfig(name="halves", steps=1, batch_size=1, learning_rate=1.0)
    return Halves(config, 3, classes).eval()


@pytest.fixture
def data() -> Any:
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([0, 2, 3])[torch.randint(3, (30,), generator=generator)]
    return Samples(3 * torch.randn(30, 3, generator=generator) + labels[:, None], labels)
