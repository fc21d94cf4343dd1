from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from tests.conftest import OF_FEATURES
from zsl_lab.data.batches.base import ClassSpace
from zsl_lab.methods import catalogue
from zsl_lab.run.config import parse


@pytest.mark.slow
@pytest.mark.parametrize("method", OF_FEATURES)
def test_a_call_and_a_trace_give_the_scores_of_every_class(
    configure: Callable[..., DictConfig], method: str
) -> None:
    cfg = parse(configure(f"method={method}"))
    torch.manual_seed(0)
    classes = ClassSpace(
        np.arange(4),
        np.eye(4, 10 if cfg.method.one_space else 5, dtype=np.float32),
        np.array([True, True, False, False]),
        tuple("abcd"),
    )
    network = cfg.method_class.empty_for_checkpoint(cfg.method, 10, classes).eval()
    features = torch.rand(6, 10)
    with torch.no_grad():
        scores = network.class_scores(features)
        assert torch.equal(network(features), scores)
        # with another number of samples than it was traced with
        traced = torch.jit.trace(network, features[:2])  # type: ignore[no-untyped-call]
        torch.testing.assert_close(traced(features), scores)


@pytest.mark.parametrize("method", catalogue.names())
def test_keys_and_class_say_alike_what_a_sample_is(
    configure: Callable[..., DictConfig], method: str
) -> None:
    cfg = parse(configure(f"method={method}"))
    assert type(cfg.method).takes == cfg.method_class.takes
    assert type(cfg.method) is cfg.method_class.config_class
