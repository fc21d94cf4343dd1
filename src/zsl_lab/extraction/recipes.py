"""From the choice of a backbone to the network and its recipe, and from a recipe to the network."""

from __future__ import annotations

from pathlib import Path

from zsl_lab.data.recipe import ImageRecipe
from zsl_lab.errors import CheckpointError
from zsl_lab.extraction.backbones import ARCHITECTURES, BaseNetwork, build_network
from zsl_lab.extraction.names import TIMM_PREFIX
from zsl_lab.extraction.timm_backbones import (
    TimmNetwork,
    build_timm_network,
    full_name,
    timm_defaults,
)
from zsl_lab.extraction.weights import IMAGENET, Terms
from zsl_lab.files.hashing import sha256_file

Backbone = BaseNetwork | TimmNetwork
#: side of the images of torchvision's networks
_IMAGE_SIZE = 224


def default_sizes(
    name: str, resize: int | None, image_size: int | None, terms: Terms
) -> tuple[int, int]:
    """The sizes that images are scaled to and that the network sees, where they are not given.

    torchvision's networks see 224 pixels, cut from 8/7 of that; timm's have sizes of their own.

    Args:
        name: The network.
        resize: The first size, or None.
        image_size: The second size, or None.
        terms: For messages.

    Raises:
        ConfigError: timm is missing or has no such network.
    """
    if name.startswith(TIMM_PREFIX):
        defaults = timm_defaults(name, image_size, terms)
        return resize or defaults.resize, defaults.image_size
    image_size = image_size or _IMAGE_SIZE
    return resize or round(image_size * 8 / 7), image_size


def build_backbone(
    name: str, weights: str, resize: int, image_size: int, terms: Terms
) -> tuple[Backbone, ImageRecipe]:
    """Make the network that features are extracted with, and the recipe that describes it.

    Args:
        name: One of :data:`zsl_lab.extraction.backbones.ARCHITECTURES`, or ``timm:NAME``.
        weights: ``imagenet``, or the file of a state dict, with the classifier or without.
        resize: Side of the square that an image is scaled and cut to.
        image_size: Side of the square that the network sees, at most ``resize``.
        terms: For messages.

    Raises:
        ConfigError: torchvision or timm is missing, or the weights cannot be downloaded.
        CheckpointError: The weights' file is missing, damaged or of another network.
    """
    network: Backbone
    preparation = None
    if name.startswith(TIMM_PREFIX):
        name = full_name(name, terms) if weights == IMAGENET else name
        preparation = timm_defaults(name, image_size, terms).preparation
        network = build_timm_network(name, weights, image_size, preparation, terms)
    else:
        network = build_network(name, weights, terms)
    assert network.weights_file is not None
    path = network.weights_file.absolute()
    recipe = ImageRecipe(
        backbone=name,
        # the recipe travels to other machines: the hash identifies the file, wherever it lies
        weights=weights if weights == IMAGENET else path.name,
        weights_sha256=sha256_file(path),
        resize=resize,
        image_size=image_size,
        preparation=preparation,
        weights_path=None if weights == IMAGENET else str(path),
    )
    return network, recipe


def load_backbone(
    recipe: ImageRecipe, weights: str | None = None, key: str = "weights="
) -> Backbone:
    """Load the network that a benchmark's features were extracted with, for new images.

    Args:
        recipe: The recipe of the benchmark's features.
        weights: The file of its weights; None looks for the recipe's file where it lay when the
            features were made, then in the working folder.
        key: What precedes this file in messages.

    Raises:
        ConfigError: torchvision or timm is missing, or the weights cannot be downloaded.
        CheckpointError: The file is missing, damaged, or holds other weights.
    """
    kept = recipe.weights_path
    there = kept is not None and Path(kept).is_file()
    given = weights or (kept if kept is not None and there else recipe.weights)
    what = f"the weights of {recipe.backbone} that the features were made with"
    if given != IMAGENET and not Path(given).expanduser().is_file():
        where = (
            "" if weights or Path(given).is_absolute() else f" in the working folder {Path.cwd()}"
        )
        if kept is not None and not weights:
            where += f" nor at {kept}, where it lay"
        raise CheckpointError(
            f"{given}: there is no such file{where}; expected {what}. Put it there, or give "
            f"its path: {key}FILE."
        )
    if recipe.backbone not in ARCHITECTURES and not recipe.backbone.startswith(TIMM_PREFIX):
        raise CheckpointError(
            f"The features were made with the network {recipe.backbone}, which is not among "
            f"{', '.join(ARCHITECTURES)} and the networks of timm. Extract the features elsewhere, "
            "or train with those of one of these."
        )
    if given != IMAGENET:
        _check_weights(Path(given).expanduser(), what, recipe, key)
    network = _rebuilt(recipe, given, key)
    if given == IMAGENET:
        assert network.weights_file is not None
        _check_weights(network.weights_file, what, recipe, key)
    return network


def _rebuilt(recipe: ImageRecipe, weights: str, key: str) -> Backbone:
    terms = Terms("backbone ", key, (recipe.backbone,), "", "")
    if not recipe.backbone.startswith(TIMM_PREFIX):
        return build_network(recipe.backbone, weights, terms)
    size = recipe.image_size
    preparation = recipe.preparation or timm_defaults(recipe.backbone, size, terms).preparation
    return build_timm_network(recipe.backbone, weights, size, preparation, terms)


def _check_weights(path: Path, what: str, recipe: ImageRecipe, key: str) -> None:
    found = sha256_file(path)
    if found != recipe.weights_sha256:
        raise CheckpointError(
            f"{path}: found a file with SHA-256 {found[:16]}...; expected "
            f"{recipe.weights_sha256[:16]}..., {what}: other weights would give other features. "
            f"Give that file: {key}FILE, or extract and train anew with this one."
        )
