from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import SHORT
from tests.helpers import children
from tests.helpers.forked import Forked
from zsl_lab.errors import ConfigError
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.run.experiment import run
from zsl_lab.run.loggers import base as loggers
from zsl_lab.run.loggers.base import RunFacts
from zsl_lab.run.records.metrics_csv import MetricsCSV, read_rows

Configure = Callable[..., DictConfig]


@pytest.fixture(autouse=True)
def _nobody_is_logged_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    yield
    wandb.teardown()  # a process keeps the mode that it began with


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar of a run's event files, by name."""
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def in_metrics_csv(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    found: dict[str, list[tuple[int, Any]]] = {}
    for row in read_rows(folder):
        for name, value in row.items():
            if name not in ("phase", "step"):
                found.setdefault(f"{row['phase']}/{name}", []).append(
                    (int(row["step"]), pytest.approx(value))
                )
    return found


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["csv", "tensorboard", "wandb", "[tensorboard,wandb]"])
def test_metrics_csv_is_written_whatever_is_chosen(
    configure: Configure, tmp_path: Path, choice: str
) -> None:
    run(configure("method=mmvae", *SHORT, f"logger={choice}"))
    assert [(row["phase"], row["step"]) for row in read_rows(tmp_path / "run")] == [
        (p, s) for p in ("select", "refit") for s in (20, 40)
    ]
    assert (tmp_path / "run" / "tensorboard").exists() == ("tensorboard" in choice)
    assert (tmp_path / "run" / "wandb").exists() == ("wandb" in choice)


@pytest.mark.slow
@pytest.mark.usefixtures("stand_in_figures")
def test_tensorboard_shows_scalars_figures_and_pictures(
    configure: Configure, tmp_path: Path
) -> None:
    result = run(
        configure("method=mmvae", *SHORT, "logger=tensorboard", "trainer.log_every_n_steps=10")
    )
    found = scalars(tmp_path / "run")
    final = {name: found.pop(name) for name in loggers.metrics_of(result)}
    assert found == in_metrics_csv(tmp_path / "run")
    assert {name: values for name, ((_, values),) in final.items()} == pytest.approx(
        loggers.metrics_of(result), nan_ok=True
    )
    assert {
        "metrics/harmonic_mean",
        "validation/harmonic_mean",
        "validation/step",
        "oracle/harmonic_mean",
    } <= final.keys()
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["images"]) == {
        f"figures/{path.stem}" for path in (tmp_path / "run" / "figures").glob("*.png")
    }


@pytest.mark.slow
def test_a_resumed_run_has_each_step_once_in_tensorboard(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = (
        "method=mmvae",
        *SHORT,
        "logger=tensorboard",
        "trainer.log_every_n_steps=10",
        "selection.check_every=15",
    )

    def stop(self: Any, *args: Any) -> None:
        if (
            self.phase == "refit" and self.step == 25
        ):  # after the losses of step 20, which are to be undone
            raise InterruptedError
        trained(self, *args)

    trained = ZeroShotMethod.take_step
    with monkeypatch.context() as patched:
        patched.setattr(ZeroShotMethod, "take_step", stop)
        with pytest.raises(InterruptedError):
            run(configure(*overrides))
    assert [step for step, _ in scalars(tmp_path / "run")["refit/loss/total"]] == [10, 20]
    result = run(configure(*overrides, f"ckpt={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}"))
    found = scalars(tmp_path / "run")
    assert {
        name: values for name, values in found.items() if name not in loggers.metrics_of(result)
    } == in_metrics_csv(tmp_path / "run")


@pytest.mark.slow
def test_a_logger_of_lightning_gets_the_figures_too(configure: Configure, tmp_path: Path) -> None:
    cfg = configure("method=mmvae", *SHORT)
    target = {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": str(tmp_path / "own")}
    OmegaConf.update(cfg, "logger", {"mine": target}, force_add=True)
    result = run(cfg)
    (path,) = (tmp_path / "own").rglob("metrics.csv")
    assert "select/check/harmonic_mean" in path.read_text()
    assert loggers.metrics_of(result)["metrics/unseen"] == result.metrics["unseen"]


def test_a_missing_package_is_a_sentence_with_the_extra(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "tensorboard":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    sentence = (
        r"logger=tensorboard: this needs the package tensorboard. "
        r'.*pip install "zsl-lab\[tensorboard\]"'
    )
    with pytest.raises(ConfigError, match=sentence):
        run(configure("method=mmvae", *SHORT, "logger=tensorboard"))


@pytest.mark.parametrize(
    "node", [{"_target_": "no.such.Logger"}, {"_target_": "pathlib.Path", "nonsense": 1}, {}, "csv"]
)
def test_what_is_no_logger_is_a_sentence(tmp_path: Path, node: Any) -> None:
    with (
        pytest.raises(ConfigError, match=r"logger\.mine\._target_="),
        loggers.opened(RunFacts(tmp_path, {}, False), {"mine": node}),
    ):
        pass


def test_other_processes_of_a_distributed_run_have_no_logger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loggers.opened(RunFacts(tmp_path, {}, False), {}) as found:
        assert [type(logger) for logger in found] == [MetricsCSV]
    monkeypatch.setattr(loggers, "is_main", lambda: False)
    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        chosen = OmegaConf.to_container(compose("config", ["logger=[wandb,tensorboard]"]).logger)
    assert isinstance(chosen, dict)
    with loggers.opened(
        RunFacts(tmp_path, {}, False), {str(name): node for name, node in chosen.items()}
    ) as found:
        assert found == []
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_loggers_are_imported_only_where_they_are_chosen() -> None:
    said, _ = Forked(children.print_imported, ("torch", "wandb", "tensorboard")).communicate()
    assert said.strip() == "['torch']"


def test_a_checkpoint_of_a_version_whose_choice_was_csv_goes_on(tmp_path: Path) -> None:
    old = {
        "csv": {
            "_target_": "zsl_lab.run.records.metrics_csv.MetricsCSV",
            "folder": str(tmp_path / "elsewhere"),
        }
    }
    with loggers.opened(RunFacts(tmp_path, {}, True), old) as found:
        assert len(found) == 1


def test_a_job_of_a_sweep_knows_its_sweep(tmp_path: Path) -> None:
    record = tmp_path / "my_sweep" / "3_sgal_digits" / ".hydra" / "hydra.yaml"
    facts = RunFacts(record.parent.parent, {}, False)
    assert facts.sweep is None
    record.parent.mkdir(parents=True)
    for mode, expected in (("MULTIRUN", "my_sweep"), ("RUN", None)):
        record.write_text(f"hydra:\n  mode: {mode}\n  sweep:\n    dir: ${{paths.output_dir}}\n")
        assert facts.sweep == expected
