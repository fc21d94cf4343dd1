"""The network of a recipe, loaded again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.extraction import backbone
from tests.helpers.packages import skip_without
from zsl_lab.data.recipe import ImageRecipe
from zsl_lab.errors import CheckpointError
from zsl_lab.extraction.features import extract_features
from zsl_lab.extraction.recipes import load_backbone

skip_without("torchvision", "images")


@pytest.mark.slow
def test_the_network_of_a_recipe_is_found_again_where_it_lies_now(
    weights: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Path(shutil.copy(weights, tmp_path / "squeezenet_kept.pth"))
    network, recipe = backbone(kept)
    assert (recipe.weights, recipe.weights_path) == (kept.name, str(kept))
    files = [pictures / "ant" / "0.png"]
    expected = extract_features(files, network, recipe).features
    assert np.array_equal(extract_features(files, load_backbone(recipe), recipe).features, expected)
    moved = kept.rename(tmp_path / "moved.pth")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        load_backbone(recipe)
    assert str(caught.value) == (
        f"squeezenet_kept.pth: there is no such file in the working folder {tmp_path} nor at "
        f"{kept}, where it lay; expected the weights of squeezenet1_1 that the features were made "
        "with. Put it there, or give its path: weights=FILE."
    )
    with pytest.raises(
        CheckpointError, match=r"^gone\.pth: there is no such file; expected .* path: weights=FILE"
    ):
        load_backbone(recipe, "gone.pth")
    assert np.array_equal(
        extract_features(files, load_backbone(recipe, str(moved)), recipe).features, expected
    )
    (tmp_path / "here").mkdir()
    shutil.copy(weights, tmp_path / "here" / kept.name)
    monkeypatch.chdir(tmp_path / "here")
    assert np.array_equal(extract_features(files, load_backbone(recipe), recipe).features, expected)


def test_other_weights_than_those_of_the_features_are_refused(
    weights: Path, model: nn.Module, tmp_path: Path
) -> None:
    _, recipe = backbone(weights)
    torch.save(
        {name: tensor + 1 for name, tensor in model.state_dict().items()}, tmp_path / "other.pth"
    )
    with pytest.raises(
        CheckpointError,
        match=r"other\.pth: found a file with SHA-256 .* Give that file: --weights FILE, or "
        r"extract",
    ):
        load_backbone(recipe, str(tmp_path / "other.pth"), "--weights ")


def test_a_network_nobody_knows_is_said() -> None:
    recipe = ImageRecipe(
        backbone="mine", weights="imagenet", weights_sha256="", resize=28, image_size=24
    )
    with pytest.raises(
        CheckpointError, match="made with the network mine, which is not among resnet18"
    ):
        load_backbone(recipe)
