"""Two processes that share the samples unevenly must find what one process finds."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zsl_lab.metrics import (
    AUSUC,
    ExtraAccuracies,
    HarmonicMean,
    PerClassAccuracy,
    ZeroShotMetrics,
    predict,
)

TIMEOUT = 60


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


@pytest.mark.slow
@pytest.mark.parametrize("shards", SHARDS)
def test_two_ranks_equal_one(shards: str, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    source = Path(__file__).resolve().parents[2] / "src"
    ranks = []
    try:
        for rank in range(2):
            environment = os.environ | {
                "RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(
                    filter(None, [str(source), os.environ.get("PYTHONPATH", "")])
                ),
            }
            # a session of its own, so that whatever a hanging rank started dies with it
            ranks.append(
                subprocess.Popen(
                    [sys.executable, __file__, shards, str(tmp_path / f"{rank}.json")],
                    env=environment,
                    start_new_session=True,
                )
            )
        for process in ranks:
            assert process.wait(timeout=TIMEOUT) == 0
    finally:
        for process in ranks:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    expected = evaluate([slice(0, 50)])
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == expected


if __name__ == "__main__":
    torch.distributed.init_process_group("gloo")
    own = SHARDS[sys.argv[1]][torch.distributed.get_rank()]
    Path(sys.argv[2]).write_text(json.dumps(evaluate(own)))
    torch.distributed.destroy_process_group()
