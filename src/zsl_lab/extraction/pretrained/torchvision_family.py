"""``torchvision:NAME``: every classifier of torchvision, without its last linear layer."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zsl_lab.data.recipe import Preparation
from zsl_lab.errors import CheckpointError, ConfigError, nearest
from zsl_lab.extraction.names import IMAGENET, RANDOM, TORCHVISION_PREFIX
from zsl_lab.extraction.pretrained.network import (
    Defaults,
    LoadedWeights,
    PooledNetwork,
    measure,
    random_weights,
    seeded,
)
from zsl_lab.extraction.weights import Terms, import_package, misfit, read_state_dict
from zsl_lab.files.hashing import sha256_file

#: tag of the weights for a name without one, if the network has such weights
_DEFAULT_TAG = "IMAGENET1K_V1"
#: parts that are only used in training
_AUXILIARY = ("aux1", "aux2", "AuxLogits")
#: the published weights of these two networks are for images normalised in another way, to which
#: the networks then convert the images
_TRANSFORMING = {"transform_input": True, "init_weights": False}
_OPTIONS: dict[str, dict[str, Any]] = {"googlenet": _TRANSFORMING, "inception_v3": _TRANSFORMING}
#: layers that are called ``norm.1`` in DenseNet's published weights, and ``norm1`` in torchvision
_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")


def defaults(name: str, image_size: int | None, terms: Terms) -> Defaults:
    """The sizes and the preparation of images that torchvision uses for a network's weights.

    Args:
        name: ``torchvision:NAME`` or ``torchvision:NAME.TAG``.
        image_size: Side, in pixels, of the square that the network sees; None for its own.
        terms: Words for messages.

    Raises:
        ConfigError: If torchvision is missing, or has no such network or weights.
    """
    preset = _published(
        import_package("torchvision.models", name, "images", terms), name, terms
    ).transforms()
    own, resize = int(preset.crop_size[0]), int(preset.resize_size[0])
    size = image_size or own
    preparation = Preparation(
        mean=[float(value) for value in preset.mean],
        std=[float(value) for value in preset.std],
        interpolation=preset.interpolation.value,
    )
    return Defaults(round(resize * size / own), size, preparation)


def build(
    name: str, weights: str, image_size: int, preparation: Preparation, terms: Terms
) -> tuple[PooledNetwork, LoadedWeights]:
    """Make a frozen network of torchvision.

    Args:
        name: ``torchvision:NAME`` or ``torchvision:NAME.TAG``, the tag of published weights.
        weights: ``imagenet`` (torchvision downloads them), the file of a state dict, with the
            classifier or without, or ``random``.
        image_size: Side of its images, in pixels.
        preparation: Mean and standard deviation of its images.
        terms: Words for messages.

    Raises:
        ConfigError: If torchvision is missing or has no such network or weights, they cannot be
            downloaded, or the network does not take images of this size.
        CheckpointError: If the weights' file is missing, damaged or of another network.
    """
    models = import_package("torchvision.models", name, "images", terms)
    published = _published(models, name, terms)
    bare, _ = _parts(name)
    with seeded():
        model = models.get_model(bare, weights=None, **_OPTIONS.get(bare, {}))
    head = _remove_classifier(model)
    loaded = random_weights(name, model)
    if weights != RANDOM:
        loaded = _loaded(name, weights, published, terms)
        path = loaded.path or _stored(published.url)
        origin = f"{terms.weights}{weights}"
        _load(model, name, head, read_state_dict(path, name, terms), origin, terms)
    network = PooledNetwork(loaded.name, model, preparation)
    own_size = int(published.transforms().crop_size[0])
    measure(network, image_size, own_size, terms)
    return network, loaded


def _parts(name: str) -> tuple[str, str]:
    """The network's name in torchvision, and the tag of its weights; empty for none."""
    bare, _, tag = name.removeprefix(TORCHVISION_PREFIX).partition(".")
    return bare, tag


def _published(models: Any, name: str, terms: Terms) -> Any:
    """The member of torchvision's ``WeightsEnum`` for a name."""
    bare, tag = _parts(name)
    known = models.list_models(module=models)
    if bare not in known:
        near = nearest(bare, known)
        hint = (
            f"Did you mean {TORCHVISION_PREFIX}{near[0]}?"
            if near
            else "Give one that torchvision.models.list_models(module=torchvision.models) lists."
        )
        raise ConfigError(f"{terms.network}{name}: torchvision has no network of this name. {hint}")
    tags = {member.name: member for member in models.get_model_weights(bare)}
    if not tag:
        return tags.get(_DEFAULT_TAG) or next(iter(tags.values()))
    if tag not in tags:
        raise ConfigError(
            f"{terms.network}{name}: torchvision has no weights of this name for {bare}. Give one "
            f"of {', '.join(f'{TORCHVISION_PREFIX}{bare}.{known}' for known in tags)}."
        )
    return tags[tag]


def _remove_classifier(model: nn.Module) -> str:
    """Remove the auxiliary classifiers and the last linear layer; returns this layer's name."""
    for part in _AUXILIARY:
        if getattr(model, part, None) is not None:
            setattr(model, part, None)
    linear = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:  # SqueezeNet's classifier is a convolution
        model.classifier = nn.AdaptiveAvgPool2d(1)
        return "classifier"
    head: str = linear[-1]
    parent, _, last = head.rpartition(".")
    setattr(model.get_submodule(parent), last, nn.Identity())
    return head


# ------------------------------------------------------------------------------------------------
# weights


def _loaded(name: str, weights: str, published: Any, terms: Terms) -> LoadedWeights:
    """The description of the weights, whose file is downloaded if needed."""
    if weights != IMAGENET:
        path = Path(weights).expanduser().absolute()
        # raises the error about a missing file
        if not path.is_file():
            read_state_dict(path, name, terms)
        return LoadedWeights(path.name, sha256_file(path), path, name)
    stored = _stored(published.url)
    try:
        torch.hub.load_state_dict_from_url(
            published.url, map_location="cpu", check_hash=True, weights_only=True, progress=False
        )
    except Exception as error:  # of the connection, the disk or the file itself
        raise ConfigError(
            f"{terms.weights}{IMAGENET}: cannot download {published.url} ({error}). Get the file "
            f"by other means and store it as {stored}, or give it: {terms.weights}FILE."
        ) from error
    bare, _ = _parts(name)
    tagged = f"{TORCHVISION_PREFIX}{bare}.{published.name}"
    return LoadedWeights(IMAGENET, sha256_file(stored), None, tagged)


def _stored(url: str) -> Path:
    """The file in which torchvision stores the download of an address."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def _load(
    model: nn.Module, name: str, head: str, state: Mapping[str, Tensor], origin: str, terms: Terms
) -> None:
    """Copy weights into a network, all of them or none.

    Raises:
        CheckpointError: If they are of another network.
    """
    # versions of layers, which some layers need to read old weights
    metadata = getattr(state, "_metadata", {"": {"version": model._version}})
    state = OrderedDict((_OLD_DENSENET.sub(r"\1\2", key), value) for key, value in state.items())
    state._metadata = metadata  # type: ignore[attr-defined]
    ignored = tuple(f"{part}." for part in (head, *_AUXILIARY))
    problem = misfit(model.state_dict(), state, ignored)
    if problem:
        raise CheckpointError(
            f"{origin}: these weights do not fit {terms.network}{name}: {problem}. Set "
            f"{terms.weights.strip('= ')} to a state dict of this network, or "
            f"{terms.network.strip('= ')} to the network that these are of."
        )
    # the network lacks the classifier, and the file may lack batch norm's counters
    model.load_state_dict(state, strict=False)
