"""``settings=``: names, paths, what the command refuses, what a run records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.conftest import SHORT_FIT, Command
from zsl_lab.cli import settings
from zsl_lab.errors import ConfigError
from zsl_lab.result import Result

SHORT = (*SHORT_FIT["mmvae"], "selection.report_oracle=false")


def result(folder: Path) -> Result:
    return Result.load(next(folder.glob("outputs/*/*/result.json")))


def test_a_name_is_that_of_a_file() -> None:
    assert settings.choose(["settings=sgal_flo"]) == ["tuned=sgal_flo"]
    assert settings.choose(["-m", "settings=sgal_flo,sgal_digits"]) == [
        "-m",
        "tuned=sgal_flo,sgal_digits",
    ]
    assert settings.choose(["settings=sgal_sun", "dataset=awa1"]) == [
        "settings=none",
        "published=sgal_sun",
        "dataset=awa1",
    ]


@pytest.fixture
def found(tmp_path: Path) -> Path:
    path = tmp_path / "my settings.yaml"
    path.write_text(
        "settings: {method: mmvae, dataset_name: digits, dataset: {semantics: strokes}}\n"
        "dataset: {normalize: minmax}\n"
        "method: {gamma: 0.25, encoder_hidden: [16, 8], prior_hidden: geometric}\n"
    )
    return path


def test_a_path_sets_what_the_file_holds_but_not_what_is_typed(
    command: Command, found: Path, tmp_path: Path
) -> None:
    typed = f"settings='{found}'"
    assert command("method=mmvae", typed, *SHORT, "method.encoder_hidden=[32]") == 0
    run = next(tmp_path.glob("outputs/*/*"))
    stored = OmegaConf.load(run / "config.yaml")
    assert stored.dataset.normalize == "minmax"
    assert (stored.method.gamma, stored.method.encoder_hidden) == (0.25, [32])
    assert Result.load(run).settings == {"choice": "file", "name": str(found)}


def test_settings_of_another_method_are_refused(found: Path) -> None:
    with pytest.raises(ConfigError, match="found for method=mmvae, not for method=sgal"):
        settings.choose([f"settings='{found}'"])
    for argument in ("settings=sgal_flo", "tuned=sgal_flo"):
        with pytest.raises(ConfigError, match=r"it sets method\.prior_hidden, which method=vzsl"):
            settings.choose(["method=vzsl", argument])


def test_settings_of_a_parent_method_are_taken() -> None:
    assert settings.choose(["tuned=mmvae_flo_for_sgal", "dataset=awa1"]) == [
        "tuned=mmvae_flo_for_sgal",
        "dataset=awa1",
    ]


def test_settings_found_on_other_data_are_taken_with_a_note(
    found: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.choose(["method=mmvae", f"settings='{found}'", "dataset.semantics=segments"])
    assert "were found for dataset.semantics=strokes, not for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["settings=bset"], "settings=bset: there is no such choice.*Did you mean settings=best"),
        (["settings=nowhere.yaml"], "settings=nowhere.yaml: there is no such choice, and no such"),
        (["settings=none", "tuned=sgal_flo"], "both say which settings to begin with"),
        (["settings=published"], "no published settings for dataset=digits"),
        (["-m", "settings=best,published", "dataset=awa1,apy"], "for dataset=apy"),
    ],
)
def test_what_cannot_be_is_answered_with_a_sentence(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings.choose(arguments)


def test_a_key_that_holds_where_another_is_null_makes_it_null() -> None:
    arguments = ["dataset=awa1", "method.epochs=3", "selection.check_every=50"]
    assert settings.choose(arguments) == [
        "method.steps=null",
        "selection.checks=null",
        *arguments,
    ]
    both = ["dataset=awa1", "method.epochs=3", "method.steps=10"]
    assert settings.choose(both) == both


@pytest.mark.parametrize(
    ("overrides", "choice", "name", "line"),
    [
        ([], "best", "mmvae_digits", "mmvae_digits (found on validation classes"),
        (["settings=general"], "general", "mmvae", "mmvae (general settings"),
        (["settings=none"], "none", None, "those of conf/method/mmvae.yaml (settings=none)"),
        (["tuned=none"], "none", None, "those of conf/method/mmvae.yaml"),
        (
            ["tuned=mmvae_flo_for_sgal"],
            "file",
            "mmvae_flo_for_sgal",
            "mmvae_flo_for_sgal (from a file)",
        ),
    ],
)
def test_a_run_says_which_settings_it_took(
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    overrides: list[str],
    choice: str,
    name: str | None,
    line: str,
) -> None:
    assert command("method=mmvae", *overrides, *SHORT, "selection=last") == 0
    found = result(tmp_path)
    assert found.settings == {"choice": choice, "name": name}
    assert found.tuned == name
    assert f"settings:       {line}" in capsys.readouterr().out


def test_settings_of_the_users_folder_are_taken_by_themselves(
    command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "my_settings" / "tuned"
    folder.mkdir(parents=True)
    (folder / "mmvae_digits_strokes.yaml").write_text(
        "# @package _global_\n"
        "settings: {method: mmvae, dataset_name: digits, dataset: {semantics: strokes}}\n"
        "method: {gamma: 0.125}\n"
    )
    place = f"paths.settings_dir={tmp_path}/my_settings"
    assert command("method=mmvae", place, *SHORT, "selection=last") == 0
    run = next(tmp_path.glob("outputs/*/*"))
    assert OmegaConf.load(run / "config.yaml").method.gamma == 0.125
    assert Result.load(run).settings == {"choice": "best", "name": "mmvae_digits_strokes"}


def test_results_of_older_versions_have_no_settings(tmp_path: Path) -> None:
    stored = json.loads(
        (Path(__file__).parents[1] / "compatibility/data/sgal/result.json").read_text()
    )
    assert "settings" not in stored
    path = tmp_path / "result.json"
    path.write_text(json.dumps(stored))
    assert Result.load(path).settings is None
