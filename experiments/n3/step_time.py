"""Seconds of a training step of N3, as a ratio to plain fine-tuning of its base network.

Fine-tuning moves every convolution and a classifier of k rows by AdamW; N3 generates them for k
classes and moves the generator. Both take turns, so that a machine whose speed drifts treats them
alike; medians are compared. Images and words are random: only their sizes count.

    python experiments/n3/step_time.py [SIDE] [KEY=VALUE ...]     SIDE: of the images, 128 by
    default
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from hydra import compose, initialize_config_module
from torch import nn
from torch.nn.functional import cross_entropy

from zsl_lab.data.batches.base import Batch, ClassSpace
from zsl_lab.extraction.backbones import BaseNetwork
from zsl_lab.methods.n3.adapted_network import build_base_network
from zsl_lab.methods.n3.config import N3Config
from zsl_lab.methods.n3.method import N3
from zsl_lab.run.config import RunConfig, parse
from zsl_lab.text import TokenStates

ROUNDS = 15
#: words of a description, as many as the flowers' have, and the width of MiniLM's states
WORDS, WIDTH = 76, 384


def configured(overrides: list[str]) -> tuple[RunConfig, N3Config]:
    """A run on the flowers, and its method's part."""
    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        cfg = compose("config", ["method=n3", "dataset=flowers", "paths.run_dir=.", *overrides])
    config = parse(cfg)
    assert isinstance(config.method, N3Config)
    return config, config.method


def random_base(config: N3Config) -> BaseNetwork:
    """The base network with random weights: how long a step takes does not depend on them."""
    base = build_base_network(config.base, 3, load=False)
    for module in base.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return base


def main() -> None:
    """Print the figures."""
    arguments = [argument for argument in sys.argv[1:] if "=" not in argument]
    side = int(arguments[0]) if arguments else 128
    run_config, config = configured([argument for argument in sys.argv[1:] if "=" in argument])
    device = torch.device("cuda" if run_config.trainer.accelerator == "gpu" else "cpu")
    k, B = config.classes_per_task, config.batch_size
    images = torch.randint(0, 256, (B, 3, side, side), dtype=torch.uint8, device=device)
    labels = torch.randint(0, k, (B,), device=device)
    batch = Batch(images, labels, labels, torch.arange(k, device=device))

    fine_tuned = random_base(config).requires_grad_(True).to(device)
    classifier = nn.Linear(fine_tuned.feature_dim, k).to(device)
    fine_tuner = torch.optim.AdamW([*fine_tuned.parameters(), *classifier.parameters()], fused=True)

    # one class more, which is unseen
    names = tuple(map(str, range(k + 1)))
    classes = ClassSpace(
        np.arange(k + 1), np.zeros((k + 1, 0), np.float32), np.arange(k + 1) < k, names, names
    )
    states = np.random.default_rng(0).standard_normal((k + 1, WORDS, WIDTH)).astype(np.float32)
    method = N3(
        config,
        random_base(config),
        TokenStates(states, np.ones((k + 1, WORDS), dtype=bool)),
        classes,
    ).to(device)
    generator = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], fused=True)
    dtype = torch.float32 if run_config.trainer.precision == "32-true" else torch.bfloat16

    def timed(optimizer: torch.optim.Optimizer, loss: Callable[[], torch.Tensor]) -> float:
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    plain, adapted = [], []
    for _ in range(ROUNDS + 1):  # the first is not counted
        plain.append(
            timed(fine_tuner, lambda: cross_entropy(classifier(fine_tuned(images)), labels))
        )
        adapted.append(timed(generator, lambda: method.losses(batch)["cross_entropy"]))
    a, b = statistics.median(plain[1:]), statistics.median(adapted[1:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    trained = sum(parameter.numel() for parameter in method.parameters() if parameter.requires_grad)
    print(
        f"{config.base.name}, {B} images of {side} pixels, {k} classes, "
        f"{run_config.trainer.precision}, {torch.get_num_threads()} threads"
    )
    print(
        f"fine-tuning {a:.3f} s/step, N3 {b:.3f} s/step ({trained / 1e6:.2f} M parameters), ratio "
        f"{b / a:.2f}; peak memory {peak:.2f} GiB"
    )


if __name__ == "__main__":
    main()
