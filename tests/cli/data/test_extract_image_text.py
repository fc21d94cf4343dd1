"""``extract`` with image-text models: class semantics, the cosine baseline, and new classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import zsl_lab
from tests.conftest import composed
from tests.helpers.extraction import NAMES
from tests.helpers.packages import skip_without
from tests.helpers.pretrained import hf_model, open_clip_model
from zsl_lab.cli.data.main import main
from zsl_lab.data.files import benchmark_file as hdf5
from zsl_lab.extraction.recipes import load_text_tower
from zsl_lab.extraction.texts import embed_classes
from zsl_lab.run.experiment import run as train

pytestmark = pytest.mark.slow

skip_without("transformers", "hf")

Run = Callable[..., int]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hf") / "clip"
    hf_model("clip", folder)
    return folder


@pytest.fixture
def run(own: Path, clip: Path) -> Run:
    """The command on that folder, with a CLIP and classes of a name each."""
    (own / "names.csv").write_text("class,split\n" + "".join(f"{n},\n" for n in NAMES))

    def run(*options: str, classes: str = "names.csv", backbone: str = f"hf:{clip}") -> int:
        given = ["--images", own / "images", "--classes", own / classes, "--backbone", backbone]
        return main(["extract", *map(str, given), str(own / "own.h5"), "--unseen", "2", *options])

    return run


def test_names_are_compared_with_images_and_new_names_are_predicted(
    run: Run, own: Path, tmp_path: Path
) -> None:
    assert run() == 0
    content = hdf5.read(own / "own.h5")
    recipe = content.recipe.texts
    assert recipe is not None
    assert recipe.templates == ["a photo of a {name}."]
    assert recipe.weights_sha256 == content.recipe.images.weights_sha256  # type: ignore[union-attr]
    tower = load_text_tower(recipe)
    expected = embed_classes(NAMES, None, recipe.templates, tower)
    np.testing.assert_allclose(content.semantics["text"], expected, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, atol=1e-6)

    cfg = composed(
        tmp_path / "run",
        "method=cosine",
        "dataset=own",
        "dataset.normalize=l2",
        "dataset.normalize_semantics=l2",
        f"dataset.path={own / 'own.h5'}",
        "callbacks=none",
    )
    train(cfg)
    predictor = zsl_lab.load(tmp_path / "run")
    files = sorted((own / "images" / "ant").iterdir())
    features = predictor.extract(files)  # type: ignore[attr-defined]
    # batches of other sizes are rounded otherwise
    np.testing.assert_allclose(features, content.features[:4], atol=1e-5)
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    new = embed_classes(["small_dog", "eel"], None, recipe.templates, tower)
    found = predictor.predict(features, ["small_dog", "eel"]).scores
    np.testing.assert_allclose(found, directions @ new.T, atol=1e-5)
    for name, content_of_file in (
        ("new.csv", "class\nsmall_dog\neel\n"),
        ("new.json", '["small_dog", "eel"]'),
    ):
        (tmp_path / name).write_text(content_of_file)
        np.testing.assert_array_equal(predictor.predict(features, tmp_path / name).scores, found)


def test_descriptors_become_clauses_and_new_classes_have_several_texts(
    run: Run, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {name: [f"small photo {number}"] for number, name in enumerate(NAMES)}
    texts |= {"ant": ["has a photo"], "bee": ["small animal", "an animal"]}
    (own / "dclip.json").write_text(json.dumps(texts))
    assert run(classes="dclip.json") == 0
    assert "prompts for hf:clip: {name}, {clause}" in capsys.readouterr().err
    content = hdf5.read(own / "own.h5")
    recipe = content.recipe.texts
    assert recipe is not None
    tower = load_text_tower(recipe)
    rows = [
        [f"{name}, {clause}" for clause in clauses]
        for name, clauses in {
            "ant": ["which has a photo"],
            "bee": ["which has small animal", "which is an animal"],
        }.items()
    ]
    for found, prompts in zip(content.semantics["text"], rows, strict=False):
        vectors = tower.embed(prompts)
        mean = (vectors / vectors.norm(dim=1, keepdim=True)).mean(0)
        np.testing.assert_allclose(found, mean / mean.norm(), atol=1e-5)

    train(
        composed(
            tmp_path / "run",
            "method=cosine",
            "dataset=own",
            "dataset.normalize=l2",
            "dataset.normalize_semantics=l2",
            f"dataset.path={own / 'own.h5'}",
            "callbacks=none",
        )
    )
    predictor = zsl_lab.load(tmp_path / "run")
    new = {"ant": texts["ant"], "bee": texts["bee"]}
    found = predictor.predict(content.features[:4], new, "new").scores
    (tmp_path / "new.json").write_text(json.dumps(new))
    of_file = predictor.predict(content.features[:4], tmp_path / "new.json", "new").scores
    np.testing.assert_array_equal(of_file, found)
    directions = torch.from_numpy(content.features[:4])
    directions = directions / directions.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(found, directions @ content.semantics["text"][:2].T, atol=1e-5)


def test_another_model_and_templates_can_be_chosen(run: Run, own: Path, tmp_path: Path) -> None:
    skip_without("open_clip", "open_clip")
    _, weights = open_clip_model(tmp_path, "tiny-texts")
    (tmp_path / "templates.txt").write_text("art of a {}.\na photo of a {}.\n")
    tower = f"open_clip:tiny-texts/{weights}"
    assert run("--text-encoder", tower, "--template", str(tmp_path / "templates.txt")) == 0
    content = hdf5.read(own / "own.h5")
    assert content.recipe.texts is not None
    assert content.recipe.texts.encoder == "open_clip:tiny-texts"
    assert content.recipe.texts.templates == ["art of a {name}.", "a photo of a {name}."]
    assert content.recipe.images is not None
    assert content.recipe.images.backbone == "hf:clip"


def test_random_weights_are_warned_of(
    run: Run, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--weights", "random") == 0
    assert "hf:clip: its weights are random, so the features tell" in capsys.readouterr().err
    content = hdf5.read(own / "own.h5")
    assert content.recipe.images is not None
    assert content.recipe.images.weights == "random"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ("--text-encoder", "minilm"),
            "names.csv: found no column that tells one class from another",
        ),
        (("--template", "{description}"), "--template: found {description} or {clause}, and"),
        (
            ("--backbone", "openclip:ViT-B-32/openai"),
            "--backbone openclip:ViT-B-32/openai: there is none of this name. Did you mean "
            "open_clip:ViT-B-32/openai?",
        ),
        (
            ("--backbone", "resnet50", "--weights", "random"),
            "--weights random: --backbone resnet50 takes no random weights. Give --backbone "
            "torchvision:resnet50",
        ),
        (
            ("--backbone", "resnet50", "--template", "{name}"),
            "--template: templates are for the text tower of an image-text model.",
        ),
    ],
)
def test_wrong_options_are_refused(
    options: tuple[str, ...], expected: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*options) != 0
    assert expected in capsys.readouterr().err
