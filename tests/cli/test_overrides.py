"""What a checkpoint lets the command line change, for a method of another package too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from zsl_lab.cli.overrides import parsed, prepare, update_stored, value
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


def test_a_file_of_another_packages_method_may_lie_elsewhere(stored: DictConfig) -> None:
    assert changed(stored, "method.vectors=/new/v.txt").method.vectors == "/new/v.txt"


def test_its_other_keys_are_fixed(stored: DictConfig) -> None:
    with pytest.raises(ConfigError, match=r"^method\.chunk=2: a checkpoint brings the settings"):
        changed(stored, "method.chunk=2")


def test_its_marks_and_places_are_stored_with_the_run(stored: DictConfig, tmp_path: Path) -> None:
    config = parse(stored)
    assert config.plain["method"]["vectors"] == str(tmp_path / "v.txt")
    assert "method.vectors" in config.marks.places
    assert "method.chunk" in config.marks.irrelevant


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
