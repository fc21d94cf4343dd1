"""Features that are kept until all are computed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helpers.extraction import backbone
from tests.helpers.packages import skip_without
from zsl_lab.errors import OutputError
from zsl_lab.extraction.features import extract_features
from zsl_lab.extraction.kept.blocks import prepare_kept

skip_without("torchvision", "images")


def test_what_was_kept_of_other_pictures_or_by_another_recipe_is_not_used(
    weights: Path, own: Path
) -> None:
    files = sorted((own / "images").rglob("*.png"))
    network, recipe = backbone(weights)
    kept = own / "kept"
    assert prepare_kept(kept, files, recipe) == "nothing"
    extract_features(files, network, recipe, kept=kept)
    assert prepare_kept(kept, files, recipe) == "the same"
    assert len(list(kept.iterdir())) == 2
    assert prepare_kept(kept, files, recipe.model_copy(update={"resize": 30})) == "another recipe"
    assert [path.name for path in kept.iterdir()] == ["key.json"]
    shutil.copy(files[0], files[1])
    assert prepare_kept(kept, files, recipe.model_copy(update={"resize": 30})) == "other pictures"


def test_a_folder_that_holds_something_else_is_left_alone(weights: Path, own: Path) -> None:
    kept = own / "kept"
    kept.mkdir()
    (kept / "thesis.txt").write_text("mine")
    with pytest.raises(
        OutputError,
        match=r"kept: this is where features are kept .* Move it away, or choose another name",
    ):
        prepare_kept(kept, [], backbone(weights)[1])
    assert (kept / "thesis.txt").read_text() == "mine"
