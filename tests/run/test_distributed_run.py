"""Runs of two processes, connected by gloo: same weights, different samples, one result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import zsl_lab
from tests.conftest import METHODS, REPOSITORY, SHORT_FIT, SHORT_SGAL, composed
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.splits import test_split as final_split
from zsl_lab.hardware.processes import _environment, _free_port
from zsl_lab.run import checkpoints
from zsl_lab.run.config import parse

TIMEOUT = 300


def processes(tmp_path: Path, *arguments: str, count: int = 2) -> None:
    """Run this file as several processes of one run, and wait for them."""
    port = _free_port()
    inherited = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.run.test_distributed_run", str(tmp_path), *arguments],
            env=_environment(rank, count, port, inherited),
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for rank in range(count)
    ]
    try:
        said = [rank.communicate(timeout=TIMEOUT)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0] * count, "\n".join(said)


def command(*overrides: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "zsl_lab", *overrides],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


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
    """Every method trained by two processes; each has left what it saw and what it ended with."""
    folder = tmp_path_factory.mktemp("trained")
    processes(folder, "train", *METHODS)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
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


@pytest.mark.slow
def test_a_pass_over_the_samples_is_shared_out(trained: Path) -> None:
    rows = [torch.load(trained / f"mmvae{rank}.pt", weights_only=True)["rows"] for rank in range(2)]
    # the first batches of both: no sample twice
    both = torch.cat(rows)
    assert len(set(both.tolist())) == len(both)


# ------------------------------------------------------------------------------------- gradients


@pytest.mark.slow
def test_the_mean_of_two_gradients_is_that_of_the_joint_batch_and_batch_statistics_are_shared(
    tmp_path: Path,
) -> None:
    processes(tmp_path, "gradients")
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
# line


@pytest.fixture(scope="module")
def run_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``trainer.devices=2``, nothing else said about hardware."""
    folder = tmp_path_factory.mktemp("run") / "it's [a] run, of=2"
    place = str(folder).replace("'", "\\'")
    done = command(
        *SHORT_SGAL, "trainer.accelerator=cpu", "trainer.devices=2", f"hydra.run.dir='{place}'"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("validation-selected") == 1
    return folder


@pytest.mark.slow
def test_one_checkpoint_has_the_same_figures_on_one_two_and_three_processes(
    run_of_two: Path, tmp_path: Path
) -> None:
    # 1,136 samples on three processes: uneven shares, which padding would show in
    whole = result(run_of_two)
    assert whole["training"]["world_size"] == 2
    checkpoint = str(run_of_two / "checkpoints" / "best.ckpt").replace("'", "\\'")
    for count in (1, 3):
        folder = tmp_path / str(count)
        done = command(
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


@pytest.mark.slow
def test_class_means_of_two_processes_are_those_of_all_training_samples(tmp_path: Path) -> None:
    short = (*SHORT_FIT["vzsl"], "selection=last", "trainer.accelerator=cpu")
    done = command(
        *("method=vzsl", *short, "classifier=means", "classifier.space=method"),
        "trainer.devices=2",
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_run_of_two_processes_that_was_cut_short_ends_in_the_same_weights_after_resuming(
    trained: Path, tmp_path: Path
) -> None:
    # the first stops in fine-tuning, where every process draws from its own random state
    processes(tmp_path, "crash", "sgal")
    done = command("ckpt=" + str(tmp_path / "sgal" / "checkpoints" / "last.ckpt"))
    assert done.returncode == 0, done.stderr
    assert same(
        weights(tmp_path / "sgal" / "checkpoints" / "last.ckpt"),
        weights(trained / "sgal" / "checkpoints" / "last.ckpt"),
    )


@pytest.mark.slow
def test_each_job_of_a_sweep_over_seeds_is_one_run_of_two_processes(tmp_path: Path) -> None:
    # started in the ordinary way, the second process would run the whole sweep again
    done = command("-m", *SHORT_SGAL, "hardware=cpu_ddp", "seed=1,2", f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    jobs = sorted(tmp_path.glob("*/result.json"))
    assert [
        (result(job.parent)["seed"], result(job.parent)["training"]["world_size"]) for job in jobs
    ] == [(1, 2), (2, 2)]


@pytest.mark.slow
def test_a_mistake_is_told_once(tmp_path: Path) -> None:
    done = command("hardware=cpu_ddp", "method.g=2", f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 2
    assert done.stderr == "method.g=2: input should be less than or equal to 1.\n"
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------------- what the
# processes do


def _train(folder: Path, methods: list[str], crash_at: int | None = None) -> None:
    """Train; store the samples and random numbers of the refit's first step, and its weights."""
    from hydra import compose, initialize_config_module

    from zsl_lab.methods.base import ZeroShotMethod
    from zsl_lab.run.experiment import run
    from zsl_lab.run.records import run_figures

    setattr(run_figures, "draw_figures", lambda *args, **kwargs: None)  # noqa: B010  takes longer than the training
    seen: dict[str, Any] = {}
    training_step, on_train_end = ZeroShotMethod.training_step, ZeroShotMethod.on_train_end

    def note_first(self: ZeroShotMethod, batch: Any, batch_idx: int) -> None:
        if self.step == 0:
            state = torch.get_rng_state()
            seen.update(rows=batch.rows.clone(), drawn=torch.rand(8))
            torch.set_rng_state(state)
        if self.step == crash_at and self.phase == "refit":
            raise RuntimeError("power cut")
        training_step(self, batch, batch_idx)

    def note_last(self: ZeroShotMethod) -> None:
        on_train_end(self)
        seen["weights"] = {name: value.clone() for name, value in self.state_dict().items()}

    for method in methods:
        with initialize_config_module("zsl_lab.conf", version_base="1.3"):
            cfg = compose("config", [f"method={method}", *SHORT_FIT[method], "hardware=cpu_ddp"])
        cfg.paths.run_dir = str(folder / method)
        cfg.paths.cache_dir = str(folder / "cache")
        if not seen:
            for name, hook in (("training_step", note_first), ("on_train_end", note_last)):
                setattr(ZeroShotMethod, name, hook)
        try:
            run(cfg)
        except RuntimeError as error:
            if str(error) != "power cut":
                raise
            continue
        torch.save(seen, folder / f"{method}{os.environ['RANK']}.pt")


def _gradients(folder: Path) -> None:
    import torch.distributed as dist

    from zsl_lab.errors import TrainingError
    from zsl_lab.hardware import distributed

    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(0)
    network, norm = torch.nn.Linear(3, 1), torch.nn.BatchNorm1d(3, momentum=1.0)
    share = torch.arange(12.0).view(4, 3)[rank::2]
    network(share).square().mean().backward()
    norm(share)
    running_mean, gradient = norm.running_mean, network.weight.grad
    assert running_mean is not None
    assert gradient is not None
    distributed.average([gradient, running_mean])
    found: dict[str, Any] = {
        "gradient": gradient,
        "running_mean": running_mean,
        "untouched": norm.weight.grad,
    }
    found |= {
        "gathered": distributed.gather({"rank": rank}),
        "common": distributed.derived_seed(3, 4),
    }
    found["complaints"] = []
    for weight in (torch.ones(3), torch.ones(3) * (1 + rank)):
        try:
            distributed.check_agreement([torch.zeros(()), weight])
        except TrainingError as error:
            found["complaints"].append(str(error).partition(".")[0])
    torch.save(found, folder / f"gradients{rank}.pt")
    distributed.disconnect()


if __name__ == "__main__":
    place, what, *rest = sys.argv[1:]
    if what == "gradients":
        _gradients(Path(place))
    else:
        _train(Path(place), rest, crash_at=70 if what == "crash" else None)
