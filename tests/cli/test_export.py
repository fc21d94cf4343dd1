"""``zsl-lab export``."""

from __future__ import annotations

import sys
from pathlib import Path

import onnxruntime
import pytest

import zsl_lab
from tests.helpers.hub_server import Hub
from tests.helpers.untrained import predictor
from zsl_lab import __main__ as command
from zsl_lab.cli.export import main

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a saved model."""
    return str(predictor("eszsl").save_pretrained(tmp_path_factory.mktemp("saved") / "model"))


@pytest.mark.slow
def test_it_writes_the_model_and_the_onnx_file(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "given"
    assert main([model, str(target), "--onnx", "--among", "unseen"]) == 0
    assert {path.name for path in target.iterdir()} == {
        "README.md",
        "config.json",
        "model.onnx",
        "model.safetensors",
    }
    session = onnxruntime.InferenceSession(str(target / "model.onnx"))
    assert session.get_modelmeta().custom_metadata_map["classes"] == '["fox", "gnu"]'
    out = capsys.readouterr().out
    assert f"zsl_lab.load('{target}')" in out
    assert zsl_lab.load(str(target)).method == "eszsl"


@pytest.mark.slow
def test_it_uploads_where_it_is_asked_to(
    model: str, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert main([model, str(tmp_path / "given"), "--push", "alice/toy", "--private"]) == 0
    assert "alice/toy/config.json" in hub.files
    assert hub.private == {"alice/toy": True}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["RUN"], "DIR"),
        (["RUN", "DIR", "--onx"], "--onx: there is no such option. Did you mean --onnx?"),
        (["RUN", "DIR", "--among", "new"], "add --onnx"),
        (["RUN", "DIR", "--classes", "x.csv"], "add --onnx"),
        (["RUN", "DIR", "--private"], "--push USER/NAME"),
    ],
)
def test_wrong_commands_are_named(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), str(tmp_path / "x")]) == 1
    assert "has no checkpoints/best.ckpt" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_the_command_is_part_of_zsl_lab(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["zsl-lab", "export", "--help"])
    with pytest.raises(SystemExit) as done:
        command.main()
    assert done.value.code == 0
    assert "--onnx" in capsys.readouterr().out
