"""Steps a second of runs that are trained together (``sweep.together``), against one run alone.

Trains so many runs of SGAL, which differ in their seeds, in a process of its own each time, and
prints a table::

    python experiments/scale/together.py --runs 1 16 64 dataset=flo hardware=gpu

The steps are those from a third of each phase on, so that neither the start nor the capture of CUDA
graphs counts, and until the first run has ended it: an end makes a checkpoint, and tests. The whole
command has all of these. Peak memory is that of tensors on a GPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from typing import Any


def measure(runs: int, steps: int, overrides: list[str]) -> dict[str, float]:
    """Train in this process; returns steps a second of each phase, and GB."""
    import torch

    from zsl_lab.cli.main import main
    from zsl_lab.methods.module import MethodModule

    taken: dict[MethodModule, list[float]] = defaultdict(list)
    end_step = MethodModule.end_step

    def timed(self: MethodModule, losses: Any) -> None:
        end_step(self, losses)
        taken[self].append(time.perf_counter())

    MethodModule.end_step = timed  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = [
            *("zsl_lab", "-m", "method=sgal", "settings=none", "callbacks=none", "figures=false"),
            *(f"method.steps={steps}", f"method.fine_tune_steps={steps}", "selection=last"),
            *("selection.report_oracle=false", "logger=csv", f"hydra.sweep.dir={folder}"),
            *(f"sweep.together={runs}", "seed=" + ",".join(map(str, range(runs))), *overrides),
        ]
        started = time.perf_counter()
        try:
            main()
        except SystemExit as exited:
            if exited.code:
                raise
    found = {"seconds": time.perf_counter() - started}
    for phase, first in (("pre-training", 0), ("fine-tuning", steps)):
        begin = max(times[first + steps // 3] for times in taken.values())
        end = min(times[first + steps - 2] for times in taken.values())
        inside = sum(begin <= at <= end for times in taken.values() for at in times)
        found[phase] = inside / (end - begin)
    used = torch.cuda.is_available()
    found["GB"] = torch.cuda.max_memory_allocated() / 1e9 if used else 0.0
    return found


def main() -> None:
    """Measure each number of runs in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--steps", type=int, default=1000, help="of pre-training and fine-tuning")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args, overrides = parser.parse_known_args()
    if args.one:
        print(json.dumps(measure(args.runs[0], args.steps, overrides)))
        return
    print("| runs | pre-training (steps/s) | fine-tuning (steps/s) | whole command (s) | GB |")
    print("| --- | --- | --- | --- | --- |")
    for runs in args.runs:
        command = [sys.executable, __file__, "--one", "--runs", str(runs), "--steps"]
        found = subprocess.run(
            [*command, str(args.steps), *overrides], capture_output=True, text=True, check=True
        )
        row = json.loads(found.stdout.strip().splitlines()[-1])
        rates = f"{row['pre-training']:.0f} | {row['fine-tuning']:.0f}"
        print(f"| {runs} | {rates} | {row['seconds']:.1f} | {row['GB']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
