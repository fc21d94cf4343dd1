from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from tests.conftest import SHORTER_SGAL, Command, Finished, composed, power_cut
from tests.helpers import children
from tests.helpers.forked import Forked, run_command
from zsl_lab.methods.sgal import SGAL
from zsl_lab.run import pretraining as pretrained
from zsl_lab.run.checkpoints import files as checkpoints
from zsl_lab.run.experiment import run
from zsl_lab.run.pretraining import SharedPretraining

Configure = Callable[..., DictConfig]

#: a run whose fine-tuning is another, in everything that may differ
OTHER = (
    *(
        "method.g=0.5",
        "method.delta=0",
        "method.p=0.1",
        "method.decoder_samples=2",
        "method.fine_tune_batch_size=16",
    ),
    *(
        "method.fine_tune_learning_rate=0.001",
        "method.fine_tune_steps=15",
        "method.restore_best=false",
    ),
)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every step of pre-training that is taken, as it is taken: phase and number."""
    taken: list[tuple[str, int]] = []
    train_on = SGAL.train_on

    def spy(self: SGAL, batch: Any) -> Any:
        if self.step < self.config.steps:
            taken.append((self.phase, self.step))
        return train_on(self, batch)

    monkeypatch.setattr(SGAL, "train_on", spy)
    return taken


def sharing(configure: Configure, tmp_path: Path, *overrides: str, run_dir: str) -> DictConfig:
    cfg = configure(*overrides, run_dir=run_dir)
    cfg.paths.pretrained_dir = str(tmp_path / "shared")
    return cfg


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder with the shared pre-training of a run, made once; copy it."""
    made: dict[tuple[str, ...], Path] = {}

    def shared_folder(*overrides: str) -> Path:
        if overrides not in made:
            folder = tmp_path_factory.mktemp("pretrained")
            cfg = composed(folder / "run", *overrides)
            cfg.paths.pretrained_dir = str(folder / "shared")
            run(cfg)
            made[overrides] = folder / "shared"
        return made[overrides]

    return shared_folder


@pytest.fixture
def maker(shared_folder: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Leave the pre-training of a run to share where ``sharing`` looks for it."""
    return lambda *overrides: shutil.copytree(shared_folder(*overrides), tmp_path / "shared")


def assert_same_run(a: Path, b: Path) -> None:
    """Weights, figures and what was logged are equal, bit for bit; seconds are not."""
    for name in ("best.ckpt", "last.ckpt"):
        first, second = (
            torch.load(folder / "checkpoints" / name, weights_only=True) for folder in (a, b)
        )
        assert first["state_dict"].keys() == second["state_dict"].keys()
        assert all(
            torch.equal(value, second["state_dict"][key])
            for key, value in first["state_dict"].items()
        )
        assert first["method_state"]["checks"] == second["method_state"]["checks"]
    assert (a / "metrics.csv").read_text() == (b / "metrics.csv").read_text()
    results = [json.loads((folder / "result.json").read_text()) for folder in (a, b)]
    for result in results:
        del (
            result["checkpoint"],
            result["training"]["seconds"],
            result["training"]["check_seconds"],
            result["training"]["steps_per_second"],
            result["training"]["peak_memory"],
        )
    assert results[0] == results[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "common", "user"),
    [
        ("sgal", (), OTHER),
        ("sgal", ("selection.report_oracle=false",), OTHER),
        ("sgal", ("selection=last",), ("method.g=0.5", "method.p=0.1")),
        ("sgal", ("selection=oracle",), OTHER),
        ("sgal_dropout", (), ("method.g=0.5", "method.p=0.1")),
        # the other way round: who makes it has no best weights to go back to, who uses it has
        ("sgal", (), ("method.restore_best=true",)),
    ],
)
def test_who_uses_a_pre_training_ends_as_who_has_pre_trained_by_itself(
    configure: Configure,
    finished: Finished,
    maker: Callable[..., Path],
    tmp_path: Path,
    steps: list[tuple[str, int]],
    method: str,
    common: tuple[str, ...],
    user: tuple[str, ...],
) -> None:
    made_with = ("method.restore_best=false",) if user == ("method.restore_best=true",) else ()
    overrides = (f"method={method}", *SHORTER_SGAL, *common)
    alone = finished(*overrides, *user)
    maker(*overrides, *made_with)
    steps.clear()
    run(sharing(configure, tmp_path, *overrides, *user, run_dir="user"))
    assert steps == []
    assert_same_run(alone, tmp_path / "user")


@pytest.mark.slow
@pytest.mark.parametrize("report_oracle", ["true", "false"])
def test_where_the_end_of_pre_training_is_selected_it_is_reported(
    configure: Configure,
    tmp_path: Path,
    steps: list[tuple[str, int]],
    report_oracle: str,
    maker: Callable[..., Path],
    finished: Finished,
) -> None:
    # fine-tuning that ruins what it starts from
    ruin = (
        "method.g=1",
        "method.p=0",
        "method.fine_tune_learning_rate=0.02",
        "dataset.semantics=segments",
        "selection.metric=seen",
    )
    overrides = ("method=sgal", *SHORTER_SGAL, *ruin, f"selection.report_oracle={report_oracle}")
    alone = finished(*overrides)
    maker(*overrides, "method.delta=0")
    steps.clear()
    run(sharing(configure, tmp_path, *overrides, run_dir="user"))
    assert steps == []
    assert (
        torch.load(tmp_path / "user" / "checkpoints" / "best.ckpt", weights_only=True)[
            "method_state"
        ]["step"]
        == 20
    )
    assert_same_run(alone, tmp_path / "user")


@pytest.mark.slow
def test_without_fine_tuning_nothing_is_left_to_train(
    configure: Configure,
    tmp_path: Path,
    steps: list[tuple[str, int]],
    maker: Callable[..., Path],
    finished: Finished,
) -> None:
    overrides = ("method=sgal", *SHORTER_SGAL)
    alone = finished(*overrides, "method.fine_tune_steps=0")
    maker(*overrides)
    steps.clear()
    run(sharing(configure, tmp_path, *overrides, "method.fine_tune_steps=0", run_dir="user"))
    assert steps == []
    assert_same_run(alone, tmp_path / "user")


@pytest.mark.slow
@pytest.mark.parametrize(
    "override",
    [
        *(
            "method.d=3",
            "method.learning_rate=0.002",
            "method.steps=30",
            "dataset.normalize=standard",
            "dataset.unseen=[1,2,3]",
        ),
        *(
            "seed=1",
            "selection.check_every=5",
            "trainer.precision=bf16-mixed",
            "deterministic=true",
            "trainer.log_every_n_steps=5",
        ),
    ],
)
def test_what_shapes_pre_training_makes_it_another(
    configure: Configure, maker: Callable[..., Path], tmp_path: Path, override: str
) -> None:
    overrides = ("method=sgal", *SHORTER_SGAL, "selection=last")
    shared = maker(*overrides)
    asked: list[Path] = []
    find = SharedPretraining.find_or_claim

    def spy(self: SharedPretraining, *, wait: bool) -> Any:
        asked.append(self.path)
        return find(self, wait=wait)

    with pytest.MonkeyPatch.context() as patch, power_cut(SGAL, 0):  # it begins with the first step
        patch.setattr(SharedPretraining, "find_or_claim", spy)
        run(sharing(configure, tmp_path, *overrides, override, run_dir="user"))
    assert [path.parent for path in asked] == [shared]
    assert not asked[0].exists()


@pytest.mark.slow
def test_another_pre_training_is_shared_beside_the_first(
    configure: Configure, maker: Callable[..., Path], tmp_path: Path, steps: list[tuple[str, int]]
) -> None:
    overrides = ("method=sgal", *SHORTER_SGAL, "selection=last")
    maker(*overrides)
    steps.clear()
    run(sharing(configure, tmp_path, *overrides, "method.steps=30", run_dir="user"))
    assert len(steps) == 30
    assert len(list((tmp_path / "shared").glob("*.ckpt"))) == 2


@pytest.mark.slow
def test_other_code_makes_it_another(
    configure: Configure,
    tmp_path: Path,
    steps: list[tuple[str, int]],
    maker: Callable[..., Path],
) -> None:
    overrides = ("method=sgal", *SHORTER_SGAL, "selection=last")
    maker(*overrides)
    steps.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrained, "_sha256_files", lambda files: "of an edited file")
        run(sharing(configure, tmp_path, *overrides, run_dir="user"))
    assert len(steps) == 20


def test_the_code_that_counts_is_this_package_and_the_modules_of_the_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Path] = []

    def hashed(files: tuple[str, ...]) -> str:
        seen.extend(map(Path, files))
        return ""

    monkeypatch.setattr(pretrained, "_sha256_files", hashed)

    class Elsewhere(SGAL):
        pass

    pretrained._source(Elsewhere)
    assert Path(pretrained.__file__) in seen
    assert Path(sys.modules[SGAL.__module__].__file__ or "") in seen
    assert Path(__file__) in seen


@pytest.mark.slow
def test_constants_that_calibrate_the_checks_are_not_mixed_up(
    configure: Configure,
    tmp_path: Path,
    maker: Callable[..., Path],
    finished: Finished,
) -> None:
    overrides = ("method=sgal", *SHORTER_SGAL, "selection.calibrate=true")
    user = ("method.g=0.5", "method.p=0.1")
    alone = finished(*overrides, *user)
    maker(*overrides)
    run(sharing(configure, tmp_path, *overrides, *user, run_dir="user"))
    assert_same_run(alone, tmp_path / "user")


@pytest.mark.slow
def test_a_damaged_file_is_a_warning_and_is_made_again(
    configure: Configure,
    tmp_path: Path,
    steps: list[tuple[str, int]],
    maker: Callable[..., Path],
) -> None:
    overrides = ("method=sgal", *SHORTER_SGAL, "selection=last")
    maker(*overrides)
    (file,) = (tmp_path / "shared").glob("*.ckpt")
    file.write_bytes(file.read_bytes()[:1000])
    steps.clear()
    with pytest.warns(UserWarning, match="The pre-training is repeated"):
        run(sharing(configure, tmp_path, *overrides, run_dir="user"))
    assert len(steps) == 20
    assert checkpoints.read(file, "ckpt").state.phase == "refit"


@pytest.mark.slow
def test_where_nothing_can_be_left_each_run_does_its_own(
    configure: Configure, tmp_path: Path, steps: list[tuple[str, int]]
) -> None:
    (tmp_path / "shared").write_text("a file in place of the folder")
    with pytest.warns(UserWarning, match="each run does its own"):
        run(
            sharing(
                configure, tmp_path, "method=sgal", *SHORTER_SGAL, "selection=last", run_dir="run"
            )
        )
    assert len(steps) == 20


@pytest.mark.slow
def test_a_run_that_fails_while_pre_training_leaves_the_place_to_others(
    configure: Configure, tmp_path: Path
) -> None:
    overrides = ("method=sgal", *SHORTER_SGAL, "selection=last")
    with power_cut(SGAL, 15):
        run(sharing(configure, tmp_path, *overrides, run_dir="crashed"))
    run(sharing(configure, tmp_path, *overrides, run_dir="next"))
    # who crashed goes on from its own state
    resumed = sharing(configure, tmp_path, *overrides, run_dir="crashed")
    resumed.ckpt = str(tmp_path / "crashed" / "checkpoints" / "last.ckpt")
    run(resumed)
    assert_same_run(tmp_path / "next", tmp_path / "crashed")


@pytest.mark.slow
def test_what_was_resumed_is_not_shared_since_it_may_have_begun_in_another_way(
    configure: Configure, tmp_path: Path, steps: list[tuple[str, int]]
) -> None:
    overrides = ("method=sgal", *SHORTER_SGAL, "selection=last")
    with power_cut(SGAL, 15):
        run(sharing(configure, tmp_path, *overrides, run_dir="begun"))
    resumed = sharing(
        configure, tmp_path, *overrides, "trainer.precision=bf16-mixed", run_dir="begun"
    )
    resumed.ckpt = str(tmp_path / "begun" / "checkpoints" / "last.ckpt")
    run(resumed)
    steps.clear()
    run(
        sharing(
            configure, tmp_path, *overrides, *OTHER, "trainer.precision=bf16-mixed", run_dir="next"
        )
    )
    assert len(steps) == 20


@pytest.fixture
def place(tmp_path: Path) -> SharedPretraining:
    return SharedPretraining(tmp_path, 20, {"seed": 0})


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["validation", "oracle"])
def test_runs_with_other_classifiers_share_and_make_the_check_at_its_end_again(
    configure: Configure,
    tmp_path: Path,
    steps: list[tuple[str, int]],
    phase: str,
    maker: Callable[..., Path],
    finished: Finished,
) -> None:
    overrides = ("method=sgal", *SHORTER_SGAL, f"selection={phase}")
    maker(*overrides)
    alone = finished(*overrides, "classifier=means")
    steps.clear()
    run(sharing(configure, tmp_path, *overrides, "classifier=means", run_dir="shared_means"))
    assert steps == []
    assert_same_run(alone, tmp_path / "shared_means")


@pytest.fixture
def holder(place: SharedPretraining) -> Iterator[subprocess.Popen[str]]:
    """Another process that is at the pre-training."""
    script = (
        "import sys, time\nfrom filelock import FileLock\nlock = "
        "FileLock(sys.argv[1])\nlock.acquire()\n"
        "print('held', flush=True)\ntime.sleep(600)\n"
    )
    command = [sys.executable, "-c", script, place._lock.lock_file]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_who_need_not_wait_does_not(
    place: SharedPretraining, holder: subprocess.Popen[str]
) -> None:
    assert place.find_or_claim(wait=False) is None
    assert not place.claimed


@pytest.mark.slow
def test_a_run_waits_for_one_that_is_at_it_and_takes_over_when_that_dies(
    place: SharedPretraining,
    holder: subprocess.Popen[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(pretrained, "PATIENCE", 0.2)
    # the lock is free only once the other process is gone

    def say(sentence: str) -> None:
        print(sentence)
        holder.kill()

    monkeypatch.setattr(pretrained, "say", say)
    assert place.find_or_claim(wait=True) is None
    assert place.claimed
    assert "waits for it" in capsys.readouterr().out


@pytest.mark.slow
def test_jobs_at_once_pre_train_once(configure: Configure, tmp_path: Path) -> None:
    overrides = ("method=sgal", *SHORTER_SGAL, "selection=last")
    processes = []
    for name, g in (("a", "0.9"), ("b", "0.5")):
        cfg = sharing(configure, tmp_path, *overrides, f"method.g={g}", run_dir=name)
        OmegaConf.save(cfg, tmp_path / f"{name}.yaml")
        processes.append(Forked(children.run_and_count, tmp_path / f"{name}.yaml"))
    said = [process.communicate()[0].splitlines()[-1] for process in processes]
    assert sorted(said) == ["0", "20"]


@pytest.mark.slow
def test_jobs_of_a_sweep_share_in_a_folder_of_the_sweep(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("zsl_lab.sweep.figures.draw", lambda *args, **kwargs: None)
    sgal = ("method=sgal", *SHORTER_SGAL)
    assert command("-m", *sgal, "method.g=0.5,0.9", "hydra.sweep.dir=sweep") == 0
    files = list((tmp_path / "sweep" / "pretrained").glob("*.ckpt"))
    assert len(files) == 2  # one for each phase
    for job, g in enumerate(("0.5", "0.9")):
        assert command(*sgal, f"method.g={g}", f"hydra.run.dir=single{job}") == 0
        assert_same_run(tmp_path / f"single{job}", tmp_path / "sweep" / f"{job}_sgal_digits")


@pytest.mark.long
@pytest.mark.slow
def test_jobs_of_several_processes_share_too(tmp_path: Path) -> None:
    overrides = (
        "method=sgal",
        *SHORTER_SGAL,
        *("hardware=cpu_ddp", "selection=last", "trainer.save_every_n_steps=7"),
    )
    for command in (
        ("-m", *overrides, "method.g=0.5,0.9", "hydra.sweep.dir=sweep"),
        (*overrides, "method.g=0.9", "hydra.run.dir=single"),
    ):
        done = run_command(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "sweep" / "pretrained").glob("*.ckpt"))) == 1
    assert_same_run(tmp_path / "single", tmp_path / "sweep" / "1_sgal_digits")
