"""Draw the pictures of the documents from four finished runs on the digits.

    python -m zsl_lab -m method=sgal,exem,mmvae,vzsl dataset=digits hydra.sweep.dir=outputs/docs
    python docs/figures.py outputs/docs

writes ``docs/images/*.png``.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from PIL import Image

from zsl_lab.plots.style import HARMONIC, MUTED, PALETTE, SEEN, UNSEEN
from zsl_lab.result import Result

IMAGES = Path(__file__).parent / "images"


def curves(runs: dict[str, Path]) -> None:
    """Seen against unseen accuracy of each method, and the point where it works."""
    figure, axes = plt.subplots(figsize=(6.0, 4.2), layout="constrained")
    for (name, folder), colour in zip(runs.items(), PALETTE, strict=False):
        metrics = Result.load(folder).metrics
        _, seen, unseen = _columns(folder / "tradeoff.csv", "constant", "seen", "unseen")
        label = f"{name}: H {metrics['harmonic_mean']:.1f}, AUSUC {metrics['ausuc']:.1f}"
        axes.plot(unseen, seen, color=colour, label=label)
        axes.plot(metrics["unseen"], metrics["seen"], "o", color=colour)
    axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="unseen accuracy (%)", ylabel="seen accuracy (%)")
    axes.set_title("Digits: curve of each method, dot at its scores as they are", fontsize=11)
    axes.legend(loc="lower left", frameon=False)
    _save(figure, "seen_unseen")


def harmonic_mean_by_constant(folder: Path) -> None:
    """Seen, unseen and their harmonic mean against the constant of calibration."""
    constant, seen, unseen = _columns(folder / "tradeoff.csv", "constant", "seen", "unseen")
    kept = np.isfinite(constant)
    constant, seen, unseen = constant[kept], seen[kept], unseen[kept]
    harmonic = 2 * seen * unseen / np.maximum(seen + unseen, 1e-9)
    figure, axes = plt.subplots(figsize=(6.0, 3.4), layout="constrained")
    for values, colour, label in (
        (seen, SEEN, "seen"),
        (unseen, UNSEEN, "unseen"),
        (harmonic, HARMONIC, "harmonic mean"),
    ):
        axes.plot(constant, values, color=colour, label=label)
    axes.axvline(0, color=MUTED, linewidth=1, linestyle=":")
    axes.set(xlabel="constant added to the scores of unseen classes", ylabel="accuracy (%)")
    axes.legend(frameon=False)
    _save(figure, "calibration")


def selection(folder: Path) -> None:
    """The harmonic mean by step: on validation classes, and on test in the final training."""
    result = Result.load(folder)
    # the curves hold the values of the chosen steps
    reached = {
        "select": (result.validation or {})["harmonic_mean"],
        "refit": result.metrics["harmonic_mean"],
    }
    figure, axes = plt.subplots(figsize=(6.0, 3.4), layout="constrained")
    for phase, label, colour in (
        ("select", "selection: validation classes", HARMONIC),
        ("refit", "final training: test", UNSEEN),
    ):
        with (folder / "metrics.csv").open() as file:
            by_step = {
                int(row["step"]): float(row["check/harmonic_mean"])
                for row in csv.DictReader(file)
                if row["phase"] == phase and row["check/harmonic_mean"]
            }
        axes.plot(list(by_step), list(by_step.values()), color=colour, label=label)
        chosen = min(by_step, key=lambda step: abs(by_step[step] - reached[phase]))
        axes.plot(chosen, by_step[chosen], "o", color=colour)
    best = max(by_step, key=lambda step: by_step[step])
    axes.plot(best, by_step[best], "o", color=UNSEEN, markerfacecolor="white", label="oracle")
    axes.set(xlabel="step", ylabel="harmonic mean (%)")
    axes.legend(frameon=False)
    _save(figure, "selection")


def copied(folder: Path, name: str, to: str) -> None:
    """A figure of a run, with a palette in place of 24 bits a pixel."""
    with Image.open(folder / "figures" / f"{name}.png") as image:
        image.thumbnail((1000, 1000))
        image.convert("RGB").quantize(200).save(IMAGES / f"{to}.png", optimize=True)


def _columns(path: Path, *names: str) -> tuple[npt.NDArray[np.float64], ...]:
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return tuple(np.array([float(row[name]) for row in rows]) for name in names)


def _save(figure: Figure, name: str) -> None:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    path = IMAGES / f"{name}.png"
    figure.savefig(path, dpi=130)
    plt.close(figure)
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(200)
    small.save(path, optimize=True)


def main(folder: Path) -> None:
    """Draw everything from the runs below a folder, one of each method."""
    found = {Result.load(path.parent).method: path.parent for path in folder.glob("*/result.json")}
    runs = {name: found[name] for name in ("sgal", "exem", "mmvae", "vzsl")}
    IMAGES.mkdir(exist_ok=True)
    curves(runs)
    harmonic_mean_by_constant(runs["vzsl"])
    selection(runs["sgal"])
    copied(runs["sgal"], "latent_projection", "latent_space")
    copied(runs["sgal"], "confusion_matrix_unseen", "confusion")
    copied(runs["sgal"], "per_class_recall", "per_class_recall")
    copied(runs["sgal"], "training_curves", "training_curves")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
