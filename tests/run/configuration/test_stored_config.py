"""A stranger's checkpoint or run folder runs no code, looks nothing up, and ends in a sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

import zsl_lab
from tests.conftest import Command, composed
from tests.helpers.hostile_checkpoints import CANARY, configurations, sealed
from zsl_lab.errors import CheckpointError, ConfigError, ZslLabError
from zsl_lab.report.command import main as report
from zsl_lab.run.checkpoints.files import read
from zsl_lab.run.config import class_marks
from zsl_lab.run.configuration import stored_config

SECRET = "do-not-print-me"
#: of the hostile configurations, those that the whole command is tried with; every one is loaded
TRIED = (
    "callback_write_text",
    "callback_partial",
    "logger_system",
    "method_module",
    "dataset_module",
    "value_environment",
    "path_environment",
    "interpolation_bomb",
)


@pytest.fixture
def content(short_run: Callable[..., Path]) -> dict[str, Any]:
    """What the best checkpoint of a short run holds."""
    return read(short_run("eszsl") / "checkpoints" / "best.ckpt", "ckpt").content


@pytest.fixture
def hostile(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Callable[[], bytes]]:
    """Checkpoints by name; the secret is in the environment, and ``evil_module`` on the path."""
    monkeypatch.setenv("ZSL_LAB_SECRET", SECRET)
    monkeypatch.syspath_prepend(tmp_path)
    section = content["zsl_lab"]
    return {
        name: partial(sealed, {**content, "zsl_lab": {**section, "config": config}})
        for name, config in configurations(section["config"], tmp_path).items()
    }


def test_no_hostile_checkpoint_runs_anything_when_it_is_loaded(
    hostile: dict[str, Callable[[], bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(hostile) > 90
    monkeypatch.chdir(tmp_path)
    unused = {name for name in hostile if name.startswith(("callback_", "logger_"))}
    for name, data in hostile.items():
        path = tmp_path / "x.ckpt"
        path.write_bytes(data())
        if name in unused:  # prediction has neither
            with pytest.warns(UserWarning, match=r"x\.ckpt: .*no part of this package"):
                zsl_lab.load(path)
        else:
            with pytest.raises(ZslLabError, match=r"^ckpt=\S*x\.ckpt: ") as error:
                zsl_lab.load(path)
            assert SECRET not in str(error.value), name
        assert not (tmp_path / CANARY).exists(), name
    assert "evil_module" not in sys.modules


@pytest.mark.parametrize("name", TRIED)
def test_the_command_runs_nothing_of_a_hostile_checkpoint(
    hostile: dict[str, Callable[[], bytes]],
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    path.write_bytes(hostile[name]())
    ckpt = f"ckpt={path}"
    empty = tmp_path / "empty.npy"
    empty.touch()
    for task in ((), ("task=test",), ("task=predict", f"features={empty}")):
        code = command(ckpt, *task, f"paths.output_dir={tmp_path / 'out'}")
        printed = "".join(capsys.readouterr())
        unused = name.startswith(("callback_", "logger_")) and bool(task)
        assert code in (1, 2) or (unused and task == ("task=test",)), (task, printed)
        assert "last.ckpt: " in printed or unused  # a warning, which pytest keeps
        assert "Traceback" not in printed
        assert SECRET not in printed
        assert not (tmp_path / CANARY).exists()
    assert not list((tmp_path / "out").rglob("config.yaml")) or unused


def test_a_class_of_another_package_is_allowed_where_the_program_has_imported_it(
    content: dict[str, Any],
) -> None:
    from zsl_lab.methods.eszsl import ESZSL

    class Mine(ESZSL):
        pass

    module = sys.modules[__name__]
    module.Mine = Mine  # type: ignore[attr-defined]
    config = content["zsl_lab"]["config"]
    mine = {**config, "method": {**config["method"], "_target_": f"{__name__}.Mine"}}
    stored_config.check_classes(mine, "ckpt=x")
    del module.Mine
    with pytest.raises(CheckpointError, match=r"^ckpt=x: .*no method of this.*--config-dir"):
        stored_config.check_classes(mine, "ckpt=x")


def test_the_command_line_may_name_a_callback_of_another_package(content: dict[str, Any]) -> None:
    node = {"_target_": "my_package.Callback", "decay": 0.9}
    stored = {**content["zsl_lab"]["config"], "callbacks": {"mine": node}}
    with pytest.raises(CheckpointError, match=r"callbacks\.mine\._target_"):
        stored_config.check_classes(stored, "ckpt=x")
    stored_config.check_classes(stored, "ckpt=x", {"callbacks": {"mine": node}})
    nested = {**node, "decay": {"_target_": "os.system"}}
    with pytest.raises(CheckpointError, match=r"callbacks\.mine\.decay\._target_"):
        stored_config.check_classes(
            {**stored, "callbacks": {"mine": nested}}, "ckpt=x", {"callbacks": {"mine": node}}
        )


@pytest.mark.slow
def test_every_choice_of_the_package_is_allowed(tmp_path: Path) -> None:
    for overrides in (("logger=wandb",), ("logger=tensorboard",), ("dataset=cub", "method=n3")):
        cfg = composed(tmp_path, *overrides)
        plain = OmegaConf.to_container(cfg, resolve=False)
        assert isinstance(plain, dict)
        stored_config.check_classes({str(key): value for key, value in plain.items()}, "ckpt=x")


def test_a_yaml_that_was_changed_allows_other_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_config, "config_folders", lambda group: [tmp_path])
    for target in ("a.First", "a.SecondOne"):
        (tmp_path / "mine.yaml").write_text(f"_target_: {target}\nkey: 1\n")
        assert stored_config._choices("method") == {target: {"_target_", "key"}}


def test_marks_of_a_stored_configuration_import_no_other_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    target = {"_target_": "evil_module.Evil", "path": "/x"}
    with pytest.raises(ConfigError, match=r"^\w+\._target_='evil_module\.Evil'"):
        class_marks({"method": target, "dataset": target})


def test_the_report_imports_nothing_that_a_run_folder_names(
    short_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZSL_LAB_SECRET", SECRET)
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    good = short_run("eszsl")
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    (folder / "result.json").write_bytes((good / "result.json").read_bytes())
    config: Any = OmegaConf.to_container(OmegaConf.load(good / "config.yaml"))
    config["method"] |= {"_target_": "evil_module.Evil", "path": "/x"}
    config["paths"]["output_dir"] = "${oc.env:ZSL_LAB_SECRET}"
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config))
    page = tmp_path / "page.html"
    assert report([str(tmp_path / "runs"), "--html", str(page)]) == 0
    assert SECRET not in page.read_text()


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (5, "it is 5, expected a mapping"),
        ({"a": {"b": "${x}"}}, r"a\.b is '\$\{x\}': stored values are literal"),
        ({"a": torch.ones(1)}, "a is of type Tensor, expected a plain value"),
        ({"a": 2**100}, "a is a whole number of more than 64 bits"),
        ({(1, 2): 3}, "has a key of type tuple"),
    ],
)
def test_a_configuration_holds_plain_values_only(config: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        stored_config.check_literal(config)


def test_a_configuration_that_holds_itself_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["a"] = endless
    wide: list[Any] = [1]
    for _ in range(18):
        wide = [wide] * 10
    for config in (endless, {"a": wide}):
        with pytest.raises(ValueError, match="lies too deep, or there are more than"):
            stored_config.check_literal(config)


def test_a_message_of_a_stored_value_holds_no_active_character() -> None:
    error = stored_config.refused("ckpt=x", ConfigError("seed=\x1b[31m: wrong."))
    assert "\x1b" not in str(error)
    assert "seed=\\x1b[31m" in str(error)
