"""How features and semantics were made."""

from __future__ import annotations

import json

import pytest

from zsl_lab.data.recipe import ImageRecipe, Preparation, Recipe, TextRecipe, recipe_differences


@pytest.mark.parametrize(
    ("kind", "columns", "expected"),
    [("att", 1, ("size", None)), ("text", 9, (None, "tfidf")), ("sent", 9, (None, None))],
)
def test_one_kind_of_semantics_keeps_its_own_part_of_the_recipe(
    kind: str, columns: int, expected: tuple[str | None, str | None]
) -> None:
    whole = Recipe(attributes=["size"], texts=TextRecipe(encoder="tfidf", model=None, max_tokens=5))
    found = whole.of(kind, columns)
    assert (
        found.attributes[0] if found.attributes else None,
        found.texts.encoder if found.texts else None,
    ) == expected


#: as files and checkpoints from before timm's networks hold it
OLD = {
    "backbone": "resnet18",
    "weights": "imagenet",
    "weights_sha256": "5c106cde",
    "resize": 256,
    "image_size": 224,
}


def test_recipes_from_before_timm_are_read_and_written_unchanged() -> None:
    recipe = Recipe.from_plain({"images": OLD, "texts": None, "attributes": []}, "ckpt=x")
    assert recipe.images is not None
    assert recipe.images.preparation is None
    assert recipe.images.model_dump() == OLD
    assert json.loads(recipe.model_dump_json())["images"] == OLD


def test_the_preparation_of_images_survives_json_to_the_digit() -> None:
    preparation = Preparation(
        mean=[0.48145466, 0.4578275, 0.40821073],
        std=[0.26862954, 0.26130258, 0.27577711],
        interpolation="bilinear",
        crop_mode="squash",
    )
    recipe = Recipe(images=ImageRecipe(**OLD, preparation=preparation))  # type: ignore[arg-type]
    assert Recipe.from_plain(json.loads(recipe.model_dump_json()), "own.h5") == recipe
    assert Recipe.from_plain(recipe.model_dump(), "ckpt=x") == recipe


def test_recipes_differ_by_network_weights_and_sizes_but_not_by_the_place_of_weights() -> None:
    recipe = ImageRecipe(
        backbone="resnet50", weights="a.pth", weights_sha256="12" * 32, resize=256, image_size=224
    )
    moved = recipe.model_copy(update={"weights": "b.pth", "weights_path": "/x/b.pth"})
    assert recipe_differences(moved, recipe, "training") == []
    other = recipe.model_copy(update={"image_size": 200, "weights_sha256": "ab" * 32})
    assert recipe_differences(other, recipe, "training") == [
        "image_size 200 (training: 224)",
        f"weights a.pth {'ab' * 6} (training: a.pth {'12' * 6})",
    ]
