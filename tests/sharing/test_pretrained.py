"""Models written to a folder by ``save_pretrained`` and read again by ``zsl_lab.load``."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import huggingface_hub
import numpy as np
import pytest
import safetensors.torch
import torch

import zsl_lab
from tests.helpers.untrained import (
    CALIBRATION,
    CLASSES,
    classifier_keys,
    fit_classifier,
    image_predictor,
    predictor,
    samples,
)
from zsl_lab.classifiers.base import Classifier
from zsl_lab.errors import CheckpointError, ConfigError, DataError, OutputError
from zsl_lab.predict.features import FeaturePredictor
from zsl_lab.predict.predictor import Predictor
from zsl_lab.result import Result
from zsl_lab.run.checkpoints import files as checkpoints
from zsl_lab.sharing import saved_model

pytestmark = pytest.mark.filterwarnings("ignore")
VECTOR = np.linspace(0, 1, 12)
RESULT = Result(
    method="eszsl",
    dataset="toy",
    seed=3,
    selection="validation",
    metrics={
        "zsl_top1": 61.5,
        "unseen": 50.0,
        "seen": 60.0,
        "harmonic_mean": 54.5,
        "ausuc": float("nan"),
    },
    oracle=None,
    per_class={"unseen": {}, "seen": {}},
    training={
        "steps": 3,
        "seconds": 1.0,
        "steps_per_second": 3.0,
        "device": "cpu",
        "precision": "32",
        "world_size": 1,
    },
    benchmark={
        "classes": 7,
        "seen": 5,
        "unseen": 2,
        "samples": 50,
        "splits_sha256": "0" * 64,
        "features_sha256": "1" * 64,
        "splits_version": "toy split",
    },
    checkpoint="/home/somebody/run/checkpoints/best.ckpt",
    versions={"python": "3.11", "torch": "2"},
    git_commit=None,
    metric="harmonic_mean",
    tuned="/home/somebody/tuned.yaml",
    settings={"choice": "file", "name": "/home/somebody/tuned.yaml"},
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a saved model; shared, so do not change it."""
    model = predictor("eszsl")
    model._result = RESULT
    return model.save_pretrained(tmp_path_factory.mktemp("saved") / "toy_eszsl")


def edited(saved: Path, folder: Path, **fields: Any) -> Path:
    """A copy of a saved model with other fields in its ``config.json``, sealed anew."""
    folder.mkdir()
    config = json.loads((saved / "config.json").read_bytes()) | fields
    model = (saved / "model.safetensors").read_bytes()
    (folder / "config.json").write_bytes(saved_model.sealed(config, model))
    (folder / "model.safetensors").write_bytes(model)
    return folder


def assert_equal(first: Predictor, second: Predictor, x: Any, **choice: Any) -> None:
    one, two = first.predict(x, **choice), second.predict(x, **choice)
    assert (one.names, one.kinds) == (two.names, two.kinds)
    np.testing.assert_array_equal(one.scores, two.scores)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["eszsl", "exem", "sgal", "cada_vae"])
def test_what_is_loaded_predicts_the_same(method: str, tmp_path: Path) -> None:
    model = predictor(method)
    model.predict(samples(2), {"yak": VECTOR, "zebu": VECTOR[::-1]})  # new classes leave no trace
    loaded = zsl_lab.load(model.save_pretrained(tmp_path / "model"))
    assert isinstance(loaded, FeaturePredictor)
    assert (loaded.method, loaded.dataset, loaded.classes) == (method, "toy", model.classes)
    assert_equal(model, loaded, samples(5))
    assert_equal(model, loaded, samples(5), among="unseen")
    assert_equal(model, loaded, samples(5), classes={"yak": VECTOR}, among="all")
    # what warnings compare new samples with
    assert model._statistics is not None
    assert loaded._statistics is not None
    np.testing.assert_array_equal(model._statistics.high, loaded._statistics.high)


def test_a_classifier_is_saved(tmp_path: Path) -> None:
    model = predictor("mmvae")
    fit_classifier(model, "means")
    classifier = cast("Classifier", model.network.classifier)
    source = model._source
    config = {**source.state.config, "classifier": classifier_keys("means")}
    model._source = replace(
        source, state=replace(source.state, config=config), classifier=classifier.state()
    )
    loaded = zsl_lab.load(model.save_pretrained(tmp_path / "model"))
    assert_equal(model, loaded, samples(5))


def test_a_model_of_images_is_saved(tmp_path: Path) -> None:
    model = image_predictor("n3")
    loaded = zsl_lab.load(model.save_pretrained(tmp_path / "model"))
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1), dtype=np.uint8)
    assert_equal(model, loaded, pictures)
    assert_equal(model, loaded, pictures, classes={"dog": "a brown dog", "eel": "a long eel"})
    card = (tmp_path / "model" / "README.md").read_text()
    assert "pipeline_tag: zero-shot-image-classification" in card


def test_a_saved_model_is_saved_again_with_equal_files(saved: Path, tmp_path: Path) -> None:
    again = zsl_lab.load(saved).save_pretrained(tmp_path / "toy_eszsl")
    for name in ("config.json", "model.safetensors", "README.md"):
        assert (again / name).read_bytes() == (saved / name).read_bytes()


def test_the_files_hold_what_prediction_needs(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_bytes())
    assert (config["method"], config["dataset"], config["calibration"]) == (
        "eszsl",
        "toy",
        CALIBRATION,
    )
    assert [known["name"] for known in config["classes"]] == list(CLASSES)
    assert config["scaling"] == {"features": "standard", "semantics": "l2"}
    assert config["training_samples"] == 50
    assert config["result"]["metrics"] == {
        "zsl_top1": 61.5,
        "unseen": 50.0,
        "seen": 60.0,
        "harmonic_mean": 54.5,
        "ausuc": None,
    }
    tensors = safetensors.torch.load_file(saved / "model.safetensors")
    assert tensors["classes.semantics"].shape == (7, 12)
    assert {name.partition(".")[0] for name in tensors} == {
        "method",
        "classes",
        "scaling",
        "statistics",
    }


def test_no_path_of_this_machine_is_written(tmp_path: Path) -> None:
    model = predictor("sgal")
    config = {**model._source.state.config}
    config["paths"] = dict.fromkeys(config["paths"], "/home/somebody/x")
    config["method"] = {**config["method"], "init_from": "/home/somebody/first/best.ckpt"}
    config["settings"] = {"choice": "file", "name": "/home/somebody/tuned.yaml"}
    model._source = replace(model._source, state=replace(model._source.state, config=config))
    model._result = RESULT
    folder = model.save_pretrained(tmp_path / "model")
    for path in folder.iterdir():
        assert b"somebody" not in path.read_bytes()
    assert json.loads((folder / "config.json").read_bytes())["config"]["method"]["init_from"] == (
        "best.ckpt"
    )


def test_the_card_has_the_metadata_of_the_hub(saved: Path) -> None:
    card = huggingface_hub.ModelCard.load(saved / "README.md")
    assert card.data.to_dict()["library_name"] == "zsl_lab"
    assert {"zero-shot-learning", "eszsl"} <= set(card.data.tags or [])
    found = {r.metric_type: r.metric_value for r in card.data.eval_results or []}
    assert found == {"zsl_top1": 61.5, "unseen": 50.0, "seen": 60.0, "harmonic_mean": 54.5}
    for words in (
        "zsl_lab.load('toy_eszsl')",
        "| ZSL top-1 among unseen classes | 61.50 | 50.00 |",
        "selected on validation classes",
        "toy split",
        "Unseen: fox, gnu.",
    ):
        assert words in card.text


@pytest.mark.parametrize(
    ("selection", "words"),
    [("oracle", "**on test samples** (oracle)"), ("last", "fixed number of steps")],
)
def test_the_card_says_how_the_step_was_selected(
    selection: str, words: str, tmp_path: Path
) -> None:
    model = predictor("eszsl")
    model._result = replace(RESULT, selection=selection)
    folder = model.save_pretrained(tmp_path / "model")
    assert words in (folder / "README.md").read_text()


@pytest.mark.parametrize("selection", ["validation", "last"])
def test_the_card_says_that_test_samples_were_used_only_where_there_were_some(
    selection: str, tmp_path: Path
) -> None:
    used = "Test samples were used once"
    model = predictor("eszsl")
    model._result = replace(RESULT, selection=selection)
    tested = model.save_pretrained(tmp_path / "tested") / "README.md"
    assert used in tested.read_text()
    unmeasured: dict[str, Any] = dict.fromkeys(RESULT.metrics)
    model._result = replace(RESULT, selection=selection, metrics=unmeasured)
    untested = model.save_pretrained(tmp_path / "untested") / "README.md"
    assert used not in untested.read_text()


def test_hostile_names_stay_text_in_the_card(saved: Path, tmp_path: Path) -> None:
    config = json.loads((saved / "config.json").read_bytes())
    config["classes"][0]["name"] = "<script>alert(1)</script> [x](http://y) \udc80"
    config["dataset"] = "a\n---\nb: *c*"
    loaded = zsl_lab.load(edited(saved, tmp_path / "hostile", **config))
    card = (loaded.save_pretrained(tmp_path / "model") / "README.md").read_text()
    assert r"\<script>alert(1)\</script> \[x](http://y)" in card
    assert "\nlibrary_name: zsl_lab\n" in huggingface_hub.ModelCard(card).content


def test_a_readme_of_something_else_is_not_replaced(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# My project\n")
    with pytest.raises(OutputError, match=r"README\.md is no model card .*Name an empty folder"):
        zsl_lab.load(saved).save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"library_name": "timm"}, "names the library 'timm'; expected 'zsl_lab'"),
        ({"format": 3}, "'format' of config.json is 3; this version reads 2"),
        ({"classes": [{"name": "ant"}]}, "config.json is damaged"),
        ({"classes": 3}, "config.json is damaged"),
        (
            {"feature_dim": 11},
            "field 'scaler.shift' is float32 \\[12\\]; expected float32 \\[11\\]",
        ),
        ({"feature_dim": "12"}, "field 'feature_dim' is '12'"),
        ({"config": {}}, "field 'config.method' is None"),
        ({"run": {"step": 3, "format": 1}}, "field 'reported' is missing"),
        ({"recipe": {"images": 3}}, "recipe.images"),
    ],
)
def test_damaged_fields_are_named(
    fields: dict[str, Any], words: str, saved: Path, tmp_path: Path
) -> None:
    with pytest.raises((CheckpointError, DataError), match=words):
        zsl_lab.load(edited(saved, tmp_path / "model", **fields))


def test_a_config_cannot_name_code(saved: Path, tmp_path: Path) -> None:
    config = json.loads((saved / "config.json").read_bytes())["config"]
    config["method"]["_target_"] = "os.system"
    with pytest.raises(CheckpointError, match="A file alone cannot name code to run"):
        zsl_lab.load(edited(saved, tmp_path / "model", config=config))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_is_cut_off_is_refused(name: str, saved: Path, tmp_path: Path) -> None:
    folder = edited(saved, tmp_path / "model")
    (folder / name).write_bytes((folder / name).read_bytes()[:-20])
    with pytest.raises(CheckpointError, match=r"not readable|do not match the SHA-256"):
        zsl_lab.load(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_no_wrong_bit_is_accepted(name: str, saved: Path, tmp_path: Path) -> None:
    path = edited(saved, tmp_path / "model") / name
    whole, draws = path.read_bytes(), np.random.default_rng(0)
    for bit in draws.integers(len(whole) * 8, size=30).tolist():
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"config\.json|SHA-256"):
            zsl_lab.load(path.parent)


def test_the_files_of_two_models_are_not_mixed(saved: Path, tmp_path: Path) -> None:
    folder = edited(saved, tmp_path / "model")
    predictor("eszsl", "none").save_pretrained(tmp_path / "other")
    (folder / "model.safetensors").write_bytes(
        (tmp_path / "other" / "model.safetensors").read_bytes()
    )
    with pytest.raises(CheckpointError, match="the two do not belong together"):
        zsl_lab.load(folder)


def test_other_ends_of_lines_are_the_same_model(saved: Path, tmp_path: Path) -> None:
    path = edited(saved, tmp_path / "model") / "config.json"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert_equal(zsl_lab.load(saved), zsl_lab.load(path.parent), samples(5))


def test_a_model_without_a_seal_is_read(saved: Path, tmp_path: Path) -> None:
    path = edited(saved, tmp_path / "model", format=1) / "config.json"
    config = json.loads(path.read_bytes())
    del config["sha256"]
    path.write_text(json.dumps(config))
    assert_equal(zsl_lab.load(saved), zsl_lab.load(path.parent), samples(5))


def test_numbers_that_are_not_finite_are_refused(saved: Path, tmp_path: Path) -> None:
    folder = edited(saved, tmp_path / "model")
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.startswith("method."))
    tensors[name] = torch.full_like(tensors[name], torch.nan)
    model = safetensors.torch.save(tensors)
    (folder / "model.safetensors").write_bytes(model)
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_bytes(saved_model.sealed(config, model))
    with pytest.raises(CheckpointError, match="holds numbers that are not finite"):
        zsl_lab.load(folder)


def test_training_cannot_go_on_from_a_saved_model(saved: Path) -> None:
    checkpoint = checkpoints.read(saved / "model.safetensors", "ckpt")
    with pytest.raises(CheckpointError, match="no states of optimisers"):
        checkpoint.check_resumable()


def test_a_missing_package_names_the_extra(
    saved: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = zsl_lab.load(saved)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ConfigError, match=r'pip install "zsl-lab\[hub\]"'):
        model.save_pretrained(tmp_path / "model")
    with pytest.raises(ConfigError, match=r'pip install "zsl-lab\[hub\]"'):
        zsl_lab.load(saved)
