from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from omegaconf import DictConfig

from tests.conftest import SHORT
from zsl_lab.data.batches.base import ClassSpace
from zsl_lab.methods.complexity import complexity
from zsl_lab.run.config import parse


def test_parameters_and_operations_are_those_counted_by_hand(
    configure: Callable[..., DictConfig],
) -> None:
    cfg = parse(
        configure(
            "method=mmvae", *SHORT, "method.batch_norm=false", "method.prior_batch_norm=false"
        )
    )
    D, Q, Z, H, C = 10, 5, 8, 32, 4
    classes = ClassSpace(
        np.arange(C),
        np.eye(C, Q, dtype=np.float32),
        np.array([True, True, False, False]),
        tuple("abcd"),
    )
    found = complexity(cfg.method_class(cfg.method, D, classes).eval(), torch.zeros(1, D))

    def dense(a: int, b: int) -> int:
        return a * b + b

    encoder, decoder, prior = (
        dense(D, H) + dense(H, 2 * Z),
        dense(Z, H) + dense(H, D),
        dense(Q, H) + dense(H, Z),
    )
    assert found["parameters"] == encoder + decoder + prior
    # the encoder for one sample, the prior for every class, and the product of latent mean and
    # prior means
    assert found["flops"] == 2 * (D * H + H * 2 * Z) + C * 2 * (Q * H + H * Z) + 2 * Z * C


def test_the_solution_of_a_closed_form_is_counted(configure: Callable[..., DictConfig]) -> None:
    cfg = parse(configure("method=eszsl"))
    classes = ClassSpace(
        np.arange(3),
        np.eye(3, 5, dtype=np.float32),
        np.array([True, True, False]),
        tuple("abc"),
    )
    method = cfg.method_class(cfg.method, 10, classes).eval()
    assert complexity(method, torch.zeros(1, 10))["parameters"] == 10 * 5
