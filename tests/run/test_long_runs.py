from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from tests.conftest import REFIT_ALONE, SHORT, SHORT_FIT, SHORTER_SGAL, Finished, power_cut
from tests.helpers import children
from tests.helpers.forked import Forked, command_line
from zsl_lab.data.datasets.base import DataPaths
from zsl_lab.data.datasets.digits import DigitsDataset
from zsl_lab.data.datasets.xian import XianDataset
from zsl_lab.errors import TerminationError, TrainingError
from zsl_lab.files.cache import LRUCache, file_stamp
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.methods.mmvae.method import MMVAE
from zsl_lab.run import context as context_module
from zsl_lab.run.callbacks import phase_checkpoint
from zsl_lab.run.config import parse
from zsl_lab.run.experiment import run
from zsl_lab.text import cache as text_cache
from zsl_lab.text.cache import EncodedText, text_file

Configure = Callable[..., DictConfig]

#: a test that crashes between checks: these are far apart
RARE = ("selection.check_every=1000", "trainer.save_every_n_steps=7", "trainer.log_every_n_steps=5")


def state(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(path, weights_only=True)
    return found


def assert_same(first: Any, second: Any) -> None:
    """Nested containers of tensors and numbers are equal, bit for bit."""
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, list | tuple):
        for a, b in zip(first, second, strict=True):
            assert_same(a, b)
    else:
        assert first == second


def assert_same_end(a: Path, b: Path) -> None:
    """Two runs ended in the same weights, optimiser and random state, and logged the same."""
    for name in ("best.ckpt", "last.ckpt"):
        first, second = state(a / "checkpoints" / name), state(b / "checkpoints" / name)
        parts = {"state_dict", "optimizer_states", "method_state"} & first.keys()
        for part in parts:
            assert_same(first[part], second[part])
    assert (a / "metrics.csv").read_text() == (b / "metrics.csv").read_text()
    results = [json.loads((folder / "result.json").read_text()) for folder in (a, b)]
    for part in ("metrics", "oracle", "oracle_by_metric", "validation"):
        assert results[0][part] == results[1][part]
    assert results[0]["training"]["steps"] == results[1]["training"]["steps"]


def resume(configure: Configure, *overrides: str, run_dir: str) -> None:
    cfg = configure(*overrides, run_dir=run_dir)
    cfg.ckpt = str(Path(cfg.paths.run_dir) / "checkpoints" / "last.ckpt")
    run(cfg)


# --------------------------------------------------------------------------- between checks


STEPS = {
    "sgal": ("method.steps=20", "method.fine_tune_steps=20"),
    "n3": ("method.base_steps=10", "method.steps=10"),
    "aspn": ("method.steps=20",),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "cuts"),
    [
        ("sgal", {9: 7, 34: 28}),  # in pre-training and in fine-tuning
        ("n3", {9: 7, 18: 14}),  # the base network and the generator
        ("aspn", {17: 14}),  # several optimisers
    ],
)
def test_a_run_that_dies_between_checks_goes_on_from_the_last_multiple(
    configure: Configure, finished: Finished, tmp_path: Path, method: str, cuts: dict[int, int]
) -> None:
    overrides = (f"method={method}", *SHORT_FIT[method], *STEPS[method], *RARE)
    cfg = configure(*overrides, run_dir="cut")
    last = tmp_path / "cut" / "checkpoints" / "last.ckpt"
    for phase in ("select", "refit"):
        for step, saved in cuts.items():
            with power_cut(parse(cfg).method_class, step, phase):
                run(cfg)
            left = state(last)
            assert (left["zsl_lab"]["phase"], left["method_state"]["step"]) == (phase, saved)
            cfg = configure(*overrides, run_dir="cut")
            cfg.ckpt = str(last)
    run(cfg)
    assert_same_end(finished(*overrides), tmp_path / "cut")


@pytest.mark.slow
def test_a_pass_over_the_samples_that_ends_with_the_state_goes_on_with_the_next(
    configure: Configure, tmp_path: Path
) -> None:
    # so few samples that passes end at and beside the saved steps
    overrides: tuple[str, ...] = (
        "method=mmvae",
        *SHORT,
        *RARE,
        "dataset.unseen=[2,4,5,6,7,8,9]",
        "selection=last",
        *("method.batch_size=96", "method.steps=12"),
    )
    overrides += ("trainer.save_every_n_steps=1",)
    run(configure(*overrides, run_dir="whole"))
    cfg = configure(*overrides, run_dir="cut")
    for step in (3, 4, 5, 6, 9, 10):
        with power_cut(MMVAE, step):
            run(cfg)
        cfg = configure(*overrides, run_dir="cut")
        cfg.ckpt = str(tmp_path / "cut" / "checkpoints" / "last.ckpt")
    run(cfg)
    assert_same_end(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow
def test_a_run_may_be_saved_more_often_when_it_goes_on(
    configure: Configure, tmp_path: Path
) -> None:
    overrides = ("method=mmvae", *SHORT, "selection=last")
    for more in ((), ("trainer.save_every_n_steps=5",)):
        with power_cut(MMVAE, 35):
            run(configure(*overrides, run_dir="run")) if not more else resume(
                configure, *overrides, *more, run_dir="run"
            )
        left = state(tmp_path / "run" / "checkpoints" / "last.ckpt")
        assert left["method_state"]["step"] == (35 if more else 20)


def signalled(
    tmp_path: Path, cfg: DictConfig, number: int, phase: str, step: int
) -> tuple[int | None, str, str]:
    """SGAL in a process that sends a signal to itself within a step: exit code and output."""
    OmegaConf.save(cfg, tmp_path / "cfg.yaml")
    child = Forked(children.run_and_signal, tmp_path / "cfg.yaml", number, phase, step)
    said = child.communicate()
    return child.returncode, *said


@pytest.mark.slow
def test_a_killed_process_goes_on_from_the_last_multiple(
    configure: Configure, finished: Finished, tmp_path: Path
) -> None:
    overrides = ("method=sgal", *SHORTER_SGAL, *RARE)
    cfg = configure(*overrides, run_dir="killed")
    code, *_ = signalled(tmp_path, cfg, signal.SIGKILL, "refit", 31)
    assert code == -signal.SIGKILL
    assert state(tmp_path / "killed" / "checkpoints" / "last.ckpt")["method_state"]["step"] == 28
    resume(configure, *overrides, run_dir="killed")
    assert_same_end(finished(*overrides), tmp_path / "killed")


# --------------------------------------------------------------------------- SIGTERM


@pytest.mark.slow
def test_sigterm_leaves_the_state_of_that_very_step_and_says_how_to_go_on(
    configure: Configure, finished: Finished, tmp_path: Path
) -> None:
    overrides = ("method=sgal", *SHORTER_SGAL, "trainer.log_every_n_steps=5")
    last = tmp_path / "stopped" / "checkpoints" / "last.ckpt"
    cfg = configure(*overrides, run_dir="stopped")
    for step in (7, 9, 32):  # the 10th step ends with a check
        code, out, err = signalled(tmp_path, cfg, signal.SIGTERM, "select", step)
        assert code == 143, err
        assert out == f"Terminated. Go on with:\n  python -m zsl_lab ckpt={last}\n"
        assert state(last)["method_state"]["step"] == step + 1
        cfg = configure(*overrides, run_dir="stopped")
        cfg.ckpt = str(last)
    run(cfg)
    assert_same_end(finished(*overrides), tmp_path / "stopped")


def test_sigterm_is_left_as_it_was_found(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    train_on = MMVAE.train_on

    def hit(self: MMVAE, batch: Any) -> Any:
        if self.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return train_on(self, batch)

    monkeypatch.setattr(MMVAE, "train_on", hit)
    with pytest.raises(TerminationError):
        run(configure("method=mmvae", *SHORT, "selection=last"))
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
def test_the_command_ends_with_the_exit_code_of_sigterm(tmp_path: Path) -> None:
    arguments = (
        "method=mmvae",
        *SHORT,
        "method.steps=1000000",
        "hydra.run.dir=run",
        "trainer.save_every_n_steps=1",
    )
    process = Forked(command_line, arguments, cwd=tmp_path)
    while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.terminate()
    _, errors = process.communicate()
    assert process.returncode == 143
    assert "Terminated. Go on with:" in errors
    assert "Traceback" not in errors


# --------------------------------------------------------------------------- not a number


def spoil(monkeypatch: pytest.MonkeyPatch, step: int, *, weights: bool) -> None:
    """From a step of the refit on, make a term of the loss NaN, or make weights infinite."""
    losses = MMVAE.losses
    train_on = MMVAE.train_on

    def bad(self: MMVAE, features: Any, labels: Any) -> dict[str, torch.Tensor]:
        found = losses(self, features, labels)
        if self.phase == "refit" and self.step >= step and not weights:
            found["kl"] = found["kl"] * float("nan")
            found["total"] = found["total"] + found["kl"]
        return found

    def bad_weights(self: MMVAE, batch: Any) -> Any:
        found = train_on(self, batch)
        if self.phase == "refit" and self.step == step and weights:
            next(self.networks.parameters()).data.fill_(float("inf"))
        return found

    monkeypatch.setattr(MMVAE, "losses", bad)
    monkeypatch.setattr(MMVAE, "train_on", bad_weights)


@pytest.mark.slow
def test_a_loss_that_is_no_number_names_the_term_the_step_and_the_last_good_state(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, 26, weights=False)
    monkeypatch.setattr(phase_checkpoint, "SECONDS_BETWEEN", 0)
    with pytest.raises(TrainingError) as caught:
        run(configure("method=mmvae", *SHORT, "selection=last", "trainer.log_every_n_steps=1"))
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert str(caught.value).startswith("the loss 'kl' is nan at step 27: training diverged.")
    assert str(caught.value).endswith(f"Last good checkpoint: {last}.")
    assert state(last)["method_state"]["step"] == 20


def test_where_nothing_was_saved_yet_the_sentence_says_so(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, 3, weights=False)
    with pytest.raises(
        TrainingError, match=r"the loss 'kl' is nan at step 4.*Last good checkpoint: none yet\."
    ):
        run(configure("method=mmvae", *SHORT, "selection=last", "trainer.log_every_n_steps=1"))


@pytest.mark.slow
@pytest.mark.parametrize("every", ["null", "4"])
def test_a_state_that_is_not_finite_never_replaces_a_good_one(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: str
) -> None:
    spoil(monkeypatch, 26, weights=False)
    monkeypatch.setattr(phase_checkpoint, "SECONDS_BETWEEN", 0)
    # nobody looks at the losses before the state is saved
    overrides = (
        "method=mmvae",
        *SHORT,
        "selection=last",
        "trainer.log_every_n_steps=1000",
        f"trainer.save_every_n_steps={every}",
    )
    with pytest.raises(
        TrainingError,
        match=r"the loss '\w+' is nan at step (28|40): training diverged \(.* may have begun "
        r".*last\.ckpt",
    ):
        run(configure(*overrides))
    left = state(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert left["method_state"]["step"] == (20 if every == "null" else 24)
    assert all(value.isfinite().all() for value in left["state_dict"].values())
    assert not (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()


@pytest.mark.slow
def test_weights_that_are_not_finite_are_noticed_where_losses_are(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, 19, weights=True)
    with pytest.raises(TrainingError, match=r"weights are not finite after step 20.*none yet"):
        run(configure("method=mmvae", *SHORT, "selection=last", "trainer.log_every_n_steps=1000"))
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


# --------------------------------------------------------------------------- read once


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the datasets that are read, as they are."""
    found: list[str] = []
    context_module.benchmarks.clear()
    for dataset_class, name in (
        (DigitsDataset, "load"),
        (DigitsDataset, "load_images"),
        (XianDataset, "load"),
    ):
        load = getattr(dataset_class, name)

        def spy(self: Any, paths: DataPaths, load: Any = load, name: str = name) -> Any:
            found.append(f"{self.name} {name}")
            return load(self, paths)

        monkeypatch.setattr(dataset_class, name, spy)
    return found


@pytest.mark.slow
def test_runs_of_one_process_read_a_benchmark_once(configure: Configure, reads: list[str]) -> None:
    short = ("method=mmvae", *SHORT_FIT["mmvae"], *REFIT_ALONE)
    for seed in (0, 1):
        run(configure(*short, f"seed={seed}", run_dir=f"a{seed}"))
    assert reads == ["digits load"]
    # what is done with it later does not count, what it holds does
    run(configure(*short, "dataset.normalize=l2", "dataset.split=random", run_dir="b"))
    assert reads == ["digits load"]
    run(configure(*short, "dataset.unseen=[1,2]", run_dir="c"))
    run(configure("method=n3", *SHORT_FIT["n3"], *REFIT_ALONE, run_dir="d"))
    assert reads == ["digits load", "digits load", "digits load_images"]


def test_what_was_read_cannot_be_written_to(configure: Configure, reads: list[str]) -> None:
    benchmark = context_module.load_benchmark(parse(configure("method=mmvae")))
    with pytest.raises(ValueError, match="read-only"):
        benchmark.features[0] = 0  # type: ignore[attr-defined]


@pytest.mark.slow
def test_files_that_changed_are_read_again(
    configure: Configure, shared: Path, tmp_path: Path, reads: list[str]
) -> None:
    source = shared / "data" / "xlsa17" / "data" / "FLO"
    (tmp_path / "data" / "FLO").mkdir(parents=True)
    for name in ("efficientnet_lite2.mat", "att_splits.mat"):
        (tmp_path / "data" / "FLO" / name).symlink_to(source / name)
    cfg = configure("method=mmvae", "dataset=flo", "dataset.features=efficientnet_lite2")
    cfg.paths.data_dir = str(tmp_path / "data")
    first = context_module.load_benchmark(parse(cfg))
    assert context_module.load_benchmark(parse(cfg)) is first
    copy = tmp_path / "data" / "FLO" / "att_splits.mat"
    content = copy.read_bytes()
    copy.unlink()
    copy.write_bytes(content)
    assert context_module.load_benchmark(parse(cfg)) is not first
    assert reads == ["FLO load", "FLO load"]


def test_texts_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = text_file(tmp_path, "an encoder", "its weights", 5, "a text")
    text_cache._texts.clear()
    text_cache.save(EncodedText(np.ones((2, 3), dtype=np.float32), 2), path)
    found: list[Path] = []
    load = text_cache.load

    def spy(path: Path) -> EncodedText:
        found.append(path)
        return load(path)

    monkeypatch.setattr(text_cache, "load", spy)

    def never() -> EncodedText:
        raise AssertionError("it is there")

    assert text_cache.cached(path, never) is text_cache.cached(path, never)
    assert found == [path]
    text_cache.save(EncodedText(np.zeros((2, 3), dtype=np.float32), 2), path)
    os.utime(path, (0, 0))
    assert not text_cache.cached(path, never).states.any()


def test_memory_forgets_what_was_not_used_for_longest_and_keeps_what_is_too_large_alone() -> None:
    memory: LRUCache[str] = LRUCache(5, len)
    made: list[str] = []

    def make(value: str) -> str:
        made.append(value)
        return value

    for value in ("aa", "bb", "aa", "cc", "bb", "far too large", "cc"):
        assert memory.get(value, partial(make, value)) == value
    assert made == ["aa", "bb", "cc", "bb", "far too large", "cc"]


def test_a_file_is_another_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert file_stamp([file]) == ()
    file.write_text("a")
    first = file_stamp([file])
    os.utime(file, (0, 0))
    assert file_stamp([file]) != first


# --------------------------------------------------------------------------- provenance


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sgal", "n3"])
def test_a_deterministic_run_gives_equal_bits_each_time(
    configure: Configure, tmp_path: Path, method: str
) -> None:
    overrides = (f"method={method}", *SHORT_FIT[method], "selection=last", "deterministic=true")
    enabled: list[bool] = []
    end = ZeroShotMethod.on_validation_epoch_end

    def spy(self: ZeroShotMethod) -> None:
        enabled.append(torch.are_deterministic_algorithms_enabled())
        end(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ZeroShotMethod, "on_validation_epoch_end", spy)
        run(configure(*overrides, run_dir="a"))
    run(configure(*overrides, run_dir="b"))
    assert_same_end(tmp_path / "a", tmp_path / "b")
    assert set(enabled) == {True}
    torch.use_deterministic_algorithms(False)


@pytest.mark.slow
def test_a_result_names_what_it_was_computed_with(configure: Configure) -> None:
    result = run(configure("method=mmvae", *SHORT, "selection=last"))
    assert {
        "zsl_lab",
        "python",
        "torch",
        "numpy",
        "scipy",
        "scikit-learn",
        "pytorch-lightning",
        "wandb",
    } <= result.versions.keys()
    threads = torch.get_num_threads()
    assert result.training["device"].startswith("cpu (")
    assert result.training["device"].endswith(f", {threads} thread{'s' if threads > 1 else ''})")
    assert os.uname().nodename not in json.dumps(result.training)
    assert (result.training["precision"], result.training["world_size"], result.seed) == (
        "32-true",
        1,
        0,
    )
    assert len(result.benchmark["splits_sha256"]) == len(result.benchmark["features_sha256"]) == 64
