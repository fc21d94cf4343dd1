"""The Hugging Face Hub, by the real client against a stand-in on this machine."""

from __future__ import annotations

import numpy as np
import pytest

import zsl_lab
from tests.helpers.hub_server import Hub
from tests.helpers.untrained import predictor, samples
from zsl_lab.errors import CheckpointError, ConfigError, OutputError

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.slow
def test_a_pushed_model_is_loaded_by_its_id(hub: Hub) -> None:
    model = predictor("eszsl")
    url = model.push_to_hub("alice/toy", private=True, token=hub.token, commit_message="First")
    assert url == f"{hub.url}/alice/toy/commit/{hub.sha('alice/toy')}"
    assert hub.private == {"alice/toy": True}
    assert hub.summary == "First"
    assert set(hub.files) == {
        f"alice/toy/{name}" for name in ("README.md", "config.json", "model.safetensors")
    }
    assert b"zsl_lab.load('hf-hub:alice/toy')" in hub.files["alice/toy/README.md"]
    loaded = zsl_lab.load("hf-hub:alice/toy")
    np.testing.assert_array_equal(
        loaded.predict(samples(4)).scores, model.predict(samples(4)).scores
    )
    fetched = [r for r in hub.requests if r.startswith("GET") and "/resolve/" in r]
    assert {r.rpartition("/")[2] for r in fetched} == {"config.json", "model.safetensors"}


def test_a_repository_without_a_model_is_named(hub: Hub) -> None:
    hub.files["bob/bert/README.md"] = b"# BERT"
    with pytest.raises(CheckpointError, match=r"^ckpt=hf-hub:bob/bert: .* no config\.json"):
        zsl_lab.load("hf-hub:bob/bert")


@pytest.mark.parametrize("source", ["hf-hub:bob/none", "hf_hub:bob/none@v1"])
def test_an_unknown_id_is_named(source: str, hub: Hub) -> None:
    with pytest.raises(CheckpointError, match=f"^ckpt={source}: the model cannot be fetched"):
        zsl_lab.load(source)


@pytest.mark.parametrize("source", ["hf-hub:toy", "hf-hub:", "hf-hub:a/b/c"])
def test_an_id_that_is_none_asks_nobody(source: str, hub: Hub) -> None:
    with pytest.raises(ConfigError, match="expected USER/NAME"):
        zsl_lab.load(source)
    assert hub.requests == []


def test_a_path_asks_nobody(hub: Hub) -> None:
    with pytest.raises(CheckpointError, match="there is no such file"):
        zsl_lab.load("alice/toy")
    assert hub.requests == []


def test_a_refused_upload_says_why(hub: Hub) -> None:
    with pytest.raises(OutputError, match=r"push_to_hub\('alice/toy'\): the upload failed .*token"):
        predictor("eszsl").push_to_hub("alice/toy", token="hf_bad")
    assert hub.files == {}
