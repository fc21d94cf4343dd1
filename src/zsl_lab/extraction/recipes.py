"""Builds a backbone and its recipe from a user's choice, and rebuilds a backbone from a recipe."""

from __future__ import annotations

from pathlib import Path

from zsl_lab.data.recipe import ImageRecipe, Preparation, TextRecipe
from zsl_lab.errors import CheckpointError
from zsl_lab.extraction.backbones import ARCHITECTURES, BaseNetwork, build_network
from zsl_lab.extraction.names import (
    HF_PREFIX,
    IMAGE_TEXT_PREFIXES,
    IMAGENET,
    OPEN_CLIP_PREFIX,
    PREFIXES,
    RANDOM,
    TIMM_PREFIX,
    TORCHVISION_PREFIX,
    prefix_of,
)
from zsl_lab.extraction.pretrained import hf_family, open_clip_family, torchvision_family
from zsl_lab.extraction.pretrained.network import (
    Defaults,
    LoadedWeights,
    PooledNetwork,
    TextTower,
    random_weights,
)
from zsl_lab.extraction.timm_backbones import build_timm_network, full_name, timm_defaults
from zsl_lab.extraction.weights import Terms
from zsl_lab.files.hashing import sha256_file

Backbone = BaseNetwork | PooledNetwork
#: side, in pixels, of the images that torchvision's networks see
_IMAGE_SIZE = 224


def default_sizes(
    name: str,
    resize: int | None,
    image_size: int | None,
    terms: Terms,
    weights: str = IMAGENET,
) -> tuple[int, int]:
    """The sizes ``resize`` and ``image_size`` in pixels, with defaults for those not given.

    Images are scaled to ``resize``, and the network sees the centre of size ``image_size``. The
    defaults of torchvision's networks without a prefix are 256 and 224; those of other networks
    come from their packages.

    Args:
        name: The network.
        resize: The first size; None for the default.
        image_size: The second size; None for the default.
        terms: Words for messages.
        weights: As in :func:`build_backbone`.

    Raises:
        ConfigError: If the network's package is missing or has no such network.
    """
    if prefix_of(name):
        defaults = _defaults(name, weights, image_size, terms)
        return resize or defaults.resize, defaults.image_size
    image_size = image_size or _IMAGE_SIZE
    return resize or round(image_size * 8 / 7), image_size


def build_backbone(
    name: str, weights: str, resize: int, image_size: int, terms: Terms
) -> tuple[Backbone, ImageRecipe]:
    """Make the network that features are extracted with, and the recipe that describes it.

    Args:
        name: One of :data:`zsl_lab.extraction.backbones.ARCHITECTURES`, or one with a prefix of
            :data:`zsl_lab.extraction.names.PREFIXES`.
        weights: ``imagenet`` for published weights, or the file of a state dict, with the
            classifier or without; of a network with a prefix also ``random`` for random ones.
        resize: Side, in pixels, of the square that an image is scaled and cut to.
        image_size: Side, in pixels, of the square that the network sees, at most ``resize``.
        terms: Words for messages.

    Raises:
        ConfigError: If the network's package is missing, or the weights cannot be downloaded.
        CheckpointError: If the weights' file is missing, damaged or of another network.
    """
    network: Backbone
    preparation = None
    if prefix_of(name):
        preparation = _defaults(name, weights, image_size, terms).preparation
        network, loaded = _build(name, weights, image_size, preparation, terms)
    else:
        network = build_network(name, weights, terms)
        assert network.weights_file is not None
        loaded = _of_file(name, weights, network.weights_file)
    recipe = ImageRecipe(
        backbone=loaded.name,
        # a recipe is used on other machines too, where the hash identifies the file
        weights=loaded.label,
        weights_sha256=loaded.sha256,
        resize=resize,
        image_size=image_size,
        preparation=preparation,
        weights_path=None if loaded.path is None else str(loaded.path),
    )
    return network, recipe


def _of_file(name: str, weights: str, file: Path) -> LoadedWeights:
    """The description of weights in a single file, published or the user's own."""
    path = file.absolute()
    if weights == IMAGENET:
        return LoadedWeights(IMAGENET, sha256_file(path), None, name)
    return LoadedWeights(path.name, sha256_file(path), path, name)


def _defaults(name: str, weights: str, image_size: int | None, terms: Terms) -> Defaults:
    """The preparation of images that the package of a network with a prefix defines."""
    chosen = None if weights == IMAGENET else weights
    prefix = prefix_of(name)
    if prefix == TIMM_PREFIX:
        return timm_defaults(name, image_size, terms)
    if prefix == TORCHVISION_PREFIX:
        return torchvision_family.defaults(name, image_size, terms)
    if prefix == OPEN_CLIP_PREFIX:
        return open_clip_family.defaults(name, chosen, image_size, terms)
    return hf_family.defaults(name, chosen, image_size, terms)


def _build(
    name: str, weights: str, image_size: int, preparation: Preparation, terms: Terms
) -> tuple[PooledNetwork, LoadedWeights]:
    """A network with a prefix, and the description of its weights."""
    chosen = None if weights == IMAGENET else weights
    prefix = prefix_of(name)
    if prefix == TORCHVISION_PREFIX:
        return torchvision_family.build(name, weights, image_size, preparation, terms)
    if prefix == OPEN_CLIP_PREFIX:
        return open_clip_family.build(name, chosen, image_size, preparation, terms)
    if prefix == HF_PREFIX:
        return hf_family.build(name, chosen, image_size, preparation, terms)
    name = full_name(name, terms) if weights == IMAGENET else name
    network = build_timm_network(name, weights, image_size, preparation, terms)
    if network.weights_file is None:
        return network, random_weights(name, network.model)
    return network, _of_file(name, weights, network.weights_file)


def build_text_tower(
    name: str, weights: str, templates: list[str], terms: Terms
) -> tuple[TextTower, TextRecipe]:
    """Load the text tower that computes class semantics, and make the recipe that describes it.

    Args:
        name: ``open_clip:MODEL/PRETRAINED`` or ``hf:ID_OR_FOLDER``.
        weights: As in :func:`build_backbone`.
        templates: The templates of the prompts.
        terms: Words for messages.

    Raises:
        ConfigError: If the model's package is missing, or the model cannot be loaded or has no text
            tower.
    """
    tower = _text_tower(name, None if weights == IMAGENET else weights, terms)
    loaded = tower.weights
    recipe = TextRecipe(
        encoder=tower.name,
        model=None,
        max_tokens=tower.max_tokens,
        templates=templates,
        weights=loaded.label,
        weights_sha256=loaded.sha256,
        weights_path=None if loaded.path is None else str(loaded.path),
    )
    return tower, recipe


def _text_tower(name: str, weights: str | None, terms: Terms) -> TextTower:
    if prefix_of(name) == OPEN_CLIP_PREFIX:
        return open_clip_family.text_tower(name, weights, terms)
    return hf_family.text_tower(name, weights, terms)


# ------------------------------------------------------------------------------------------------
# from a recipe


def load_backbone(
    recipe: ImageRecipe, weights: str | None = None, key: str = "weights="
) -> Backbone:
    """Load the network that a benchmark's features were extracted with, for new images.

    Args:
        recipe: The recipe of the benchmark's features.
        weights: The file of its weights, or the folder of its model. None looks for that of the
            recipe: at its path when the features were extracted, then in the working folder.
        key: Precedes this file in messages.

    Raises:
        ConfigError: If the network's package is missing, or the weights cannot be downloaded.
        CheckpointError: If the file is missing, damaged, or has other weights.
    """
    what = f"the weights of {recipe.backbone} that the features were made with"
    if recipe.backbone not in ARCHITECTURES and not prefix_of(recipe.backbone):
        raise CheckpointError(
            f"The features were made with the network {recipe.backbone}, which is not among "
            f"{', '.join(ARCHITECTURES)} and those that begin with {', '.join(PREFIXES)}. Extract "
            "the features elsewhere, or train with those of one of these."
        )
    given = _place(recipe, weights, what, key)
    path = Path(given).expanduser()
    if path.is_file():
        _check_weights(sha256_file(path), str(path), what, recipe, key)
    network, loaded = _rebuilt(recipe, given, key)
    _check_weights(loaded.sha256, str(loaded.path or loaded.name), what, recipe, key)
    return network


def load_text_tower(recipe: TextRecipe, key: str = "weights=") -> TextTower:
    """Load the text tower that a benchmark's semantics were computed with, for new classes.

    Args:
        recipe: The recipe of the benchmark's semantics, of an image-text model.
        key: Precedes weights in messages.

    Raises:
        ConfigError: If the model's package is missing, or the model cannot be downloaded.
        CheckpointError: If its files are missing, or have other weights.
    """
    what = f"the weights of {recipe.encoder} that the class semantics were made with"
    given = _place(recipe, None, what, key)
    name, weights = _named(recipe, recipe.encoder, given)
    terms = Terms("text tower ", key, (recipe.encoder,), "", "")
    tower = _text_tower(name, weights, terms)
    place = str(tower.weights.path or tower.name)
    _check_weights(tower.weights.sha256, place, what, recipe, key)
    return tower


def _place(recipe: ImageRecipe | TextRecipe, weights: str | None, what: str, key: str) -> str:
    """The present path of a recipe's weights; the recipe's label if they are published or random.

    Raises:
        CheckpointError: If they should be at a path and are not.
    """
    kept = recipe.weights_path
    label = recipe.weights or IMAGENET
    there = kept is not None and Path(kept).exists()
    of_folder = label == RANDOM and kept is not None
    given = weights or (kept if kept is not None and there else label)
    name = recipe.backbone if isinstance(recipe, ImageRecipe) else recipe.encoder
    # older recipes have the name of a file without its path
    of_file = label not in (IMAGENET, RANDOM) and prefix_of(name) not in IMAGE_TEXT_PREFIXES
    if weights is None and kept is None and not of_file:
        return given
    if not Path(given).expanduser().exists() or (of_folder and not there and not weights):
        where = (
            "" if weights or Path(given).is_absolute() else f" in the working folder {Path.cwd()}"
        )
        if kept is not None and not weights:
            where += f" nor at {kept}, where it lay"
        raise CheckpointError(
            f"{given}: there is no such file{where}; expected {what}. Put it there, or give "
            f"its path: {key}FILE."
        )
    return given


def _named(recipe: ImageRecipe | TextRecipe, name: str, given: str) -> tuple[str, str | None]:
    """The name and weights to build a model of open_clip or transformers again."""
    # without a path, weights are published or random, and the label says which
    placed = recipe.weights_path is not None or given != recipe.weights
    chosen = RANDOM if recipe.weights == RANDOM else None
    if prefix_of(name) == HF_PREFIX:
        return f"{HF_PREFIX}{given}" if placed else name, chosen
    if open_clip_family.is_published(name):
        return open_clip_family.renamed(name, given) if placed else name, None
    return (name.partition("/")[0], given) if placed else (name, chosen)


def _rebuilt(recipe: ImageRecipe, given: str, key: str) -> tuple[Backbone, LoadedWeights]:
    terms = Terms("backbone ", key, (recipe.backbone,), "", "")
    prefix = prefix_of(recipe.backbone)
    if not prefix:
        network = build_network(recipe.backbone, given, terms)
        assert network.weights_file is not None
        return network, _of_file(recipe.backbone, given, network.weights_file)
    name, weights = recipe.backbone, given
    if prefix in (OPEN_CLIP_PREFIX, HF_PREFIX):
        name, chosen = _named(recipe, name, given)
        weights = chosen or IMAGENET
    size = recipe.image_size
    preparation = recipe.preparation or _defaults(name, weights, size, terms).preparation
    return _build(name, weights, size, preparation, terms)


def _check_weights(
    found: str, place: str, what: str, recipe: ImageRecipe | TextRecipe, key: str
) -> None:
    expected = recipe.weights_sha256 or ""
    if found != expected:
        raise CheckpointError(
            f"{place}: found a file with SHA-256 {found[:16]}...; expected "
            f"{expected[:16]}..., {what}: other weights would give other features. "
            f"Give that file: {key}FILE, or extract and train anew with this one."
        )
