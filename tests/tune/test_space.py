"""Search spaces: what a line of one may say, which keys it may name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from tests.conftest import ENTRIES, composed
from zsl_lab.errors import ConfigError
from zsl_lab.run.configuration.stored_config import config_folders
from zsl_lab.tune import space as spaces

Configure = Callable[..., DictConfig]


def written(folder: Path, text: str) -> Path:
    path = folder / "space.yaml"
    path.write_text(text)
    return path


def test_values_lie_where_the_space_says(tmp_path: Path) -> None:
    text = (
        "method.epochs: {low: 2, high: 9, log: true}\n"
        "method.gamma: {low: 0.5, high: 2.0}\n"
        "method.encoder_hidden: [[8], [16, 8], []]\n"
        "method.batch_norm: [true, false]\n"
    )
    space = spaces.read("mmvae", written(tmp_path, text))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = [space.suggest(study.ask()) for _ in range(60)]
    assert {type(values["method.epochs"]) for values in found} == {int}
    assert {2, 9} <= {values["method.epochs"] for values in found}
    assert all(0.5 <= values["method.gamma"] <= 2.0 for values in found)
    assert all(values["method.encoder_hidden"] in ([8], [16, 8], []) for values in found)
    assert {values["method.batch_norm"] for values in found} == {True, False}


@pytest.mark.slow
def test_the_configuration_itself_is_a_trial_where_it_lies_in_the_space(tmp_path: Path) -> None:
    cfg = composed(tmp_path, "method=mmvae", "settings=general")
    text = "method.gamma: {low: 0.001, high: 1.0}\nmethod.encoder_hidden: [[256], [1024]]\n"
    space = spaces.read("mmvae", written(tmp_path, text))
    parameters = space.present(cfg)
    assert parameters is not None
    assert spaces.of_parameters(parameters) == {
        "method.gamma": cfg.method.gamma,
        "method.encoder_hidden": cfg.method.encoder_hidden,
    }
    text += "method.d: {low: 5.0, high: 6.0}\n"
    assert spaces.read("mmvae", written(tmp_path, text)).present(cfg) is None


def test_epochs_hold_whatever_the_steps_were(tmp_path: Path) -> None:
    cfg = composed(tmp_path, "method=mmvae", "settings=none")
    changed = spaces.with_values(cfg, {"method.epochs": 3, "method.encoder_hidden": [4]})
    assert (changed.method.epochs, changed.method.steps) == (3, None)
    assert changed.method.encoder_hidden == [4]
    assert cfg.method.steps == 170_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method.gamma: 0.5", "method.gamma: found 0.5. Expected {low: NUMBER, high: NUMBER"),
        ("method.gamma: []", r"method.gamma: found \[\]"),
        ("method.gamma: {low: 1, high: 1}", "low=1 is not below high=1"),
        ("method.gamma: {low: 0, high: 1, log: true}", "log=true needs low above 0, found 0"),
        ("method.gamma: {low: 0}", "method.gamma.high: Field required"),
        ("method.gamma: {low: 0, high: .inf}", "method.gamma.high.*finite"),
        ("method.gamma: {low: 0, high: 1, lg: true}", "method.gamma.lg: Extra inputs"),
        ("{", "it cannot be read"),
        ("", "it names no key"),
    ],
)
def test_a_wrong_line_is_answered_with_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        spaces.read("mmvae", path)
    assert str(caught.value).startswith(f"space={path}: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method.gama: [0.1]", "method.gama: method=mmvae has no such key. Did you mean method.ga"),
        ("method.g: [0.1]", "method.g: method=mmvae has no such key"),
        ("seed: [1, 2]", "seed: method=mmvae has no such key"),
        ("trainer.devices: [1, 2]", "trainer.devices: method=mmvae has no such key"),
        ("method.gamma: {low: -1.0, high: 1.0}", "method.gamma=-1.0: input should be greater than"),
        ("method.batch_norm: [3]", "method.batch_norm=3: input should be a valid boolean"),
    ],
)
def test_an_unknown_key_or_a_wrong_value_is_answered_with_a_sentence(
    tmp_path: Path, text: str, message: str
) -> None:
    space = spaces.read("mmvae", written(tmp_path, text))
    with pytest.raises(ConfigError, match=message):
        spaces.check(space, composed(tmp_path, "method=mmvae", "settings=general"))


def test_a_method_without_a_space_is_answered_with_those_that_have_one() -> None:
    with pytest.raises(ConfigError, match=r"conf/search/exem\.yaml.*space=FILE.*mmvae.*sgal"):
        spaces.read("exem")


@pytest.mark.slow
def test_every_space_fits_its_method_and_holds_its_general_settings() -> None:
    (folder,) = config_folders(spaces.GROUP)
    names = [path.stem for path in folder.glob("*.yaml")]
    assert {"mmvae", "sgal", "vzsl", "aspn", "aspn_spn"} <= set(names) <= set(ENTRIES)
    for name in names:
        with initialize_config_module("zsl_lab.conf", version_base="1.3"):
            cfg = compose("config", [f"method={name}", "settings=general"])
        cfg.paths.run_dir = "run"
        space = spaces.read(name)
        spaces.check(space, cfg)
        assert space.present(cfg) is not None
