"""Cost of a training step and of evaluation against the number of classes, as a table and a figure.

    python experiments/scale/classes.py --out /tmp/scale        # measures, then draws
    python experiments/scale/classes.py --out /tmp/scale --draw # draws what was measured

Each measurement is a forked process, so that its peak memory is its own. Half of the classes are
seen. Samples are the same number throughout, so that only the number of classes changes. Seconds
are processor time of one thread, which other work on the machine hardly changes.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_module

from zsl_lab.data.batches.features import FeatureDataModule
from zsl_lab.data.benchmark import FeatureBenchmark
from zsl_lab.data.splits import test_split
from zsl_lab.run.config import parse

CLASSES = (50, 500, 5000, 21841)
FEATURE_DIM, SEMANTIC_DIM, TRAINING, TEST = 512, 128, 30_000, 4096
STEPS = 3
#: closed forms: a step is the whole fit, with the constants given here
METHODS = {
    "eszsl": ("method.gammas=[1]", "method.lambdas=[1]"),
    "exem": ("method.shrinkages=[0.2,0.6]", "method.ridges=[0.1,1.0]", "method.mixtures=[1.0]"),
    "vzsl": (),
    "sgal": ("method.steps=1", "method.fine_tune_steps=100"),
    "aspn": (),
}
CLOSED = ("eszsl", "exem")


def _status(field: str) -> int:
    """A field of the process's memory in kB (Linux)."""
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{field}:")[1].split()[0])


def _reset_peak() -> int:
    """Forget the peak memory so far; the memory that is held, in kB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def measure(name: str, classes: int) -> dict[str, Any]:
    """Seconds and memory (MB above the data) of one method with so many classes."""
    torch.set_num_threads(1)
    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        keys = ["settings=none", f"method={name}", "paths.run_dir=run", *METHODS[name]]
        config = parse(compose("config", keys))
    rng = np.random.default_rng(0)
    seen, semantics = classes // 2, rng.standard_normal((classes, SEMANTIC_DIM), np.float32)
    labels = np.concatenate(
        [
            np.arange(TRAINING) % seen,
            np.arange(TEST // 2) % seen,
            seen + np.arange(TEST // 2) % (classes - seen),
        ]
    )
    mixing = rng.standard_normal((SEMANTIC_DIM, FEATURE_DIM), np.float32) / SEMANTIC_DIM**0.5
    features = rng.standard_normal((len(labels), FEATURE_DIM), np.float32)
    features += (semantics @ mixing)[labels]
    ends = np.cumsum([TRAINING, TEST // 2])
    parts = np.split(np.arange(len(labels)), ends)
    benchmark = FeatureBenchmark(
        name="scale",
        features=features,
        labels=labels,
        semantics=semantics,
        class_names=tuple(map(str, range(classes))),
        trainval=parts[0],
        test_seen=parts[1],
        test_unseen=parts[2],
    )
    data = FeatureDataModule(benchmark, test_split(benchmark), "minmax", "l2")
    # copies that runs hold in any case are data
    samples = data.samples(data.split.train)
    batches = data.evaluation_batches(data.evaluation_index, torch.device("cpu"))
    before = _reset_peak()

    method: Any = config.method_class.build(config.method, data)
    optimizers = method.configure_optimizers()
    method.optimizers = lambda **_: optimizers  # in place of Lightning's
    method.manual_backward = lambda loss: loss.backward()
    size, times = method.batch_size_at(0), []
    if name == "sgal":  # its fine-tuning generates for all unseen classes
        method.step = 1
        size = method.batch_size_at(1)
    for step in range(1 if name in CLOSED else STEPS):
        rows = torch.arange(size or TRAINING) + step
        batch = type(samples)(*(part[rows % TRAINING] for part in samples[:3]))
        begun = time.process_time()
        method.train_on(batch)
        times.append(time.process_time() - begun)
        method.step += 1
    after_training = _status("VmHWM")
    method.eval()
    begun = time.process_time()
    with torch.no_grad():
        for batch in batches:
            scores = method._scores(batch)
            method.metrics.update(scores, batch.labels)
            method.extra_accuracies.update(scores, batch.labels)
    method.metrics.compute()
    method.metrics.calibrated()
    method.extra_accuracies.compute()
    peak = _status("VmHWM")
    return {
        "method": name,
        "classes": classes,
        "step_seconds": round(sorted(times)[len(times) // 2], 4),
        "evaluation_seconds": round(time.process_time() - begun, 3),
        "training_mb": (after_training - before) // 1024,
        "peak_mb": (peak - before) // 1024,
    }


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Seconds against classes on logarithmic axes; a straight line of slope 1 is linear."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    titles = {
        "step_seconds": "training step (closed forms: the fit)",
        "evaluation_seconds": f"evaluation of {TEST} samples",
        "peak_mb": "peak memory above the data",
    }
    for axes, (key, title) in zip(panels, titles.items(), strict=True):
        for name in METHODS:
            own = sorted((int(r["classes"]), float(r[key])) for r in rows if r["method"] == name)
            axes.plot(*zip(*own, strict=True), marker="o", label=name)
        axes.set(xscale="log", yscale="log", title=title, xlabel="classes")
        axes.set_ylabel("MB" if key == "peak_mb" else "seconds")
        low, high = axes.get_ylim()
        reference = [high / CLASSES[-1] * c for c in CLASSES]
        axes.plot(CLASSES, reference, ":", color="grey", label="linear")
        axes.set_ylim(low, high)
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    figure.savefig(path, dpi=130)


def main() -> None:
    """Measure every method with every number of classes, then draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--draw", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    table = options.out / "classes.csv"
    if not options.draw:
        rows = []
        for classes in CLASSES:
            for name in METHODS:
                with multiprocessing.get_context("fork").Pool(1) as pool:
                    rows.append(pool.apply(measure, (name, classes)))
                print(rows[-1], flush=True)
                with table.open("w", newline="") as file:
                    writer = csv.DictWriter(file, rows[0])
                    writer.writeheader()
                    writer.writerows(rows)
    with table.open(newline="") as file:
        draw(list(csv.DictReader(file)), options.out / "classes.png")


if __name__ == "__main__":
    main()
