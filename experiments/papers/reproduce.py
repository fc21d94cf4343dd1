"""Run every experiment of conf/experiment in its smoke size, and check what it leaves.

Data that are missing are replaced: by other features of the dataset where there are some, else by
synthetic data of its shape. One line an experiment; the exit code is 1 if one is not whole.

    python experiments/papers/reproduce.py DATA [OUTPUT] [EXPERIMENT ...]

DATA holds the benchmarks, or xlsa17/data/ with them; images lie below DATA itself. OUTPUT receives
the sweeps and a log for each experiment.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from zsl_lab.cli import main as cli
from zsl_lab.methods.catalogue import entries
from zsl_lab.report.paper_rows import paper_names
from zsl_lab.sweep.experiment import PAPER
from zsl_lab.sweep.job import SWEEP_FILE, Job, read_jobs
from zsl_lab.sweep.plan import NO_DATA

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "experiment"
#: fewer jobs than the whole experiment has
FEWER = {
    "sgal_supplement": ["dataset=awa1", "method.p=0.25,0.75"],
    "vzsl_table1": ["seed=0"],
    # BERT has to be downloaded
    "n3_table4": ["method.text.encoder=glove,minilm,tfidf"],
}
#: exit codes of an interrupted command, which ends this one
INTERRUPTED = (130, 143)
#: what cannot be run without its own data
WITHOUT_STAND_IN = {"vzsl_imagenet": NO_DATA}
#: figures of each job
JOB_FIGURES = {
    "sgal_fig3": ["latent_projection"],
    "n3_fig3_fig5": [
        "adaptation_norms",
        "adaptation_by_layer_type",
        "penultimate_norms",
        "confusion_matrix_unseen",
    ],
}


def main() -> int:
    """Run the experiments; 1 if one is not whole."""
    data = Path(sys.argv[1])
    output = Path(sys.argv[2] if len(sys.argv) > 2 else "outputs/reproduce")
    output.mkdir(parents=True, exist_ok=True)
    names = sys.argv[3:] or sorted(p.stem for p in FOLDER.glob("*.yaml") if p.stem != "bench")
    of_images = {entry.name for entry in entries() if entry.takes == "images"}
    failed = 0
    for name in names:
        begun = time.perf_counter()
        problems, jobs = reproduce(name, data, output, of_images)
        failed += bool(problems)
        counted = f"{len(jobs)} jobs" if jobs else "no jobs"
        told = "whole" if not problems else "; ".join(problems)
        print(f"{name:18} {counted:>8} {time.perf_counter() - begun:6.0f} s   {told}", flush=True)
    return int(failed > 0)


def reproduce(
    name: str, data: Path, output: Path, of_images: set[str]
) -> tuple[list[str], list[Job]]:
    """Run an experiment; what is wrong with what it left, and its jobs."""
    config = OmegaConf.load(FOLDER / f"{name}.yaml")
    methods = str(config.hydra.sweeper.params.method).split(",")
    archive = data / "xlsa17" / "data"
    place = archive if archive.is_dir() and not set(methods) & of_images else data
    folder = output / name / time.strftime("%Y-%m-%d_%H-%M-%S")
    arguments = [
        f"experiment={name}",
        *FEWER.get(name, []),
        *("sweep.size=smoke", "sweep.missing=substitute", "hardware=cpu", "callbacks=none"),
        f"paths.data_dir='{place}'",
        f"hydra.sweep.dir='{folder}'",
    ]
    log = output / f"{name}.log"
    code = run(arguments, log)
    expected = WITHOUT_STAND_IN.get(name)
    if expected is not None:
        return ([] if code == 0 or expected in log.read_text() else [f"see {log}"]), []
    jobs = read_jobs(folder)
    problems = [] if code == 0 else [f"exit code {code}, see {log}"]
    return problems + missing_parts(name, folder, jobs, list(config.sweep.get("figures", []))), jobs


def run(arguments: Sequence[str], log: Path) -> int:
    """The command in this process, with its output in a file; its exit code."""
    sys.argv = ["zsl_lab", *arguments]
    cli._failures.clear()
    with (
        log.open("w") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        try:
            cli.main()
        except SystemExit as stopped:
            if stopped.code in INTERRUPTED:
                raise
            return int(stopped.code or 0)
    return 0


def missing_parts(name: str, folder: Path, jobs: Sequence[Job], figures: list[str]) -> list[str]:
    """What an experiment should have left and did not."""
    found = []
    planned = json.loads((folder / SWEEP_FILE).read_text())["jobs"] if folder.is_dir() else 0
    finished = [job for job in jobs if job.outcome == "finished"]
    if not planned or len(finished) < planned:
        found.append(f"{len(finished)} of {planned} jobs have a result")
    if name in paper_names():
        tables = [folder / f"{PAPER}.{ending}" for ending in ("md", "csv", "tex")]
        found += [f"no {path.name}" for path in tables if not path.is_file()]
        if not found:
            found += rows_without_runs(tables[1], finished)
    wanted = [folder / "figures" / file for file in figures]
    wanted += [
        job.folder / "figures" / f"{file}.png"
        for job in finished
        for file in JOB_FIGURES.get(name, [])
    ]
    return found + [f"no {path.relative_to(folder)}" for path in wanted if not path.is_file()]


def rows_without_runs(table: Path, jobs: Sequence[Job]) -> list[str]:
    """A sentence where the runs of the paper's table are fewer than the jobs."""
    import csv

    with table.open(encoding="utf-8") as file:
        seeds = sum(int(row["seeds"]) for row in csv.DictReader(file))
    return [] if seeds >= len(jobs) else [f"{seeds} of {len(jobs)} runs are in the table"]


if __name__ == "__main__":
    sys.exit(main())
