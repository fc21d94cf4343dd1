"""Training from disk against training in memory: steps a second, peak memory and bytes read.

Writes a synthetic benchmark of float16 features (1.28 million x 2,048 by default, 5.2 GB) and a
part of it that fits into memory, runs methods on both by turns, and prints a table::

    OMP_NUM_THREADS=1 python experiments/scale/storage.py FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zsl_lab.data.files import benchmark_file as hdf5
from zsl_lab.data.storage.arrays import Array, IntArray
from zsl_lab.data.storage.source import gather

CLASSES, UNSEEN, SEMANTIC_DIM = 1000, 50, 64
#: samples of each seen class that only test, and of each unseen class
TESTED = 10
RUNS = {
    "sgal": ("method.steps=150", "method.fine_tune_steps=50", "trainer.log_every_n_steps=50"),
    "exem": ("method.whitening=diagonal", "method.shrinkages=[0.4]", "method.ridges=[0.3]"),
}


class Generated:
    """Class means, linear in the semantics, plus one of many fixed rows of noise: made as read.

    Args:
        labels: Class of each sample, ``[N]``.
        semantics: ``[C, Q]``.
        dimensions: D.
    """

    def __init__(self, labels: IntArray, semantics: Array, dimensions: int) -> None:
        rng = np.random.default_rng(1)
        weights = rng.standard_normal((semantics.shape[1], dimensions)).astype(np.float32)
        self._means = (semantics @ weights / 8).astype(np.float16)
        self._noise = rng.standard_normal((8191, dimensions), dtype=np.float32).astype(np.float16)
        self._labels = labels
        self.dtype = np.dtype(np.float16)
        self.constant = True
        self.shape = (len(labels), dimensions)

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, start: int, stop: int) -> Array:
        """Rows ``start`` to ``stop``."""
        noise = self._noise[np.arange(start, stop) * 31 % len(self._noise)]
        found: Array = self._means[self._labels[start:stop]] + noise
        return found

    def take(self, index: IntArray) -> Array:
        """Rows in any order."""
        return gather(self, index)


@dataclass(frozen=True)
class Measured:
    """What a run took; ``processor`` are seconds of all threads, start of the process included."""

    seconds: float
    processor: float
    steps_per_second: float
    peak: int
    read: int


def write(path: Path, samples: int, dimensions: int) -> None:
    """Write a benchmark of as many samples, sorted by class."""
    rng = np.random.default_rng(0)
    semantics = rng.standard_normal((CLASSES, SEMANTIC_DIM)).astype(np.float32)
    labels = np.sort(np.arange(samples, dtype=np.int64) % CLASSES)
    first = np.searchsorted(labels, np.arange(CLASSES))
    tested = (first[:, None] + np.arange(TESTED)).ravel()
    unseen = labels >= CLASSES - UNSEEN
    is_tested = np.zeros(samples, dtype=bool)
    is_tested[tested] = True
    content = hdf5.StoredBenchmarkFile(
        name=path.stem,
        stored=Generated(labels, semantics, dimensions),
        labels=labels,
        class_names=None,
        semantics={"att": semantics},
        trainval=np.flatnonzero(~unseen & ~is_tested),
        test_seen=np.flatnonzero(~unseen & is_tested),
        test_unseen=np.flatnonzero(unseen & is_tested),
    )
    hdf5.write(content, path)


def forget(path: Path) -> None:
    """Drop a file from the page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def run(path: Path, method: str, storage: str) -> Measured:
    """Train and test in a process of its own."""
    folder = path.parent / f"{path.stem}_{method}_{storage}"
    command = [sys.executable, "-m", "zsl_lab", f"method={method}", f"dataset.path={path}"]
    command += [f"dataset.storage={storage}", "hardware=cpu", "selection=last", "settings=none"]
    command += [*RUNS[method], "figures=false", "overwrite=true", f"hydra.run.dir={folder}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: failed")
    training = json.loads((folder / "result.json").read_text())["training"]
    return Measured(
        training["seconds"],
        usage.ru_utime + usage.ru_stime,
        training["steps_per_second"],
        usage.ru_maxrss * 1024,
        usage.ru_inblock * 512,
    )


def measurements(
    part: Path, whole: Path, methods: list[str], repeats: int
) -> Iterator[tuple[str, Measured]]:
    """Each method in memory on a part, and from disk on the part and on all, cold and warm."""
    for method in [method for method in methods for _ in range(repeats)]:
        yield f"{method}, a part, memory", run(part, method, "memory")
        yield f"{method}, a part, disk, warm", run(part, method, "disk")
        forget(whole)
        yield f"{method}, all, disk, cold", run(whole, method, "disk")
        yield f"{method}, all, disk, warm", run(whole, method, "disk")


def main() -> None:
    """Write what is missing, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=1_280_000)
    parser.add_argument("--part", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=2048)
    parser.add_argument("--methods", nargs="+", default=list(RUNS))
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    part, whole = (options.folder / f"{name}.h5" for name in ("part", "whole"))
    for path, samples in ((part, options.part), (whole, options.samples)):
        if not path.exists():
            write(path, samples, options.dimensions)
    print("run | steps/s | seconds | processor seconds | peak memory, GB | read from disk, GB")
    for name, found in measurements(part, whole, options.methods, options.repeats):
        rates = (found.steps_per_second, found.seconds, found.processor)
        numbers = (*rates, found.peak / 1e9, found.read / 1e9)
        print(name, *(f"{number:.3g}" for number in numbers), sep=" | ", flush=True)


if __name__ == "__main__":
    main()
