"""A method in somebody's own package and folder of yamls, through the command and the report."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from torch import Tensor

import zsl_lab
from tests.conftest import REPOSITORY, Command, composed
from tests.contract.conftest import EXAMPLES, OWN, Overrides, ShortRun
from zsl_lab import keys
from zsl_lab.cli.tune import main as tune
from zsl_lab.data.batches.base import Batch
from zsl_lab.errors import ConfigError, TrainingError
from zsl_lab.methods import catalogue
from zsl_lab.methods.base import ZeroShotMethod
from zsl_lab.methods.catalogue import MethodEntry
from zsl_lab.report.command import main as report
from zsl_lab.result import Result
from zsl_lab.run.config import parse

OwnCommand = Callable[..., int]
METHOD = "linear_map"
#: its short run
SHORT = (f"method={METHOD}", "callbacks=none", "method.steps=40", "selection.check_every=20")


@pytest.fixture
def own(command: Command, own_conf: Path) -> OwnCommand:
    """The command with ``--config-dir``."""
    return lambda *arguments: command("--config-dir", str(own_conf), *arguments)


def test_the_guide_shows_the_example() -> None:
    guide = (REPOSITORY / "docs" / "guides" / "adding_a_method.md").read_text()
    for name in ("linear_map.py", "linear_map.yaml"):
        assert (EXAMPLES / name).read_text().strip() in guide


def test_the_command_trains_and_tests_it_and_goes_on_with_it(
    own: OwnCommand, fitted: ShortRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from my_package.linear_map import LinearMap  # type: ignore[import-not-found]

    folder, loss = "hydra.run.dir=first", LinearMap.loss

    def crash(self: ZeroShotMethod, batch: Batch) -> Tensor:
        if self.step == 30 and self.phase == "refit":
            raise TrainingError("power cut")
        found: Tensor = loss(self, batch)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LinearMap, "loss", crash)
        assert own(*SHORT, folder) == 1
    assert "power cut" in capsys.readouterr().err
    assert own(*SHORT, folder, "resume=auto") == 0
    whole, found = Result.load(fitted(METHOD)), Result.load(tmp_path / "first")
    assert (found.metrics, found.oracle) == (whole.metrics, whole.oracle)
    assert own("task=test", "ckpt=first/checkpoints/best.ckpt", "hydra.run.dir=test") == 0
    assert Result.load(tmp_path / "test").metrics == pytest.approx(whole.metrics, abs=1e-6)
    capsys.readouterr()
    assert own(*SHORT, folder, "resume=auto") == 0
    assert "this run is finished" in capsys.readouterr().out


def test_the_command_predicts_with_it_among_classes_given_only_now(
    command: Command, fitted: ShortRun, tmp_path: Path
) -> None:
    digits = parse(composed(tmp_path)).dataset.load(None)  # type: ignore[arg-type]
    np.save(tmp_path / "x.npy", digits.features[digits.test_unseen[:5]])
    names = digits.recipe.attributes
    assert names is not None
    rows = [["class", *names], *(["two", "four"][i : i + 1] for i in range(2))]
    for row, label in zip(rows[1:], (2, 4), strict=True):
        row += [str(value) for value in digits.semantics[label]]
    with (tmp_path / "classes.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    # the checkpoint names its class: no folder of yamls is needed
    arguments = ("task=predict", f"ckpt={fitted(METHOD)}", "features=x.npy", "classes=classes.csv")
    assert command(*arguments, "hydra.run.dir=prediction") == 0
    with (tmp_path / "prediction" / "predictions.csv").open() as file:
        predicted = [row["predicted"] for row in csv.DictReader(file)]
    assert len(predicted) == 5
    assert set(predicted) <= {"two", "four"}


def test_it_takes_part_in_sweeps_and_reports(own: OwnCommand, tmp_path: Path) -> None:
    methods = f"method={METHOD},prototypes"
    assert own("-m", methods, *SHORT[1:], "hydra.sweep.dir=sweep") == 0
    folders = [f"0_{METHOD}_digits", "1_prototypes_digits"]
    found = [Result.load(tmp_path / "sweep" / folder).method for folder in folders]
    assert found == [METHOD, "prototypes"]
    assert report([str(tmp_path / "sweep"), "--html", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert METHOD in page
    assert "prototypes" in page


def test_a_sweep_over_all_methods_finds_it(
    own: OwnCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object) -> None:
        raise TrainingError("stopped")

    entries = catalogue.entries
    some = ("eszsl", "vzsl", "n3", *OWN)  # the jobs of all would take seconds to compose

    def some_entries() -> Iterator[MethodEntry]:
        return (entry for entry in entries() if entry.name in some)

    monkeypatch.setattr(catalogue, "entries", some_entries)
    monkeypatch.setattr("zsl_lab.cli.main._run", stop)  # each job ends as it begins
    assert own("sweep=all_methods", "hydra.sweep.dir=sweep") == 1
    begun = {folder.name.split("_", 1)[1] for folder in (tmp_path / "sweep").glob("*_digits")}
    assert begun == {f"{name}_digits" for name in ("eszsl", "vzsl", *OWN)}  # n3 takes images


def test_a_key_that_is_a_file_is_checked_before_training_and_not_needed_to_predict(
    fitted: ShortRun, overrides: Overrides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zsl_lab.run.experiment import run

    monkeypatch.chdir(tmp_path)
    cfg = composed(tmp_path / "run", *overrides("given_map"), "method.matrix=nothing.npy")
    with pytest.raises(ConfigError, match=r"^method.matrix=\S*nothing.npy: there is no such file"):
        run(cfg)
    predictor = zsl_lab.load(fitted("given_map"))
    monkeypatch.setattr(np, "load", lambda path: pytest.fail(f"{path} was read"))
    digits = parse(composed(tmp_path)).dataset.load(None)  # type: ignore[arg-type]
    assert len(predictor.predict(digits.features[:3]).predicted) == 3


@pytest.mark.skipif(
    not hasattr(keys, "with_absolute_places"), reason="needs keys that declare what they mean"
)
def test_a_key_that_is_a_file_is_stored_as_an_absolute_path(
    overrides: Overrides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zsl_lab.run.experiment import run

    digits = parse(composed(tmp_path)).dataset.load(None)  # type: ignore[arg-type]
    matrix = np.zeros((digits.semantics.shape[1], digits.features.shape[1]), np.float32)
    np.save(tmp_path / "here.npy", matrix)
    monkeypatch.chdir(tmp_path)
    run(composed(tmp_path / "run", *overrides("given_map"), "method.matrix=here.npy"))
    stored = OmegaConf.load(tmp_path / "run" / "config.yaml").method.matrix
    assert stored == str(tmp_path / "here.npy")


def test_blocks_for_tests_are_no_settings_of_a_run(fitted: ShortRun) -> None:
    stored = OmegaConf.load(fitted("sgal") / "config.yaml")
    assert not {"short", "bench"} & set(stored.method)
    assert json.loads((fitted("sgal") / "result.json").read_text())["method"] == "sgal"


def test_its_settings_are_tuned_over_its_own_search_space(
    own_conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (own_conf / "search").mkdir(exist_ok=True)
    space = "method.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}\n"
    (own_conf / "search" / f"{METHOD}.yaml").write_text(space)
    given = ["trials=1", "selection.draws=1", "paths.settings_dir=found", "hardware=cpu", *SHORT]
    assert tune(["--config-dir", str(own_conf), *given]) == 0
    [found] = Path("found").rglob("*.yaml")
    assert set(OmegaConf.load(found).method) >= {"learning_rate"}


def test_a_folder_of_yamls_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(["--config-dir", "nowhere", f"method={METHOD}"]) == 2
    assert "--config-dir nowhere: there is no such folder" in capsys.readouterr().err
