"""Models of transformers: features and texts equal transformers' own, weights, messages."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from tests.helpers.extraction import TERMS
from tests.helpers.packages import skip_without
from tests.helpers.pretrained import hf_model
from zsl_lab.errors import CheckpointError, ConfigError
from zsl_lab.extraction.features import extract_features
from zsl_lab.extraction.pretrained.hf_family import has_text_tower
from zsl_lab.extraction.recipes import (
    build_backbone,
    build_text_tower,
    default_sizes,
    load_backbone,
    load_text_tower,
)
from zsl_lab.extraction.texts import embed_classes

skip_without("transformers", "hf")

#: families, and the sizes of their image processors
SIZES = {
    "clip": (36, 32),
    "siglip": (32, 32),
    "dinov2": (36, 32),
    "vit": (32, 32),
    "convnext": (36, 32),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A CLIP and the folder of its files."""
    folder = tmp_path_factory.mktemp("clip")
    return hf_model("clip", folder), folder


def features_of(kind: str, model: Any, images: Any) -> Any:
    """Features as the family's own documentation takes them."""
    if kind in ("clip", "siglip"):
        return model.get_image_features(**images).pooler_output
    if kind == "vit":
        return model.vit(**images).last_hidden_state[:, 0]
    return model(**images).pooler_output


@pytest.mark.parametrize("kind", SIZES)
def test_features_are_those_of_the_model_and_its_image_processor(
    kind: str, photographs: list[Path], tmp_path: Path
) -> None:
    model = hf_model(kind, tmp_path)
    sizes = default_sizes(f"hf:{tmp_path}", None, None, TERMS)
    assert sizes == SIZES[kind]
    network, recipe = build_backbone(f"hf:{tmp_path}", "imagenet", *sizes, TERMS)
    assert (recipe.backbone, recipe.weights) == (f"hf:{tmp_path.name}", tmp_path.name)
    assert recipe.weights_path == str(tmp_path)
    transformers: Any = import_module("transformers")
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    images = processor([Image.open(file) for file in photographs], return_tensors="pt")
    with torch.no_grad():
        expected = features_of(kind, model, images)
    found = extract_features(photographs, network, recipe).features
    # edges of scaled images differ by less than a grey level
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_class_semantics_are_the_mean_of_directions_of_prompts(kind: str, tmp_path: Path) -> None:
    model = hf_model(kind, tmp_path)
    templates = ["a photo of a {name}.", "small {name}, {clause}"]
    tower, recipe = build_text_tower(f"hf:{tmp_path}", "imagenet", templates, TERMS)
    found = embed_classes(["ant", "bee"], [["a small animal"], ["cat", "dog"]], templates, tower)
    own = [
        ["a photo of a ant.", "small ant, which is a small animal"],
        ["a photo of a bee.", "small bee, which has cat", "small bee, which has dog"],
    ]
    transformers: Any = import_module("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    rows = []
    for texts in own:
        directions = []
        for text in texts:
            tokens = tokenizer(text, padding="max_length", max_length=12, return_tensors="pt")
            if kind == "siglip":
                tokens.pop("attention_mask")
            tokens.pop("token_type_ids", None)
            with torch.no_grad():
                vector = model.get_text_features(**tokens).pooler_output[0]
            directions.append(vector / vector.norm())
        mean = sum(directions) / len(directions)
        rows.append(mean / mean.norm())
    np.testing.assert_allclose(found, torch.stack(rows), atol=1e-5)
    again = load_text_tower(recipe)
    np.testing.assert_array_equal(
        embed_classes(["ant"], None, templates[:1], again),
        embed_classes(["ant"], None, templates[:1], tower),
    )


def test_long_prompts_are_cut_with_a_warning(clip: tuple[Any, Path]) -> None:
    tower, _ = build_text_tower(f"hf:{clip[1]}", "imagenet", ["{description}"], TERMS)
    long = "a small animal " * 5
    with pytest.warns(UserWarning, match=r"^1 of 2 prompts have more than 12 tokens \(the longest"):
        found = embed_classes(["ant"], [[long, "ant"]], ["{description}"], tower)
    expected = normalize(normalize(tower.embed([long, "ant"]), dim=1).mean(0), dim=0)
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


def test_other_weights_are_refused_and_a_moved_folder_is_named(
    clip: tuple[Any, Path], photographs: list[Path], tmp_path: Path
) -> None:
    network, recipe = build_backbone(f"hf:{clip[1]}", "imagenet", 36, 32, TERMS)
    expected = extract_features(photographs, network, recipe).features
    hf_model("clip", tmp_path / "other", seed=1)
    with pytest.raises(CheckpointError, match=r"other: found a file with SHA-256 .*\.\.\., the we"):
        load_backbone(recipe, str(tmp_path / "other"))
    moved = recipe.model_copy(update={"weights_path": "/gone/clip", "weights": "clip-gone"})
    with pytest.raises(CheckpointError, match=r"clip-gone: there is no such file in the working"):
        load_backbone(moved)
    found = extract_features(photographs, load_backbone(moved, str(clip[1])), moved).features
    np.testing.assert_array_equal(found, expected)


def test_random_weights_are_always_the_same(clip: tuple[Any, Path], tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    _, recipe = build_backbone(f"hf:{clip[1]}", "random", 36, 32, TERMS)
    assert torch.equal(torch.get_rng_state(), before)
    assert recipe.weights == "random"
    load_backbone(recipe)
    tower, texts = build_text_tower(f"hf:{clip[1]}", "random", ["{name}"], TERMS)
    assert texts.weights_sha256 == recipe.weights_sha256
    assert torch.equal(load_text_tower(texts).embed(["ant"]), tower.embed(["ant"]))


def test_the_configuration_says_whether_a_model_reads_texts(
    clip: tuple[Any, Path], tmp_path: Path
) -> None:
    assert has_text_tower(f"hf:{clip[1]}", None, TERMS)
    hf_model("dinov2", tmp_path)
    assert not has_text_tower(f"hf:{tmp_path}", None, TERMS)
    with pytest.raises(ConfigError, match=r"found Dinov2Model, which reads no texts; expected an"):
        build_text_tower(f"hf:{tmp_path}", "imagenet", ["{name}"], TERMS)


def test_images_that_are_prepared_in_another_way_are_refused(tmp_path: Path) -> None:
    hf_model("vit", tmp_path)
    path = tmp_path / "preprocessor_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "size": {"height": 32, "width": 48}}))
    with pytest.raises(ConfigError, match=r"its image processor \(ViTImageProcessor.*expected ima"):
        default_sizes(f"hf:{tmp_path}", None, None, TERMS)


def test_another_image_size_is_refused_where_the_model_has_one(clip: tuple[Any, Path]) -> None:
    with pytest.raises(ConfigError, match=r"found images of 40 x 40 pixels, which this network"):
        build_backbone(f"hf:{clip[1]}", "imagenet", 40, 40, TERMS)


def test_missing_weights_are_named(clip: tuple[Any, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    hf_model("clip", tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"no weights for 1 tensors \(visual_projection\.weight"):
        build_backbone(f"hf:{tmp_path}", "imagenet", 36, 32, TERMS)


def test_a_prefix_alone_names_no_model() -> None:
    with pytest.raises(ConfigError, match="hf: names no model; expected hf:OWNER/MODEL, or"):
        default_sizes("hf:", None, None, TERMS)


def test_code_of_a_repository_is_never_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
    auto = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoImageProcessor": "evil.Evil"}
    config = {"model_type": "evil", "auto_map": auto, "image_processor_type": "Evil"}
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="cannot be loaded"):
        build_backbone(f"hf:{tmp_path}", "imagenet", 32, 32, TERMS)
    with pytest.raises(ConfigError, match="cannot be loaded"):
        has_text_tower(f"hf:{tmp_path}", None, TERMS)
    assert not ran.exists()


def test_without_a_connection_both_ways_out_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def unreachable(url: str, timeout: float) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    with pytest.raises(
        ConfigError,
        match=r"^--backbone hf:nobody/nothing: found no folder of this name, and it cannot be "
        r"downloaded \(no route to host\)\. Download the repository beforehand .* give the folder",
    ):
        default_sizes("hf:nobody/nothing", None, None, TERMS)


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r'cannot be imported .* pip install "zsl-lab\[hf\]"'):
        default_sizes("hf:some/model", None, None, TERMS)
