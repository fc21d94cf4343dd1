"""Reader and writer on libyaml, against OmegaConf's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from zsl_lab.files import fast_yaml
from zsl_lab.files.fast_yaml import get_omega_conf_dumper, get_yaml_loader  # type: ignore[attr-defined]
from zsl_lab.sweep import composition

VALUES: dict[str, Any] = {
    "numbers": [1, -0.5, 1e-5, 1e30, float("inf"), 10**20],
    "texts": ["1e-5", "1_000", "yes", "null", "", "~", "a: b", "# no comment", "é ü", "a\nb\n"],
    "others": {"none": None, "true": True, "empty": [], "nested": {"a": {"b": [{"c": 1}]}}},
    "long": "a word and another " * 20,
    "interpolation": "${a.b}/${now:%Y}",
}


def dumped(dumper: Any, *without: str) -> str:
    values = {key: value for key, value in VALUES.items() if key not in without}
    text = yaml.dump(
        values, Dumper=dumper, default_flow_style=False, allow_unicode=True, sort_keys=False
    )
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("loader", [get_yaml_loader(), fast_yaml.loader()])
@pytest.mark.parametrize("dumper", [get_omega_conf_dumper(), fast_yaml.dumper()])
def test_what_is_written_is_read_again(loader: Any, dumper: Any) -> None:
    assert yaml.load(dumped(dumper), Loader=loader) == VALUES


def test_plain_values_are_written_as_a_configuration_of_them() -> None:
    once = [512]
    values = {**VALUES, "encoder": once, "decoder": once}
    assert fast_yaml.dump(values) == OmegaConf.to_yaml(OmegaConf.create(values))


def test_short_lines_are_written_as_by_omegaconf() -> None:
    assert dumped(fast_yaml.dumper(), "long") == dumped(get_omega_conf_dumper(), "long")


@pytest.mark.parametrize(
    "text",
    ["a: 1e-5", "a: 1_000", "a: 2020-01-01", "a: 0x1F", "a: .5", "a: on", "a: +.inf", "a: '1'"],
)
def test_scalars_have_the_types_of_omegaconf(text: str) -> None:
    here = yaml.load(text, Loader=fast_yaml.loader())
    there = yaml.load(text, Loader=get_yaml_loader())
    assert here == there
    assert type(here["a"]) is type(there["a"])


def test_a_key_twice_is_refused() -> None:
    with pytest.raises(yaml.YAMLError, match="duplicate key"):
        yaml.load("a: 1\na: 2", Loader=fast_yaml.loader())


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml")
def test_hydra_reads_its_files_with_libyaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Any] = []
    load = yaml.load

    def recorded(file: Any, Loader: Any) -> Any:
        used.append(Loader)
        return load(file, Loader)

    monkeypatch.setattr(yaml, "load", recorded)
    composition.install()
    (tmp_path / "config.yaml").write_text("a: 1e-5")
    assert OmegaConf.load(tmp_path / "config.yaml") == {"a": 1e-5}
    assert used == [fast_yaml.loader()]
