"""What the command does before it runs anything: subcommands, quick checks, the settings taken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import zsl_lab as package
from zsl_lab import __main__ as entry
from zsl_lab.cli import settings
from zsl_lab.errors import ConfigError, nearest

Answers = dict[str, tuple[int, str, bool]]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[object, str, str]]:
    """Call the command in this process: exit code, standard output and standard error."""

    def command(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["zsl-lab", *arguments])
        code: object = 0
        try:
            entry.main()
        except SystemExit as error:
            code = error.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


def test_the_version_is_ours(command: Callable[..., tuple[object, str, str]]) -> None:
    assert command("--version") == (0, f"zsl_lab {package.__version__}\n", "")


@pytest.mark.slow
def test_help_may_be_read_in_part() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "zsl_lab", "--help"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_data_tool_and_the_report_are_subcommands(
    command: Callable[..., tuple[object, str, str]], tmp_path: Path
) -> None:
    code, out, _ = command("data", "--help")
    assert code == 0
    assert "download" in out
    code, _, err = command("report", str(tmp_path / "nothing"))
    assert code == 2
    assert "no such folder" in err


def test_predict_is_a_task(command: Callable[..., tuple[object, str, str]]) -> None:
    code, out, _ = command("predict", "--help")
    assert code == 0
    assert "task=predict" in out
    code, _, err = command("predict", "task=test")
    assert code == 2
    assert err.startswith("task=test: ")


@pytest.mark.parametrize(
    ("word", "meant"), [("predit", "predict"), ("reports", "report"), ("dat", "data")]
)
def test_an_unknown_command_is_answered_with_the_nearest(
    command: Callable[..., tuple[object, str, str]], word: str, meant: str
) -> None:
    code, _, err = command(word)
    assert code == 2
    assert f"{word}: there is no such command. Did you mean {meant}?" in err


#: wrong values, and files that are not there
WRONG = (
    *("seed=-1", "method.lr=3", "method.g=x", "trainer.devices=0", "dataset=awa2"),
    *("dataset.path=nowhere.h5", "metod=sgal", "task=test", "ckpt=nowhere.ckpt"),
)
#: a prediction from a file that is not there, with a checkpoint that is
PREDICT = "task=predict ckpt=there.ckpt features=nowhere.npy"
ANSWERS = """
import contextlib, io, json, sys
from zsl_lab.__main__ import main
answers = {}
for argument in sys.argv[1:]:
    sys.argv = ["zsl_lab", *argument.split()]
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            main()
        except SystemExit as error:
            answers[argument] = error.code, said.getvalue(), "torch" in sys.modules
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Of a process that gets wrong commands: exit code, message, whether torch is imported."""
    command = [sys.executable, "-c", ANSWERS, *WRONG, PREDICT]
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "there.ckpt").touch()
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    found: Answers = json.loads(said)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("argument", [*WRONG, PREDICT])
def test_a_wrong_value_or_a_missing_file_is_answered_without_importing_torch(
    answers: Answers, argument: str
) -> None:
    code, message, imports_torch = answers[argument]
    assert code in (1, 2)
    assert message
    assert "Traceback" not in message
    assert not imports_torch


@pytest.mark.slow
def test_the_keys_of_every_method_are_checked_without_torch(tmp_path: Path) -> None:
    code = """
import sys
from hydra import compose, initialize_config_module
from zsl_lab.methods import catalogue
from zsl_lab.run.config import parse
with initialize_config_module("zsl_lab.conf", version_base="1.3"):
    cfg = compose("config", ["tuned=none", "paths.run_dir=nowhere"])
for entry in catalogue.entries():
    cfg.method = entry.settings
    assert parse(cfg).method.name == entry.name
assert "torch" not in sys.modules
"""
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0


DRAW = """
from pathlib import Path
from zsl_lab.plots.figures import training_curves
training_curves([{"phase": "refit", "step": 10, "loss/total": 1.0}], Path("curves.png"))
"""


@pytest.mark.slow
def test_the_backend_of_a_notebook_is_not_imported(tmp_path: Path) -> None:
    environment = {**os.environ, "MPLBACKEND": "module://a_notebook.backend"}
    subprocess.run([sys.executable, "-c", DRAW], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "curves.pdf").is_file()


FLO = "dataset=flo"
FEATURES = "dataset.features=efficientnet_lite2"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["seed=1"],
        [FLO, FEATURES],
        ["method=mmvae", FLO, FEATURES],
        ["method=sgal,mmvae", FLO, FEATURES],
        ["dataset=awa2"],
        ["dataset=unknown"],
        [FLO, "tuned=sgal_flo"],
        [FLO, "settings=none"],
        [FLO, "settings=general"],
        ["dataset=awa1", "settings=published"],
        [FLO, "ckpt=run"],
    ],
)
def test_settings_are_taken_where_they_fit_or_the_command_says(arguments: list[str]) -> None:
    assert settings.choose(arguments) == arguments


@pytest.mark.parametrize(
    ("arguments", "added"),
    [
        ([FLO], "tuned=sgal"),
        (["method=vzsl", FLO], "tuned=vzsl"),
        (["method=aspn", FLO, "dataset.features=res101"], "tuned=aspn"),
        (["method=eszsl", FLO], "tuned=eszsl"),
        (["method=sgal,mmvae", FLO], "settings=general"),
        (["method=sgal,eszsl", FLO], "settings=general"),
        (["method=sgal,exem", FLO], "settings=general"),  # exem has no others
        ([FLO, "dataset.features=res101,googlenet"], "tuned=sgal"),
        (["method=sgal_dropout", FLO, "settings=best"], "tuned=sgal_dropout"),
    ],
)
def test_general_settings_are_taken_for_other_features(
    arguments: list[str], added: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rest = [argument for argument in arguments if argument != "settings=best"]
    assert sorted(settings.choose(arguments)) == sorted([added, *rest])
    assert "found for dataset.features=efficientnet_lite2" in capsys.readouterr().err


def test_a_sweep_of_which_only_some_jobs_have_the_features_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"dataset\.features=res101.*settings=none"):
        settings.choose([FLO, "dataset.features=res101,efficientnet_lite2"])


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("method.lr", "method.learning_rate"),
        ("method.epochs", "method.steps"),
        ("method.bs", "method.batch_size"),
        ("method.hidden", "method.hidden_dim"),
        ("epochs", "method.steps"),
        ("gpus", "trainer.devices"),
        ("data_path", "paths.data_dir"),
        ("model", "method"),
    ],
)
def test_keys_that_other_projects_have_are_understood(key: str, meant: str) -> None:
    keys = ["method", "method.d", "method.g", "method.learning_rate", "method.steps", "seed"]
    keys += ["method.batch_size", "method.hidden_dim", "trainer.devices", "paths.data_dir"]
    assert nearest(key, keys)[0] == meant
