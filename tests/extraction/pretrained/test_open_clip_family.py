"""Models of open_clip: both towers equal open_clip's own, weights, messages."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.extraction import TERMS
from tests.helpers.packages import skip_without
from tests.helpers.pretrained import open_clip_model
from zsl_lab.errors import CheckpointError, ConfigError
from zsl_lab.extraction.features import extract_features
from zsl_lab.extraction.recipes import (
    build_backbone,
    build_text_tower,
    default_sizes,
    load_backbone,
    load_text_tower,
)
from zsl_lab.extraction.texts import embed_classes

skip_without("open_clip", "open_clip")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A model and the file of its weights."""
    return open_clip_model(tmp_path_factory.mktemp("open_clip"))


def test_features_are_those_of_the_model_and_its_transform(
    tiny: tuple[Any, Path], photographs: list[Path]
) -> None:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    model, path = tiny
    name = f"open_clip:tiny-clip/{path}"
    sizes = default_sizes(name, None, None, TERMS)
    assert sizes == (32, 32)
    network, recipe = build_backbone(name, "imagenet", *sizes, TERMS)
    assert (recipe.backbone, recipe.weights) == ("open_clip:tiny-clip", "tiny-clip.pt")
    transform = image_transform_v2(PreprocessCfg(size=32), is_train=False)
    with torch.no_grad():
        expected = model.encode_image(
            torch.stack([transform(Image.open(file)) for file in photographs])
        )
    found = extract_features(photographs, network, recipe).features
    np.testing.assert_allclose(found, expected, atol=0.02 * float(expected.abs().max()))
    np.testing.assert_array_equal(
        extract_features(photographs, load_backbone(recipe), recipe).features, found
    )


@pytest.mark.slow
def test_class_semantics_are_those_of_open_clips_zero_shot_classifier(
    tiny: tuple[Any, Path],
) -> None:
    import open_clip

    model, path = tiny
    templates = ["a photo of a {name}.", "art of a {name}."]
    tower, recipe = build_text_tower(f"open_clip:tiny-clip/{path}", "imagenet", templates, TERMS)
    assert (tower.max_tokens, recipe.templates) == (12, templates)
    names = ["ant", "bee"]
    expected = open_clip.build_zero_shot_classifier(
        model,
        open_clip.get_tokenizer("tiny-clip"),
        names,
        [lambda name: f"a photo of a {name}.", lambda name: f"art of a {name}."],
    )
    found = embed_classes(names, None, templates, load_text_tower(recipe))
    np.testing.assert_allclose(found, expected.T, atol=1e-5)
    with pytest.warns(UserWarning, match=r"^1 of 1 prompts have more than 12 tokens"):
        embed_classes(["ant"], [["one two " * 10]], ["{description}"], tower)


@pytest.fixture(scope="module")
def published(tiny: tuple[Any, Path]) -> Path:
    """The files of the model as open_clip publishes them: in a folder, or on the hub."""
    model, path = tiny
    folder = path.parent / "published"
    folder.mkdir()
    config = {
        "model_cfg": json.loads(path.with_suffix(".json").read_text()),
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "resize_mode": "squash"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder


@pytest.fixture
def hub(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that has this model as org/tiny and nothing else."""
    import open_clip

    def download(
        *, repo_id: str, filename: str, revision: str | None, cache_dir: str | None
    ) -> str:
        file = published / filename
        if repo_id != "org/tiny" or not file.is_file():
            raise FileNotFoundError(f"404: {repo_id}/{filename}")
        return str(file)

    monkeypatch.setattr(open_clip.pretrained, "hf_hub_download", download)


@pytest.mark.slow
def test_a_model_on_the_hub_is_the_model_of_its_files(
    tiny: tuple[Any, Path], hub: None, photographs: list[Path]
) -> None:
    name = "open_clip:hf-hub:org/tiny"
    assert default_sizes(name, None, None, TERMS) == (32, 32)
    network, recipe = build_backbone(name, "imagenet", 32, 32, TERMS)
    assert (recipe.backbone, recipe.weights, recipe.weights_path) == (name, "hub", None)
    assert recipe.preparation is not None
    assert (recipe.preparation.mean[0], recipe.preparation.crop_mode) == (0.5, "squash")
    own = build_backbone(f"open_clip:tiny-clip/{tiny[1]}", "imagenet", 32, 32, TERMS)[0]
    images = torch.zeros(1, 3, 32, 32)
    assert torch.equal(network.model(images), own.model(images))  # type: ignore[operator]
    np.testing.assert_array_equal(
        extract_features(photographs, load_backbone(recipe), recipe).features,
        extract_features(photographs, network, recipe).features,
    )
    tower, texts = build_text_tower(name, "imagenet", ["a {name}."], TERMS)
    expected, _ = build_text_tower(f"open_clip:tiny-clip/{tiny[1]}", "imagenet", ["{name}"], TERMS)
    assert torch.equal(tower.embed(["an ant"]), expected.embed(["an ant"]))
    assert torch.equal(load_text_tower(texts).embed(["an ant"]), expected.embed(["an ant"]))


def test_a_model_in_a_folder_is_found_again_where_the_folder_lies(
    published: Path, photographs: list[Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(published, tmp_path / "mine"))
    network, recipe = build_backbone(f"open_clip:local-dir:{folder}", "imagenet", 32, 32, TERMS)
    assert (recipe.backbone, recipe.weights) == ("open_clip:local-dir:mine", "mine")
    expected = extract_features(photographs, network, recipe).features
    moved = folder.rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match=r"mine: there is no such file .* weights=FILE"):
        load_backbone(recipe)
    found = extract_features(photographs, load_backbone(recipe, str(moved)), recipe).features
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("name", "weights", "sentence"),
    [
        (
            "hf-hub:org/none",
            "imagenet",
            r"^--backbone open_clip:hf-hub:org/none: cannot be downloaded from the Hugging Face "
            r"Hub .*404: org/none.* give their folder: open_clip:local-dir:FOLDER\.$",
        ),
        ("hf-hub:org/tiny", "x.pt", r"found the weights x\.pt too \(--weights\), and this model"),
        ("local-dir:/nowhere", "imagenet", r"there is no such folder; expected the files of a"),
        ("local-dir:.", "imagenet", r"there is no open_clip_config\.json in it"),
    ],
)
def test_a_published_model_that_cannot_be_loaded_is_named(
    hub: None, name: str, weights: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        default_sizes(f"open_clip:{name}", None, None, TERMS, weights)


def test_a_published_model_without_weights_is_not_taken_for_a_random_one(
    published: Path, tmp_path: Path
) -> None:
    shutil.copy(published / "open_clip_config.json", tmp_path)
    with pytest.raises(ConfigError, match=r"cannot be loaded \(Required pretrained weights"):
        build_backbone(f"open_clip:local-dir:{tmp_path}", "imagenet", 32, 32, TERMS)


def test_weights_are_given_with_the_name_or_apart(tiny: tuple[Any, Path]) -> None:
    _, path = tiny
    _, together = build_backbone(f"open_clip:tiny-clip/{path}", "imagenet", 32, 32, TERMS)
    _, apart = build_backbone("open_clip:tiny-clip", str(path), 32, 32, TERMS)
    assert together == apart
    with pytest.raises(ConfigError, match=r"found the weights random too \(--weights\)\. Le"):
        build_backbone(f"open_clip:tiny-clip/{path}", "random", 32, 32, TERMS)


def test_random_weights_are_always_the_same() -> None:
    _, recipe = build_backbone("open_clip:tiny-clip/random", "imagenet", 32, 32, TERMS)
    assert (recipe.backbone, recipe.weights) == ("open_clip:tiny-clip", "random")
    load_backbone(recipe)


def test_the_tag_names_its_preparation_and_the_file_its_weights(
    tiny: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from open_clip import pretrained

    preset = {"file": str(tiny[1]), "mean": (0.5,) * 3, "std": (0.5,) * 3, "resize_mode": "squash"}
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny-clip", {"mine": preset})
    network, recipe = build_backbone("open_clip:tiny-clip/mine", "imagenet", 32, 32, TERMS)
    assert network.name == recipe.backbone == "open_clip:tiny-clip/mine"
    assert (recipe.weights, recipe.weights_path) == ("mine", None)
    assert recipe.preparation is not None
    assert (recipe.preparation.mean, recipe.preparation.crop_mode) == ([0.5] * 3, "squash")
    load_backbone(recipe)
    load_backbone(recipe, str(tiny[1]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("open_clip:ViT-B-33/openai", r"no model of this name\. Did you mean open_clip:ViT-B-32\?"),
        (
            "open_clip:ViT-B-32/laion2b_s34b_b79",
            r"no weights laion2b_s34b_b79 for ViT-B-32\. Did you mean "
            r"open_clip:ViT-B-32/laion2b_s34b_b79k\?",
        ),
        ("open_clip:ViT-B-32", r"found no weights; expected open_clip:ViT-B-32/WEIGHTS\. Give one"),
    ],
)
def test_unknown_names_give_the_nearest(name: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=f"^--backbone {name}: .*{expected}"):
        default_sizes(name, None, None, TERMS)


def test_files_that_are_missing_or_of_another_model_are_refused(
    tiny: tuple[Any, Path], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"there is no file /gone/clip\.pt\. Correct its pat"):
        build_backbone("open_clip:tiny-clip//gone/clip.pt", "imagenet", 32, 32, TERMS)
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ConfigError, match=r"cannot be loaded \(.*\)\. Give weights of tiny-clip"):
        build_backbone(f"open_clip:tiny-clip/{tmp_path / 'other.pt'}", "imagenet", 32, 32, TERMS)


def test_weights_that_cannot_be_downloaded_name_both_ways_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import open_clip

    def unreachable(preset: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(open_clip, "download_pretrained", unreachable)
    with pytest.raises(
        ConfigError,
        match=r"cannot be downloaded from .*no route to host.* and give it: open_clip:ViT-B-32/FILE"
        r"; or copy the cache",
    ):
        build_backbone("open_clip:ViT-B-32/openai", "imagenet", 224, 224, TERMS)


def test_without_open_clip_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ConfigError, match=r'pip install "zsl-lab\[open_clip\]"'):
        default_sizes("open_clip:ViT-B-32/openai", None, None, TERMS)
