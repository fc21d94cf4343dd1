"""Two processes that share the samples unevenly must find what one process finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.forked import run_ranks
from zsl_lab.metrics import (
    AUSUC,
    ExtraAccuracies,
    HarmonicMean,
    PerClassAccuracy,
    ZeroShotMetrics,
    predict,
)


def samples() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 6, (50,), generator=generator)
    scores = torch.randn(50, 6, generator=generator).mul(2).round() + 2 * torch.eye(6)[target]
    return scores, target, torch.tensor([True, False, True, True, False, True])


def evaluate(batches: list[slice]) -> dict[str, Any]:
    """All metrics after these batches of the samples; in a distributed run, after everybody's."""
    scores, target, seen = samples()
    everything = ZeroShotMetrics(seen)
    ausuc, harmonic, per_class = AUSUC(seen), HarmonicMean(seen), PerClassAccuracy(len(seen))
    extra = ExtraAccuracies(seen)
    for batch in batches:
        extra.update(scores[batch], target[batch])
        everything.update(scores[batch], target[batch])
        ausuc.update(scores[batch], target[batch])
        predicted = predict(scores[batch], seen)[0]
        harmonic.update(predicted, target[batch])
        per_class.update(predicted, target[batch])
    found = {
        "all": {name: value.item() for name, value in everything.compute().items()},
        "recalls": everything.recalls().tolist(),
        "tradeoff": [list(point) for point in everything.tradeoff(0.5)],
        "ausuc": ausuc.compute().item(),
        "curve": ausuc.curve()[1].tolist(),
        "harmonic": harmonic.compute().item(),
        "per_class": per_class.compute().item(),
        "per_class_recalls": per_class.recalls().tolist(),
        "per_sample": per_class.per_sample().item(),
        # JSON gives no NaN back that equals another
        "extra": {name: str(value) for name, value in extra.compute().items()},
    }
    # what was gathered must be gone again, or further samples would count twice
    everything.update(scores[:0], target[:0])
    found["again"] = {name: value.item() for name, value in everything.compute().items()}
    return found


SHARDS = {
    "uneven": ([slice(0, 7), slice(7, 33)], [slice(33, 50)]),
    "one rank without samples": ([slice(0, 20), slice(20, 50)], []),
    "the first rank without samples": ([], [slice(0, 50)]),
    "an empty batch": ([slice(0, 0)], [slice(0, 50)]),
}


def evaluate_all(folder: Path) -> None:
    """As one of two processes, evaluate every way to share the samples."""
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    found = {name: evaluate(shards[rank]) for name, shards in SHARDS.items()}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found, by the way to share the samples."""
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(evaluate_all, folder)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("shards", SHARDS)
def test_two_ranks_equal_one(found: list[dict[str, Any]], shards: str) -> None:
    expected = evaluate([slice(0, 50)])
    assert [of_rank[shards] for of_rank in found] == [expected, expected]
