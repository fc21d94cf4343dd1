"""What a user sees: the real command, in a process of its own if it gets as far as a run."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig

from tests.conftest import METHODS, REPOSITORY, SHORT, SHORT_SGAL, Command
from tests.helpers.forked import Forked, command_line, run_command
from zsl_lab.cli import main as cli
from zsl_lab.cli.help import asks_for_help, help_text
from zsl_lab.cli.messages import format_warning
from zsl_lab.cli.overrides import prepare


def zsl_lab(
    folder: Path, *arguments: str, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ZSL_LAB_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "zsl_lab", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


Refused = Callable[..., str]


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refused:
    """Give the message of a command that must fail: a sentence, with nothing left behind."""

    def refused(*arguments: str) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["zsl_lab", *arguments])
        monkeypatch.setattr(cli, "_failures", [])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        assert exit_.value.code in (1, 2)
        printed = capsys.readouterr()
        assert printed.out == ""
        assert "Traceback" not in printed.err
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
        return printed.err

    return refused


@pytest.mark.slow
def test_help_answers_at_once_and_names_groups_choices_and_examples(tmp_path: Path) -> None:
    seconds = []
    for _ in range(3):
        before = cpu_seconds_of_children()
        done = zsl_lab(tmp_path, "--help")
        seconds.append(cpu_seconds_of_children() - before)
    assert done.returncode == 0
    for text in (
        f"method: {', '.join(METHODS)}",
        "selection: last, oracle, validation",
        "awa1, awa2, ",
        "== Examples ==",
    ):
        assert text in done.stdout
    assert done.stdout.count("python -m zsl_lab ") >= 5
    # seconds of the processor, since other tests may run at the same time
    assert min(seconds) < 0.6


@pytest.mark.slow
def test_help_is_what_hydra_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["zsl_lab", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().out == help_text() + "\n"


def test_help_is_left_to_hydra_where_a_package_may_add_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert asks_for_help(["--help"])
    assert not asks_for_help(["--help", "method=n3"])
    monkeypatch.setattr("zsl_lab.cli.help.KNOWN_PLUGINS", set())
    assert not asks_for_help(["-h"])


@pytest.mark.slow
def test_without_a_word_it_would_train_sgal_on_the_digits(tmp_path: Path) -> None:
    shown = run_command("--cfg", "job", cwd=tmp_path).stdout
    assert "name: sgal\n" in shown
    assert "name: digits\n" in shown


def test_an_unknown_method_is_answered_with_the_choices(refused: Refused) -> None:
    message = refused("method=sgla")
    choices = ", ".join(METHODS)
    assert (
        message
        == "method=sgla: there is no such choice. Did you mean method=sgal? Choices of method: "
        f"{choices}.\n"
    )


def test_an_unknown_dataset_is_answered_with_the_choices(refused: Refused) -> None:
    yamls = (REPOSITORY / "conf" / "dataset").glob("*.yaml")
    choices = ", ".join(sorted(path.stem for path in yamls))
    assert f"Choices of dataset: {choices}." in refused("dataset=places")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("method.gama=0.1", "method.gamma"),
        ("gamma=0.1", "method.gamma"),
        ("metod=sgal", "method"),
        ("sede=1", "seed"),
        ("trainer.device=2", "trainer.devices"),
        ("+method.gama=0.1", "method.gamma"),
        ("dataset.normalise=l2", "dataset.normalize"),
    ],
)
def test_a_misspelt_key_is_answered_with_the_nearest(
    refused: Refused, wrong: str, meant: str
) -> None:
    message = refused(wrong)
    assert "there is no such key" in message
    assert f"Did you mean {meant}" in message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.g=1.5", "method.g=1.5: input should be less than or equal to 1."),
        ("method.g=-0.1", "method.g=-0.1: input should be greater than or equal to 0."),
        ("method.batch_size=0", "method.batch_size=0: input should be greater than or equal to 2."),
        ("method.steps=-3", "method.steps=-3: input should be greater than or equal to 0."),
        ("method.g=abc", "method.g=abc: input should be a valid number."),
        ("method.steps=1.5", "method.steps=1.5: input should be a valid integer."),
        ("method.batch_norm=7", "method.batch_norm=7: input should be a valid boolean."),
        (
            "method.prior_hidden=[0]",
            "method.prior_hidden.0=0: input should be greater than or equal to 1.",
        ),
        (
            "method.encoder_hidden=[0]",
            "method.encoder_hidden.0=0: input should be greater than or equal to 1.",
        ),
        (
            "selection.metric=accuracy",
            "selection.metric=accuracy: input should be 'zsl_top1', 'unseen', 'seen', "
            "'harmonic_mean' or 'ausuc'.",
        ),
        ("seed=-1", "seed=-1: input should be greater than or equal to 0."),
        ("task=predict among=seen", "among=seen: input should be 'all', 'unseen' or 'new'."),
        ("task=tset", "task=tset: input should be 'fit', 'test' or 'predict'."),
        ("task=predict", "task=predict needs a trained method: ckpt=RUN"),
        ("images=pictures/", "images=pictures/: this key belongs to task=predict."),
        ("trainer.precision=16-mixed", "trainer.precision=16-mixed: half precision needs a GPU"),
        ("task=test", "task=test needs a checkpoint"),
        ("ckpt=nowhere.ckpt", "ckpt=nowhere.ckpt: there is no such file."),
        ("ckpt=.", "ckpt=.: this is a folder."),
        (
            "method=n3 method.base=resnet18",
            "method.base=resnet18: this is a section of keys (name, weights, stages); set one of "
            "them, such as method.base.name=resnet18.",
        ),
        (
            "method=n3 method.text=null",
            "method.text=null: this is a section of keys (encoder, model, max_tokens); set one of "
            "them, such as method.text.encoder=...",
        ),
        ("task=test ckpt=.", "ckpt=.: this folder has no checkpoints/best.ckpt."),
        ("method", "Error parsing override 'method': expected KEY=VALUE or GROUP=CHOICE."),
        ("tuned=nope", "tuned=nope: there is no such choice. Choices of tuned: "),
        ("experiment=null", "A group takes the name of one of its choices"),
        ("paths.run_dir=mine", "hydra.run.dir=FOLDER moves the run's folder"),
        ("paths.output_dir=/proc/x", "/proc/x"),
        ("method.steps=0", "diverges without pre-training"),
    ],
)
def test_a_wrong_value_is_answered_with_a_sentence(
    refused: Refused, override: str, message: str
) -> None:
    assert message in refused(*override.split())


LOCKED = "a checkpoint brings the settings it was trained with. Leave {key} out, or start a new run"


@pytest.mark.parametrize(
    "override",
    [
        *("method=n3", "dataset=own", "seed=1,2", "tuned=none", "experiment=bench"),
        *("selection.metric=seen", "~method.text.model", "~seed"),
    ],
)
def test_what_every_checkpoint_brings_is_locked_before_the_checkpoint_is_read(
    refused: Refused, override: str
) -> None:
    key = override.lstrip("~").partition("=")[0]
    found = refused("ckpt=nowhere.ckpt", override)
    assert found == f"{override}: {LOCKED.format(key=key)} without ckpt.\n"


def test_a_missing_checkpoint_is_what_is_wrong_where_a_folder_is_given(refused: Refused) -> None:
    found = refused("task=predict", "ckpt=nowhere", "features=x.npy", "hydra.run.dir=here")
    assert found.startswith("ckpt=nowhere: there is no such file.")


@pytest.mark.parametrize("override", ["method.gamma=1", "+method.new=1", "dataset.unseen=[1]"])
def test_keys_of_its_method_and_dataset_are_locked(
    refused: Refused, short_run: Callable[[str], Path], override: str
) -> None:
    typed = override.lstrip("+")
    key = typed.partition("=")[0]
    found = refused("task=test", f"ckpt={short_run('mmvae')}", override)
    assert found == f"{typed}: {LOCKED.format(key=key)} without ckpt.\n"


@pytest.mark.parametrize(
    ("typed", "added"),
    [
        ("dataset.path=my.h5 --cfg job", ["dataset=own"]),
        ("--cfg job dataset.path=my.h5", ["dataset=own"]),
        ("dataset.path=my.h5 seed=0,1 -m", ["dataset=own"]),
        ("-m ~logger dataset.path=my.h5", ["dataset=own"]),
        ("dataset.path=my.h5 --cfg job -p dataset", ["dataset=own"]),
        (
            "task=predict ckpt=RUN features=x.npy -m",
            ["hydra.run.dir=${paths.output_dir}/predict/${now:%Y-%m-%d_%H-%M-%S-%f}"],
        ),
        (
            "--cfg job -p dataset task=test ckpt=RUN",
            ["hydra.run.dir=${paths.output_dir}/test/${now:%Y-%m-%d_%H-%M-%S-%f}"],
        ),
        (
            "ckpt=RUN/checkpoints/last.ckpt --cfg job -p method",
            ["hydra.run.dir='RUN'", "hydra.output_subdir=null"],
        ),
    ],
)
def test_what_the_command_adds_is_understood_wherever_options_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, added: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "RUN/checkpoints").mkdir(parents=True)
    (tmp_path / "RUN/checkpoints/last.ckpt").touch()
    arguments = prepare(typed.split())
    found = get_args_parser().parse_args(arguments)  # ends the process where Hydra would
    expected = [override.replace("'RUN'", f"'{tmp_path / 'RUN'}'") for override in added]
    assert found.overrides == [
        *expected,
        *(word for word in typed.split() if "=" in word or word.startswith("~")),
    ]


@pytest.mark.slow
def test_a_file_of_ones_own_can_be_looked_at_without_a_run(tmp_path: Path) -> None:
    done = run_command("dataset.path=my.h5", "--cfg", "job", "-p", "dataset", cwd=tmp_path)
    assert "path: my.h5\n" in done.stdout, done.stderr


def composed(run_dir: Path) -> DictConfig:
    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        return compose("config", ["method=mmvae", f"paths.run_dir={run_dir}"])


@pytest.mark.slow
def test_no_checkpoint_locks_nothing(refused: Refused) -> None:
    assert "method.g=2: input should be" in refused("ckpt=null", "method.g=2")


def test_warnings_of_other_packages_stay_as_they_are() -> None:
    assert format_warning("x", UserWarning, "elsewhere.py", 1) == warnings.formatwarning(
        "x", UserWarning, "elsewhere.py", 1
    )
    assert format_warning("x", UserWarning, cli.__file__, 1) == "Warning: x\n"
    assert "DeprecationWarning" in format_warning("x", DeprecationWarning, cli.__file__, 1)


def test_a_refused_run_in_a_folder_of_the_users_leaves_his_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text("mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["zsl_lab", "hydra.run.dir=.", "method.g=2"])
    monkeypatch.setattr(cli, "_failures", [])
    with pytest.raises(SystemExit):
        cli.main()
    assert (tmp_path / "config.yaml").read_text() == "mine"


@pytest.mark.slow
def test_several_wrong_values_are_named_at_once(refused: Refused) -> None:
    message = refused("method.g=2", "method.p=3")
    assert "method.g=2" in message
    assert "method.p=3" in message


@pytest.mark.slow
def test_debug_shows_the_stack_trace(tmp_path: Path) -> None:
    done = run_command("method.g=1.5", "debug=true", cwd=tmp_path)
    assert done.returncode != 0
    assert "Traceback" in done.stderr


@pytest.mark.slow
def test_missing_features_are_answered_with_the_file_the_place_the_source_and_the_keys(
    refused: Refused, tmp_path: Path
) -> None:
    message = refused("dataset=awa2", f"paths.data_dir={tmp_path}")
    for text in ("AWA2", str(tmp_path), "paths.data_dir", "dataset.features", "xlsa17"):
        assert text in message


@pytest.mark.slow
def test_a_run_ends_with_the_table_the_folder_and_a_command_that_gives_the_same_figures(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*SHORT_SGAL) == 0
    lines = capsys.readouterr().out.rstrip().splitlines()
    assert any(line.startswith("validation-selected") for line in lines)
    assert any(line.startswith("oracle H, step ") for line in lines)
    assert Path(lines[-2].split("run folder:")[1].strip(), "result.json").is_file()
    assert command(*lines[-1].split("evaluate again: python -m zsl_lab ")[1].split()) == 0
    again = capsys.readouterr().out.splitlines()
    first, second = (
        next(line.split() for line in said if line.startswith("validation-selected"))
        for said in (lines, again)
    )
    assert first == second


@pytest.mark.slow
def test_a_sweep_with_a_wrong_value_starts_no_job(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("-m", "method=mmvae", *SHORT, "method.gamma=0.1,-1") == 2
    said = capsys.readouterr().err
    assert "job 1 (method.gamma=-1): method.gamma=-1: input should be greater" in said
    assert list(tmp_path.glob("outputs/sweeps/*")) == []


@pytest.mark.skipif(os.name == "nt", reason="no such signals there")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, (143,)), (signal.SIGINT, ())])
def test_a_signal_that_comes_while_an_object_is_removed_is_not_lost(
    number: int, code: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Removed:
        def __del__(self) -> None:
            os.kill(os.getpid(), number)
            for _ in range(1000):  # the handler runs here, and Python ignores what it raises
                pass

    def wait() -> None:
        removed = Removed()
        del removed
        time.sleep(30)

    monkeypatch.setattr(sys, "unraisablehook", cli._interrupt_again)
    before = signal.signal(signal.SIGTERM, cli._on_sigterm)
    try:
        with pytest.raises(KeyboardInterrupt) as found:
            wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert found.value.args == code


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_going_on_ends_the_run_in_its_own_folder(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        *SHORT,
        "method=mmvae",
        "method.steps=400",
        "trainer.save_every_n_steps=20",
        "hydra.run.dir=run",
        f"paths.cache_dir={tmp_path / 'cache'}",
    ]
    process = Forked(command_line, arguments, cwd=tmp_path)
    while not (tmp_path / "run/checkpoints/last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate()
    assert process.returncode == 130, message
    assert "Interrupted. Go on with:" in message
    assert "Traceback" not in message
    assert not (tmp_path / "run/result.json").exists()
    going_on = message.rstrip().rsplit("python -m zsl_lab ", 1)[1].split()
    started_with = (tmp_path / "run/.hydra/overrides.yaml").read_text()
    assert command(*going_on, "method.gamma=0.5") == 2
    assert "a checkpoint brings the settings it was trained with" in capsys.readouterr().err
    assert command(*going_on) == 0
    assert (tmp_path / "run/result.json").exists()
    assert not (tmp_path / "outputs").exists()
    assert (tmp_path / "run/.hydra/overrides.yaml").read_text() == started_with
