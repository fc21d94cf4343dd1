"""Runs of two processes, connected by gloo: same weights, different samples, one result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

import zsl_lab
from tests.conftest import ENTRIES, METHODS, REFIT_ALONE, SHORT_FIT, composed
from tests.helpers import children
from tests.helpers.forked import run_command, run_ranks
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.splits import test_split as final_split
from zsl_lab.run.checkpoints import files as checkpoints
from zsl_lab.run.config import parse

pytestmark = pytest.mark.slow

#: two processes on the CPU
OF_TWO = ("trainer.accelerator=cpu", "trainer.devices=2")
#: short runs of every class of methods; that of SGAL selects a step too
TRAINED = {
    name: SHORT_FIT[name] if name == "sgal" else (*SHORT_FIT[name], *REFIT_ALONE)
    for name in METHODS
    if not ENTRIES[name].variant
}


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def weights(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


# ------------------------------------------------------------------------------------- every method


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Methods trained by two processes; each has left what it saw and what it ended with."""
    folder = tmp_path_factory.mktemp("trained")
    run_ranks(children.train, folder, configs(folder, *TRAINED), None)
    return folder


def configs(folder: Path, *methods: str) -> dict[str, DictConfig]:
    """Configurations of runs of two processes, by method."""
    return {
        name: composed(folder / name, f"method={name}", *TRAINED[name], *OF_TWO) for name in methods
    }


@pytest.mark.parametrize("method", TRAINED)
def test_two_processes_end_with_the_same_weights_from_different_samples(
    trained: Path, method: str
) -> None:
    first, second = (
        torch.load(trained / f"{method}{rank}.pt", weights_only=True) for rank in range(2)
    )
    assert same(first["weights"], second["weights"])
    # the checkpoint holds nothing else
    assert same(first["weights"], weights(trained / method / "checkpoints" / "last.ckpt"))
    if torch.equal(first["rows"].sort().values, second["rows"].sort().values):
        return  # a closed form takes all samples and draws nothing
    assert not torch.equal(first["rows"], second["rows"])
    # and what networks draw differs too (noise, dropout, generated samples)
    assert not torch.equal(first["drawn"], second["drawn"])
    assert result(trained / method)["training"]["world_size"] == 2


def test_a_pass_over_the_samples_is_shared_out(trained: Path) -> None:
    rows = [torch.load(trained / f"mmvae{rank}.pt", weights_only=True)["rows"] for rank in range(2)]
    # the first batches of both: no sample twice
    both = torch.cat(rows)
    assert len(set(both.tolist())) == len(both)


# ------------------------------------------------------------------------------------- gradients


def test_the_mean_of_two_gradients_is_that_of_the_joint_batch_and_batch_statistics_are_shared(
    tmp_path: Path,
) -> None:
    run_ranks(children.share_gradients, tmp_path)
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 1)
    batch = torch.arange(12.0).view(4, 3)
    network(batch).square().mean().backward()
    for rank in range(2):
        found = torch.load(tmp_path / f"gradients{rank}.pt", weights_only=True)
        torch.testing.assert_close(found["gradient"], network.weight.grad)
        # momentum 1: each process has the mean of its own half, and both end with the mean of these
        torch.testing.assert_close(found["running_mean"], batch.mean(0))
        assert found["untouched"] is None
        assert found["gathered"] == [{"rank": 0}, {"rank": 1}]
        assert (
            found["common"] == torch.load(tmp_path / "gradients0.pt", weights_only=True)["common"]
        )
        assert found["complaints"] == ["process 1 of the run holds other weights than process 0"]


# ------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def run_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``trainer.devices=2``, nothing else said about hardware."""
    folder = tmp_path_factory.mktemp("run") / "it's [a] run, of=2"
    place = str(folder).replace("'", "\\'")
    done = run_command(*SHORT_FIT["sgal"], *OF_TWO, f"hydra.run.dir='{place}'")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("validation-selected") == 1
    return folder


@pytest.mark.long
def test_one_checkpoint_has_the_same_figures_on_one_two_and_three_processes(
    run_of_two: Path, tmp_path: Path
) -> None:
    # 1,136 samples on three processes: uneven shares, which padding would show in
    whole = result(run_of_two)
    assert whole["training"]["world_size"] == 2
    checkpoint = str(run_of_two / "checkpoints" / "best.ckpt").replace("'", "\\'")
    for count in (1, 3):
        folder = tmp_path / str(count)
        done = run_command(
            "task=test",
            f"ckpt='{checkpoint}'",
            "trainer.accelerator=cpu",
            f"trainer.devices={count}",
            f"hydra.run.dir={folder}",
        )
        assert done.returncode == 0, done.stderr
        assert result(folder)["metrics"] == pytest.approx(whole["metrics"], abs=1e-6)
        assert result(folder)["per_class"] == whole["per_class"]
        for name in ("predictions.csv", "tradeoff.csv"):
            assert (folder / name).read_text() == (run_of_two / name).read_text()


def test_class_means_of_two_processes_are_those_of_all_training_samples(tmp_path: Path) -> None:
    short = (*SHORT_FIT["vzsl"], *REFIT_ALONE)
    done = run_command(
        *("method=vzsl", *short, *OF_TWO, "classifier=means", "classifier.space=method"),
        f"hydra.run.dir={tmp_path / 'run'}",
    )
    assert done.returncode == 0, done.stderr
    network = zsl_lab.load(tmp_path / "run").network
    cfg = parse(composed(tmp_path / "again", "method=vzsl", *short))
    benchmark = cfg.dataset.load(DataPaths(tmp_path, tmp_path))
    data = cfg.dataset.data_module(benchmark, final_split(benchmark))
    batch = data.samples(data.split.train)
    with torch.no_grad():
        points = network.embed(batch.inputs)
    stored = checkpoints.read(tmp_path / "run" / "checkpoints" / "best.ckpt", "ckpt").classifier
    for c in sorted(set(batch.labels.tolist())):
        expected = points[batch.labels == c].mean(0)
        torch.testing.assert_close(stored["centres"][c], expected, rtol=1e-4, atol=1e-4)


def test_files_are_written_once(run_of_two: Path) -> None:
    names = {path.name for path in run_of_two.iterdir()}
    assert names == {
        ".hydra",
        "checkpoints",
        "config.yaml",
        "metrics.csv",
        "predictions.csv",
        "result.json",
        "tradeoff.csv",
    }
    rows = (run_of_two / "metrics.csv").read_text().splitlines()
    assert len(rows) == len(set(rows))


def test_a_run_of_two_processes_that_was_cut_short_ends_in_the_same_weights_after_resuming(
    trained: Path, tmp_path: Path
) -> None:
    # the first stops in fine-tuning, where every process draws from its own random state
    run_ranks(children.train, tmp_path, configs(tmp_path, "sgal"), 20)
    last = tmp_path / "sgal" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["method_state"]["step"] == 18
    done = run_command(f"ckpt={last}")
    assert done.returncode == 0, done.stderr
    assert same(weights(last), weights(trained / "sgal" / "checkpoints" / "last.ckpt"))


@pytest.mark.long
def test_each_job_of_a_sweep_over_seeds_is_one_run_of_two_processes(tmp_path: Path) -> None:
    # started in the ordinary way, the second process would run the whole sweep again
    short = ("method=mmvae", *SHORT_FIT["mmvae"], *REFIT_ALONE, "hardware=cpu_ddp")
    done = run_command("-m", *short, "seed=1,2", f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    jobs = sorted(tmp_path.glob("*/result.json"))
    assert [
        (result(job.parent)["seed"], result(job.parent)["training"]["world_size"]) for job in jobs
    ] == [(1, 2), (2, 2)]


def test_a_mistake_is_told_once(tmp_path: Path) -> None:
    done = run_command("hardware=cpu_ddp", "method.g=2", f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 2
    assert done.stderr == "method.g=2: input should be less than or equal to 1.\n"
    assert not (tmp_path / "run").exists()
