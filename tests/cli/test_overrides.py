"""What a checkpoint lets the command line change, for a method of another package too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from zsl_lab.cli.overrides import explain, parsed, prepare, update_stored, value
from zsl_lab.errors import ConfigError
from zsl_lab.run.config import parse

METHOD = """
from typing import Annotated

from zsl_lab.keys import Irrelevant, Place
from zsl_lab.methods.mmvae.config import MMVAEConfig
from zsl_lab.methods.mmvae.method import MMVAE


class MineConfig(MMVAEConfig):
    vectors: Annotated[str, Place()] | None = None
    chunk: Annotated[int, Irrelevant()] = 1


class Mine(MMVAE):
    config_class = MineConfig
"""


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DictConfig]:
    """The configuration in a checkpoint of a method that another package defines."""
    (tmp_path / "their_package.py").write_text(METHOD)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    import_module("their_package")  # a class is taken from a file once the program has imported it
    changes = ["method=mmvae", "method._target_=their_package.Mine", "+method.vectors=v.txt"]
    yield composed(*changes)
    sys.modules.pop("their_package", None)


def composed(*overrides: str) -> DictConfig:
    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        return compose("config", ["paths.run_dir=run", *overrides])


def changed(stored: DictConfig, *typed: str) -> DictConfig:
    overrides = prepare(["task=test", "ckpt=best.ckpt", *typed])[1:]  # less hydra.run.dir
    update_stored(stored, composed(*overrides), overrides)
    return stored


@pytest.mark.slow
def test_a_file_of_another_packages_method_may_lie_elsewhere(stored: DictConfig) -> None:
    assert changed(stored, "method.vectors=/new/v.txt").method.vectors == "/new/v.txt"


@pytest.mark.slow
def test_its_other_keys_are_fixed(stored: DictConfig) -> None:
    with pytest.raises(ConfigError, match=r"^method\.chunk=2: a checkpoint brings the settings"):
        changed(stored, "method.chunk=2")


def test_its_marks_and_places_are_stored_with_the_run(stored: DictConfig, tmp_path: Path) -> None:
    config = parse(stored)
    assert config.plain["method"]["vectors"] == str(tmp_path / "v.txt")
    assert "method.vectors" in config.marks.places
    assert "method.chunk" in config.marks.irrelevant


@pytest.mark.slow
def test_a_group_changes_the_section_that_it_fills(stored: DictConfig) -> None:
    found = changed(stored, "hardware=cpu_ddp", "trainer.log_every_n_steps=7").trainer
    assert OmegaConf.to_container(found) == {
        **OmegaConf.to_container(composed("hardware=cpu_ddp").trainer),  # type: ignore[dict-item]
        "log_every_n_steps": 7,
    }


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("ckpt='a b.ckpt'", "a b.ckpt"),
        ("ckpt=null", None),
        ("ckpt=", None),
        ("ckpt=a,b", None),
        ("ckpt=${oc.env:X}/a", "${oc.env:X}/a"),
    ],
)
def test_values_are_read_in_hydras_grammar(argument: str, expected: str | None) -> None:
    assert value(parsed([argument])["ckpt"]) == expected
    assert value(parsed([argument]).get("seed")) is None


# --------------------------------------------------------------------------- the same again


@pytest.mark.slow
@pytest.mark.parametrize(
    "typed",
    [
        "method=mmvae",
        "dataset=digits",
        "seed=0",
        "selection=validation",
        "method.gamma=0.25",
        "method.steps=7",
        "method.encoder_hidden=[5]",
        "++method.steps=7",
        "selection.report_oracle=true",
    ],
)
def test_a_setting_of_the_checkpoint_may_be_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.ckpt").touch()
    own = ("method=mmvae", "method.gamma=0.25", "method.steps=7", "method.encoder_hidden=[5]")
    stored = composed(*own)
    before = OmegaConf.to_yaml(stored)
    stored = changed(stored, typed)
    stored.update(task="fit", ckpt=None)
    assert OmegaConf.to_yaml(stored) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "typed",
    [
        "method=sgal",
        "dataset=synthetic",
        "seed=1",
        "seed=false",
        "selection=last",
        "method.gamma=0.5",
        "~method.gamma",
        "method.encoder_hidden=[5,5]",
        "tuned=none",
    ],
)
def test_another_setting_than_the_checkpoints_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.ckpt").touch()
    with pytest.raises(ConfigError, match="a checkpoint brings the settings it was trained with"):
        changed(composed("method=mmvae", "method.encoder_hidden=[5]"), typed)


# --------------------------------------------------------------------------- how it is written


def message(*arguments: str) -> str:
    """What the user is told about a command line that Hydra cannot compose."""
    with (
        initialize_config_module("zsl_lab.conf", version_base="1.3"),
        pytest.raises(HydraException) as caught,
    ):
        compose("config", list(arguments))
    found = explain(caught.value, arguments)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("typed", "quoted"),
    [
        ("seed=0,1,2", "seed=0,1,2"),
        ("method=sgal,mmvae", "method=sgal,mmvae"),
        ("method.g=choice(0.1,0.5)", "'method.g=choice(0.1,0.5)'"),
        ("method.g=range(1,3)", "'method.g=range(1,3)'"),
        ("dataset=digits,synthetic", "dataset=digits,synthetic"),
        ("selection.metric=seen,unseen", "selection.metric=seen,unseen"),
    ],
)
def test_several_values_without_m_are_answered_with_m(typed: str, quoted: str) -> None:
    found = message("trainer.accelerator=cpu", typed)
    assert found.startswith(f"{typed}: several values need -m")
    assert f"python -m zsl_lab -m trainer.accelerator=cpu {quoted}." in found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["dataset=own", "dataset.path=a", "b=c/x.h5"], """'dataset.path="a b=c/x.h5"'"""),
        (["dataset=own", "dataset.path=my", "data/x.h5"], """'dataset.path="my data/x.h5"'"""),
        (["ckpt=my/old", "runs/best.ckpt"], """'ckpt="my/old runs/best.ckpt"'"""),
        (["ckpt=a b=c/x.ckpt"], """'ckpt="a b=c/x.ckpt"'"""),
        (["dataset=own", "dataset.path=x (1).h5"], """'dataset.path="x (1).h5"'"""),
        (["paths.output_dir=it's"], "paths.output_dir="),
        (["dataset=own", "dataset.path=a{b.h5"], """'dataset.path="a{b.h5"'"""),
    ],
)
def test_a_value_that_needs_quotes_is_shown_with_them(arguments: list[str], expected: str) -> None:
    found = message(*arguments)
    assert "needs quotes" in found
    assert expected in found


@pytest.mark.slow
def test_a_misspelt_key_after_a_path_is_no_cut_value() -> None:
    found = message("dataset=own", "dataset.path=data/x.h5", "sede=1")
    assert found == "sede: there is no such key. Did you mean seed?"


@pytest.mark.parametrize(
    "typed",
    ["method=sgal -m seed=0,1", "method=sgal seed=0,1 -m", "-m method=sgal seed=0,1"],
)
def test_options_may_stand_between_overrides(typed: str) -> None:
    assert prepare(typed.split())[:3] == ["-m", "method=sgal", "seed=0,1"]


def test_an_option_between_overrides_keeps_its_value() -> None:
    arguments = prepare(["seed=0", "--config-dir", "mine", "~logger", "-c", "job", "method=sgal"])
    assert arguments[:4] == ["--config-dir", "mine", "-c", "job"]
    assert [*arguments[4:7]] == ["seed=0", "~logger", "method=sgal"]


@pytest.mark.parametrize("group", ["method", "dataset", "classifier", "selection", "hardware"])
def test_a_group_that_every_run_needs_cannot_be_left_out(group: str) -> None:
    with pytest.raises(ConfigError, match=f"~{group}: every run needs one. Choose another with"):
        prepare(["seed=0", f"~{group}"])
