"""Files of settings: which one a run takes, what such a file may hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf, open_dict

from tests.conftest import ENTRIES
from zsl_lab.errors import ConfigError
from zsl_lab.run.config import parse
from zsl_lab.run.configuration import settings_files
from zsl_lab.run.configuration.settings_files import PUBLISHED, TUNED, VARIABLE

OWN = """\
settings:
  method: sgal
  dataset_name: cub
  dataset: {features: res101, semantics: att}
method: {g: 0.8}
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, with settings for SGAL on CUB."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    (tmp_path / TUNED).mkdir()
    path = tmp_path / TUNED / "sgal_cub_res101.yaml"
    path.write_text(OWN)
    return path


def choices(*overrides: str) -> tuple[str, str]:
    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        made = compose("config", list(overrides), return_hydra_config=True)
    found = made.hydra.runtime.choices
    return found.tuned, found.published


@pytest.mark.parametrize(
    ("overrides", "tuned", "published"),
    [
        ((), "sgal_digits", "none"),
        (("method=mmvae", "dataset=awa2"), "mmvae", "none"),
        (("method=cosine", "dataset=awa2"), "none", "none"),
        (("settings=general",), "sgal", "none"),
        (("settings=none",), "none", "none"),
        (("settings=published", "dataset=sun"), "none", "sgal_sun"),
        (("tuned=sgal_flo",), "sgal_flo", "none"),
        (("tuned=none",), "none", "none"),
        (("experiment=bench",), "none", "none"),
    ],
)
def test_a_choice_stands_for_a_file(overrides: tuple[str, ...], tuned: str, published: str) -> None:
    assert choices(*overrides) == (tuned, published)


@pytest.mark.slow
def test_the_users_own_settings_come_first(own: Path) -> None:
    assert choices("dataset=cub") == ("sgal_cub_res101", "none")
    assert choices("dataset=cub", "method=mmvae") == ("mmvae", "none")
    found = settings_files.best("sgal", "cub", {"features": "res101"})
    assert found is not None
    assert found.path == own


def test_settings_for_other_features_or_semantics_are_not_taken(own: Path) -> None:
    for given in ({"features": "googlenet"}, {"semantics": "sent"}):
        found = settings_files.best("sgal", "cub", given)
        assert found is not None
        assert found.name == "sgal"


def test_a_damaged_file_of_the_users_is_left_out(own: Path) -> None:
    own.write_text("{")
    found = settings_files.best("sgal", "cub")
    assert found is not None
    assert found.name == "sgal"


def test_a_path_is_the_same_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.yaml"
    path.write_text(f"settings: {{dataset: {{path: {tmp_path}/my.h5}}}}\nmethod: {{g: 0.8}}\n")
    found = settings_files.read(path)
    assert found.mismatch({"path": "my.h5"}) is None
    assert found.mismatch({"path": "other.h5"}) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "it cannot be read"),
        ("[1]", "it cannot be read"),
        ("", "found no keys"),
        ("trainer: {devices: 2}", "found the section 'trainer'"),
        ("method: {_target_: os.system}", "found _target_=os.system"),
        ("method: {g: '${oc.env:HOME}'}", "found g="),
        ("defaults: [nowhere]\nmethod: {g: 1}", "it cannot be read"),
    ],
)
def test_what_is_no_file_of_settings_is_answered_with_a_sentence(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "found.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        settings_files.read(path)
    assert str(caught.value).startswith(f"settings={path}: {message}")
    assert "Expected a yaml with the sections dataset, method and selection" in str(caught.value)


def test_published_settings_that_there_are_not() -> None:
    with pytest.raises(ConfigError, match=r"only for awa1, awa2, cub, sun.*settings=none"):
        settings_files.published_of_choice("published", "sgal", "flo")
    with pytest.raises(ConfigError, match="for no single dataset"):
        settings_files.published_of_choice("published", "vzsl", "cub")


@pytest.mark.parametrize(
    ("method", "dataset", "steps", "fine_tune_steps", "decoder"),
    [
        ("sgal", "awa1", 170_000, 1_300, []),
        ("sgal", "awa2", 64_000, 900, [512]),
        ("sgal", "cub", 17_000, 2_000, []),
        ("sgal", "sun", 1_450_000, 1_500, []),
        ("sgal_dropout", "awa1", 170_000, 1_300, [512]),
    ],
)
def test_the_published_schedules_of_sgal(
    method: str, dataset: str, steps: int, fine_tune_steps: int, decoder: list[int]
) -> None:
    with initialize_config_module("zsl_lab.conf", version_base="1.3"):
        cfg = compose("config", [f"method={method}", f"dataset={dataset}", "settings=published"])
    found = cfg.method
    assert (found.steps, found.fine_tune_steps, found.decoder_hidden) == (
        steps,
        fine_tune_steps,
        decoder,
    )
    assert (cfg.dataset.semantics == "original_att") == (dataset == "awa1")


@pytest.mark.slow
@pytest.mark.parametrize("group", [TUNED, PUBLISHED])
def test_every_file_is_valid_for_its_method(group: str) -> None:
    for name in settings_files.names(group):
        method = max((m for m in ENTRIES if name == m or name.startswith(f"{m}_")), key=len)
        rest = name.removeprefix(method).removeprefix("_") or "digits"
        # a name may go on after that of the dataset: n3_flowers_lite2
        dataset = max(
            (d for d in settings_files.names("dataset") if f"{rest}_".startswith(f"{d}_")), key=len
        )
        found = settings_files.find(name, group)
        assert found is not None
        # the classifier that a method's yaml names has keys of its own
        chosen = [f"method={method}"] if "classifier" in found.values else []
        with initialize_config_module("zsl_lab.conf", version_base="1.3"):
            cfg = compose("config", [*chosen, "settings=none"])
        cfg.paths.run_dir = "run"
        with open_dict(cfg):
            cfg.method = ENTRIES[method].settings
            cfg.dataset = settings_files.dataset_values(dataset)
            cfg.merge_with(found.values)
        assert parse(cfg).method.name == method


def test_general_settings_are_free_of_scale() -> None:
    for name in set(settings_files.names()) & set(ENTRIES):
        found = settings_files.find(name)
        assert found is not None
        scaled = ("scale", "standard", "minmax_sqrt", "centered_l2")
        assert found.values["dataset"]["normalize"] in scaled
        if "steps" not in ENTRIES[name].settings:
            continue  # a closed form
        # so many passes over the samples, or so many updates whatever their number
        steps, epochs = (found.values["method"][key] for key in ("steps", "epochs"))
        assert (steps is None) != (epochs is None)
        assert (steps or epochs) > 0
        assert found.values["selection"]["checks"] > 0


def test_sections_of_older_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    OmegaConf.save({"tuned": {"dataset": {"features": "a"}}, "method": {"g": 1}}, path)
    assert settings_files.read(path).dataset == {"features": "a"}
